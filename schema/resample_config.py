"""The `data.resample` section: the rows of a step aggregated to one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisy_gru.schema.section import Section

Aggregate = Literal["mean", "sum", "last", "first", "min", "max", "count", "median"]
OF_TEXTS = ("last", "first")


class ResampleConfig(Section):
    """All rows of an entity within a step of time become one row, at the time at which the step begins."""

    frequency: str = Field(
        description="Length of a step: a pandas offset such as `1h` for timestamps, a number otherwise. Steps are "
        "multiples of it since 1970 (UTC), or since 0, or of the calendar: `MS`, `QS`, `YS`, or `ME`, `QE`, `YE`, "
        "whose steps are named by their last day; or `1B`, business days, where a weekend's rows are Friday's. It is "
        "`time.frequency`, too, which may be left out."
    )
    aggregate: dict[str, Aggregate] = Field(
        default_factory=dict,
        description="Column to what becomes of its values in a step, of those that aren't missing. Without an entry "
        "numeric columns have `mean`, and categorical ones `last` (they may have `first`). `count` of a step that "
        "`gaps: fill` adds is 0; any other aggregate of no value is missing.",
    )
