"""Print run records: a table of many, a page of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import GUARD_KINDS, RunRecord, due_by
from noisy_gru.registry.labels import VersionStatus, version_status
from noisy_gru.schema.errors import UserError
from noisy_gru.schema.span_patterns import format_spans

ALL_ROOTS = Path("runs")
_METRICS_SHOWN = 3
_WIDE = 250


def console_for(stream: TextIO) -> Console:
    """Return a console for tables, which cuts nothing off in a file or pipe."""
    return Console(file=stream, highlight=False, soft_wrap=True, width=None if stream.isatty() else _WIDE)


def _roots(root: Path | None) -> list[RunDirectory]:
    if root is not None:
        return [RunDirectory(root)]
    found = sorted(path.parent.parent for path in ALL_ROOTS.glob("*/runs/[!.]*.json"))
    return [RunDirectory(path) for path in dict.fromkeys(found)]


def all_records(root: Path | None) -> list[RunRecord]:
    """Return the records under a root, or under every root in ``runs/``, oldest first."""
    records = [record for directory in _roots(root) for record in directory.records()]
    return sorted(records, key=lambda record: record.run_id)


def find_record(run: str, root: Path | None) -> RunRecord:
    """Return the record of a run by its id, an unambiguous prefix, or ``latest``; raise ``UserError`` otherwise."""
    if root is not None:
        return RunDirectory(root).record(run)
    records = all_records(None)
    if run == "latest" and records:
        return records[-1]
    matches = [record for record in records if record.run_id.startswith(run)]
    exact = [record for record in matches if record.run_id == run]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    what = f"matches {len(matches)} runs" if matches else "not found"
    raise UserError(f"run {run}: {what} under {ALL_ROOTS.absolute()}. Give the root of the run with --root")


def _state(record: RunRecord) -> VersionStatus | None:
    """Return the present state of the version that a run published; None if it published none, or it is unknown."""
    if record.version is None or record.published_path is None:
        return None
    return version_status(Path(record.published_path).parent, record.version)


def published_state(record: RunRecord) -> str | None:
    """Return `published`, `withdrawn`, `removed` or `gone` for the version that a run published; None if unknown."""
    state = _state(record)
    return None if state is None else state.state


def _state_text(state: VersionStatus) -> str:
    if state.state == "published":
        return " ".join(["published", *(["as", " and ".join(state.labels)] if state.labels else [])])
    if state.event is None:
        return "withdrawn by hand" if state.state == "withdrawn" else "gone, without a record of its removal"
    reason = f": {state.event.reason}" if state.event.reason else ""
    return f"{state.state} on {state.event.at}{reason}"


def _metrics(record: RunRecord, count: int) -> str:
    """Format metrics, each with its difference from the published model's on the same data."""
    shown = [(name, value) for name, value in record.metrics.items() if name != "example_count"]
    return "  ".join(
        f"{name} {value:.4g}" + (f" ({value - record.previous[name]:+.2g})" if name in record.previous else "")
        for name, value in shown[:count]
    )


def warm_start_text(warm_start: Mapping[str, Any]) -> str:
    """Describe the version that training started from, or why it was refused; empty without a warm start."""
    if not warm_start:
        return ""
    version = warm_start.get("base", {}).get("version")
    if warm_start.get("used"):
        return f"from version {version}" if version else "from the base model"
    return f"refused: {'; '.join(warm_start.get('reasons', []))}"


def comparison_text(comparison: Mapping[str, Any]) -> str:
    """Format a comparison of the Evaluator as one line."""
    verdict = "passed" if comparison["passed"] else ("failed" if comparison["required"] else "failed, only reported")
    where = "" if comparison["slice"] == "all" else f" for {comparison['slice']}"
    values = [_short(comparison[name]) for name in ("candidate", "other", "difference", "lower", "upper")]
    return (
        f"{verdict}: {comparison['metric']}{where} {values[0]} against {values[1]} of {comparison['against']}, gain "
        f"{values[2]} [{values[3]}, {values[4]}] on {comparison['sequences']} sequences, {comparison['clusters']} "
        "independent"
    )


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _spans(record: RunRecord) -> str:
    return format_spans([span["span"] for span in record.spans])


def _rules(record: RunRecord) -> str:
    """Return the rules that made retraining due; empty for a run that was started by hand."""
    return due_by(record.plan or {})


def _version(record: RunRecord) -> str:
    state = published_state(record)
    return str(record.version or "") + ("" if state in (None, "published") else f" ({state})")


def table(records: list[RunRecord], stream: TextIO) -> None:
    """Print one line for each record."""
    console = console_for(stream)
    if not records:
        console.print("no runs yet; start one with noisy-gru run CONFIG")
        return
    shown = Table(box=None, pad_edge=False)
    # Columns of retraining only where there is any.
    optional = {"spans": [_spans(each) for each in records], "due by": [_rules(each) for each in records]}
    optional = {name: cells for name, cells in optional.items() if any(cells)}
    for column in ("run", "pipeline", "started", "took", "status", *optional, "version", "metrics"):
        shown.add_column(column, no_wrap=True)
    for number, record in enumerate(records):
        shown.add_row(
            record.run_id,
            record.pipeline,
            record.started,
            f"{record.seconds:.0f} s" if record.finished else "",
            record.status,
            *(cells[number] for cells in optional.values()),
            _version(record),
            escape(_metrics(record, _METRICS_SHOWN)),
        )
    console.print(shown)


def page(record: RunRecord, stream: TextIO) -> None:
    """Print a run record."""
    console = console_for(stream)

    def line(name: str, text: str) -> None:
        if text:
            console.print(f"{name:<12} {escape(text)}")

    line("run", record.run_id)
    line("pipeline", record.pipeline)
    line("status", f"{record.status}, started {record.started}, took {record.seconds:.0f} s")
    line("config", f"{record.config_path} (hash {record.config_hash[:12]}), seed {record.seed}")
    line("overrides", "  ".join(record.overrides))
    if record.rows is not None:
        rows = record.rows
        text = f"{rows.read} read, {rows.kept} kept"
        for what, counts in (("dropped", rows.dropped), ("quarantined", rows.quarantined)):
            text += "".join(f"; {count} {what}: {reason}" for reason, count in counts.items())
        line("rows", text)
    if record.plan is not None:
        line("decision", "retrain" if record.plan.get("retrain") else "not due")
        for reason in record.plan.get("reasons", []):
            met = "  in spite of" if reason.get("kind") in GUARD_KINDS else "  because"
            line(met if reason["met"] else "  not", f"{reason['rule']}: {reason['text']}")
    line("spans", _spans(record))
    line("files", f"{len(record.inputs)} (hashes: noisy-gru runs show --json)" if record.inputs else "")
    line("sequences", ", ".join(f"{split} {count}" for split, count in record.sequences.items()))
    line("metrics", _metrics(record, len(record.metrics)))
    line("", "in brackets: difference from the published model on the same data" if record.previous else "")
    line("warm start", warm_start_text(record.warm_start or {}))
    for comparison in record.comparisons:
        line("compared", comparison_text(comparison))
    for warning in record.warnings:
        line("warning", warning)
    for refusal in record.refusals:
        line("refused", refusal)
    line("published", record.published_path or "nothing")
    if state := _state(record):
        line("now", _state_text(state))
    line("replay of", record.replay_of or "")
    line("artifacts", f"deleted on {record.pruned}" if record.pruned else "")
    line("error", record.error or "")
    line("log", record.log)
    line("source", f"{record.fingerprint[:12]}; " + ", ".join(f"{k} {v}" for k, v in record.packages.items()))
    console.print()
    for step in record.steps:
        used = "" if step.cpu_seconds is None else f"{step.cpu_seconds:>7.1f} CPU s"
        used += "" if step.peak_mb is None else f" {step.peak_mb:>6.0f} MB"
        console.print(f"  {step.name:<20} {step.status:<11} {step.seconds:>7.1f} s{used}  {escape(step.summary)}")
