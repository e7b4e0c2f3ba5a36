"""Configuration of the rules: triggers, guards and alarms of retraining."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from noisy_gru.schema.config import Section
from noisy_gru.schema.durations import Duration, parse_duration


class DriftConfig(Section):
    """Significance and effect size at which new data counts as drifted from the training data."""

    false_alarm_rate: float = Field(
        default=0.01,
        ge=0.0001,
        le=0.5,
        description="How often new data of the same distribution may count as drifted by chance: of all columns and "
        "measures together, whatever the amount of data.",
    )
    min_distance: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="What is no further apart than this doesn't count. 0: the same; 1: nothing in common.",
    )


class AlarmsConfig(Section):
    """Alarms that hold a retraining for a person: status `held`, hooks are notified, `--force` overrides."""

    collapse: float | None = Field(
        default=0.5,
        gt=0,
        allow_inf_nan=False,
        description="The served model's error on the new data is surely so far on the way from its error when it was "
        "published (0) to the naive answer's (1). null: not measured.",
    )
    size_factor: float | None = Field(
        default=4.0,
        gt=1,
        allow_inf_nan=False,
        description="A new span's files have so many times fewer bytes than the smallest span that was trained on, or "
        "more than the largest; without `{SPAN}`, all files than all of them then. null: no alarm.",
    )


class RulesConfig(Section):
    """When retraining is due: if a trigger is met and no guard postpones it.

    Triggers are `new_spans`, `new_sequences`, `drift` and `max_age`; guards are `cooldown`, `after_failure` and
    `after_refusal`.
    """

    new_spans: int = Field(
        default=1,
        ge=0,
        description="Trigger: at least this many spans that the published model wasn't trained on, or that changed "
        "since; without `{SPAN}` in the patterns, new or changed files. 0: no trigger.",
    )
    new_sequences: int = Field(
        default=0,
        ge=0,
        description="Trigger: at least this many sequences in the new spans. They are ingested to be counted. 0: no "
        "trigger.",
    )
    drift: DriftConfig | None = Field(
        default_factory=lambda: DriftConfig(),
        description="Trigger: new data is distributed otherwise than the published model's training data: location, "
        "spread, shape of numbers, shares of categories and classes, lengths, missing values. It is ingested to be "
        "measured. true: with the defaults; false or null: not measured.",
    )
    alarms: AlarmsConfig = Field(
        default_factory=lambda: AlarmsConfig(), description="What holds a night for a person, though it is due."
    )
    max_age: Duration | None = Field(
        default=None,
        description="Trigger: the published model is at least this old and there is something new, however little. "
        "null: no trigger.",
    )
    cooldown: Duration = Field(
        default="0h",
        description="Guard: time that has to pass since the last attempt began, however that ended; one that was "
        "interrupted doesn't count.",
    )
    after_failure: Literal["retry", "backoff", "wait"] = Field(
        default="retry",
        description="Guard, if the last attempt failed: `retry` is none; `backoff` holds for `retry_after`, twice that "
        "after the second failure in a row, and so on up to `retry_after_max`; `wait` holds until there is data that "
        "the failed attempt didn't have.",
    )
    after_refusal: Literal["wait", "retry"] = Field(
        default="wait",
        description="Guard, if the last attempt's model was refused, or taken back after it was published: `wait` "
        "holds until there is data that it wasn't trained on, since the same data gives the same model; `retry` is "
        "none.",
    )
    retry_after: Duration = Field(default="1h", description="Of `backoff`, after the first failure.")
    retry_after_max: Duration = Field(default="1d", description="Of `backoff`, however many failures there were.")

    @field_validator("drift", mode="before")
    @classmethod
    def _switch(cls, drift: object) -> object:
        return ({} if drift else None) if isinstance(drift, bool) else drift

    @model_validator(mode="after")
    def _rising(self) -> RulesConfig:
        if parse_duration(self.retry_after) > parse_duration(self.retry_after_max):
            raise ValueError(
                f"retry_after ({self.retry_after}) is longer than retry_after_max ({self.retry_after_max})"
            )
        return self

    @property
    def measures(self) -> bool:
        """Whether a decision needs the new data ingested."""
        return self.drift is not None or self.new_sequences > 0
