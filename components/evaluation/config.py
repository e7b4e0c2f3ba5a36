"""Configuration of `evaluation`: the bounds and comparisons that a model must pass to be blessed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from noisy_gru.schema.config import Section
from noisy_gru.schema.span_patterns import holds_spans

# Of the configuration, for messages.
REFERENCE_FILES = "evaluation.reference.files"
# Baselines of a backtest besides the naive ones.
DRIFT, RIDGE, BOOSTING = "drift", "ridge", "gradient_boosting"
# Of StatsForecast: a model for each window.
ETS, ARIMA, THETA = "auto_ets", "auto_arima", "theta"
LOCAL = (ETS, ARIMA, THETA)
FITTED = (DRIFT, RIDGE, BOOSTING, *LOCAL)


class ThresholdConfig(Section):
    """Bounds of one metric on the test split."""

    min: float | None = Field(default=None, allow_inf_nan=False, description="Smallest value that passes.")
    max: float | None = Field(default=None, allow_inf_nan=False, description="Largest value that passes.")

    @model_validator(mode="after")
    def _bounded(self) -> ThresholdConfig:
        if self.min is None and self.max is None:
            raise ValueError("a threshold needs min, max or both")
        return self


class CompareConfig(Section):
    """How a new model is compared with the published one, sequence by sequence, on data that neither was trained on."""

    test: Literal["paired_bootstrap"] = Field(
        default="paired_bootstrap",
        description="The difference of both models on each sequence, and its interval by a bootstrap over entities.",
    )
    metric: str = Field(
        default="auto",
        description="Metric compared; `auto` is accuracy (balanced_accuracy as for `baseline_metric`), or mae.",
    )
    confidence: float = Field(
        default=0.95, ge=0.5, lt=1, description="Of the bound that decides, one-sided, for the naive baselines, too."
    )
    accept: Literal["not_worse", "better"] = Field(
        default="not_worse",
        description="What the bound has to show: not worse by more than `margin`, or better by more than it.",
    )
    margin: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="In the metric's unit. null: for `not_worse` 0.02 of a score (accuracy) or 2 % of the published "
        "model's error; for `better` 0.",
    )
    slice_margin: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="How much worse it may be in a slice or at a horizon, be it better as a whole or not. null: as the "
        "margin of `not_worse`.",
    )


class ReferenceConfig(Section):
    """A fixed set that is never trained on: a new model may not do worse on it than the published one."""

    files: list[str] = Field(
        min_length=1,
        description="Paths and patterns, relative to the configuration file, of files like those of `data.files`; "
        "without `{SPAN}`. No file of them may be trained on.",
    )
    margin: float = Field(
        default=0.1,
        ge=0,
        allow_inf_nan=False,
        description="How much worse a new model may be: in accuracy, or as a part of the published model's MAE. A "
        "paired bootstrap has to show that it isn't worse by more.",
    )
    confidence: float = Field(default=0.95, ge=0.5, lt=1, description="Of that bound, one-sided.")

    @field_validator("files")
    @classmethod
    def _no_spans(cls, files: list[str]) -> list[str]:
        for pattern in files:
            if holds_spans([pattern]):
                raise ValueError(f"expected files that stay the same, without a span or a date. Received: {pattern!r}")
        return files


class BacktestGateConfig(Section):
    """What the last `noisy-gru backtest` of the configuration must have shown before a model of it is published."""

    must_beat: list[str] = Field(
        min_length=1,
        description="Baselines: last, seasonal, train_mean, drift, ridge, gradient_boosting, auto_ets, "
        "auto_arima, theta. Over all folds and "
        "horizons the model's error was smaller for each target, with the bound of the paired bootstrap above 0.",
    )
    max_age_days: float = Field(default=30, gt=0, allow_inf_nan=False, description="How old that backtest may be.")


class EvaluationConfig(Section):
    """Metrics, slices, thresholds and comparisons of the Evaluator."""

    slices: list[list[str]] = Field(
        default_factory=list, description="Columns to slice by, for example [[origin], [origin, season]]."
    )
    thresholds: dict[str, ThresholdConfig] = Field(
        default_factory=dict, description="Metric name to bounds, for example accuracy: {min: 0.95}."
    )
    min_test_sequences: int = Field(
        default=20, ge=1, description="A model that was tested on fewer sequences is refused, the first one, too."
    )
    compare: CompareConfig | None = Field(
        default_factory=lambda: CompareConfig(), description="null: the published model is not compared with."
    )
    reference: ReferenceConfig | None = Field(
        default=None, description="A fixed set that every model is compared on, too. null: there is none."
    )
    backtest: BacktestGateConfig | None = Field(
        default=None, description="What the last backtest must have shown. null: no backtest is asked for."
    )
    baselines: Literal["require", "report"] = Field(
        default="require",
        description="Whether a model must be better than the naive baselines, by the same test, or these are only "
        "reported.",
    )
    baseline_metric: str = Field(
        default="auto",
        description="Classification: metric by which a model must be better than always answering the most frequent "
        "class: accuracy, balanced_accuracy, macro_f1, recall/<class> or precision/<class>. `auto` is accuracy, or "
        "balanced_accuracy where the training weighs classes (class_weights, sampling, focal loss) or `task.threshold` "
        "is set.",
    )
    require_each: list[Literal["horizon", "slice"]] = Field(
        default_factory=list,
        description="Whether the comparison and the baselines must hold at each horizon, or in each slice, by itself; "
        "else these are reported.",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_comparison(cls, content: Any) -> Any:
        """Read `comparison`, the earlier key of `compare`."""
        if not isinstance(content, dict) or "comparison" not in content:
            return content
        if "compare" in content:
            raise ValueError("comparison is the earlier name of compare: write compare alone")
        rest = {key: value for key, value in content.items() if key != "comparison"}
        old = content["comparison"]
        return rest | ({"compare": None} if old is None else _from_comparison(old, rest.get("require_each", [])))

    @model_validator(mode="after")
    def _slices_to_compare(self) -> EvaluationConfig:
        if "slice" in self.require_each and not self.slices:
            raise ValueError("require_each: [slice] needs slices, for example slices: [[origin]]")
        return self


def _from_comparison(old: Any, require_each: Any) -> dict[str, Any]:
    """Convert the earlier key `comparison` to `compare`."""
    known = ("metric", "max_regression", "min_improvement", "max_slice_regression")
    if not isinstance(old, dict) or (unknown := [key for key in old if key not in known]):
        found = ", ".join(map(str, unknown)) if isinstance(old, dict) else repr(old)
        raise ValueError(
            "comparison was replaced by compare: write compare: {accept: not_worse, margin: 0.02} in its place. "
            f"comparison has only {', '.join(known)}; found {found}"
        )
    worse, better, in_slices = (old.get(key) for key in known[1:])
    if better is not None and worse:
        raise ValueError("a model that may be worse (max_regression) can't have to be better (min_improvement)")
    compare: dict[str, Any] = {"metric": old["metric"]} if "metric" in old else {}
    # A margin of 0 could only be met by a model that is better, which max_regression: 0 never asked for.
    compare |= {"margin": worse} if worse else {}
    compare |= {} if better is None else {"accept": "better", "margin": better}
    if in_slices is None:
        return {"compare": compare}
    compare |= {"slice_margin": in_slices or None}
    return {"compare": compare, "require_each": [*require_each, "slice"]}
