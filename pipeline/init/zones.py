"""The time zone of a table's times, for its calendars: the one of stored times, or one that has the written offsets.

>>> zone_of_texts(pd.Series(["2026-01-15T12:00+01:00", "2026-07-15T12:00+02:00"])).name
'Europe/Berlin'
"""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from noisy_gru.data.arrow import pa
from noisy_gru.data.values.wall_clock import SECOND, from_wall_clock
from noisy_gru.pipeline.init.columns import moments
from noisy_gru.pipeline.init.roles import Roles, Table
from noisy_gru.schema.time_zones import check_time_zone

_OFFSET = r"\d:\d\d(?::\d\d(?:[.,]\d+)?)?\s*([+-]\d\d:?\d\d|[Zz])\s*$"
_FIXED = re.compile(r"([+-])(\d\d):?(\d\d)")
_UTC = ("UTC", "Etc/UTC", "GMT", "Etc/GMT")
# Asked before all others, which are alike or small.
_USUAL = (
    "Europe/Berlin", "Europe/London", "Europe/Helsinki", "Europe/Lisbon", "America/New_York", "America/Chicago",
    "America/Denver", "America/Los_Angeles", "America/Halifax", "America/Santiago", "Australia/Sydney",
    "Australia/Adelaide", "Pacific/Auckland", "Asia/Jerusalem",
)  # fmt: skip
_MOST_TIMES = 400
_FIRST = 100


@dataclass(frozen=True)
class Zone:
    """A zone as the tz database names it, the reason, and whether no other is near."""

    name: str
    why: str
    sure: bool = True


def zone_of_type(kind: Any) -> Zone | None:
    """Return the zone of an Arrow type; None for UTC, or if it has none."""
    if not pa.types.is_timestamp(kind) or kind.tz is None or kind.tz in _UTC:
        return None
    if match := _FIXED.fullmatch(kind.tz):
        return _of_one_offset(_delta(match))
    try:
        return Zone(check_time_zone(kind.tz, same_everywhere=True), "the zone of the stored times")
    except ValueError:
        return None


def zone_of_texts(column: pd.Series) -> Zone | None:
    """Return the zone that has the offsets of texts in ISO 8601; None if they have none, or are all in UTC."""
    texts = column[column.map(lambda cell: isinstance(cell, str))].astype(str)
    if not texts.head(_FIRST).str.contains(_OFFSET.replace("([", "(?:[")).any():
        return None
    written = texts.str.extract(_OFFSET, expand=False)
    known = written.dropna()
    if len(known) < len(texts) / 2:
        return None
    # The ends, and where the offset changes.
    changes = known != known.shift()
    chosen = known[changes | changes.shift(-1, fill_value=True)]
    rest = known.iloc[:: max(1, len(known) // _MOST_TIMES)]
    offsets = pd.concat([chosen.head(_MOST_TIMES), rest]).map(_of_text)
    offsets = offsets[~offsets.index.duplicated()]
    moments = pd.to_datetime(texts[offsets.index], format="ISO8601", utc=True, errors="coerce")
    found = [(moment, offset) for moment, offset in zip(moments, offsets, strict=True) if moment is not pd.NaT]
    different = {offset for _, offset in found}
    if len(different) < 2:
        return _of_one_offset(different.pop()) if different else None
    for name in (*_USUAL, *_every_zone()):
        zone = zoneinfo.ZoneInfo(name)
        if all(moment.tz_convert(zone).utcoffset() == offset for moment, offset in found):
            why = "the offsets of the times are its own, and those of zones with the same clock"
            return Zone(name, why)
    return None


def zone_of_clock(table: Table, roles: Roles) -> Zone | None:
    """Return the zone with daylight saving whose clock times without a zone were written by; None if none shows.

    In an autumn that the rows cover, its clock goes back: the repeated hour has its times twice within a series, in
    all such autumns. The hours that it skips in spring have no row.
    """
    when = moments(table.frame[roles.time], roles.time_kind)
    known = np.isfinite(when) & ~table.frame.duplicated().to_numpy()
    times = pd.DataFrame({"series": table.series(roles.entity)[known], "time": (when[known] * SECOND).astype(np.int64)})
    again = times[times.duplicated()]["time"].to_numpy()
    if not len(again):
        return None
    for name in _USUAL:
        earlier, _ = from_wall_clock(again, name, ambiguous="earlier")
        later, _ = from_wall_clock(again, name, ambiguous="later")
        distinct = np.unique(times["time"].to_numpy())
        skipped = from_wall_clock(distinct, name, ambiguous="earlier")[1]
        # Some times come twice by mistake.
        if np.mean(later > earlier) > 0.9 and not skipped.any():
            why = "its clock goes back where times come twice, and skips the hour without times; or a zone like it"
            return Zone(name, why, sure=False)
    return None


def _of_one_offset(offset: timedelta) -> Zone | None:
    if not offset:
        return None
    why = "all times have one offset; a zone with daylight saving would have another in the other half of the year"
    hours = offset / timedelta(hours=1)
    name = f"Etc/GMT{-int(hours):+d}" if hours % 1 == 0 else ""  # the sign of POSIX: west is positive
    january, july = (pd.Timestamp(2026, month, 1, tz="UTC") for month in (1, 7))
    for each in (name, *_every_zone()) if name not in zoneinfo.available_timezones() else (name,):
        if each and all(time.tz_convert(zoneinfo.ZoneInfo(each)).utcoffset() == offset for time in (january, july)):
            return Zone(each, why, sure=False)
    return None


def _of_text(written: str) -> timedelta:
    match = _FIXED.fullmatch(written)
    return timedelta(0) if match is None else _delta(match)


def _delta(match: re.Match[str]) -> timedelta:
    found = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return -found if match[1] == "-" else found


@cache
def _every_zone() -> tuple[str, ...]:
    """Return the zones of places, as the tz database names them."""
    named = (name for name in zoneinfo.available_timezones() if "/" in name and not name.startswith(("Etc/", "posix")))
    return tuple(sorted(name for name in named if not name.startswith("right/")))
