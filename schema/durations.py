"""Durations in a configuration: ``90s``, ``30m``, ``12h``, ``7d`` or ``2w``, stored as text and parsed on use.

>>> parse_duration("36h")
datetime.timedelta(days=1, seconds=43200)
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"^([0-9]+(?:\.[0-9]+)?)([smhdw])$")


def parse_duration(text: str) -> timedelta:
    """Parse a duration.

    Args:
        text: a number of at least 0, then one of s, m, h, d, w.

    Raises:
        ValueError: the text is no duration, or is longer than a ``timedelta`` can hold.
    """
    match = _DURATION.match(text.strip())
    if match is None:
        raise ValueError(f"received {text!r}, expected a duration: a number with s, m, h, d or w, such as 12h or 30d")
    try:
        return timedelta(**{_UNITS[match[2]]: float(match[1])})
    except OverflowError as error:
        raise ValueError(f"received {text!r}, expected a duration of less than 2.7 million years") from error


def _checked(text: str) -> str:
    parse_duration(text)
    return text


def _positive(text: str) -> str:
    if not parse_duration(text):
        raise ValueError(f"expected more than 0, received {text!r}")
    return text


def shown_seconds(seconds: float) -> str:
    """Format seconds for people.

    >>> shown_seconds(42), shown_seconds(300), shown_seconds(5400)
    ('42 s', '5 min', '1.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


Duration = Annotated[str, AfterValidator(_checked)]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
