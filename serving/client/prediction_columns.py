"""The outputs of some sequences, and the columns that they are named as."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig, RegressionConfig, TaskConfig
from noisy_gru.schema.errors import ModelError
from noisy_gru.schema.interval_config import levels_of
from noisy_gru.schema.task_config import MultiLabelConfig, has_step_targets, is_multi_label, targets_of

SEQUENCE_ID = "sequence_id"
PROBABILITY = "probability_"
ACTUAL, P_VALUES = "actual", "p_values"  # of forecasts whose targets have come, beside the outputs
LENGTHS = "lengths"
STEP, TIME = "step", "time"  # columns of answers at each step
_CAME = {"actual": ACTUAL, "p_value": P_VALUES}
_CLASSES = ("probabilities", "class_id", "label_bytes", "labels_bytes")
_LABELS = ("probabilities", "answers", "labels_bytes")


@dataclass(frozen=True)
class Part:
    """The outputs of some sequences, and the version that computed them (None if unknown)."""

    ids: Sequence[str]
    outputs: dict[str, np.ndarray]
    version: int | None = None


def columns_of(outputs: Mapping[str, np.ndarray], count: int, task: TaskConfig) -> dict[str, np.ndarray]:
    """Name the outputs of ``count`` sequences as columns, each [count].

    Of answers at each step (`task.per_step`) these are the outputs of ``by_step``, and the steps are counted.

    Classification: the label, and `probability_<class>` for each class. Several labels: 1 or 0 for each, and after it
    `probability_<label>`. Regression: the label, or each target.
    Forecasting: `<target>@<horizon>`. With quantiles, after each of these numbers `<name>_q<level>`, such as
    `load@1_q0.1`; with `p_values` at last `<name>_actual` and `<name>_p_value`, NaN where no value has come.

    Raises:
        ModelError: the outputs are not those of a model for this task.
    """
    levels = levels_of(task)
    wanted: tuple[str, ...] = ("predictions", *(["quantiles"] if levels else []))
    if isinstance(task, ClassificationConfig):
        wanted = _CLASSES
    elif is_multi_label(task):
        wanted = _LABELS
    missing = [name for name in wanted if name not in outputs]
    if missing:
        had = ", ".join(sorted(outputs)) or "nothing"
        raise ModelError(
            f"the model returned {had}; expected {', '.join(wanted)} ({task.kind}). Is it a model of this "
            "configuration?"
        )
    wrong = [f"{len(outputs[name])} of {name}" for name in wanted if len(outputs[name]) != count]
    if wrong:
        raise ModelError(f"the model returned {', '.join(wrong)} for {count} sequences")
    if is_multi_label(task):
        return _labels(outputs, count, task)
    if isinstance(task, ClassificationConfig):
        probabilities = outputs["probabilities"]
        if count and (probabilities.ndim != 2 or outputs["labels_bytes"].shape != probabilities.shape):
            raise ModelError(
                f"the model returned probabilities of the shape {list(probabilities.shape)} and labels_bytes of "
                f"{list(outputs['labels_bytes'].shape)}; expected [{count}, classes] of both"
            )
        names = _texts("labels_bytes", outputs["labels_bytes"][0]) if count else []
        labels = np.array(_texts("label_bytes", outputs["label_bytes"]), object)
        return {task.label: labels, **{f"{PROBABILITY}{name}": probabilities[:, at] for at, name in enumerate(names)}}
    targets = len(targets_of(task))
    shape = (len(task.horizons), targets) if isinstance(task, ForecastingConfig) else (targets,)
    for name, expected in (("predictions", shape), ("quantiles", (*shape, len(levels)))):
        if name in wanted and outputs[name].shape[1:] != expected:
            raise ModelError(
                f"the model returned {name} of the shape {list(outputs[name].shape)}; expected {[count, *expected]} "
                f"({task.kind}). Is it a model of this configuration?"
            )
    names = number_names(task)
    values = outputs["predictions"].reshape(count, len(names))
    numbers = {name: values[:, place] for place, name in enumerate(names)}
    quantiles = outputs["quantiles"].reshape(count, len(names), len(levels)) if levels else None
    came = {name: outputs[key].reshape(count, len(names)) for name, key in _CAME.items()} if P_VALUES in outputs else {}
    found = {}
    for place, (name, number) in enumerate(numbers.items()):
        found[name] = number
        if quantiles is not None:
            found |= {f"{name}_q{level:g}": quantiles[:, place, at] for at, level in enumerate(levels)}
        found |= {f"{name}_{ending}": values[:, place] for ending, values in came.items()}
    return found


def columns_of_what_came(outputs: Mapping[str, np.ndarray], task: TaskConfig) -> set[str]:
    """Return the names among ``columns_of`` that hold what came and its p-value, of which NaN means nothing came."""
    if P_VALUES not in outputs or not isinstance(task, RegressionConfig | ForecastingConfig):
        return set()
    return {f"{name}_{ending}" for name in number_names(task) for ending in _CAME}


def _labels(outputs: Mapping[str, np.ndarray], count: int, task: MultiLabelConfig) -> dict[str, np.ndarray]:
    names = _texts("labels_bytes", outputs["labels_bytes"][0]) if count else task.labels
    shapes = [list(outputs[name].shape) for name in _LABELS]
    if count and (names != task.labels or any(shape != [count, len(names)] for shape in shapes)):
        raise ModelError(
            f"the model returned answers of the shapes {', '.join(map(str, shapes))} to the labels {', '.join(names)}; "
            f"expected [{count}, {len(task.labels)}], of {', '.join(task.labels)}. Is it a model of this configuration?"
        )
    found = {}
    for place, name in enumerate(names):
        found[name] = outputs["answers"][:, place].astype(np.int64)
        found[f"{PROBABILITY}{name}"] = outputs["probabilities"][:, place]
    return found


def without_taken(entity_columns: Mapping[str, Sequence[str]], columns: Collection[str]) -> dict[str, Sequence[str]]:
    """Leave out the columns of an entity that have the name of one of the answers' columns: the id holds them, too."""
    taken = {SEQUENCE_ID, *columns}
    return {name: texts for name, texts in entity_columns.items() if name not in taken}


def by_step(
    outputs: Mapping[str, np.ndarray], count: int, task: TaskConfig
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return the outputs of all steps of ``count`` sequences, [N, ...], with `task.per_step`.

    Returns:
        The outputs, the place of each step's sequence int64 [N], and its number in it from 1 int64 [N].

    Raises:
        ModelError: the outputs are not those of a model with an answer for each step.
    """
    numbers = has_step_targets(task)
    wanted, first, axes = (("predictions",), "predictions", 3) if numbers else (_CLASSES, "label_bytes", 2)
    given = [outputs[name] for name in (*wanted, LENGTHS) if name in outputs]
    whole = len(given) == len(wanted) + 1 and all(len(each) == count for each in given)
    if not whole or (count and outputs[first].ndim != axes):
        had = ", ".join(f"{name} {list(value.shape)}" for name, value in sorted(outputs.items())) or "nothing"
        raise ModelError(
            f"the model returned {had} for {count} sequences; expected {', '.join((*wanted, LENGTHS))}, with an "
            "answer for each step (task.per_step: true). Is it a model of this configuration?"
        )
    lengths = outputs[LENGTHS].astype(np.int64)
    if not count:
        return {name: outputs[name] for name in wanted}, lengths, lengths
    width = outputs[first].shape[1]
    if (lengths < 0).any() or (lengths > width).any():
        raise ModelError(f"the model returned lengths up to {lengths.max()}, and answers to {width} steps")
    sequence = np.repeat(np.arange(count), lengths)
    step = np.arange(len(sequence)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    if numbers:
        return {"predictions": outputs["predictions"][sequence, step]}, sequence, step + 1
    found = {name: outputs[name][sequence, step] for name in ("probabilities", "class_id", "label_bytes")}
    return {**found, "labels_bytes": outputs["labels_bytes"][sequence]}, sequence, step + 1


def number_names(task: RegressionConfig | ForecastingConfig) -> list[str]:
    """Return the columns of the predicted numbers: of all targets at the first horizon, then at the second."""
    if not isinstance(task, ForecastingConfig):
        return targets_of(task)
    return [f"{target}@{horizon}" for horizon in task.horizons for target in task.targets]


def _texts(name: str, values: np.ndarray) -> list[str]:
    try:
        return [value.decode() for value in values.tolist()]
    except (AttributeError, UnicodeDecodeError) as error:
        raise ModelError(f"the model's output {name} is not text in UTF-8: {error}") from error
