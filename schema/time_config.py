"""The `data.time` section: the column that orders the steps of an entity."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator, model_validator

from noisy_gru.schema.date_parts import DatePart, date_part_problem
from noisy_gru.schema.holiday_config import HolidayConfig
from noisy_gru.schema.section import Section
from noisy_gru.schema.time_zones import check_time_zone

EPOCHS = {"epoch_s": 10**9, "epoch_ms": 10**6, "epoch_us": 10**3, "epoch_ns": 1}  # nanoseconds in a unit
_DIRECTIVES = "YymdBbHIMSfpzjaA%"
_ONE_OF = ("Yy", "mbB", "HI", "aA")  # two of them could contradict each other


@dataclass(frozen=True)
class TimeSpelling:
    """How timestamps are written: a pattern or unit since 1970; None: ISO 8601.

    ``zone`` is that of times without one, None for UTC; ``ambiguous`` and ``nonexistent`` as in `TimeConfig`.
    ``parts`` are what several columns hold of a date: year, month …; without them, a time or a date and a clock.
    """

    format: str | None = None
    zone: str | None = None
    ambiguous: str = "reject"
    nonexistent: str = "reject"
    parts: tuple[DatePart, ...] = ()

    @property
    def expected(self) -> str:
        """What a timestamp is expected to be, for messages."""
        if self.parts:
            return f"a date of {', '.join(self.parts)} (data.time.column)"
        if self.format is None:
            return "an ISO 8601 timestamp"
        if self.format in EPOCHS:
            return f"a number of {self.format.removeprefix('epoch_')} since 1970 (data.time.format)"
        return f"a time like {self.format} (data.time.format)"


class TimeConfig(Section):
    """The column that orders the steps of an entity."""

    column: str | list[str] | dict[DatePart, str] = Field(
        description="Column name; a list of two: the columns of the date and of the clock; or what each of several "
        "columns holds: `{year: Y, month: M, day: D}`, of `year`, `quarter`, `month` (a number, or its name in "
        "English), `week` (ISO 8601, from its Monday on), `day`, `day_of_year`, `hour`, `minute`, `second`."
    )
    kind: Literal["integer", "float", "timestamp"] = Field(
        default="integer",
        description="`timestamp` reads ISO 8601, or `format`, and stored times and dates (Parquet, Arrow, pandas).",
    )
    format: str | None = Field(
        default=None,
        description="How texts and numbers are read as timestamps, where it isn't ISO 8601: a pattern of strptime such "
        'as `"%d.%m.%Y %H:%M"` or `"%Y%m%d"` (two columns: joined by a blank), or `epoch_s`, `epoch_ms`, `epoch_us`, '
        "`epoch_ns`: a number of them since 1970-01-01 in UTC.",
    )
    timezone: str = Field(
        default="UTC",
        description="Zone of calendars, with its daylight saving, as the tz database names it: `Europe/Berlin`. Of "
        "times in the data that have no zone, too, with `without_zone: timezone`.",
    )
    without_zone: Literal["utc", "timezone"] = Field(
        default="utc",
        description="Times in the data that have no zone are UTC, or by the clock of `timezone`: texts, stored times "
        "and dates, in files and in what a client sends. Times with a zone, and `epoch_…`, are what they are.",
    )
    ambiguous: Literal["reject", "infer", "earlier", "later"] = Field(
        default="reject",
        description="With `without_zone: timezone`: a time that a clock shows twice, in autumn. `reject`: its row has "
        "no time, and is quarantined; `earlier` or `later`: the one before the change, or after it; `infer`: by the "
        "order of an entity's rows, in which the clock goes back once, as pandas' `tz_localize` does. Where it doesn't "
        "go back, the rows are quarantined.",
    )
    nonexistent: Literal["reject", "shift_forward", "shift_backward"] = Field(
        default="reject",
        description="With `without_zone: timezone`: a time that a clock skips, in spring. `reject`: its row has no "
        "time, and is quarantined; else the moment of the change, or the nanosecond before it.",
    )
    frequency: str | None = Field(
        default=None,
        description="Distance between regular steps: a pandas offset such as `1h` for timestamps, a number otherwise. "
        "Months, quarters and years by the calendar of `timezone`: `MS`, `QS`, `YS` (from their first day on; `2MS`, "
        "`QS-FEB`), or `ME`, `QE`, `YE` (named by their last day). `1B`: business days, Monday to Friday by that "
        "calendar without `holidays`. Needed when `gaps` is not `ignore`.",
    )
    holidays: HolidayConfig | None = Field(
        default=None, description="With `frequency: 1B`: weekdays that have no step, such as `{market: XNYS}`."
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
        "to the last one that isn't after it. Their steps are multiples of `frequency` since 1970 (UTC), or since 0, "
        "or of the calendar.",
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
        if self.without_zone == "timezone" and self.kind != "timestamp":
            raise ValueError(f"without_zone: timezone needs kind: timestamp, received kind: {self.kind}")
        if self.without_zone == "utc" and (self.ambiguous, self.nonexistent) != ("reject", "reject"):
            raise ValueError("ambiguous and nonexistent are for without_zone: timezone, received without_zone: utc")
        return self

    @property
    def spelling(self) -> TimeSpelling:
        """How the times of the data are read."""
        zone = self.timezone if self.without_zone == "timezone" else None
        parts = tuple(self.column) if isinstance(self.column, dict) else ()
        return TimeSpelling(self.format, zone, self.ambiguous, self.nonexistent, parts)

    @field_validator("column")
    @classmethod
    def _one_or_two(cls, column: str | list[str] | dict[DatePart, str]) -> str | list[str] | dict[DatePart, str]:
        if isinstance(column, dict) and (problem := date_part_problem(column)):
            raise ValueError(problem)
        if isinstance(column, list) and (len(column) != 2 or column[0] == column[1]):
            raise ValueError(f"expected a name, or two of them: [date, time]; received {column}")
        return column

    @field_validator("format")
    @classmethod
    def _known_directives(cls, pattern: str | None) -> str | None:
        if pattern is None or pattern in EPOCHS:
            return pattern
        used = re.findall(r"%(.?)", pattern)
        unknown = sorted({f"%{each}" for each in used if each not in _DIRECTIVES or not each})
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)} can't be read; expected %{', %'.join(_DIRECTIVES)} or one of {', '.join(EPOCHS)}"
            )
        if not {"Y", "y"} & set(used):
            raise ValueError(
                f"expected a pattern with a year (%Y), or one of {', '.join(EPOCHS)}; received {pattern!r}"
            )
        if "j" in used and {"m", "b", "B", "d"} & set(used):
            raise ValueError(f"%j is the day of the year, and takes neither month nor day: {pattern!r}")
        if ("I" in used) != ("p" in used):
            raise ValueError(f"%I (hour to 12) and %p (AM or PM) need each other, and %H neither: {pattern!r}")
        for group in _ONE_OF:
            if len(named := [f"%{each}" for each in used if each in group]) > 1:
                raise ValueError(f"{' and '.join(named)} say the same, expected one of them: {pattern!r}")
        if twice := sorted({f"%{each}" for each in used if each != "%" and used.count(each) > 1}):
            raise ValueError(f"{', '.join(twice)} is there more than once: {pattern!r}")
        return pattern

    @model_validator(mode="after")
    def _timestamps(self) -> TimeConfig:
        given = [
            name
            for name, used in (
                ("a list of columns", isinstance(self.column, list)),
                ("a mapping of columns", isinstance(self.column, dict)),
                ("format", self.format is not None),
            )
            if used
        ]
        if given and self.kind != "timestamp":
            raise ValueError(f"{' and '.join(given)} needs kind: timestamp, received kind: {self.kind}")
        if isinstance(self.column, dict) and self.format is not None:
            raise ValueError("format is for times in one column or two, and column names the parts of a date")
        return self

    @model_validator(mode="after")
    def _frequency_for_gaps(self) -> TimeConfig:
        if self.gaps != "ignore" and self.frequency is None:
            raise ValueError(f"gaps: {self.gaps} needs frequency, for example frequency: 1h")
        if self.holidays is not None and (self.frequency or "").strip() not in ("B", "1B"):
            raise ValueError(f"holidays are for frequency: 1B, received frequency: {self.frequency}")
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

    @property
    def columns(self) -> tuple[str, ...]:
        """The column's name, or the names of date and clock, or of the parts of a date."""
        if isinstance(self.column, dict):
            return tuple(self.column.values())
        return (self.column,) if isinstance(self.column, str) else tuple(self.column)
