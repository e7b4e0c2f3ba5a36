"""Pages of the dashboard as text, by address. Reads files and draws charts; knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from noisy_gru.pipeline.dashboard.links import change_path, model_path, run_link, run_path
from noisy_gru.pipeline.dashboard.model_page import model_sections
from noisy_gru.pipeline.dashboard.models import ModelState
from noisy_gru.pipeline.dashboard.overview import Listed, newest_first, overview_sections, runs_table
from noisy_gru.pipeline.dashboard.page import Field, Form, dashboard_page, sections_html
from noisy_gru.pipeline.dashboard.roots import Roots, RootState
from noisy_gru.pipeline.dashboard.run_page import comparison_sections, live_sections, run_sections
from noisy_gru.pipeline.dashboard.run_rows import UNREADABLE
from noisy_gru.pipeline.report.blocks import Facts, Link, Section, Sentences
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord
from noisy_gru.schema.errors import UserError

_PER_PAGE = 100
_ANY = "any"
ACTIONS = ("rollback", "promote")


class NotFoundError(UserError):
    """There is no such page: an unknown root, model, run or report."""


@dataclass(frozen=True)
class Live:
    """The sections of a run that is going on, and its status."""

    html: str
    status: str


class Views:
    """The pages. Not for several threads at a time: what was read is kept.

    Args:
        roots: roots to show.
        allow_changes: whether pages offer rollback and promote.
    """

    def __init__(self, roots: Roots, *, allow_changes: bool):
        self.roots = roots
        self._allow_changes = allow_changes

    def warm(self) -> None:
        """Read every record and draw every model's charts, so that the first to ask doesn't wait for it."""
        for state in self.roots.states():
            for model in state.models:
                model_sections(state, model, self._allow_changes)

    def overview(self) -> str:
        """Return the first page."""
        return dashboard_page("Runs and models", overview_sections(self.roots.states(), datetime.now(UTC)))

    def runs(self, query: Mapping[str, str]) -> str:
        """Return a page of the list of runs.

        Args:
            query: `root`, `model`, `status` to filter by, and `page`; unknown ones show no run.
        """
        states = self.roots.states()
        listed = newest_first(states)
        options = {
            "root": self.roots.keys,
            "model": sorted({row.model for _, row in listed if row.model}),
            "status": sorted({row.status for _, row in listed}),
        }
        chosen = {name: query.get(name, _ANY) for name in options}
        shown = [each for each in listed if _matches(each, chosen)]
        last = max(1, -(-len(shown) // _PER_PAGE))
        page = min(max(1, int(query["page"])), last) if query.get("page", "").isdecimal() else 1
        part = shown[(page - 1) * _PER_PAGE : page * _PER_PAGE]
        title = f"{len(shown):,} run{'' if len(shown) == 1 else 's'}"
        fields = [Field(name, chosen[name], name, "select", [_ANY, *options[name]]) for name in options]
        two = [Field(name, "", f"{name} run, as root/run") for name in ("first", "second")]
        pages = [
            Link(text, f"/runs?{urlencode({**chosen, 'page': number})}")
            for text, number in (("newer", page - 1), (f"page {page} of {last}", page), ("older", page + 1))
            if 1 <= number <= last and last > 1
        ]
        section = Section("runs", "Newest first", [runs_table(part, states)] if part else [], "" if part else "None.")
        forms = [Form("/runs", "Show", fields), Form("/compare", "Compare", two)]
        return dashboard_page(title, [section], forms=forms, pages=pages)

    def model(self, key: str, name: str) -> str:
        """Return a model's page."""
        state, model = self.find_model(key, name)
        return dashboard_page(f"{name} · {key}", model_sections(state, model, self._allow_changes))

    def run(self, key: str, run_id: str) -> str:
        """Return a run's page."""
        state = self._state(key)
        record = self._record(key, run_id)
        now = datetime.now(UTC)
        title = f"Run {record.run_id} · {record.pipeline}"
        if record.status != "running":
            return dashboard_page(title, _shown(lambda: run_sections(state, record, now), record))
        live = _shown(lambda: live_sections(state.directory, record, now), record)
        return dashboard_page(title, live, live=f"{run_path(key, run_id)}/live")

    def live(self, key: str, run_id: str) -> Live:
        """Return the sections of a run that change while it goes on."""
        record = self._record(key, run_id)
        directory, now = self.roots.directory(key), datetime.now(UTC)
        sections = _shown(lambda: live_sections(directory, record, now), record)
        return Live(sections_html(sections), record.status)

    def compare(self, first: str, second: str) -> str:
        """Return the comparison of two runs, each as `root/run`."""
        keys = [each.strip().partition("/") for each in (first, second)]
        records = [self._record(key, run) for key, _, run in keys]
        links = [run_link(key, record.run_id) for (key, _, _), record in zip(keys, records, strict=True)]
        title = f"{records[0].run_id} against {records[1].run_id}"
        return dashboard_page(title, _shown(lambda: comparison_sections(*records), *records), crumbs=links)

    def report(self, key: str, name: str) -> bytes:
        """Return the report ``runs/<name>.html`` of a root."""
        directory = self._directory_of(key)
        file = directory.report_file(name)
        if file.parent != directory.runs or name.startswith(".") or "\0" in name or not file.is_file():
            raise NotFoundError(f"{name}: no report of this run under {directory.root}. noisy-gru report writes one")
        return file.read_bytes()

    def confirmation(self, key: str, name: str, action: str, token: str) -> str:
        """Return the page that asks whether to change what serves."""
        state, model = self.find_model(key, name)
        text, button = change_text(model, action)
        fields = [Field("token", token, kind="hidden"), Field("reason", "", "Reason, kept in the model's history")]
        form = Form(change_path(key, name, action), button, fields, "post")
        sections = [
            Section("change", "What it does", [Sentences([text])]),
            Section("now", "What serves now", [Facts([("serves", model.serves), ("root", str(state.path))])]),
        ]
        crumbs = [Link(name, model_path(key, name))]
        return dashboard_page(f"{button}?", sections, crumbs=crumbs, forms=[form])

    def find_model(self, key: str, name: str) -> tuple[RootState, ModelState]:
        """Return a root and a model under it; raise ``NotFoundError`` if there is none."""
        state = self._state(key)
        model = next((each for each in state.models if each.name == name), None)
        if model is None:
            raise NotFoundError(f"{name}: no such model under {state.path}")
        return state, model

    def _state(self, key: str) -> RootState:
        self._directory_of(key)
        return self.roots.state(key)

    def _directory_of(self, key: str) -> RunDirectory:
        if key not in self.roots.keys:
            raise NotFoundError(f"{key}: no such root. This dashboard has {', '.join(self.roots.keys)}")
        return self.roots.directory(key)

    def _record(self, key: str, run_id: str) -> RunRecord:
        directory = self._directory_of(key)
        if not run_id:
            raise NotFoundError(f"expected a run as root/run, received {key}")
        try:
            return directory.record(run_id)
        except UserError as error:
            raise NotFoundError(str(error)) from error


def change_text(model: ModelState, action: str) -> tuple[str, str]:
    """Return what a change does, and its name; raise ``NotFoundError`` where it can't be made."""
    if action == "rollback" and model.back_to is not None:
        text = f"Version {model.canary} is withdrawn, and version {model.back_to} is current again. Servers follow "
        back = "within seconds. Nothing is deleted: noisy-gru runs restore brings the version back."
        return text + back, f"Roll back to version {model.back_to}"
    if action == "promote" and model.can_promote:
        text = f"Version {model.canary}, the canary, becomes stable in the place of version {model.stable}."
        return text, f"Promote version {model.canary}"
    raise NotFoundError(f"{model.name}: no {action} is possible now; it serves {model.serves}")


def _shown(build: Callable[[], list[Section]], *records: RunRecord) -> list[Section]:
    """Return sections of records; where a part of one can't be shown, a grey one that says why."""
    try:
        return build()
    except UNREADABLE as error:
        names = " or ".join(f"runs/{record.run_id}.json" for record in records)
        return [Section("record", "Record", note=f"{names} can't be shown: {type(error).__name__}: {error}")]


def error_page(title: str, lines: Sequence[str]) -> str:
    """Return a page that says what is wrong."""
    return dashboard_page(title, [Section("error", "What happened", [Sentences(lines, tone="warning")])])


def script() -> bytes:
    """Return the script that follows a run."""
    return (Path(__file__).parent / "static" / "follow.js").read_bytes()


def _matches(each: Listed, chosen: Mapping[str, str]) -> bool:
    key, row = each
    has = {"root": key, "model": row.model, "status": row.status}
    return all(value in (_ANY, has[name]) for name, value in chosen.items())
