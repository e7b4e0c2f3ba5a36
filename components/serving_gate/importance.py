"""Permutation importance of features and of time steps, on the served graph, within a budget of seconds.

    plan = importance_plan(examples, dataset, seconds=1.0)
    measured = measure_importance(model, plan)  # a SessionModel, in the probe's process
    importance_account(measured)["features"][0]["log_loss"]["mean"]

A feature's values are exchanged between sequences (Breiman 2001, "Random Forests"; `sklearn.inspection`), and the
answers become worse by what the model reads from it. Of time steps all features of a tenth of the sequence are
exchanged at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from noisy_gru.components.serving_gate.exchanges import Part, Tensors, exchanged, feature_parts, time_parts
from noisy_gru.components.serving_gate.probe_sequences import affordable, by_length, example_values, tensors
from noisy_gru.components.serving_gate.signature_contract import LENGTHS, TENSORS
from noisy_gru.data.columns import TARGET
from noisy_gru.saved_model.session import SessionModel
from noisy_gru.schema.config import ClassificationConfig, DatasetConfig, ForecastingConfig
from noisy_gru.schema.errors import ModelError
from noisy_gru.schema.task_config import has_step_targets, is_multi_label, is_per_step, targets_of

CONFIDENCE = 0.95
_MOST_SEQUENCES, _FEWEST_SEQUENCES = 512, 16
_REPEATS, _FEWEST_REPEATS = 5, 3
_LEAST = 1e-12
_WAITING = 20
Scores = dict[str, float]


@dataclass(frozen=True)
class ImportancePlan:
    """What to measure. It imports no TensorFlow where it is read.

    Attributes:
        tensors: inputs of `serving_tensors` for N sequences in random order, each with a step.
        labels: bytes [N], or [N, T] with `task.per_step`, empty where missing; else float [N, K] or [N, H, K] (of
            steps [N, T, K]), NaN where missing. Each sequence has one.
        dataset: of the model.
        seconds: that it may take.
        seed: of the exchanges.
    """

    tensors: Tensors
    labels: np.ndarray
    dataset: DatasetConfig
    seconds: float
    seed: int


@dataclass(frozen=True)
class MeasuredImportance:
    """What came out.

    Attributes:
        note: why nothing was measured; empty if it was.
        whole: scores of the answers to the sequences as they are.
        parts: what was exchanged, each with the scores after each exchange.
        sequences: how many were asked.
        lengths: steps of the shortest and the longest of them.
        seconds: that it took.
        seed: of the exchanges.
    """

    note: str = ""
    whole: Scores = field(default_factory=dict)
    parts: list[tuple[Part, list[Scores]]] = field(default_factory=list)
    sequences: int = 0
    lengths: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    seed: int = 0


def importance_plan(examples: Sequence[bytes], dataset: DatasetConfig, seconds: float) -> ImportancePlan | None:
    """Return what to measure; None if nothing is asked for.

    Args:
        examples: serialized, held-out tf.Examples.
        dataset: of the model.
        seconds: that it may take; 0: nothing is measured.
    """
    if not seconds or not examples:
        return None
    ordered = by_length(examples, dataset)
    count = affordable(ordered, _MOST_SEQUENCES)
    chosen = np.random.default_rng([dataset.seed, 11]).permutation(len(ordered))[:count]
    sequences = [ordered[place] for place in chosen]
    values, labels = tensors(sequences, dataset), labels_of(sequences, dataset)
    rows = labels.reshape(len(labels), -1)
    known = (rows != b"") if labels.dtype == object else np.isfinite(rows)
    usable = np.flatnonzero(known.any(axis=1) & (values[LENGTHS] > 0))
    values = {name: value[usable] for name, value in values.items()}
    return ImportancePlan(values, labels[usable], dataset, seconds, dataset.seed)


def measure_importance(
    model: SessionModel, plan: ImportancePlan, clock: Callable[[], float] | None = None
) -> MeasuredImportance:
    """Ask the model with parts of its inputs exchanged, as often as the time allows.

    Args:
        model: with the signatures of the contract.
        plan: what to ask.
        clock: seconds; None: of processor time, so that a busy machine measures as much as an idle one.
    """
    clock = clock or _processor_seconds
    begun = clock()
    try:
        return _measured(model, plan, lambda: clock() - begun)
    except ModelError as error:
        return MeasuredImportance(f"The model did not answer to exchanged values: {error}", seconds=clock() - begun)


def _processor_seconds() -> float:
    """Return the processor time of this process; waiting, as for a GPU, counts a little, too."""
    return max(time.process_time(), time.perf_counter() / _WAITING)


def _measured(model: SessionModel, plan: ImportancePlan, spent: Callable[[], float]) -> MeasuredImportance:
    asked = _Asked(model, plan)
    if len(asked) < 2:
        return MeasuredImportance("The test split has fewer than two sequences with a step and a label to exchange.")
    parts = [*feature_parts(plan.dataset), *time_parts(plan.dataset, asked.longest)]
    count = min(_FEWEST_SEQUENCES, len(asked))
    cost = _cost(asked, count, spent)
    # Twice the sequences cost twice as much at the most: a step of a batch has its price, however small the batch.
    while count < len(asked) and spent() + 2 * cost * (len(parts) * _FEWEST_REPEATS + 2) <= plan.seconds:
        count = min(2 * count, len(asked))
        cost = _cost(asked, count, spent)
    if spent() + cost * len(parts) * _FEWEST_REPEATS > 2 * plan.seconds:
        needed = spent() + cost * len(parts) * _FEWEST_REPEATS
        return MeasuredImportance(
            f"Asking {count} sequences with each feature and part of the time exchanged three times takes about "
            f"{needed:.2g} s; report.explain_seconds allows {plan.seconds:g}. Raise it for this part of the report."
        )
    scores: list[list[Scores]] = [[] for _ in parts]
    for repeat in range(_REPEATS):
        begin = spent()
        if repeat >= _FEWEST_REPEATS and begin + begin / max(repeat, 1) > plan.seconds:
            break
        for place, part in enumerate(parts):
            donors = np.random.default_rng([plan.seed, repeat, place]).permutation(count)
            scores[place].append(asked.scores(exchanged(asked.tensors, donors, part)))
    whole = asked.scores(asked.tensors)
    steps = asked.tensors[LENGTHS]
    lengths = int(steps.min()), int(steps.max())
    return MeasuredImportance("", whole, list(zip(parts, scores, strict=True)), count, lengths, spent(), plan.seed)


def _cost(asked: _Asked, count: int, spent: Callable[[], float]) -> float:
    """Ask the first ``count`` sequences twice from now on; return the seconds of the quicker time."""
    asked.take(count)
    seconds = []
    for _ in range(2):
        before = spent()
        asked.scores(asked.tensors)
        seconds.append(spent() - before)
    return min(seconds)


class _Asked:
    """The sequences that are asked: their tensors, and the scores of answers to them."""

    def __init__(self, model: SessionModel, plan: ImportancePlan):
        self._model, self._dataset = model, plan.dataset
        self._all, self._labels = plan.tensors, plan.labels
        if len(self._labels) and self._labels.dtype == object:
            one = model.run(TENSORS, {name: value[:1] for name, value in self._all.items()})
            places = class_places(self._labels, one["labels_bytes"][0].tolist())
            known = np.flatnonzero((places >= 0).reshape(len(places), -1).any(axis=1))
            self._labels, self._all = places[known], {name: value[known] for name, value in self._all.items()}
        self.longest = int(self._all[LENGTHS].max(initial=0))
        self._scale: Any = None
        self.tensors: Tensors = {}
        self._truth = self._labels[:0]

    def __len__(self) -> int:
        return len(self._labels)

    def take(self, count: int) -> None:
        """Ask the first ``count`` sequences from now on."""
        self.tensors = {name: value[:count] for name, value in self._all.items()}
        self._truth, self._scale = self._labels[:count], None

    def scores(self, values: Tensors) -> Scores:
        """Return `log_loss` and `accuracy`, or `mae`: of several targets in parts of each one's error as it is."""
        answers = self._model.run(TENSORS, values)
        if isinstance(self._dataset.task, ClassificationConfig):
            return class_scores(answers["probabilities"], answers["class_id"], self._truth)
        if is_multi_label(self._dataset.task):
            return label_scores(answers["probabilities"], answers["answers"], self._truth)
        targets = len(targets_of(self._dataset.task))
        found, truth = answers["predictions"].astype(float), self._truth
        if has_step_targets(self._dataset.task):  # axes of steps are as long as the longest sequence of each
            steps = min(found.shape[1], truth.shape[1])
            found, truth = found[:, :steps], truth[:, :steps]
        errors = np.abs(found - truth).reshape(-1, targets)
        each = np.array([np.mean(column[np.isfinite(column)]) for column in errors.T if np.isfinite(column).any()])
        if targets == 1:
            return {"mae": float(each[0])}
        if self._scale is None:
            self._scale = np.maximum(each, _LEAST)
        return {"relative_mae": float(np.mean(each / self._scale))}


def labels_of(examples: Sequence[bytes], dataset: DatasetConfig) -> np.ndarray:
    """Return the labels of tf.Examples as `ImportancePlan` has them.

    Read from the tf.Examples: to run the signature `evaluation_labels` for them costs seconds, for its graph alone.
    """
    task, rows = dataset.task, [example_values(example) for example in examples]
    if isinstance(task, ClassificationConfig):
        words = [[bytes(word) for word in row.get(task.label, [])] or [b""] for row in rows]
        axis = max(map(len, words), default=1) if is_per_step(task) else 1
        found = np.full((len(words), axis), b"", dtype=object)
        for place, row in enumerate(words):
            found[place, : len(row[:axis])] = row[:axis]
        return found if is_per_step(task) else found[:, 0]
    is_ahead = isinstance(task, ForecastingConfig)
    count = len(task.horizons) if isinstance(task, ForecastingConfig) else 1
    keys = [f"{TARGET}{name}" if is_ahead else name for name in targets_of(task)]
    if has_step_targets(task):
        lists = [[list(row.get(key) or []) for key in keys] for row in rows]
        axis = max((len(values) for row in lists for values in row), default=1)
        by_step = np.full((len(rows), axis, len(keys)), np.nan)
        for place, row in enumerate(lists):
            for column, values in enumerate(row):
                by_step[place, : len(values), column] = values
        return by_step
    columns = [np.array([list(row.get(key) or [np.nan] * count) for row in rows], float) for key in keys]
    numbers = np.stack(columns, axis=-1)
    return numbers if is_ahead else numbers[:, 0]


def class_places(words: np.ndarray, classes: Sequence[bytes]) -> np.ndarray:
    """Return the place of each word among the classes, int64 of the same shape; -1: it is none of them."""
    place = {bytes(name): number for number, name in enumerate(classes)}
    return np.array([place.get(word, -1) for word in words.ravel()], np.int64).reshape(words.shape)


def class_scores(probabilities: np.ndarray, class_id: np.ndarray, label: np.ndarray) -> Scores:
    """Return the scores of a classification.

    Args:
        probabilities: float [..., C].
        class_id: int [...], of the answer.
        label: int [...]; -1: not known, or never seen in train.
    """
    steps = min(label.shape[1], class_id.shape[1]) if label.ndim > 1 else None
    label, class_id, probabilities = (each[:, :steps] if steps else each for each in (label, class_id, probabilities))
    known = label >= 0
    right, chosen = label[known], probabilities[known]
    of_truth = np.maximum(chosen[np.arange(len(right)), right].astype(float), _LEAST)
    return {"log_loss": float(-np.log(of_truth).mean()), "accuracy": float((class_id[known] == right).mean())}


def label_scores(probabilities: np.ndarray, answers: np.ndarray, truth: np.ndarray) -> Scores:
    """Return the scores of several labels over those that are known.

    Args:
        probabilities: float [N, K].
        answers: int [N, K], 1 where a label is answered.
        truth: float [N, K], NaN where unknown.
    """
    known = ~np.isnan(truth)
    right = np.where(truth > 0, probabilities, 1 - probabilities.astype(float))[known]
    accuracy = float((answers == truth)[known].mean())
    return {"log_loss": float(-np.log(np.maximum(right, _LEAST)).mean()), "accuracy": accuracy}


def importance_account(measured: MeasuredImportance) -> dict[str, Any]:
    """Return what came out as JSON: how much worse each score becomes, with an interval over the repeats.

    Returns:
        `note` alone if nothing was measured. Else `measures` (names of the scores), `whole`, `sequences`, `lengths`,
        `repeats`, `seconds`, `seed`, `confidence`; `features` by `name` and `kind`, `steps` by `from` and `to`:
        each with `mean`, `low` and `high` of each score, positive where the answers become worse.
    """
    if measured.note:
        return {"note": measured.note}
    measures = list(measured.whole)
    rows = [(part, {name: _interval(measured, scores, name) for name in measures}) for part, scores in measured.parts]
    return {
        "note": "",
        "measures": measures,
        "whole": measured.whole,
        "sequences": measured.sequences,
        "lengths": list(measured.lengths),
        "repeats": len(measured.parts[0][1]) if measured.parts else 0,
        "seconds": round(measured.seconds, 3),
        "seed": measured.seed,
        "confidence": CONFIDENCE,
        "features": [{"name": part.name, "kind": part.kind, **found} for part, found in rows if part.name],
        "steps": [{"from": part.begin, "to": part.end, **found} for part, found in rows if not part.name],
    }


def _interval(measured: MeasuredImportance, scores: Sequence[Mapping[str, float]], name: str) -> dict[str, float]:
    """Return mean and bounds from Student's t over the repeats."""
    from scipy import stats

    sign = -1 if name == "accuracy" else 1
    worse = sign * (np.array([each[name] for each in scores]) - measured.whole[name])
    mean, count = float(worse.mean()), len(worse)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * worse.std(ddof=1) / np.sqrt(count))
    return {"mean": mean, "low": mean - reach, "high": mean + reach}
