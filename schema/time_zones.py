"""Time zones by their names in the tz database."""

from __future__ import annotations

import difflib
import zoneinfo

# Files beside the zones that another machine has otherwise or not at all.
_OF_THE_MACHINE = ("localtime", "posixrules")


def check_time_zone(name: str, *, same_everywhere: bool = False) -> str:
    """Return the name of a zone, such as Europe/Berlin.

    Args:
        name: as the tz database has it.
        same_everywhere: refuse `localtime`, which is another zone on another machine.

    Raises:
        ValueError: the tz database has no such zone, or it is refused.
    """
    if not (same_everywhere and name in _OF_THE_MACHINE):
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            # ValueError: an absolute path, or one that leads out of the folder of zones.
            pass
        else:
            return name
    raise ValueError(
        f"expected a time zone of the IANA database, such as Europe/Berlin or UTC; received {name!r}{_guess(name)}"
    )


def _guess(name: str) -> str:
    zones = sorted(zoneinfo.available_timezones().difference(_OF_THE_MACHINE))
    folded = {zone.casefold(): zone for zone in zones}
    # The city alone, too: Berlin.
    folded = {zone.rpartition("/")[2].casefold(): zone for zone in zones if "/" in zone} | folded
    close = difflib.get_close_matches(name.strip().replace(" ", "_").casefold(), folded, n=1, cutoff=0.75)
    return f" (did you mean {folded[close[0]]}?)" if close else ""
