"""Error of the served model on new data against its error when published, to detect a collapse.

>>> served_error(Path("serving/vowels/1795625257"), examples, dataset, published)  # doctest: +SKIP
ServedError(error=1.98, lower=1.9, published=0.1, limit=0.55, sequences=40)

An error is a part of the naive answer's, so that 1 is as good as knowing nothing: wrong classes by those of always
answering the majority (as many as at publication), the RMSE of a number by that of the mean, the error of a forecast by
that of repeating the last value (both of the same sequences).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisy_gru.components.evaluation.paired_bootstrap import TIE_WEIGHT, Bootstrap, interval, resample, sums_by_cluster
from noisy_gru.components.evaluation.sequence_clusters import clusters_of
from noisy_gru.components.evaluation.sequence_losses import known_targets, labels, naive_losses, names, sequence_losses
from noisy_gru.schema.config import ClassificationConfig, DatasetConfig, ForecastingConfig, TaskConfig
from noisy_gru.schema.task_config import has_step_targets, is_multi_label, targets_of

# An alarm costs a night: it is to be sure, of all that is judged together.
CONFIDENCE = 0.99
# The loss of an answer that is no number: infinity times a weight of zero would be no number, and no alarm.
_BROKEN = 1e100
# So that a bound at the level rests on as many resamples beyond it as at 99 %.
_FEWEST_RESAMPLES, _RESAMPLES_AT_LEVEL = 4000, 40


@dataclass(frozen=True)
class PublishedError:
    """Error of a model and of the naive baseline on the test split at publication."""

    error: float
    naive: float

    @property
    def part(self) -> float:
        """The error relative to the naive baseline's."""
        return self.error / self.naive


@dataclass(frozen=True)
class PartError:
    """Error of the served model on a part of the new data.

    Attributes:
        name: of the part, such as ``span 5``.
        error: as a part of the naive answer's.
        lower: bound of it, one-sided; None: too few sequences are independent for one.
        sequences: measured on.
        independent: entities, or blocks of time, among them.
        broken: sequences that the model answered with what is no number.
    """

    name: str
    error: float
    lower: float | None
    sequences: int
    independent: int
    broken: int = 0


@dataclass(frozen=True)
class ServedError:
    """Error of the served model on new data.

    Attributes:
        error: as a part of the naive answer's.
        lower: bound of it, one-sided; None: too few sequences are independent for one. The bounds of all the data and
            of its parts hold at ``CONFIDENCE`` together (Bonferroni).
        published: the same on the test split, when the model was published.
        limit: what the bounds may be.
        sequences: measured on.
        independent: entities, or blocks of time, among them.
        broken: sequences that the model answered with what is no number.
        parts: spans, where there is more than one.
    """

    error: float
    lower: float | None
    published: float
    limit: float
    sequences: int
    independent: int
    broken: int = 0
    parts: tuple[PartError, ...] = ()

    @property
    def collapsed(self) -> bool:
        """Whether the error significantly exceeds the limit, on all the data or on a part of it."""
        return self.collapsed_together or bool(self.collapsed_parts)

    @property
    def collapsed_together(self) -> bool:
        """Whether the error on all the data exceeds the limit."""
        return self.lower is not None and self.lower > self.limit

    @property
    def collapsed_parts(self) -> tuple[PartError, ...]:
        """The parts whose error exceeds the limit."""
        return tuple(part for part in self.parts if part.lower is not None and part.lower > self.limit)


def published_error(metrics: Mapping[str, float], task: TaskConfig) -> PublishedError | None:
    """Return a version's published error; None if its metrics lack it, or it didn't beat the naive baseline,
    or it is of several labels, some of which may be so rare that no wrong answer shows, or of numbers at each step.
    """
    if is_multi_label(task) or has_step_targets(task):
        return None
    if isinstance(task, ClassificationConfig):
        pair = ("accuracy", "accuracy_majority")
    elif isinstance(task, ForecastingConfig):
        pair = ("mae", "mae_naive_last")
    else:
        pair = ("rmse", "rmse_naive_mean")
    if any(name not in metrics or not np.isfinite(metrics[name]) for name in pair):
        return None
    error, naive = (metrics[name] for name in pair)
    if isinstance(task, ClassificationConfig):
        error, naive = 1 - error, 1 - naive
    return PublishedError(error, naive) if naive > 0 else None


def served_error(
    saved_model: Path,
    examples: Sequence[bytes],
    dataset: DatasetConfig,
    published: PublishedError,
    collapse: float,
    parts: Mapping[str, Sequence[bytes]] | None = None,
) -> ServedError:
    """Return the error of a model on tf.Examples, and its limit.

    Args:
        saved_model: of the served version.
        examples: serialized tf.Examples with their answers.
        dataset: the configuration.
        published: of the version.
        collapse: the limit is so far on the way from the published error to the naive answer's.
        parts: the examples of each span, to be judged by itself as well: among many good ones a bad one would pass.
    """
    parts = {name: part for name, part in (parts or {}).items() if part}
    if len(parts) < 2:
        parts = {}
    # Most examples of a part are among all of them, and are answered once.
    distinct = list(dict.fromkeys([*examples, *(example for part in parts.values() for example in part)]))
    losses = dict(zip(distinct, sequence_losses(saved_model, distinct, dataset.task).tolist(), strict=True))
    level = (1 - CONFIDENCE) / (1 + len(parts))

    def judged(name: str, chosen: Sequence[bytes]) -> PartError:
        found = np.array([losses[example] for example in chosen])
        return _part_error(name, chosen, found, dataset, published, level)

    whole = judged("", examples)
    return ServedError(
        error=whole.error,
        lower=whole.lower,
        published=published.part,
        limit=published.part + collapse * (1 - published.part),
        sequences=whole.sequences,
        independent=whole.independent,
        broken=whole.broken,
        parts=tuple(judged(name, part) for name, part in parts.items()),
    )


def _part_error(
    name: str,
    examples: Sequence[bytes],
    losses: np.ndarray,
    dataset: DatasetConfig,
    published: PublishedError,
    level: float,
) -> PartError:
    """Return the error, and its bound at ``1 - level``."""
    task = dataset.task
    broken = int(np.isinf(losses).sum())
    losses = np.minimum(losses, _BROKEN)
    extra = None
    if isinstance(task, ClassificationConfig):
        sums = np.stack([losses, np.full(len(losses), published.naive)], axis=1)
        extra = TIE_WEIGHT * np.array([[0.0, published.naive], [1.0, published.naive]])
    elif isinstance(task, ForecastingConfig):
        naive = naive_losses(examples, task)
        weights = np.where(np.isfinite(naive), known_targets(examples, task), 0.0)
        sums = np.stack([weights * losses, weights * np.where(np.isfinite(naive), naive, 0.0)], axis=1)
    else:
        true = labels(examples, *targets_of(task))
        # Around a value near them, so that squares of large numbers don't cancel.
        true = true - true.mean()
        sums = np.stack([losses**2, true, true**2, np.ones(len(true))], axis=1)
    clusters = clusters_of(names(examples), dataset).codes
    resamples = max(_FEWEST_RESAMPLES, math.ceil(_RESAMPLES_AT_LEVEL / level))
    bootstrap = Bootstrap(confidence=1 - level, resamples=resamples, seed=dataset.seed)
    found = interval(resample(sums_by_cluster(sums, clusters), bootstrap, extra), _as_part)
    # Where the naive answer is right throughout (a sensor that is stuck), an error is endless, and none is zero.
    error, lower = np.nan_to_num([found.difference, found.lower], nan=0.0, posinf=_BROKEN, neginf=-np.inf)
    shown = None if np.isneginf(lower) else float(lower)
    return PartError(name, float(error), shown, len(losses), found.clusters, broken)


def _as_part(totals: np.ndarray) -> np.ndarray:
    """Return errors relative to the naive baseline's, from sums of both losses, or of squares and of a variance."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if totals.shape[-1] == 2:
            return totals[..., 0] / totals[..., 1]
        variance = totals[..., 2] - totals[..., 1] ** 2 / totals[..., 3]
        return np.sqrt(totals[..., 0] / np.maximum(variance, 0.0))
