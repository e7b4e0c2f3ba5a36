"""When a cron expression fires, for APScheduler: as crontab means it, and once on the days when the clocks change.

>>> trigger = cron_trigger(cron_times("30 2 * * *"), "Europe/Berlin")  # doctest: +SKIP
>>> trigger.get_next_fire_time(None, datetime(2026, 3, 29, tzinfo=UTC))  # doctest: +SKIP
datetime.datetime(2026, 3, 29, 3, 30, tzinfo=zoneinfo.ZoneInfo(key='Europe/Berlin'))
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

from noisy_gru.pipeline.cron import DAYS, CronTimes

_HOURS = 24


def cron_trigger(
    times: CronTimes,
    timezone: str,
    *,
    jitter: timedelta = timedelta(),
    uniform: Callable[[float, float], float] = random.uniform,
) -> BaseTrigger:
    """The trigger of a cron expression.

    Args:
        times: the expression.
        timezone: of its times, of the IANA database.
        jitter: each time is up to this much later.
        uniform: draws how much, in seconds.
    """
    zone = ZoneInfo(timezone)
    weekdays = ",".join(DAYS[day].lower() for day in times.weekdays)
    days = _listed(times.days)
    parts = [{"day": days}, {"day_of_week": weekdays}] if times.either_day else [{"day": days, "day_of_week": weekdays}]
    fields = {
        "second": _listed(times.seconds),
        "minute": _listed(times.minutes),
        "hour": _listed(times.hours),
        "month": _listed(times.months),
    }
    triggers = [CronTrigger(**fields, **part, timezone=zone) for part in parts]
    # What runs in every hour runs in both of the hours that have one name; what names an hour runs in the first.
    twice = len(times.hours) == _HOURS
    return _Trigger(triggers[0] if len(triggers) == 1 else OrTrigger(triggers), zone, twice, jitter, uniform)


def _listed(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


class _Trigger(BaseTrigger):
    """APScheduler's trigger fires twice at a time that comes twice, and its jitter forgets which of both it was."""

    __slots__ = ("_inner", "_jitter", "_twice", "_uniform", "_zone")

    def __init__(
        self,
        inner: BaseTrigger,
        zone: ZoneInfo,
        twice: bool,
        jitter: timedelta,
        uniform: Callable[[float, float], float],
    ):
        self._inner, self._zone, self._twice = inner, zone, twice
        self._jitter, self._uniform = jitter, uniform

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """As APScheduler asks for it: the first time after the previous one, or not before now."""
        previous = previous_fire_time and previous_fire_time.astimezone(self._zone)
        now = now.astimezone(self._zone)
        while True:
            found = self._inner.get_next_fire_time(previous, now)
            if found is None:
                return None
            moment = found.astimezone(UTC)
            local = moment.astimezone(self._zone)
            if self._twice or not local.fold:
                break
            previous = local
            now = (moment + timedelta(microseconds=1)).astimezone(self._zone)
        if self._jitter:
            moment += timedelta(seconds=self._uniform(0.0, self._jitter.total_seconds()))
        return moment.astimezone(self._zone)

    def __str__(self) -> str:
        return str(self._inner)
