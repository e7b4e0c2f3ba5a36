"""Shows accounts of runs: a table of many, a page of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from noisy_gru.pipeline.runs.run_directory import RunAccount, RunDirectory
from noisy_gru.registry.labels import VersionState, version_state
from noisy_gru.schema.errors import UserError
from noisy_gru.schema.span_patterns import span_text

ALL_ROOTS = Path("runs")
_METRICS_SHOWN = 3
_WIDE = 250


def console_for(stream: TextIO) -> Console:
    """What tables are written with; into a file or pipe nothing is cut off."""
    return Console(file=stream, highlight=False, soft_wrap=True, width=None if stream.isatty() else _WIDE)


def _roots(root: Path | None) -> list[RunDirectory]:
    if root is not None:
        return [RunDirectory(root)]
    found = sorted(path.parent.parent for path in ALL_ROOTS.glob("*/runs/[!.]*.json"))
    return [RunDirectory(path) for path in dict.fromkeys(found)]


def all_accounts(root: Path | None) -> list[RunAccount]:
    """The accounts under a root, or under every root in ``runs/``, oldest first."""
    accounts = [account for directory in _roots(root) for account in directory.accounts()]
    return sorted(accounts, key=lambda account: account.run_id)


def find_account(run: str, root: Path | None) -> RunAccount:
    """The account of a run by its id, an unambiguous beginning of it, or ``latest``; else ``UserError``."""
    if root is not None:
        return RunDirectory(root).account(run)
    accounts = all_accounts(None)
    if run == "latest" and accounts:
        return accounts[-1]
    matches = [account for account in accounts if account.run_id.startswith(run)]
    exact = [account for account in matches if account.run_id == run]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    what = f"fits {len(matches)} runs" if matches else "not found"
    raise UserError(f"run {run}: {what} under {ALL_ROOTS.absolute()}. Name the root of the run with --root")


def _now(account: RunAccount) -> VersionState | None:
    """Where the version that a run published is now; None if it published none, or nobody can tell."""
    if account.version is None or account.published_path is None:
        return None
    return version_state(Path(account.published_path).parent, account.version)


def published_state(account: RunAccount) -> str | None:
    """Where the version that a run published is now: `published`, `withdrawn`, `removed` or `gone`; None: unknown."""
    state = _now(account)
    return None if state is None else state.state


def _state_words(state: VersionState) -> str:
    if state.state == "published":
        return " ".join(["in place", *(["as", " and ".join(state.labels)] if state.labels else [])])
    if state.event is None:
        return "withdrawn by hand" if state.state == "withdrawn" else "not there any more, without a record of it"
    reason = f": {state.event.reason}" if state.event.reason else ""
    return f"{state.state} on {state.event.at}{reason}"


def _metrics(account: RunAccount, count: int) -> str:
    """Metrics, each with how far it is from the published model's on the same data."""
    shown = [(name, value) for name, value in account.metrics.items() if name != "example_count"]
    return "  ".join(
        f"{name} {value:.4g}" + (f" ({value - account.previous[name]:+.2g})" if name in account.previous else "")
        for name, value in shown[:count]
    )


def warm_start_text(told: Mapping[str, Any]) -> str:
    """Whether training went on from a version, and why not; empty if it was not asked to."""
    if not told:
        return ""
    version = told.get("base", {}).get("version")
    if told.get("used"):
        return f"from version {version}" if version else "from the base model"
    return f"refused: {'; '.join(told.get('reasons', []))}"


def comparison_text(told: Mapping[str, Any]) -> str:
    """A comparison of the Evaluator in one line, short enough for a list."""
    verdict = "passed" if told["passed"] else ("failed" if told["required"] else "failed, only reported")
    where = "" if told["slice"] == "all" else f" for {told['slice']}"
    values = [_short(told[name]) for name in ("candidate", "other", "difference", "lower", "upper")]
    return (
        f"{verdict}: {told['metric']}{where} {values[0]} against {values[1]} of {told['against']}, gain {values[2]} "
        f"[{values[3]}, {values[4]}] on {told['sequences']} sequences, {told['clusters']} independent"
    )


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _spans(account: RunAccount) -> str:
    return span_text([span["span"] for span in account.spans])


def _rules(account: RunAccount) -> str:
    """The rules that made retraining due; empty for a run that somebody started."""
    reasons = (account.plan or {}).get("reasons", [])
    return ", ".join(each["rule"] for each in reasons if each["met"] and each.get("kind") != "brake")


def _version(account: RunAccount) -> str:
    state = published_state(account)
    return str(account.version or "") + ("" if state in (None, "published") else f" ({state})")


def table(accounts: list[RunAccount], stream: TextIO) -> None:
    """Writes one line for each account."""
    console = console_for(stream)
    if not accounts:
        console.print("no runs yet; start one with: noisy-gru run CONFIG")
        return
    shown = Table(box=None, pad_edge=False)
    # Columns of retraining only where there is any.
    optional = {"spans": [_spans(each) for each in accounts], "due by": [_rules(each) for each in accounts]}
    optional = {name: cells for name, cells in optional.items() if any(cells)}
    for column in ("run", "pipeline", "started", "took", "status", *optional, "version", "metrics"):
        shown.add_column(column, no_wrap=True)
    for number, account in enumerate(accounts):
        shown.add_row(
            account.run_id,
            account.pipeline,
            account.started,
            f"{account.seconds:.0f} s" if account.finished else "",
            account.status,
            *(cells[number] for cells in optional.values()),
            _version(account),
            escape(_metrics(account, _METRICS_SHOWN)),
        )
    console.print(shown)


def page(account: RunAccount, stream: TextIO) -> None:
    """Writes all of an account that a person may want to know."""
    console = console_for(stream)

    def line(name: str, text: str) -> None:
        if text:
            console.print(f"{name:<12} {escape(text)}")

    line("run", account.run_id)
    line("pipeline", account.pipeline)
    line("status", f"{account.status}, started {account.started}, took {account.seconds:.0f} s")
    line("config", f"{account.config_path} (hash {account.config_hash[:12]}), seed {account.seed}")
    line("overrides", "  ".join(account.overrides))
    if account.rows is not None:
        rows = account.rows
        text = f"{rows.read} read, {rows.kept} kept"
        for what, counts in (("dropped", rows.dropped), ("quarantined", rows.quarantined)):
            text += "".join(f"; {count} {what}: {reason}" for reason, count in counts.items())
        line("rows", text)
    if account.plan is not None:
        line("decision", "retrain" if account.plan.get("retrain") else "not due")
        for reason in account.plan.get("reasons", []):
            met = "  in spite of" if reason.get("kind") == "brake" else "  because"
            line(met if reason["met"] else "  not", f"{reason['rule']}: {reason['text']}")
    line("spans", _spans(account))
    line("files", f"{len(account.inputs)}, with their hashes: noisy-gru runs show --json" if account.inputs else "")
    line("sequences", ", ".join(f"{split} {count}" for split, count in account.sequences.items()))
    line("metrics", _metrics(account, len(account.metrics)))
    line("", "in brackets: against the published model, on the same data" if account.previous else "")
    line("warm start", warm_start_text(account.warm_start or {}))
    for comparison in account.comparisons:
        line("compared", comparison_text(comparison))
    for warning in account.warnings:
        line("warning", warning)
    for refusal in account.refusals:
        line("refused", refusal)
    line("published", account.published_path or "nothing")
    if state := _now(account):
        line("now", _state_words(state))
    line("replay of", account.replay_of or "")
    line("artifacts", f"deleted on {account.pruned}" if account.pruned else "")
    line("error", account.error or "")
    line("log", account.log)
    line("source", f"{account.fingerprint[:12]}; " + ", ".join(f"{k} {v}" for k, v in account.packages.items()))
    console.print()
    for step in account.steps:
        console.print(f"  {step.name:<20} {step.status:<11} {step.seconds:>7.1f} s  {escape(step.summary)}")
