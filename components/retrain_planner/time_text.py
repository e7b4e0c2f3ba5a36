"""Times and reasons as texts of the plan."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

# Clocks of machines that share a record differ a little.
_AHEAD = timedelta(minutes=5)


def is_ahead(when: datetime, now: datetime) -> bool:
    """Return whether a record is from the future: its clock or this one was wrong, so its time isn't used."""
    return when - now > _AHEAD


def ahead_text(when: datetime, now: datetime) -> str:
    """Return the message about a record from the future."""
    return f"at {when.isoformat(timespec='seconds')}, ahead of the clock ({utc_text(now)}): one of them is wrong"


def one_line(text: str) -> str:
    """Shorten a reason to one line."""
    line = " ".join(text.split())
    return line if len(line) <= 160 else f"{line[:157]}..."


def span_of_time(time: timedelta) -> str:
    """Format a duration for people."""
    seconds = max(time.total_seconds(), 0.0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def utc_text(when: datetime) -> str:
    """Format a time in ISO 8601, UTC."""
    return when.astimezone(UTC).isoformat(timespec="seconds")
