"""Read the Evaluator's output: metrics, missed thresholds and comparisons."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.components.evaluation.comparisons import Comparison
from noisy_gru.components.evaluation.metric_catalogue import EXAMPLE_COUNT, RECALL, class_of
from noisy_gru.components.evaluation.verdict import read_verdict, refusals, warnings

OVERALL = "all"
FIRST_STATES = "first_states.json"  # of the `evaluation` artifact, as `exported_first_states` has it
_STARTS = ("noisy_start", "carried_start")
PUBLISHED = "the published model"
CANDIDATE = "candidate"
BASELINE = "baseline"


@dataclass(frozen=True)
class MissedThreshold:
    """A missed threshold.

    Attributes:
        metric: its name.
        slice: where, `all` for the whole split.
        value: what the model has; None: not measured.
        bound: what it had to be.
        is_lower: whether the value had to be at least ``bound``; otherwise at most.
    """

    metric: str
    slice: str
    value: float | None
    bound: float
    is_lower: bool

    def __str__(self) -> str:
        where = "" if self.slice == OVERALL else f" for {self.slice}"
        if self.value is None:
            return f"{self.metric}{where} could not be measured"
        if math.isnan(self.value) and (name := class_of(self.metric)) is not None:
            missing = "test sequence is" if self.metric.startswith(RECALL) else "answer is"
            return f"{self.metric}{where} could not be measured: no {missing} of the class {name}"
        if math.isnan(self.value):
            return f"{self.metric}{where} is not a number: the model's answers aren't, or there is no naive value"
        side, difference = "at least" if self.is_lower else "at most", abs(self.value - self.bound)
        return f"{self.metric}{where} is {self.value:.4g}, must be {side} {self.bound:.4g} (off by {difference:.2g})"


@dataclass(frozen=True)
class EvaluationSummary:
    """Summary of an evaluation.

    Attributes:
        blessed: whether no bound was missed, and every comparison that decides was passed.
        metrics: of the whole test split, by name, with `<metric>_noisy_start` and `<metric>_carried_start` of a sample.
        slices: metrics of each slice, by `column=value`.
        baseline: metrics of the published model on the same split; empty on a first run.
        baseline_slices: the same of each slice.
        missed: the bounds that were missed.
        comparisons: with the published model and the naive baselines, with their intervals.
        reasons: why the model isn't blessed, in words.
        warnings: comparisons that decide nothing and that the model lost, in words.
    """

    blessed: bool
    metrics: dict[str, float] = field(default_factory=dict)
    slices: dict[str, dict[str, float]] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    baseline_slices: dict[str, dict[str, float]] = field(default_factory=dict)
    missed: list[MissedThreshold] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_evaluation(uri: str | Path, against: str = PUBLISHED) -> EvaluationSummary:
    """Return the summary of an ``evaluation`` artifact.

    Args:
        uri: of the artifact.
        against: what to call the model that was compared with.

    Raises:
        OSError: if there is none at ``uri``.
    """
    import tensorflow_model_analysis as tfma

    library: Any = tfma
    metrics: dict[str, dict[str, dict[str, float]]] = {CANDIDATE: {}, BASELINE: {}}
    for record in library.load_metrics(str(uri)):
        where = _slice_name(record.slice_key)
        for item in record.metric_keys_and_values:
            if item.key.is_diff:
                continue
            model = item.key.model_name or CANDIDATE
            value = item.value.double_value.value if item.value.HasField("double_value") else None
            if value is not None and model in metrics:
                metrics[model].setdefault(where, {})[item.key.name] = value
    result = library.load_validation_result(str(uri))
    missed = [
        _missed(failure, _slice_name(part.slice_key))
        for part in result.metric_validations_per_slice
        for failure in part.failures
    ]
    if not missed and not result.validation_ok:
        # A test split without sequences has no metrics that a bound could be missed by.
        missed = [MissedThreshold(EXAMPLE_COUNT, OVERALL, None, 1.0, is_lower=True)]
    verdict = read_verdict(Path(uri))
    candidate, baseline = metrics[CANDIDATE], metrics[BASELINE]
    return EvaluationSummary(
        blessed=bool(result.validation_ok) and (verdict is None or verdict.passed),
        metrics={**candidate.get(OVERALL, {}), **_from_other_starts(read_first_states(Path(uri)))},
        slices=_slices(candidate),
        baseline=baseline.get(OVERALL, {}),
        baseline_slices=_slices(baseline),
        missed=missed,
        comparisons=verdict.comparisons if verdict else [],
        reasons=[*map(str, missed), *(refusals(verdict, against) if verdict else [])],
        warnings=warnings(verdict, against) if verdict else [],
    )


def read_first_states(folder: Path) -> dict[str, Any] | None:
    """Return the content of ``first_states.json``; None if there is none, as in artifacts of an earlier release."""
    file = folder / FIRST_STATES
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _from_other_starts(found: dict[str, Any] | None) -> dict[str, float]:
    """Return the metric from the starts that were measured, by name."""
    return (
        {f"{found['metric']}_{start}": found[start] for start in _STARTS if found[start] is not None} if found else {}
    )


def _slices(metrics: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: values for name, values in sorted(metrics.items()) if name != OVERALL}


def slice_label(slice_key: Any) -> str:
    """Return a slice's name as `_slice_name` gives it, of TFMA's key of an extract: tuples of column and value."""
    return ", ".join(f"{column}={_label_value(value)}" for column, value in slice_key)


def _label_value(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    # TFMA keeps floats of a slice's key in single precision.
    return str(float(np.float32(value))) if isinstance(value, float | np.floating) else str(value)


def _slice_name(slice_key: Any) -> str:
    return ", ".join(f"{part.column}={_slice_value(part)}" for part in slice_key.single_slice_keys) or OVERALL


def _slice_value(part: Any) -> str:
    kind = part.WhichOneof("kind")
    value = getattr(part, kind) if kind else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _missed(failure: Any, where: str) -> MissedThreshold:
    metric = failure.metric_key.name
    value = failure.metric_value.double_value.value if failure.HasField("metric_value") else None
    bounds = failure.metric_threshold.value_threshold
    below = bounds.HasField("lower_bound") and (value is None or not value >= bounds.lower_bound.value)
    is_lower = below or not bounds.HasField("upper_bound")
    bound = bounds.lower_bound.value if is_lower else bounds.upper_bound.value
    return MissedThreshold(metric, where, value, bound, is_lower=is_lower)
