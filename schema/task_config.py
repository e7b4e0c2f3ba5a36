"""The `task` section: what a model predicts of a sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeGuard

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from noisy_gru.schema.interval_config import (
    CALIBRATION,
    DEGREES,
    DISTRIBUTION,
    INTERVALS,
    OUTPUT,
    QUANTILES,
    UNITS,
    CalibrationConfig,
    Distribution,
    Intervals,
    OutputConfig,
    Quantiles,
    check_numbers,
    refuse_numbers,
)
from noisy_gru.schema.section import Section

if TYPE_CHECKING:
    from typing_extensions import TypeIs


def _label_text(value: Any) -> Any:
    """YAML reads 1 as a number and true as a Boolean; ingestion makes the texts `1` and `true` of both."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, int) else value


LabelText = Annotated[str, BeforeValidator(_label_text)]


class CostConfig(Section):
    """What wrong answers cost, in any unit."""

    false_positive: float = Field(gt=0, allow_inf_nan=False, description="Answering `positive` where it isn't.")
    false_negative: float = Field(gt=0, allow_inf_nan=False, description="Not answering `positive` where it is.")


class ThresholdTarget(Section):
    """What the threshold is chosen for, on the eval split: one of the three."""

    precision: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Least part of the answers `positive` that are right; of the thresholds that reach it, the one "
        "with the most recall. A model that can't reach it on eval is not published.",
    )
    recall: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Least part of the sequences of `positive` that are found; of the thresholds that reach it, the "
        "one with the most precision.",
    )
    cost: CostConfig | None = Field(default=None, description="Costs of wrong answers, of which the sum is least.")

    @model_validator(mode="after")
    def _one(self) -> ThresholdTarget:
        chosen = [name for name in ("precision", "recall", "cost") if getattr(self, name) is not None]
        if len(chosen) != 1:
            raise ValueError(
                f"expected one of precision, recall and cost, for example {{precision: 0.9}}; received "
                f"{' and '.join(chosen) or 'none'}"
            )
        return self


class ClassificationConfig(Section):
    """One class for each sequence, or with `per_step` for each step of it."""

    kind: Literal["classification"]
    label: str = Field(
        description="Column that holds the class; the same in every row of a sequence, unless `per_step` is set."
    )
    per_step: bool = Field(
        default=False,
        description="A class for each step: tags, the phase of a process, an anomaly at each step. Steps without a "
        "label are masked in loss and metrics. false: one class for each sequence.",
    )
    positive: LabelText | None = Field(
        default=None, description="Of two classes, the one that is looked for (failure, fraud). null: the rarer one."
    )
    threshold: Annotated[float, Field(gt=0, lt=1)] | ThresholdTarget | None = Field(
        default=None,
        description="Probability from which a model of two classes answers `positive`, in the served graph: a number, "
        "or what it is chosen for on eval. null: the likelier class is answered.",
    )

    @model_validator(mode="before")
    @classmethod
    def _has_no_numbers(cls, content: Any) -> Any:
        return refuse_numbers(content)

    @model_validator(mode="after")
    def _positive_is_named(self) -> ClassificationConfig:
        if self.threshold is not None and self.positive is None:
            raise ValueError("threshold is that of one class: name it, for example positive: failure")
        return self


Threshold = Annotated[float, Field(gt=0, lt=1)] | ThresholdTarget


class MultiLabelConfig(Section):
    """Several labels for each sequence, of which none excludes another: each column says yes or no."""

    kind: Literal["classification"]
    labels: list[str] = Field(
        min_length=2,
        description="Columns of true or false (0 or 1), in place of `label`; each the same in every row of a sequence. "
        "Where one is missing in all rows, the others are learned and measured.",
    )
    threshold: Threshold | None = Field(
        default=None,
        description="Probability from which a label is answered, in the served graph: a number, or what it is chosen "
        "for on eval, for each label by itself. null: 0.5.",
    )
    thresholds: dict[str, Threshold] = Field(
        default_factory=dict, description="The same of single labels, by name; the others have `threshold`."
    )

    @model_validator(mode="before")
    @classmethod
    def _is_of_labels_alone(cls, content: Any) -> Any:
        if isinstance(content, dict):
            for key in ("label", "positive", "per_step"):
                if content.get(key):
                    raise ValueError(
                        f"{key} is of one class for each sequence or step, and labels are several columns of true or "
                        "false; leave one of them out"
                    )
        return refuse_numbers(content)

    @model_validator(mode="after")
    def _names(self) -> MultiLabelConfig:
        if twice := sorted({name for name in self.labels if self.labels.count(name) > 1}):
            raise ValueError(f"labels must be listed once, received {', '.join(twice)} more than once")
        if unknown := [name for name in self.thresholds if name not in self.labels]:
            raise ValueError(
                f"thresholds are of labels ({', '.join(self.labels)}), received one of {', '.join(unknown)}"
            )
        return self

    @property
    def targets(self) -> list[str]:
        """The labels: as data they are columns of numbers."""
        return self.labels

    def threshold_of(self, label: str) -> float | ThresholdTarget | None:
        """Return the threshold of a label as configured; None: 0.5."""
        return self.thresholds.get(label, self.threshold)

    @property
    def has_chosen_thresholds(self) -> bool:
        """Whether a threshold is chosen on eval."""
        return any(isinstance(self.threshold_of(label), ThresholdTarget) for label in self.labels)


class RegressionConfig(Section):
    """One number for each sequence, or with `per_step` for each step of it; or several."""

    kind: Literal["regression"]
    label: str = Field(
        default="",
        description="Column that holds the number; the same in every row of a sequence, unless `per_step` is set. "
        "Required without `targets`.",
    )
    targets: list[str] = Field(
        default_factory=list,
        description="Several columns to predict, in place of `label`; each the same in every row of a sequence. "
        "Where one is missing in all rows, the others are learned and measured.",
    )
    per_step: bool = Field(
        default=False,
        description="A number for each step: a level that is not measured, the remaining life at each reading. Steps "
        "without one are masked in loss and metrics. false: one number for each sequence.",
    )
    quantiles: Quantiles | None = QUANTILES
    distribution: Distribution | None = DISTRIBUTION
    degrees_of_freedom: float = DEGREES
    intervals: Intervals | None = INTERVALS
    calibration: CalibrationConfig = CALIBRATION
    output: OutputConfig = OUTPUT
    units: str | None = UNITS

    @model_validator(mode="before")
    @classmethod
    def _one_target_is_a_label(cls, content: Any) -> Any:
        targets = content.get("targets") if isinstance(content, dict) else None
        if isinstance(targets, list) and len(targets) == 1 and not content.get("label"):
            return {**content, "label": targets[0], "targets": []}
        return content

    @model_validator(mode="after")
    def _numbers(self) -> RegressionConfig:
        if bool(self.label) == bool(self.targets):
            received = "both" if self.label else "neither"
            raise ValueError(
                f"expected label, the column of the number, or targets, several columns; received {received}"
            )
        if twice := sorted({name for name in self.targets if self.targets.count(name) > 1}):
            raise ValueError(f"targets must be listed once, received {', '.join(twice)} more than once")
        if self.per_step and (
            given := [name for name in ("quantiles", "distribution", "intervals") if getattr(self, name) is not None]
        ):
            raise ValueError(
                f"{' and '.join(given)} have no form for a number at each step (per_step: true) yet; leave one of them "
                "out"
            )
        check_numbers(self)
        return self


class ForecastingConfig(Section):
    """Windows cut from each entity's history: the past predicts the targets at the horizons."""

    kind: Literal["forecasting"]
    targets: list[str] = Field(min_length=1, description="Columns to predict.")
    input_length: int = Field(ge=1, description="Steps of the past that the model reads.")
    horizons: list[Annotated[int, Field(ge=1)]] = Field(
        min_length=1, description="Steps ahead of the last input step, for example [1, 6, 24]."
    )
    stride: int = Field(default=1, ge=1, description="Steps between the ends of two windows of an entity.")
    season_length: int | None = Field(
        default=None, ge=1, description="Steps of a season (24 for hourly data with days): the seasonal naive baseline."
    )
    quantiles: Quantiles | None = QUANTILES
    distribution: Distribution | None = DISTRIBUTION
    degrees_of_freedom: float = DEGREES
    intervals: Intervals | None = INTERVALS
    calibration: CalibrationConfig = CALIBRATION
    output: OutputConfig = OUTPUT
    units: str | None = UNITS

    @model_validator(mode="after")
    def _numbers(self) -> ForecastingConfig:
        check_numbers(self)
        return self

    @field_validator("horizons")
    @classmethod
    def _rising(cls, horizons: list[int]) -> list[int]:
        if sorted(set(horizons)) != horizons:
            raise ValueError(f"horizons must rise and be listed once, received {horizons}")
        return horizons

    @property
    def max_horizon(self) -> int:
        """The furthest horizon, in steps."""
        return self.horizons[-1]


def targets_of(task: Any) -> list[str]:
    """Return the columns of the numbers that a task predicts, or of several labels; none for a class."""
    if isinstance(task, RegressionConfig):
        return task.targets or [task.label]
    return task.targets if isinstance(task, ForecastingConfig | MultiLabelConfig) else []


def has_several_targets(task: Any) -> TypeGuard[RegressionConfig | MultiLabelConfig]:
    """Return whether a sequence has several numbers, or several labels, once each, of which some may be missing."""
    if isinstance(task, MultiLabelConfig):
        return True
    return isinstance(task, RegressionConfig) and bool(task.targets) and not task.per_step


def is_multi_label(task: Any) -> TypeIs[MultiLabelConfig]:
    """Return whether a task is a classification by several labels."""
    return isinstance(task, MultiLabelConfig)


def is_per_step(task: Any) -> TypeGuard[ClassificationConfig | RegressionConfig]:
    """Return whether a task has a label, or numbers, for each step of a sequence."""
    return isinstance(task, ClassificationConfig | RegressionConfig) and task.per_step


def has_step_targets(task: Any) -> TypeGuard[RegressionConfig]:
    """Return whether a task has numbers for each step of a sequence."""
    return isinstance(task, RegressionConfig) and task.per_step


def has_step_labels(task: Any) -> TypeGuard[ClassificationConfig]:
    """Return whether a task has a class for each step of a sequence."""
    return isinstance(task, ClassificationConfig) and task.per_step


def _form_of(content: Any) -> str:
    several = content.get("labels") is not None if isinstance(content, dict) else is_multi_label(content)
    return "several labels" if several else "one class"


AnyClassification = Annotated[
    Annotated[ClassificationConfig, Tag("one class")] | Annotated[MultiLabelConfig, Tag("several labels")],
    Discriminator(_form_of),
]
TaskConfig = Annotated[AnyClassification | RegressionConfig | ForecastingConfig, Field(discriminator="kind")]
