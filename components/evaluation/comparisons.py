"""Paired-bootstrap comparisons with the published model and naive baselines, which decide on the blessing.

    >>> verdict = judge([folder], dataset, evaluation, constants)  # doctest: +SKIP
    >>> [str(each.metric) for each in verdict.comparisons if each.required and not each.passed]  # doctest: +SKIP

All of them have to pass, so their number needs no correction: a bad model must slip through each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.components.evaluation.config import CompareConfig, EvaluationConfig
from noisy_gru.components.evaluation.metric_catalogue import (
    baseline_metric,
    comparison_metric,
    default_margin,
    naive_baselines,
)
from noisy_gru.components.evaluation.paired_bootstrap import (
    TIE_WEIGHT,
    Accept,
    Bootstrap,
    interval,
    is_accepted,
    resample,
    sums_by_cluster,
)
from noisy_gru.components.evaluation.resampled_metrics import Outputs, ResampledMetric, resampled_metric
from noisy_gru.components.evaluation.sequence_clusters import Clusters, clusters_of
from noisy_gru.schema.config import ClassificationConfig, DatasetConfig, ForecastingConfig

WHOLE = "all"
PUBLISHED = "published"
MAJORITY, TRAIN_MEAN, TRAIN_MEDIAN = "majority", "train_mean", "train_median"
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


@dataclass(frozen=True)
class _Planned:
    metric: str
    against: str
    slice: str
    accept: Accept
    margin: float | None
    required: bool


def judge(
    answers: Mapping[str, Any],
    dataset: DatasetConfig,
    evaluation: EvaluationConfig,
    constants: Mapping[str, tuple[float, float]],
) -> Verdict:
    """Compare the candidate with the published model and the naive baselines.

    Args:
        answers: of the test split, as ``read_answers`` gives them.
        dataset: of the models.
        evaluation: metrics, margins and what is required.
        constants: mean and median of each label or target over the train split; empty if not known.
    """
    compare = evaluation.compare or CompareConfig()
    if not answers["sequence_id"]:
        return Verdict(0, evaluation.min_test_sequences)
    bootstrap = Bootstrap(compare.confidence, seed=dataset.seed)
    evidence = _Evidence(answers, dataset, constants)
    planned = list(_against_baselines(evidence, dataset, evaluation, constants))
    if evaluation.compare is not None and evidence.has_published:
        planned += _against_published(evidence, dataset, evaluation, evaluation.compare)
    comparisons = [_compare(each, evidence, bootstrap, dataset) for each in planned]
    return Verdict(
        len(evidence.ids),
        evaluation.min_test_sequences,
        comparisons,
        seed=bootstrap.seed,
        resamples=bootstrap.resamples,
    )


class _Evidence:
    """Answers with their clusters and slices; baselines that are constants stand among them."""

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
        elif constants:
            columns = task.targets if isinstance(task, ForecastingConfig) else [task.label]
            for place, name in enumerate((TRAIN_MEAN, TRAIN_MEDIAN)):
                row = np.array([constants[column][place] for column in columns])
                of_all = row[0] if not isinstance(task, ForecastingConfig) else np.tile(row, len(task.horizons))
                self.answers[name] = np.broadcast_to(of_all, self.answers["label"].shape)
        masks: dict[str, list[int]] = {}
        for number, slices in enumerate(answers["slices"]):
            for name in slices:
                masks.setdefault(name, []).append(number)
        self.slices = {name: np.array(masks[name]) for name in sorted(masks)}

    def of(self, where: str) -> tuple[Outputs, Clusters]:
        """Return answers and clusters of a slice."""
        if where == WHOLE:
            return self.answers, self.clusters
        chosen = self.slices[where]
        # A slice of few series has blocks of time, also where all series together are enough.
        clusters = clusters_of([self.ids[number] for number in chosen], self.dataset)
        return {name: value[chosen] for name, value in self.answers.items()}, clusters


def _against_published(
    evidence: _Evidence, dataset: DatasetConfig, evaluation: EvaluationConfig, compare: CompareConfig
) -> Iterator[_Planned]:
    metric = comparison_metric(dataset, evaluation)
    if metric is None:
        return
    # What is better as a whole need not be better everywhere.
    each = compare.slice_margin
    if each is None and compare.accept == "not_worse":
        each = compare.margin
    yield _Planned(metric, PUBLISHED, WHOLE, compare.accept, compare.margin, True)
    for suffix in _parts(dataset, metric):
        yield _Planned(f"{metric}{suffix}", PUBLISHED, WHOLE, "not_worse", each, "horizon" in evaluation.require_each)
    for where in evidence.slices:
        yield _Planned(metric, PUBLISHED, where, "not_worse", each, "slice" in evaluation.require_each)


def _against_baselines(
    evidence: _Evidence,
    dataset: DatasetConfig,
    evaluation: EvaluationConfig,
    constants: Mapping[str, tuple[float, float]],
) -> Iterator[_Planned]:
    task, required = dataset.task, evaluation.baselines == "require"
    in_slices = required and "slice" in evaluation.require_each
    at_horizons = required and "horizon" in evaluation.require_each
    for against, metrics in _baselines(dataset, evaluation, constants).items():
        for metric in metrics:
            yield _Planned(metric, against, WHOLE, "better", 0.0, required)
            if isinstance(task, ForecastingConfig) and len(task.horizons) > 1:
                for horizon in task.horizons:
                    yield _Planned(f"{metric}@{horizon}", against, WHOLE, "better", 0.0, at_horizons)
            for where in evidence.slices:
                # In a slice of one class, always answering a class is right or wrong as a whole.
                if not (isinstance(task, ClassificationConfig) and task.label in _columns(where)):
                    yield _Planned(metric, against, where, "better", 0.0, in_slices)


def _columns(where: str) -> list[str]:
    return [part.partition("=")[0] for part in where.split(", ")]


def _baselines(
    dataset: DatasetConfig, evaluation: EvaluationConfig, constants: Mapping[str, Any]
) -> dict[str, list[str]]:
    """Return the metric of each comparison with a naive baseline: the one which a constant minimizes, by target."""
    task = dataset.task
    if isinstance(task, ClassificationConfig):
        return {MAJORITY: [baseline_metric(dataset, evaluation)]}
    if not isinstance(task, ForecastingConfig):
        return {TRAIN_MEAN: ["rmse"], TRAIN_MEDIAN: ["mae"]} if constants else {}
    # Targets may be in different units.
    by_target = [f"mae/{target}" for target in task.targets]
    known = naive_baselines(task) + ([TRAIN_MEAN, TRAIN_MEDIAN] if constants else [])
    return dict.fromkeys(known, by_target)


def _parts(dataset: DatasetConfig, metric: str) -> list[str]:
    """Return the parts of a forecast's metric: each target and each horizon, unless the metric is of one of these."""
    task = dataset.task
    if not isinstance(task, ForecastingConfig) or "/" in metric or len(task.targets) * len(task.horizons) == 1:
        return []
    targets = [f"/{target}" for target in task.targets] if len(task.targets) > 1 else []
    one_by_one = [f"/{target}@{horizon}" for target in task.targets for horizon in task.horizons]
    return targets + (one_by_one if len(task.horizons) > 1 else [])


def _compare(planned: _Planned, evidence: _Evidence, bootstrap: Bootstrap, dataset: DatasetConfig) -> Comparison:
    answers, grouped = evidence.of(planned.slice)
    clusters = grouped.codes
    beside = planned.against if planned.against in _ONLY_KNOWN else None
    found = resampled_metric(planned.metric, dataset.task, evidence.classes, beside)
    sums = np.concatenate([found.columns(answers, "candidate"), found.columns(answers, planned.against)], axis=1)
    # A window of which neither target nor naive value is known says nothing of it.
    if beside is not None or (isinstance(dataset.task, ForecastingConfig) and "naive" not in planned.metric):
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
        sequences=len(sums),
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


def read_answers(folder: Path) -> dict[str, Any]:
    """Read the recorded outputs of a folder: lists `sequence_id` and `slices`, arrays of everything else.

    Without the columns of `published` on a first run. Sorted by the sequences' names, so that the order in which Beam
    wrote them decides nothing.
    """
    import pyarrow.parquet

    arrow: Any = pyarrow
    files = sorted(folder.glob("*.parquet"))
    table = arrow.concat_tables([arrow.parquet.read_table(file) for file in files]).sort_by("sequence_id")
    # tf.Examples from elsewhere may have no name: each is an entity by itself.
    names = [name or f"sequence {number}" for number, name in enumerate(table["sequence_id"].to_pylist())]
    found: dict[str, Any] = {"sequence_id": names, "slices": table["slices"].to_pylist()}
    # A model whose answers are no classes at all is there, too: it has losses, which are NaN.
    witness = "published_loss" if "published_loss" in table.column_names else "published"
    absent = ("published", "published_loss") if table[witness].null_count == table.num_rows else ()
    for name in table.column_names:
        column = table[name]
        if name in found or name in absent:
            continue
        if arrow.types.is_list(column.type):
            flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float64)
            found[name] = flat.reshape(table.num_rows, -1) if table.num_rows else flat
        elif arrow.types.is_binary(column.type):
            found[name] = np.array(column.to_pylist(), dtype=object)
        else:
            found[name] = column.to_numpy().astype(np.float64)
    return found
