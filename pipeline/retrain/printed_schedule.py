"""The schedule for those who have a scheduler already: units for systemd, a line for crontab.

>>> print(on_calendar(cron_times("0 3 * * MON-FRI"), "UTC"))
['Mon,Tue,Wed,Thu,Fri *-*-* 03:00:00 UTC']
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from noisy_gru.pipeline.config.cron import DAYS, FIELDS, CronTimes
from noisy_gru.schema.errors import ConfigError

_TEMPLATES = Path(__file__).parent / "templates"
# What systemd reads as part of a word; all else is quoted.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,+@")


def on_calendar(times: CronTimes, timezone: str) -> list[str]:
    """The OnCalendar= lines that mean what a cron expression means: one, or two of which either has to fit."""
    clock = ":".join(
        _calendar_part(numbers, low, high)
        for numbers, (_, low, high, _) in zip((times.hours, times.minutes, times.seconds), FIELDS[2::-1], strict=True)
    )
    months = _calendar_part(times.months, 1, 12)
    days = _calendar_part(times.days, 1, 31)
    weekdays = "" if len(times.weekdays) == len(DAYS) else ",".join(_ordered(times.weekdays)) + " "
    if times.either_day:
        return [f"*-{months}-{days} {clock} {timezone}", f"{weekdays}*-{months}-* {clock} {timezone}"]
    return [f"{weekdays}*-{months}-{days} {clock} {timezone}"]


def crontab_fields(times: CronTimes) -> str:
    """The five fields of a crontab line.

    Raises:
        ConfigError: the expression names seconds, which crontab hasn't.
    """
    if times.seconds != (0,):
        raise ConfigError(f"cron {' '.join(times.fields)!r}: crontab has no seconds; the first of six fields must be 0")
    written = []
    for value, (_, _, high, _) in zip(times.fields[1:], FIELDS[1:], strict=True):
        parts = value.replace("?", "*").split(",")
        # 5/15 is no crontab; 5-59/15 is.
        written.append(",".join(f"{p.split('/')[0]}-{high}/{p.split('/')[1]}" if _open_step(p) else p for p in parts))
    return " ".join(written)


def systemd_units(
    *,
    pipeline: str,
    times: CronTimes,
    timezone: str,
    jitter: timedelta,
    catch_up: bool,
    time_limit: timedelta | None,
    command: Sequence[str],
    folder: Path,
) -> dict[str, str]:
    """The unit and its timer, by file name.

    Args:
        pipeline: its name.
        times: when.
        timezone: of the times.
        jitter: up to this much later.
        catch_up: whether missed times are made up for.
        time_limit: after which a retraining is ended; None: none.
        command: what is started, with absolute paths.
        folder: that it is started in.
    """
    _printable([*command, str(folder)])
    values = {
        "pipeline": pipeline,
        "on_calendar": on_calendar(times, timezone),
        "jitter_seconds": round(jitter.total_seconds()),
        "catch_up": catch_up,
        "limit_seconds": None if time_limit is None else math.ceil(time_limit.total_seconds()),
        "changes": timezone != "UTC",
        "command": command,
        "folder": str(folder),
    }
    kinds = ("service", "timer")
    return {f"noisy-gru-{pipeline}.{kind}": _rendered(f"retrain.{kind}.j2", **values) for kind in kinds}


def crontab_line(
    *, pipeline: str, times: CronTimes, timezone: str, jitter: timedelta, command: Sequence[str], folder: Path
) -> str:
    """The lines for ``crontab -e``; the arguments are those of ``systemd_units``."""
    _printable([*command, str(folder)])
    steps = [f"cd {shlex.quote(str(folder))}"]
    if jitter:
        steps.append(f'sleep "$(shuf -n 1 -i 0-{round(jitter.total_seconds())})"')
    line = " && ".join([*steps, shlex.join(command)])
    # cron ends the command at a %.
    return _rendered(
        "retrain.crontab.j2",
        pipeline=pipeline,
        zone=timezone,
        fields=crontab_fields(times),
        command=line.replace("%", "\\%"),
    )


def _rendered(name: str, **values: object) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters.update(specifiers=_specifiers, word=_word)
    return environment.get_template(name).render(values)


def _specifiers(text: str) -> str:
    """Text in a unit file, in which % begins a specifier."""
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """One word of ExecStart=, in which $ begins a variable, too."""
    text = _specifiers(text).replace("$", "$$")
    if text and set(text) <= _PLAIN:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _printable(words: Sequence[str]) -> None:
    for word in words:
        if not word.isprintable():
            raise ConfigError(f"{word!r}: expected text on one line; neither a unit file nor crontab can hold this")


def _calendar_part(numbers: tuple[int, ...], low: int, high: int) -> str:
    return "*" if len(numbers) == high - low + 1 else ",".join(f"{number:02}" for number in numbers)


def _ordered(weekdays: tuple[int, ...]) -> list[str]:
    """systemd's names, its week beginning with Monday."""
    return [DAYS[day].capitalize() for day in sorted(weekdays, key=lambda day: (day - 1) % len(DAYS))]


def _open_step(part: str) -> bool:
    return "/" in part and not part.startswith("*") and "-" not in part
