"""The `splits` section: how entities, files, rows or times are divided into train, eval and test."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from noisy_gru.schema.section import Section

SPLITS = ("train", "eval", "test")
# A part of the entities so small that no entity is in it, where a part must be more than 0.
NO_PART = 1e-12
SplitName = Literal["train", "eval", "test"]


class EntitySplitConfig(Section):
    """Whole entities go to one split, by a hash of the entity's id."""

    by: Literal["entity"] = "entity"
    eval: float = Field(default=0.1, ge=0, lt=1, description="Part of the entities for early stopping.")
    test: float = Field(default=0.1, gt=0, lt=1, description="Part of the entities for the evaluation that decides.")

    @property
    def keeps_all(self) -> bool:
        """Whether every entity goes to train: the parts of eval and test are (nearly) 0."""
        return self.eval == 0 and self.test <= NO_PART

    @model_validator(mode="after")
    def _leaves_train(self) -> EntitySplitConfig:
        if self.eval + self.test >= 1:
            raise ValueError(f"eval ({self.eval}) and test ({self.test}) leave nothing to train on")
        return self


class FileSplitConfig(Section):
    """The split that ``data.files`` names; the eval part may be taken from train, by entity hash."""

    by: Literal["files"]
    eval_from_train: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Part of the train entities for early stopping, when `data.files` names no `eval`.",
    )


class ColumnSplitConfig(Section):
    """The split stands in a column."""

    by: Literal["column"]
    column: str = Field(description="Column whose value names the split.")
    values: dict[SplitName, list[str]] = Field(
        default_factory=lambda: {"train": ["train"], "eval": ["eval"], "test": ["test"]},
        description="Values of the column for each split; a row with any other value is quarantined.",
    )
    eval_from_train: float = Field(default=0.0, ge=0, lt=1, description="As for `by: files`.")


class TimeSplitConfig(Section):
    """Past, then future: train, eval and test follow each other in time."""

    by: Literal["time"]
    eval: float | str = Field(
        default=0.1,
        description="Part of the time range (a number below 1), or the time at which eval starts (quoted); 0 or the "
        "time of `test`: no eval split.",
    )
    test: float | str = Field(default=0.15, description="Part of the time range, or the time at which test starts.")
    embargo: int | None = Field(
        default=None,
        ge=0,
        description="Steps left out between the splits; at least the furthest horizon, which is also the default.",
    )

    @model_validator(mode="after")
    def _fractions(self) -> TimeSplitConfig:
        for name in ("eval", "test"):
            value = getattr(self, name)
            if isinstance(value, float) and not 0 <= value < 1:
                raise ValueError(f"{name} is a part of the time range, so 0 <= {name} < 1; received {value}")
        if isinstance(self.eval, float) and isinstance(self.test, float) and self.eval + self.test >= 1:
            raise ValueError(f"eval ({self.eval}) and test ({self.test}) leave nothing to train on")
        if isinstance(self.test, float) and self.test == 0:
            raise ValueError("test: 0 leaves nothing to evaluate the model on")
        return self


SplitsConfig = Annotated[
    EntitySplitConfig | FileSplitConfig | ColumnSplitConfig | TimeSplitConfig, Field(discriminator="by")
]
