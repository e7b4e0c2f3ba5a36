"""Quantiles, intervals, bounds and units of the numbers that a regression or forecast predicts.

>>> levels_of(task)  # of task.intervals: [0.9]
[0.05, 0.5, 0.95]
>>> intervals_of(task)
[Interval(coverage=0.9, lower=0, upper=2)]
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from noisy_gru.schema.section import Section

MEDIAN = 0.5
# Levels are decimals: 1 - 0.9 is 0.1 again.
_DIGITS = 9
Level = Annotated[float, Field(gt=0, lt=1)]


class CalibrationConfig(Section):
    """How quantiles and intervals are brought to their nominal coverage after the training."""

    method: Literal["conformal", "none"] = Field(
        default="conformal",
        description="`conformal`: widened or narrowed so that each interval covers its share of the eval split, for "
        "each horizon and target by itself (split conformal; of quantiles, Romano et al. 2019); `none`: the quantiles "
        "as they were trained.",
    )
    scale: Literal["auto", "window"] = Field(
        default="auto",
        description="What errors are measured in: `window` is the standard deviation of the target in each window, so "
        "that intervals are wide after lively hours and narrow after calm ones; `auto` is one unit for all windows, "
        "unless `model.window_normalization` (mean_std, mean_abs) has a scale for each.",
    )
    anomaly_scores: bool = Field(
        default=False,
        description="Measure errors on eval, and keep them with the model, so that `noisy-gru predict --anomalies` can "
        "say how strange a value is that came (its conformal p-value). Calibrated quantiles and intervals always do.",
    )


class OutputConfig(Section):
    """What every prediction is brought to, in the served graph: the point, and quantiles alike."""

    min: float | None = Field(default=None, allow_inf_nan=False, description="Smallest value; less becomes it.")
    max: float | None = Field(default=None, allow_inf_nan=False, description="Largest value; more becomes it.")
    integer: bool = Field(default=False, description="Round to whole numbers, halves to the even one.")

    @model_validator(mode="after")
    def _consistent(self) -> OutputConfig:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"min ({self.min:g}) must be less than max ({self.max:g})")
        for name, value in (("min", self.min), ("max", self.max)):
            if self.integer and value is not None and value != round(value):
                raise ValueError(f"integer: true needs a whole number as {name}, received {value:g}")
        return self


Quantiles = Annotated[list[Level], Field(min_length=2)]
DEFAULT_DEGREES = 4.0
Distribution = Literal["normal", "student_t"]
Intervals = Annotated[list[Level], Field(min_length=1)]
QUANTILES: Any = Field(
    default=None,
    description="Levels of the quantiles to train and serve, for example [0.1, 0.5, 0.9], with 0.5, which is the "
    "prediction. null: the prediction alone.",
)
DISTRIBUTION: Any = Field(
    default=None,
    description="What the quantiles are of: `normal`, or `student_t` with heavier tails (`degrees_of_freedom`). The "
    "model has a location and a scale for each number, is trained by their likelihood, and serves `quantiles` of them. "
    "null: each quantile is trained by itself (pinball loss).",
)
DEGREES: Any = Field(
    default=DEFAULT_DEGREES,
    gt=0,
    le=1000,
    allow_inf_nan=False,
    description="Degrees of freedom of `distribution: student_t`: the fewer, the heavier the tails; above 2 the "
    "variance is finite, from 30 on it is nearly normal.",
)
INTERVALS: Any = Field(
    default=None,
    description="Shares of the targets that intervals around the prediction are to cover, for example [0.9, 0.95]: "
    "the prediction plus and minus a distance found on eval, of a model that is trained as without them. Served as "
    "quantiles. null: none.",
)
CALIBRATION: Any = Field(default_factory=CalibrationConfig, description="How they reach their nominal coverage.")
OUTPUT: Any = Field(default_factory=OutputConfig, description="Bounds of the predictions.")
UNITS: Any = Field(
    default=None, min_length=1, description="Unit of the predictions (kWh), which tables of predictions carry."
)


class Interval(NamedTuple):
    """A pair of quantiles: the share of targets between them, and their places among the levels."""

    coverage: float
    lower: int
    upper: int


def levels_of(task: Any) -> list[float]:
    """Return the levels of a task's quantiles, rising; empty if the prediction is all there is."""
    if quantiles := getattr(task, "quantiles", None):
        return list(quantiles)
    intervals = getattr(task, "intervals", None) or []
    sides = [round((1 + sign * share) / 2, _DIGITS) for share in intervals for sign in (-1, 1)]
    return sorted([*sides, MEDIAN]) if sides else []


def intervals_of(task: Any) -> list[Interval]:
    """Return the intervals between a task's quantiles, as `pairs_of` its levels."""
    return pairs_of(levels_of(task))


def pairs_of(levels: list[float]) -> list[Interval]:
    """Return the intervals between levels that lie symmetrically around the median, the widest first."""
    found = []
    for lower, level in enumerate(levels):
        other = round(1 - level, _DIGITS)
        if level < MEDIAN and other in levels:
            found.append(Interval(round(other - level, _DIGITS), lower, levels.index(other)))
    return found


def is_calibrated(task: Any) -> bool:
    """Return whether quantiles or intervals are calibrated on the eval split."""
    return bool(levels_of(task)) and task.calibration.method == "conformal"


def is_scored(task: Any) -> bool:
    """Return whether the errors on the eval split are kept with the model, for p-values."""
    calibration = getattr(task, "calibration", None)
    return calibration is not None and (is_calibrated(task) or calibration.anomaly_scores)


def check_numbers(task: Any) -> None:
    """Check quantiles, intervals and their calibration against each other.

    Raises:
        ValueError: they don't fit.
    """
    for key in ("quantiles", "intervals"):
        values = getattr(task, key)
        if values is not None and sorted(set(values)) != values:
            raise ValueError(f"{key} must rise and be listed once, received {values}")
    if task.quantiles is not None and task.intervals is not None:
        sides = levels_of(task.model_copy(update={"quantiles": None}))
        raise ValueError(
            "quantiles are trained, and intervals are put around a prediction: name one of them. For the same "
            f"intervals, quantiles: {sides}"
        )
    if task.quantiles is not None and MEDIAN not in task.quantiles:
        raise ValueError(f"quantiles must hold 0.5, which is the prediction; received {task.quantiles}")
    if task.distribution is not None and task.quantiles is None:
        raise ValueError(
            f"distribution: {task.distribution} says what the quantiles are of, and there are none: name those to "
            "serve, for example quantiles: [0.1, 0.5, 0.9]"
        )
    if task.distribution != "student_t" and task.degrees_of_freedom != DEFAULT_DEGREES:
        raise ValueError(
            "degrees_of_freedom are those of distribution: student_t, received distribution: "
            f"{task.distribution or 'null'}; leave them out"
        )
    if task.intervals is not None and task.calibration.method == "none":
        raise ValueError(
            "intervals get their width from the calibration: leave out calibration.method: none, or train quantiles "
            "(task.quantiles)"
        )
    if task.calibration.scale == "window" and not is_calibrated(task):
        raise ValueError(
            "calibration.scale: window measures the calibrated intervals, and there are none: name task.intervals, or "
            "task.quantiles with calibration.method: conformal"
        )


def refuse_numbers(content: Any) -> Any:
    """Return a classification's section as it came.

    Raises:
        ValueError: it has a key that is of numbers.
    """
    if isinstance(content, dict):
        for key in ("quantiles", "distribution", "intervals", "calibration", "output", "units"):
            if content.get(key) is not None:
                raise ValueError(
                    f"{key} is of predicted numbers, and a classification answers with the probability of each class; "
                    f"leave {key} out, or choose kind: regression"
                )
    return content
