"""Configuration of scoring: new spans predicted by the published model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from noisy_gru.schema.config import Section
from noisy_gru.schema.span_patterns import holds_spans, pattern_problems
from noisy_gru.schema.spans_config import SpanNumber


class ScoreConfig(Section):
    """Scoring of new spans by the published model, by `noisy-gru score` and `noisy-gru retrain schedule`."""

    files: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Patterns of the files to score, with `{SPAN}` or a date in each, relative to the configuration "
        "file. null: those of `data.files`.",
    )
    first: SpanNumber | None = Field(
        default=None, description="The first span to score, as a number or a date. null: the first that is there."
    )
    history: int = Field(
        default=0,
        ge=0,
        description="How many spans before it are read with a span, for forecasts that need more steps than one span "
        "holds. Entities without a row in the span itself are not predicted.",
    )
    anomalies: bool = Field(
        default=False,
        description="Beside the latest forecast of each entity those for the steps of the span, with what came and its "
        "p-value. `history` gives them the steps that they are made from.",
    )
    out: str = Field(
        default="scores",
        min_length=1,
        description="Folder that receives `span=<number or date>/part-*`, relative to the root of the runs.",
    )
    format: Literal["csv", "jsonl", "parquet"] = Field(default="parquet", description="Format of the files.")
    layout: Literal["short", "wide", "long"] = Field(
        default="wide", description="Columns, as of `noisy-gru predict --layout`; `wide` and `long` name the version."
    )
    part_size: int = Field(default=100_000, ge=1, description="Sequences in each file, rounded up to 512.")
    scheduled: bool = Field(
        default=True, description="Whether `noisy-gru retrain schedule` scores after each check, however that ended."
    )

    @field_validator("files")
    @classmethod
    def _hold_spans(cls, files: list[str] | None) -> list[str] | None:
        if files is None:
            return None
        if problems := pattern_problems(files):
            raise ValueError("; ".join(problems))
        if not holds_spans(files):
            raise ValueError("expected {SPAN} or a date ({YYYY}, {MM}, {DD}) in every pattern")
        return files
