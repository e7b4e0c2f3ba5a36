"""Changes of the data since the published model's training: new and changed spans and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from noisy_gru.components.retrain_planner.evidence import DataChanges
from noisy_gru.registry.training_record import DataFile, SpanFiles, TrainingRecord


def data_changes(record: TrainingRecord | None, spans: Sequence[SpanFiles], files: Sequence[DataFile]) -> DataChanges:
    """Return the changes of the data since a published model's training.

    Args:
        record: of the published model; None: there is none, or it doesn't say what it was trained on.
        spans: to train on now, rising; empty where the patterns have no ``{SPAN}``.
        files: to train on now, with their hashes: all of them, those of the spans too.
    """
    by_span = bool(spans)
    known = record is not None and bool(record.files)
    if not by_span:
        before = {file.name: file for file in record.files} if record else {}
        new = [file.name for file in files if file.name not in before]
        altered = [file.name for file in files if file.name in before and differs(before[file.name], file)]
        gone = sorted(set(before) - {file.name for file in files})
        return DataChanges(
            by_span=False, known=known, files=tuple(sorted(new + altered)), altered=tuple(altered), gone=tuple(gone)
        )
    trained = {span.number: span for span in record.spans} if record else {}
    fresh = [span for span in spans if span.number not in trained]
    changed = {
        span.number: why
        for span in spans
        if span.number in trained and (why := _change(trained[span.number], span)) is not None
    }
    names = [file.name for span in spans if span in fresh or span.number in changed for file in span.files]
    return DataChanges(
        by_span=True,
        known=known,
        spans=tuple(span.number for span in fresh),
        changed=changed,
        files=tuple(names),
    )


def differs(before: DataFile, now: DataFile) -> bool:
    """Return whether a file's content differs, as far as both records hold it."""
    if before.sha256 is not None and now.sha256 is not None:
        return before.sha256 != now.sha256
    return before.bytes is not None and now.bytes is not None and before.bytes != now.bytes


def _change(before: SpanFiles, now: SpanFiles) -> str | None:
    """Return how a span changed since it was trained on; None if it didn't."""
    if before.version != now.version:
        return f"version {_named(before.version)} became {_named(now.version)}"
    old: Mapping[str, DataFile] = {file.name: file for file in before.files}
    new = {file.name: file for file in now.files}
    parts = []
    if added := sorted(set(new) - set(old)):
        parts.append(f"new: {', '.join(added)}")
    if gone := sorted(set(old) - set(new)):
        parts.append(f"gone: {', '.join(gone)}")
    if other := sorted(name for name in set(old) & set(new) if differs(old[name], new[name])):
        parts.append(f"other content: {', '.join(other)}")
    return "; ".join(parts) or None


def _named(version: int | None) -> str:
    return "(none)" if version is None else str(version)
