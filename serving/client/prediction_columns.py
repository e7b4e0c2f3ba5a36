"""The outputs of some sequences, and the columns that they are named as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig, TaskConfig
from noisy_gru.schema.errors import ModelError

SEQUENCE_ID = "sequence_id"
PROBABILITY = "probability_"
_CLASSES = ("probabilities", "class_id", "label_bytes", "labels_bytes")


@dataclass(frozen=True)
class Part:
    """The outputs of some sequences, and the version that computed them (None if unknown)."""

    ids: Sequence[str]
    outputs: dict[str, np.ndarray]
    version: int | None = None


def columns_of(outputs: Mapping[str, np.ndarray], count: int, task: TaskConfig) -> dict[str, np.ndarray]:
    """Name the outputs of ``count`` sequences as columns, each [count].

    Classification: the label, and `probability_<class>` for each class. Regression: the label. Forecasting:
    `<target>@<horizon>`.

    Raises:
        ModelError: the outputs are not those of a model for this task.
    """
    wanted = _CLASSES if isinstance(task, ClassificationConfig) else ("predictions",)
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
    values = outputs["predictions"]
    shape = (len(task.horizons), len(task.targets)) if isinstance(task, ForecastingConfig) else (1,)
    if values.shape[1:] != shape:
        raise ModelError(
            f"the model returned predictions of the shape {list(values.shape)}; expected {[count, *shape]} "
            f"({task.kind}). Is it a model of this configuration?"
        )
    if isinstance(task, ForecastingConfig):
        return {
            f"{target}@{horizon}": values[:, row, column]
            for row, horizon in enumerate(task.horizons)
            for column, target in enumerate(task.targets)
        }
    return {task.label: values[:, 0]}


def _texts(name: str, values: np.ndarray) -> list[str]:
    try:
        return [value.decode() for value in values.tolist()]
    except (AttributeError, UnicodeDecodeError) as error:
        raise ModelError(f"the model's output {name} is not text in UTF-8: {error}") from error
