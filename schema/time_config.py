"""The `data.time` section: the column that orders the steps of an entity."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from noisy_gru.schema.section import Section
from noisy_gru.schema.time_zones import check_time_zone


class TimeConfig(Section):
    """The column that orders the steps of an entity."""

    column: str = Field(description="Column name.")
    kind: Literal["integer", "float", "timestamp"] = Field(
        default="integer", description="`timestamp` reads ISO 8601 (no zone means UTC) and Parquet timestamps."
    )
    timezone: str = Field(
        default="UTC",
        description="Zone of calendars, with its daylight saving, as the tz database names it: `Europe/Berlin`.",
    )
    frequency: str | None = Field(
        default=None,
        description="Distance between regular steps: a pandas offset such as `1h` for timestamps, a number otherwise. "
        "Needed when `gaps` is not `ignore`.",
    )
    gaps: Literal["ignore", "fill", "split"] = Field(
        default="ignore",
        description="A missing step: `ignore` takes rows as they come, `fill` adds a step whose values are missing, "
        "`split` lets no sequence or window cross the gap. `fill` and `split` need `frequency`.",
    )
    fill_limit: int | None = Field(
        default=None,
        ge=1,
        description="With `gaps: fill`: most steps that are added in one gap. A gap that misses more is left as it is, "
        "and no sequence or window crosses it, as with `split`.",
    )

    align: Literal["exact", "nearest", "floor"] = Field(
        default="exact",
        description="Rows between the steps of `frequency`: `exact` takes the phase that most rows of an entity share, "
        "and rejects the others (unless `gaps: ignore`); `nearest` and `floor` move each row to the nearest step, or "
        "to the last one that isn't after it. Their steps are multiples of `frequency` since 1970 (UTC), or since 0.",
    )
    tolerance: str | None = Field(
        default=None,
        description="With `align: nearest` or `floor`: rows farther from their step are rejected as `off_grid`. A "
        "distance shorter than `frequency`, in its form; null: none is too far.",
    )

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, timezone: str) -> str:
        return check_time_zone(timezone, same_everywhere=True)

    @model_validator(mode="after")
    def _timezone_of_timestamps(self) -> TimeConfig:
        if self.timezone != "UTC" and self.kind != "timestamp":
            raise ValueError(f"timezone needs kind: timestamp, received kind: {self.kind}")
        return self

    @model_validator(mode="after")
    def _frequency_for_gaps(self) -> TimeConfig:
        if self.gaps != "ignore" and self.frequency is None:
            raise ValueError(f"gaps: {self.gaps} needs frequency, for example frequency: 1h")
        if self.fill_limit is not None and self.gaps != "fill":
            raise ValueError(f"fill_limit is for gaps: fill, received gaps: {self.gaps}")
        if self.align != "exact" and self.frequency is None:
            raise ValueError(f"align: {self.align} needs frequency, for example frequency: 5min")
        if self.tolerance is not None and self.align == "exact":
            raise ValueError("tolerance is for align: nearest and align: floor, received align: exact")
        return self

    @property
    def cuts_at_gaps(self) -> bool:
        """Whether a series may be cut into several parts at its gaps."""
        return self.gaps == "split" or self.fill_limit is not None
