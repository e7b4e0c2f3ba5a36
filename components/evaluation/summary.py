"""Reads what the Evaluator wrote: the metrics, and which bound was missed, where, and by how much."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisy_gru.components.evaluation.catalogue import EXAMPLE_COUNT, higher_is_better

OVERALL = "all"
PUBLISHED = "the published model"
_CANDIDATE = "candidate"
_BASELINE = "baseline"


@dataclass(frozen=True)
class MissedThreshold:
    """A bound that a model missed.

    Attributes:
        metric: its name.
        slice: where, `all` for the whole split.
        value: what the model has; for a comparison, how much it differs from the published model. None: not measured.
        bound: what it had to be.
        is_lower: whether the value had to be at least ``bound``; otherwise at most.
        is_comparison: whether it is the comparison with the published model.
        published: what that model has, for a comparison.
        against: what to call that model.
    """

    metric: str
    slice: str
    value: float | None
    bound: float
    is_lower: bool
    is_comparison: bool
    published: float | None = None
    against: str = PUBLISHED

    def __str__(self) -> str:
        where = "" if self.slice == OVERALL else f" for {self.slice}"
        if self.value is None:
            return f"{self.metric}{where} could not be measured"
        if math.isnan(self.value):
            return f"{self.metric}{where} is not a number: the model's answers aren't, or there is no naive value"
        if self.is_comparison:
            return f"{self.metric}{where} {self._compared(self.value)}"
        bound, is_strict = _as_meant(self.bound)
        side = (
            ("more than" if is_strict else "at least") if self.is_lower else ("less than" if is_strict else "at most")
        )
        apart = abs(self.value - bound)
        return f"{self.metric}{where} is {self.value:.4g}, must be {side} {bound:.4g} (off by {apart:.2g})"

    def _compared(self, difference: float) -> str:
        gain, bound = (difference, self.bound) if self.is_lower else (-difference, -self.bound)
        asked = f"more than {_as_meant(bound)[0]:.4g} better is asked for" if bound > 0 else ""
        asked = asked or (f"at most {-bound:.4g} worse is allowed" if bound else "it must not be worse")
        amount = f"{abs(gain):.4g} {'better' if gain > 0 else 'worse'} than" if gain else "as good as"
        if self.published is None:
            return f"is {amount} that of {self.against}; {asked}"
        return f"is {self.published + difference:.4g}, {amount} the {self.published:.4g} of {self.against}; {asked}"


def _as_meant(bound: float) -> tuple[float, bool]:
    """A bound, and whether it is strict: "better than 1" is written as the number next to 1."""
    for meant in (0.0, float(f"{bound:.12g}")):
        if bound in (math.nextafter(meant, math.inf), math.nextafter(meant, -math.inf)):
            return meant, True
    return bound, False


@dataclass(frozen=True)
class EvaluationSummary:
    """What the Evaluator found.

    Attributes:
        blessed: whether no bound was missed.
        metrics: of the whole test split, by name.
        slices: metrics of each slice, by `column=value`.
        baseline: metrics of the published model on the same split; empty on a first run.
        baseline_slices: the same of each slice.
        missed: the bounds that were missed.
    """

    blessed: bool
    metrics: dict[str, float] = field(default_factory=dict)
    slices: dict[str, dict[str, float]] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    baseline_slices: dict[str, dict[str, float]] = field(default_factory=dict)
    missed: list[MissedThreshold] = field(default_factory=list)

    @property
    def reasons(self) -> list[str]:
        """Why the model isn't blessed, in words."""
        return [str(missed) for missed in self.missed]


def read_evaluation(uri: str | Path, against: str = PUBLISHED) -> EvaluationSummary:
    """The summary of an ``evaluation`` artifact.

    Args:
        uri: of the artifact.
        against: what to call the model that was compared with.

    Raises:
        OSError: if there is none at ``uri``.
    """
    import tensorflow_model_analysis as tfma

    library: Any = tfma
    metrics: dict[str, dict[str, dict[str, float]]] = {_CANDIDATE: {}, _BASELINE: {}}
    for record in library.load_metrics(str(uri)):
        where = _slice_name(record.slice_key)
        for item in record.metric_keys_and_values:
            if item.key.is_diff:
                continue
            model = item.key.model_name or _CANDIDATE
            value = item.value.double_value.value if item.value.HasField("double_value") else None
            if value is not None and model in metrics:
                metrics[model].setdefault(where, {})[item.key.name] = value
    result = library.load_validation_result(str(uri))
    missed = [
        _missed(failure, _slice_name(part.slice_key), metrics[_BASELINE], against)
        for part in result.metric_validations_per_slice
        for failure in part.failures
    ]
    if not missed and not result.validation_ok:
        # A test split without sequences has no metrics that a bound could be missed by.
        missed = [MissedThreshold(EXAMPLE_COUNT, OVERALL, None, 1.0, is_lower=True, is_comparison=False)]
    candidate, baseline = metrics[_CANDIDATE], metrics[_BASELINE]
    return EvaluationSummary(
        blessed=bool(result.validation_ok),
        metrics=candidate.get(OVERALL, {}),
        slices=_slices(candidate),
        baseline=baseline.get(OVERALL, {}),
        baseline_slices=_slices(baseline),
        missed=missed,
    )


def _slices(metrics: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: values for name, values in sorted(metrics.items()) if name != OVERALL}


def _slice_name(slice_key: Any) -> str:
    return ", ".join(f"{part.column}={_slice_value(part)}" for part in slice_key.single_slice_keys) or OVERALL


def _slice_value(part: Any) -> str:
    kind = part.WhichOneof("kind")
    value = getattr(part, kind) if kind else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _missed(failure: Any, where: str, baseline: dict[str, dict[str, float]], against: str) -> MissedThreshold:
    metric = failure.metric_key.name
    value = failure.metric_value.double_value.value if failure.HasField("metric_value") else None
    threshold = failure.metric_threshold
    if threshold.HasField("change_threshold"):
        change = threshold.change_threshold
        published = baseline.get(where, {}).get(metric)
        higher = higher_is_better(metric)
        return MissedThreshold(metric, where, value, change.absolute.value, higher, True, published, against)
    bounds = threshold.value_threshold
    below = bounds.HasField("lower_bound") and (value is None or not value >= bounds.lower_bound.value)
    is_lower = below or not bounds.HasField("upper_bound")
    bound = bounds.lower_bound.value if is_lower else bounds.upper_bound.value
    return MissedThreshold(metric, where, value, bound, is_lower=is_lower, is_comparison=False)
