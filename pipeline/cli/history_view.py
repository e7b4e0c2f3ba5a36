"""Print comparisons of runs, the lineage of a version, and replays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TextIO

from rich.markup import escape
from rich.table import Table

from noisy_gru.pipeline.cli.runs_view import console_for, warm_start_text
from noisy_gru.pipeline.runs.comparison import Difference, Number, RunComparison
from noisy_gru.pipeline.runs.lineage import Lineage
from noisy_gru.pipeline.runs.replay import Replay
from noisy_gru.schema.span_patterns import format_spans

_HASH = 12
_VERDICTS = {
    "exact": "the metrics are the same to the last digit",
    "within": "the metrics are the same within the tolerance",
    "apart": "the metrics are NOT the same",
    "failed": "the replay FAILED",
}


def show_comparison(comparison: RunComparison, stream: TextIO) -> None:
    """Print what differs between two runs, then all metrics, slices and durations."""
    console = console_for(stream)

    def section(title: str, rows: Iterable[tuple[str, ...]], *more: str) -> None:
        shown = Table(box=None, pad_edge=False)
        for header in ("", *comparison.runs, *more):
            shown.add_column(header, no_wrap=True)
        for row in rows:
            shown.add_row(*map(escape, row))
        if shown.row_count:
            console.print(f"\n[bold]{escape(title)}[/]")
            console.print(shown)

    files = [Difference(each.what, _short_hash(each.first), _short_hash(each.second)) for each in comparison.files]
    inputs = {
        "Configuration": comparison.config,
        "Data": comparison.data,
        "Files, by sha256": files,
        "Packages and source": comparison.packages,
    }
    for title, differences in {"Outcome": comparison.outcome, **inputs}.items():
        section(title, ((each.what, _text(each.first), _text(each.second)) for each in differences))
    if not any(inputs.values()):
        console.print("\nconfiguration, data, packages and source are the same")
    slices = {f"Slice {name}": metrics for name, metrics in comparison.slices.items()}
    for title, numbers in {"Metrics": comparison.metrics, **slices, "Seconds": comparison.seconds}.items():
        section(title, (_cells(each, 6) for each in numbers), "change")


def show_lineage(lineage: Lineage, stream: TextIO) -> None:
    """Print the run, configuration, data and files of a published version."""
    console = console_for(stream)

    def line(name: str, text: str) -> None:
        if text:
            console.print(f"{name:<12} {escape(text)}")

    labels = f" as {' and '.join(lineage.labels)}" if lineage.labels else ""
    line("version", f"{lineage.version} of {lineage.model}, {lineage.state}{labels}")
    line("published", lineage.published)
    spoilt = ", ".join(f"{name} ({state})" for name, state in lineage.files_state.items())
    line("its files", f"NOT as published: {spoilt}" if spoilt else "as published")
    line("model", f"{lineage.artifact[0]}{'' if lineage.artifact[1] else ' (deleted)'}" if lineage.artifact[0] else "")
    record = lineage.run_record
    where = "no record on this machine" if record is None else f"started {record.started}, {record.status}"
    line("run", f"{lineage.run_id or 'unknown'} ({where})")
    config = "" if record is None else f"{record.config_path}, "
    line("config", f"{config}hash {lineage.config_hash[:_HASH]}, seed {lineage.seed}" if lineage.config_hash else "")
    versions = ", ".join(f"{name} {version}" for name, version in lineage.packages.items())
    line("source", "; ".join(filter(None, (lineage.source[:_HASH], versions))))
    line("spans", format_spans(lineage.spans))
    line("sequences", ", ".join(f"{split} {count}" for split, count in lineage.sequences.items()))
    line("warm start", warm_start_text(lineage.warm_start))
    counts = Counter(file.state for file in lineage.files)
    line("files", ", ".join(f"{count} {state}" for state, count in counts.items()) or "not recorded")
    for file in lineage.files:
        span = "" if file.span is None else f"span {file.span}  "
        console.print(f"  {file.state:<8} {file.sha256 or '-':<64}  {span}{escape(file.path or file.name)}")


def show_replay(replay: Replay, stream: TextIO) -> None:
    """Print whether the metrics of a replay agree, and what differed before it."""
    console = console_for(stream)
    console.print(f"{replay.run_id}, trained again as {replay.replay_id}: {_VERDICTS[replay.verdict]}")
    if replay.error:
        console.print(escape(replay.error))
    for number in replay.metrics:
        name, first, second, change = _cells(number, 9)
        console.print(f"  {escape(name):<32} {first:>14}  {second:>14}  {change}")
    if replay.before:
        console.print("differences before the replay:")
    for each in replay.before:
        console.print(f"  {escape(f'{each.what}: {each.first} -> {each.second}')}")
    if not replay.before:
        console.print("input files, packages and source are the same")


def size_text(count: int) -> str:
    """Format a number of bytes in megabytes."""
    return f"{count / 1e6:,.1f} MB"


def _cells(number: Number, digits: int) -> tuple[str, str, str, str]:
    first, second = ("-" if each is None else f"{each:.{digits}g}" for each in (number.first, number.second))
    return number.name, first, second, "" if number.change is None else f"{number.change:+.3g}"


def _short_hash(digest: object) -> str | None:
    return None if digest is None else str(digest)[:_HASH]


def _text(value: object) -> str:
    return "-" if value is None else str(value)
