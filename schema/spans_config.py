"""The `spans` section: which spans of the files a run reads."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from noisy_gru.schema.section import Section
from noisy_gru.schema.span_patterns import day_number, parse_day


def _span_number(value: Any) -> Any:
    """Convert a date, or its text, to the number of its span."""
    try:
        return parse_day(value) if isinstance(value, str) else day_number(value)
    except (TypeError, ValueError):
        return value


SpanNumber = Annotated[int, BeforeValidator(_span_number), Field(ge=0)]


class SpansConfig(Section):
    """Which spans a run reads, where `files` hold `{SPAN}` or a date. They are read together, as if they were one."""

    window: Literal["rolling", "static", "all"] = Field(
        default="rolling",
        description="`rolling`: the newest spans; `static`: from `first` on; `all`: every span up to the newest. The "
        "newest is the last that is there, or the one of `--span`.",
    )
    count: int = Field(
        default=1,
        ge=1,
        description="`rolling`: how many spans. Those that are there count, so a day without data makes the window "
        "reach further back; where there are fewer, all are read, and the ingestion report says so.",
    )
    first: SpanNumber | None = Field(
        default=None, description="`static`: the first span, as a number or a date. All up to the last must be there."
    )
    last: SpanNumber | None = Field(
        default=None, description="`static`: the last span; null: the newest, so that the window grows."
    )

    @model_validator(mode="after")
    def _keys_of_window(self) -> SpansConfig:
        if self.window != "rolling" and self.count != 1:
            raise ValueError(f"count is for window: rolling, and the window is {self.window}")
        if self.window != "static" and (self.first is not None or self.last is not None):
            raise ValueError(f"first and last are for window: static, and the window is {self.window}")
        if self.window == "static" and self.first is None:
            raise ValueError("window: static needs first, the number or date of its first span")
        if self.first is not None and self.last is not None and self.last < self.first:
            raise ValueError(f"last ({self.last}) comes before first ({self.first})")
        return self
