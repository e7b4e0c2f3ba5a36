"""Outputs of both models for each test sequence, recorded from TFMA: Parquet files in the `evaluation` artifact.

    >>> with recorded(folder, dataset.task): Evaluator.Do(...)  # doctest: +SKIP
    >>> pd.read_parquet(folder)  # doctest: +SKIP

Columns: `sequence_id`, `slices` (its slices' names), `label`, `candidate`, `published` (null on a first run), and the
naive answers. A classification's are class names, with `candidate_loss` and `published_loss` (the negative logarithm of
the true class' probability) beside them, and of up to ``MOST_CLASSES`` classes `candidate_probabilities` in the
model's order; those of several labels are lists of 0 and 1, and so are losses and probabilities of numbers; a
forecast's are lists, all targets of the first horizon, then of the second.
With `task.per_step` there is a row for each step with a label, or a target.
Of a model with quantiles `candidate_crps` and `published_crps` are there, too, and `candidate_interval`: of each number
the lowest quantile and the highest.
TFX's Evaluator calls extractors.py by its name, so the folder is handed over by a context variable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_model_analysis as tfma
from apache_beam.io.parquetio import WriteToParquet
from tensorflow_model_analysis import constants

from noisy_gru.components.evaluation.class_accumulators import answered_class, class_loss, known_steps
from noisy_gru.components.evaluation.evaluation_summary import BASELINE, CANDIDATE, slice_label
from noisy_gru.components.evaluation.interval_metrics import CRPS, crps_of, quantiles_of
from noisy_gru.components.evaluation.label_metrics import label_answers, label_losses
from noisy_gru.components.evaluation.metric_catalogue import naive_baselines
from noisy_gru.components.evaluation.recorded_answers import INTERVAL, PROBABILITIES
from noisy_gru.components.evaluation.tfma_metrics import label_and_naive, outputs_of, sequence_name
from noisy_gru.data.columns import SEQUENCE_ID
from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig, TaskConfig
from noisy_gru.schema.interval_config import levels_of
from noisy_gru.schema.task_config import has_several_targets, has_step_targets, is_multi_label, is_per_step, targets_of

# Of more classes the files would be large, and nobody looks at so many curves.
MOST_CLASSES = 50
_target: ContextVar[tuple[str, TaskConfig]] = ContextVar("answers")
_tfma: Any = tfma
_arrow: Any = pa


@contextmanager
def recorded(folder: Path, task: TaskConfig) -> Iterator[None]:
    """Within it TFX's Evaluator, given extractors.py, writes the answers to ``folder``."""
    token = _target.set((str(folder), task))
    try:
        yield
    finally:
        _target.reset(token)


def recorder(has_baseline: bool) -> Any:
    """Return a TFMA extractor that records the outputs of those before it."""
    folder, task = _target.get()
    return _tfma.extractors.Extractor("RecordAnswers", _Record(folder, task, has_baseline))


class _Record(beam.PTransform):
    """Write the answers and let the extracts pass."""

    def __init__(self, folder: str, task: TaskConfig, has_baseline: bool) -> None:
        super().__init__()
        self._folder, self._task, self._has_baseline = folder, task, has_baseline

    def expand(self, input_or_inputs: Any) -> Any:
        rows = input_or_inputs | "ReadAnswers" >> beam.FlatMap(_rows, self._task, self._has_baseline)
        _ = rows | "WriteAnswers" >> WriteToParquet(
            f"{self._folder}/answers", answers_schema(self._task), file_name_suffix=".parquet"
        )
        return input_or_inputs


def answers_schema(task: TaskConfig) -> Any:
    """Return the Arrow schema of the files."""
    common = [("sequence_id", _arrow.string()), ("slices", _arrow.list_(_arrow.string()))]
    if isinstance(task, ClassificationConfig):
        name, loss = _arrow.binary(), _arrow.float64()
        columns = [("label", name), ("candidate", name), ("candidate_loss", loss)]
        columns.append((PROBABILITIES, _arrow.list_(_arrow.float32())))
        return _arrow.schema(common + columns + [("published", name), ("published_loss", loss), ("majority", name)])
    if is_multi_label(task):
        names = ["label", "candidate", "candidate_loss", PROBABILITIES, "published", "published_loss"]
        return _arrow.schema(common + [(name, _arrow.list_(_arrow.float32())) for name in names])
    is_list = isinstance(task, ForecastingConfig) or len(targets_of(task)) > 1
    kind = _arrow.list_(_arrow.float32()) if is_list else _arrow.float64()
    names = ["label", "candidate", "published", *naive_baselines(task)]
    columns = [(name, kind) for name in names]
    if levels_of(task):
        columns += [(f"candidate_{CRPS}", kind), (f"published_{CRPS}", kind)]
        columns.append((INTERVAL, _arrow.list_(_arrow.float32())))
    return _arrow.schema(common + columns)


def _rows(extracts: dict[str, Any], task: TaskConfig, has_baseline: bool) -> list[dict[str, Any]]:
    """Return the row of a sequence; with `task.per_step` one for each step that has a label."""
    if has_step_targets(task):
        return _rows_of_numbers(extracts, task, has_baseline)
    if not is_per_step(task):
        return [_row(extracts, task, has_baseline)]
    features = extracts[constants.FEATURES_KEY]
    label, _ = label_and_naive(task, features)
    rows = [{**_common(extracts), "published": None, "published_loss": None} for name in label if name]
    models = {"candidate": CANDIDATE, "published": BASELINE} if has_baseline else {"candidate": ""}
    for column, model in models.items():
        outputs = outputs_of(extracts, model)
        classes = [bytes(each) for each in outputs["labels_bytes"]]
        names, probabilities, answered = known_steps(label, outputs)
        for row, name, scores, place in zip(rows, names, probabilities, answered, strict=True):
            row["label"] = name
            row[column] = None if np.isnan(scores).any() else classes[place]
            row[f"{column}_loss"] = class_loss(name, classes, scores)
            if column == "candidate":
                row["majority"] = classes[0]
                row[PROBABILITIES] = scores.astype(np.float32) if len(classes) <= MOST_CLASSES else None
    return rows


def _rows_of_numbers(extracts: dict[str, Any], task: TaskConfig, has_baseline: bool) -> list[dict[str, Any]]:
    """Return a row for each step with a target."""
    label, _ = label_and_naive(task, extracts[constants.FEATURES_KEY])
    models = {"candidate": CANDIDATE, "published": BASELINE} if has_baseline else {"candidate": ""}
    columns = {"label": label} | {
        name: np.asarray(outputs_of(extracts, model)["predictions"])[: len(label)] for name, model in models.items()
    }
    several, common = len(targets_of(task)) > 1, {**_common(extracts), "published": None}
    return [
        common
        | {name: row[step].astype(np.float32) if several else float(row[step, 0]) for name, row in columns.items()}
        for step in np.flatnonzero(~np.isnan(label).all(axis=1))
    ]


def _common(extracts: dict[str, Any]) -> dict[str, Any]:
    features = extracts[constants.FEATURES_KEY]
    slices = {slice_label(key) for key in extracts[constants.SLICE_KEY_TYPES_KEY] if key}
    name = sequence_name(features) if features.get(SEQUENCE_ID) is not None else None
    return {"sequence_id": name, "slices": sorted(slices)}


def _row(extracts: dict[str, Any], task: TaskConfig, has_baseline: bool) -> dict[str, Any]:
    features = extracts[constants.FEATURES_KEY]
    label, naive = label_and_naive(task, features)
    row = _common(extracts)
    models = {"candidate": CANDIDATE, "published": BASELINE} if has_baseline else {"candidate": ""}
    row["published"] = row["published_loss"] = None
    if isinstance(task, ClassificationConfig):
        row["label"] = label
        for column, model in models.items():
            outputs = outputs_of(extracts, model)
            classes = [bytes(each) for each in outputs["labels_bytes"]]
            probabilities = np.asarray(outputs["probabilities"], np.float64)
            answered = answered_class(outputs)
            row[column] = None if answered is None else classes[answered]
            row[f"{column}_loss"] = class_loss(label, classes, probabilities)
            if column == "candidate":
                row["majority"] = classes[0]  # the vocabulary begins with the most frequent class of train
                row[PROBABILITIES] = probabilities.astype(np.float32) if len(classes) <= MOST_CLASSES else None
        return row
    if is_multi_label(task):
        row["label"] = np.asarray(label, np.float32)
        for column, model in models.items():
            outputs = outputs_of(extracts, model)
            probabilities = np.asarray(outputs["probabilities"]).reshape(-1)
            row[column] = label_answers(outputs).reshape(-1).astype(np.float32)
            row[f"{column}_loss"] = label_losses(label, probabilities).astype(np.float32)
            if column == "candidate":
                row[PROBABILITIES] = probabilities.astype(np.float32)
        return row
    del row["published_loss"]
    answers = {column: np.asarray(outputs_of(extracts, model)["predictions"]) for column, model in models.items()}
    if levels := levels_of(task):
        row[f"published_{CRPS}"] = None
        truth = np.asarray(label, np.float64)
        truth = truth if truth.ndim else truth[np.newaxis]
        for column, model in models.items():
            quantiles = quantiles_of(outputs_of(extracts, model), truth.shape, levels)
            score = crps_of(truth, quantiles, levels)
            is_list = isinstance(task, ForecastingConfig) or has_several_targets(task)
            row[f"{column}_{CRPS}"] = score.reshape(-1).astype(np.float32) if is_list else float(score[0])
            if column == "candidate":
                row[INTERVAL] = quantiles[..., [0, -1]].reshape(-1).astype(np.float32)
    if not isinstance(task, ForecastingConfig) and not has_several_targets(task):
        return row | {"label": label} | {name: float(value.reshape(-1)[0]) for name, value in answers.items()}
    for kind in naive_baselines(task):
        answers[kind] = np.stack([naive[f"naive_{kind}/{target}"] for target in targets_of(task)], axis=-1)
    answers["label"] = label
    return row | {name: value.reshape(-1).astype(np.float32) for name, value in answers.items()}
