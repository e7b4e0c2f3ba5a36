"""Shows for people where a version is from, what a replay found, and what a pruning deletes."""

from __future__ import annotations

from collections import Counter
from typing import TextIO

from rich.markup import escape

from noisy_gru.pipeline.cli.runs_view import console_for, warm_start_text
from noisy_gru.pipeline.runs.lineage import Lineage
from noisy_gru.pipeline.runs.replay import Replay
from noisy_gru.schema.span_patterns import format_spans

_HASH = 12
_VERDICTS = {
    "exact": "the metrics are the same, to the last digit",
    "within": "the metrics are the same within the tolerance",
    "apart": "the metrics are NOT the same",
    "failed": "the replay FAILED",
}


def show_lineage(found: Lineage, stream: TextIO) -> None:
    """Writes where a version is from, down to its files."""
    console = console_for(stream)

    def line(name: str, text: str) -> None:
        if text:
            console.print(f"{name:<12} {escape(text)}")

    labels = f" as {' and '.join(found.labels)}" if found.labels else ""
    line("version", f"{found.version} of {found.model}, {found.state}{labels}")
    line("published", found.published)
    spoilt = ", ".join(f"{name} ({state})" for name, state in found.files_state.items())
    line("its files", f"NOT as published: {spoilt}" if spoilt else "as published")
    line("model", f"{found.artifact[0]}{'' if found.artifact[1] else ' (deleted)'}" if found.artifact[0] else "")
    record = found.run_record
    where = "its record isn't here" if record is None else f"started {record.started}, {record.status}"
    line("run", f"{found.run_id or 'unknown'} ({where})")
    config = "" if record is None else f"{record.config_path}, "
    line("config", f"{config}hash {found.config_hash[:_HASH]}, seed {found.seed}" if found.config_hash else "")
    versions = ", ".join(f"{name} {version}" for name, version in found.packages.items())
    line("source", "; ".join(filter(None, (found.source[:_HASH], versions))))
    line("spans", format_spans(found.spans))
    line("sequences", ", ".join(f"{split} {count}" for split, count in found.sequences.items()))
    line("warm start", warm_start_text(found.warm_start))
    counts = Counter(file.state for file in found.files)
    line("files", ", ".join(f"{count} {state}" for state, count in counts.items()) or "not recorded")
    for file in found.files:
        span = "" if file.span is None else f"span {file.span}  "
        console.print(f"  {file.state:<8} {file.sha256 or '-':<64}  {span}{escape(file.path or file.name)}")


def show_replay(found: Replay, stream: TextIO) -> None:
    """Writes whether the metrics agree, and what differed."""
    console = console_for(stream)
    console.print(f"{found.run_id}, trained again as {found.replay_id}: {_VERDICTS[found.verdict]}")
    if found.error:
        console.print(escape(found.error))
    for number in found.metrics:
        sides = ("-" if each is None else f"{each:.9g}" for each in (number.first, number.second))
        change = "" if number.change is None else f"{number.change:+.3g}"
        console.print(f"  {escape(number.name):<32} {'  '.join(f'{side:>14}' for side in sides)}  {change}")
    if found.before:
        console.print("what was not as it was:")
    for each in found.before:
        console.print(f"  {escape(f'{each.what}: {each.first} -> {each.second}')}")
    if not found.before:
        console.print("input files, packages and source are as they were")


def size_text(count: int) -> str:
    """A number of bytes, in megabytes."""
    return f"{count / 1e6:,.1f} MB"
