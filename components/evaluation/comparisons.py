"""Paired-bootstrap comparisons with the published model and naive baselines, which decide on the blessing.

    >>> verdict = judge([folder], dataset, evaluation, constants)  # doctest: +SKIP
    >>> [str(each.metric) for each in verdict.comparisons if each.required and not each.passed]  # doctest: +SKIP

All of them have to pass, so their number needs no correction: a bad model must slip through each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from noisy_gru.components.evaluation.config import CompareConfig, EvaluationConfig
from noisy_gru.components.evaluation.label_metrics import label_losses
from noisy_gru.components.evaluation.metric_catalogue import default_margin
from noisy_gru.components.evaluation.paired_bootstrap import (
    TIE_WEIGHT,
    Accept,
    Bootstrap,
    interval,
    is_accepted,
    resample,
    sums_by_cluster,
)
from noisy_gru.components.evaluation.planned_comparisons import (
    TRAIN_FREQUENCY,
    TRAIN_MEAN,
    TRAIN_MEDIAN,
    WHOLE,
    PlannedComparison,
    against_baselines,
    against_published,
)
from noisy_gru.components.evaluation.resampled_metrics import Outputs, ResampledMetric, resampled_metric
from noisy_gru.components.evaluation.sequence_clusters import Clusters, clusters_of
from noisy_gru.schema.config import ClassificationConfig, DatasetConfig, ForecastingConfig
from noisy_gru.schema.task_config import is_multi_label, is_per_step, targets_of

_ONLY_KNOWN = ("last", "seasonal")


@dataclass(frozen=True)
class Comparison:
    """A comparison of the candidate with one other model or baseline.

    Attributes:
        metric: by which.
        slice: of the test split; `all` for the whole.
        against: `published`, or the naive baseline's name.
        sequences: that both were measured on.
        clusters: of them that are independent, in the unit ``cluster_unit``.
        candidate: its metric there.
        other: the other's on the same sequences.
        difference: how much better the candidate is; negative: worse.
        lower: bound of it, one-sided at ``confidence``; None: none could be found.
        upper: likewise.
        accept: what the bound has to show, with ``margin``.
        required: whether the blessing hangs on it.
        passed: whether it shows it.
    """

    metric: str
    slice: str
    against: str
    sequences: int
    clusters: int
    cluster_unit: str
    candidate: float | None
    other: float | None
    difference: float | None
    lower: float | None
    upper: float | None
    confidence: float
    accept: Accept
    margin: float
    required: bool
    passed: bool


@dataclass(frozen=True)
class Verdict:
    """Outcome of all comparisons.

    Attributes:
        sequences: in the test split.
        min_sequences: minimum number of test sequences.
        comparisons: all, those that are only reported, too.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        decision: `Decision` of the candidate as a mapping; None without `task.threshold`.
        shortfall: why its target was not reached on eval; empty if it was.
    """

    sequences: int
    min_sequences: int
    comparisons: list[Comparison] = field(default_factory=list)
    seed: int = 0
    resamples: int = 0
    decision: dict[str, Any] | None = None
    shortfall: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing that is required is missing."""
        return (
            not self.shortfall
            and self.sequences >= self.min_sequences
            and all(each.passed for each in self.comparisons if each.required)
        )


def judge(
    answers: Mapping[str, Any],
    dataset: DatasetConfig,
    evaluation: EvaluationConfig,
    constants: Mapping[str, tuple[float, float]],
) -> Verdict:
    """Compare the candidate with the published model and the naive baselines.

    Args:
        answers: of the test split, as ``recorded_answers.read_answers`` gives them.
        dataset: of the models.
        evaluation: metrics, margins and what is required.
        constants: mean and median of each label or target over the train split; empty if not known.
    """
    compare = evaluation.compare or CompareConfig()
    if not answers["sequence_id"]:
        return Verdict(0, evaluation.min_test_sequences)
    bootstrap = Bootstrap(compare.confidence, seed=dataset.seed)
    evidence = Evidence(answers, dataset, constants)
    planned = list(against_baselines(dataset, evaluation, list(evidence.slices), has_constants=bool(constants)))
    if evaluation.compare is not None and evidence.has_published:
        planned += against_published(dataset, evaluation, evaluation.compare, list(evidence.slices))
    comparisons = [run_comparison(each, evidence, bootstrap, dataset) for each in planned]
    return Verdict(
        evidence.sequences_of(WHOLE),
        evaluation.min_test_sequences,
        comparisons,
        seed=bootstrap.seed,
        resamples=bootstrap.resamples,
    )


class Evidence:
    """Answers with their clusters and slices; constant baselines are among the answers.

    Args:
        answers: of a split, as ``recorded_answers.read_answers`` gives them.
        dataset: of the models.
        constants: mean and median of each label or target over the train split; empty if not known.
    """

    def __init__(
        self, answers: Mapping[str, Any], dataset: DatasetConfig, constants: Mapping[str, tuple[float, float]]
    ) -> None:
        self.ids: list[str] = list(answers["sequence_id"])
        self.dataset = dataset
        self.clusters = clusters_of(self.ids, dataset)
        self.answers: dict[str, np.ndarray] = {
            name: value for name, value in answers.items() if name not in ("sequence_id", "slices")
        }
        self.has_published = "published" in self.answers
        task = dataset.task
        self.classes: list[bytes] = []
        if isinstance(task, ClassificationConfig):
            names = [self.answers[name] for name in ("label", "candidate", "published") if name in self.answers]
            self.classes = sorted({name for column in names for name in column if name is not None})
        elif is_multi_label(task):
            if constants:
                truth = self.answers["label"]
                frequency = np.broadcast_to([constants[label][0] for label in task.labels], truth.shape)
                self.answers[TRAIN_FREQUENCY] = (frequency >= 0.5).astype(np.float64)
                self.answers[f"{TRAIN_FREQUENCY}_loss"] = label_losses(truth, frequency)
        elif constants:
            columns = targets_of(task)
            for place, name in enumerate((TRAIN_MEAN, TRAIN_MEDIAN)):
                row = np.array([constants[column][place] for column in columns])
                of_all = np.tile(row, len(task.horizons)) if isinstance(task, ForecastingConfig) else row
                of_all = of_all if len(of_all) > 1 or self.answers["label"].ndim > 1 else of_all[0]
                self.answers[name] = np.broadcast_to(of_all, self.answers["label"].shape)
        masks: dict[str, list[int]] = {}
        for number, slices in enumerate(answers["slices"]):
            for name in slices:
                masks.setdefault(name, []).append(number)
        self.slices = {name: np.array(masks[name]) for name in sorted(masks)}

    def sequences_of(self, where: str) -> int:
        """Return the number of sequences of a slice; with `task.per_step` a row is a step."""
        ids = self.ids if where == WHOLE else [self.ids[number] for number in self.slices[where]]
        return len(set(ids)) if is_per_step(self.dataset.task) else len(ids)

    def of(self, where: str) -> tuple[Outputs, Clusters]:
        """Return answers and clusters of a slice."""
        if where == WHOLE:
            return self.answers, self.clusters
        chosen = self.slices[where]
        # A slice of few series has blocks of time, also where all series together are enough.
        clusters = clusters_of([self.ids[number] for number in chosen], self.dataset)
        return {name: value[chosen] for name, value in self.answers.items()}, clusters


def run_comparison(
    planned: PlannedComparison, evidence: Evidence, bootstrap: Bootstrap, dataset: DatasetConfig
) -> Comparison:
    """Make a planned comparison: the paired bootstrap of the metric on the sequences of its slice.

    Args:
        planned: metric, other model or baseline, slice and acceptance.
        evidence: answers of all models and baselines.
        bootstrap: settings of the intervals.
        dataset: of the models.
    """
    answers, grouped = evidence.of(planned.slice)
    clusters = grouped.codes
    beside = planned.against if planned.against in _ONLY_KNOWN else None
    found = resampled_metric(planned.metric, dataset.task, evidence.classes, beside)
    sums = np.concatenate([found.columns(answers, "candidate"), found.columns(answers, planned.against)], axis=1)
    # A window of which neither target nor naive value is known says nothing of it.
    of_known = isinstance(dataset.task, ForecastingConfig) and "naive" not in planned.metric
    if beside is not None or of_known or len(targets_of(dataset.task)) > 1:
        measured = sums[:, 1] > 0
        sums, clusters = sums[measured], clusters[measured]
    drawn = resample(sums_by_cluster(sums, clusters), bootstrap, _ties(found))
    result = interval(drawn, found.gain)
    with np.errstate(invalid="ignore", divide="ignore"):
        candidate, other = (float(found.value(half)) for half in np.split(drawn.total, 2))
    margin = planned.margin
    if margin is None:
        margin = default_margin(planned.metric, other) if planned.accept == "not_worse" else 0.0
    # Where the other model's answers are no numbers, one whose are is better.
    passed = is_accepted(result, planned.accept, margin) or (
        np.isnan(other) and np.isfinite(candidate) and len(sums) > 0
    )
    return Comparison(
        metric=planned.metric,
        slice=planned.slice,
        against=planned.against,
        sequences=evidence.sequences_of(planned.slice) if is_per_step(dataset.task) else len(sums),
        clusters=result.clusters,
        cluster_unit=grouped.unit,
        candidate=_number(candidate),
        other=_number(other),
        difference=_number(result.difference),
        lower=_number(result.lower),
        upper=_number(result.upper),
        confidence=bootstrap.confidence,
        accept=planned.accept,
        margin=float(margin) if np.isfinite(margin) else 0.0,
        required=planned.required,
        passed=bool(passed),
    )


def _ties(found: ResampledMetric) -> np.ndarray | None:
    return None if found.ties is None else TIE_WEIGHT * found.ties


def _number(value: float) -> float | None:
    """Convert to a number that JSON can hold."""
    return float(value) if np.isfinite(value) else None
