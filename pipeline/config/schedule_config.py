"""The part of the configuration that says at what times retraining is looked at."""

from __future__ import annotations

import zoneinfo
from typing import Literal

from pydantic import Field, field_validator

from noisy_gru.pipeline.config.cron import cron_times
from noisy_gru.schema.config import Section
from noisy_gru.schema.durations import Duration, parse_duration


class ScheduleConfig(Section):
    """When `noisy-gru retrain schedule` asks whether to train again."""

    cron: str | None = Field(
        default=None,
        description="Five fields, as in crontab, or six, seconds first, or @daily and the like; Sunday is 0. null: "
        "`--cron` has to give it.",
    )
    timezone: str = Field(
        default="UTC",
        description="Zone of the times, for example Europe/Berlin. A time that the change to summer time leaves out "
        "runs at once after the change; one that comes twice in autumn runs the first time.",
    )
    jitter: Duration = Field(
        default="0s", description="Up to this much later, by chance, so that not all pipelines start at once."
    )
    missed: Literal["run", "skip"] = Field(
        default="run",
        description="Times that passed while nothing could run (the machine slept, the scheduler was down, the "
        "retraining before took that long): `run` makes up for all of them by one run, `skip` waits for the next time.",
    )
    time_limit: Duration | None = Field(
        default=None,
        description="A retraining that takes longer is killed, as one that hangs would keep all others out; that is a "
        "failure, and the next one goes on from the last finished step. null: no limit.",
    )

    @field_validator("time_limit")
    @classmethod
    def _some_time(cls, time_limit: str | None) -> str | None:
        if time_limit is not None and not parse_duration(time_limit):
            raise ValueError(f"expected more than 0, or null; received {time_limit!r}")
        return time_limit

    @field_validator("cron")
    @classmethod
    def _readable(cls, cron: str | None) -> str | None:
        if cron is not None:
            cron_times(cron)
        return cron

    @field_validator("timezone")
    @classmethod
    def _known(cls, timezone: str) -> str:
        # ValueError: an absolute path, or one that leads out of the folder of zones.
        try:
            zoneinfo.ZoneInfo(timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"expected a time zone of the IANA database, such as Europe/Berlin or UTC; received {timezone!r}"
            ) from error
        return timezone
