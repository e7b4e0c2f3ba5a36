"""Log of retraining attempts: one line of JSON per event in ``retraining.jsonl`` beside a model's versions.

A retraining writes ``started``, and at its end ``published``, ``refused``, ``failed`` or ``interrupted``. A ``started``
that no end follows was killed, which is a failure. Lines are only ever added; one that a kill cut off is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator

from noisy_gru.storage.json_lines import append_record, read_records

ATTEMPTS = "retraining.jsonl"
AttemptEvent = Literal["started", "published", "refused", "failed", "interrupted"]
NO_END = "it has no recorded end: it was killed, or is still running"


def _with_zone(moment: str) -> str:
    if datetime.fromisoformat(moment).tzinfo is None:
        raise ValueError(f"expected a time with its zone, received {moment}")
    return moment


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One event of a retraining.

    Attributes:
        at: when, in ISO 8601, UTC.
        event: what happened.
        run_id: of the run; the same in all events of a retraining.
        spans: that it trains on, such as ``3-9``.
        data: fingerprint of the files that it trains on (``Plan.data``).
        version: that was published; None for any other event.
        reason: why it began, or ended as it did.
    """

    at: Annotated[str, AfterValidator(_with_zone)]
    event: AttemptEvent
    run_id: str
    spans: str = ""
    data: str = ""
    version: int | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A retraining with its end; ``failed`` where it has none."""

    run_id: str
    started: datetime
    ended: datetime | None
    event: AttemptEvent
    data: str
    reason: str
    version: int | None = None


def append_attempt(model_dir: Path, attempt: Attempt) -> None:
    """Append an event and sync it; make the model's folder if this is its first."""
    model_dir.mkdir(parents=True, exist_ok=True)
    append_record(model_dir / ATTEMPTS, attempt)


def read_attempts(model_dir: Path) -> list[Attempt]:
    """Read the events, oldest first; skip invalid lines."""
    return read_records(model_dir / ATTEMPTS, Attempt)


def outcomes(attempts: Iterable[Attempt], *, but: str = "") -> list[Outcome]:
    """Return the retrainings in order of their start, without run ``but``.

    That is the order of the lines, and not of their times: a clock may be set back.
    """
    runs: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        if attempt.run_id != but:
            # A run that was interrupted begins again: it goes to the end.
            events = runs.pop(attempt.run_id, []) if attempt.event == "started" else runs.get(attempt.run_id, [])
            runs[attempt.run_id] = [*events, attempt]
    found = [_outcome(events) for events in runs.values()]
    return [each for each in found if each is not None]


def is_open(attempts: Iterable[Attempt], run_id: str) -> bool:
    """Return whether a run's retraining has started and not ended."""
    events = [attempt.event for attempt in attempts if attempt.run_id == run_id]
    return bool(events) and events[-1] == "started"


def close_attempt(
    model_dir: Path, run_id: str, event: AttemptEvent, at: datetime, *, reason: str = "", version: int | None = None
) -> None:
    """Append the end of a run's retraining, if one is open."""
    if is_open(read_attempts(model_dir), run_id):
        text = at.astimezone(UTC).isoformat(timespec="seconds")
        append_attempt(model_dir, Attempt(at=text, event=event, run_id=run_id, version=version, reason=reason))


def _outcome(events: list[Attempt]) -> Outcome | None:
    """Of one run, which may have begun again after it was interrupted."""
    began = [place for place, event in enumerate(events) if event.event == "started"]
    if not began:
        return None
    first = events[began[-1]]
    ends = events[began[-1] + 1 :]
    return Outcome(
        run_id=first.run_id,
        started=datetime.fromisoformat(first.at),
        ended=datetime.fromisoformat(ends[-1].at) if ends else None,
        event=ends[-1].event if ends else "failed",
        data=first.data,
        reason=ends[-1].reason if ends else NO_END,
        version=ends[-1].version if ends else None,
    )
