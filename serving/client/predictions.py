"""Predictions: a model's outputs under the names of the configuration's columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig, TaskConfig
from noisy_gru.schema.errors import ModelError
from noisy_gru.serving.client.errors import Refused

if TYPE_CHECKING:
    import pandas as pd

Answer = dict[str, Any]
SEQUENCE_ID = "sequence_id"
_CLASSES = ("probabilities", "class_id", "label_bytes", "labels_bytes")


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
        return {task.label: labels, **{f"probability_{name}": probabilities[:, at] for at, name in enumerate(names)}}
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


def answers_of(ids: Sequence[str], outputs: Mapping[str, np.ndarray], task: TaskConfig) -> list[Answer]:
    """Return one mapping for each sequence: its id, then the columns of ``columns_of``.

    Raises:
        ModelError: as ``columns_of``.
    """
    columns = columns_of(outputs, len(ids), task)
    values = [_plain(column) for column in columns.values()]
    names = (SEQUENCE_ID, *columns)
    return [dict(zip(names, row, strict=True)) for row in zip(ids, *values, strict=True)]


def _plain(column: np.ndarray) -> list[Any]:
    if column.dtype == object:
        return column.tolist()
    # Nine digits distinguish any two float32.
    return [float(f"{value:.9g}") for value in column.tolist()]


@dataclass(frozen=True)
class Part:
    """The outputs of some sequences, and the version that computed them (None if unknown)."""

    ids: Sequence[str]
    outputs: dict[str, np.ndarray]
    version: int | None = None


@dataclass(frozen=True)
class Predictions:
    """A model's predictions.

    Attributes:
        task: of the configuration.
        parts: the outputs, in the order of the request.
        refused: sequences that the server refused (with ``on_error="collect"``).
        unusable: rows that belong to no sequence, with `reason`, `problem`, `file` and `row`.
        unused: number of unused rows, by reason.
    """

    task: TaskConfig
    parts: Sequence[Part]
    refused: list[Refused] = field(default_factory=list)
    unusable: list[dict[str, Any]] = field(default_factory=list)
    unused: Counter[str] = field(default_factory=Counter)

    @cached_property
    def ids(self) -> list[str]:
        """The ids of the predicted sequences, in the order of the request."""
        return [name for part in self.parts for name in part.ids]

    @cached_property
    def answers(self) -> list[Answer]:
        """One mapping for each predicted sequence: `sequence_id`, then the names of ``columns_of``."""
        return [answer for part in self.parts for answer in answers_of(part.ids, part.outputs, self.task)]

    @property
    def versions(self) -> list[int]:
        """The versions that answered: more than one if the server changed versions in between; empty over REST."""
        return sorted({part.version for part in self.parts if part.version is not None})

    def output(self, name: str) -> np.ndarray:
        """Return an output of all predicted sequences, as the model computed it.

        Raises:
            ModelError: there is no such output, or versions with different classes answered.
        """
        if not self.parts:
            raise ModelError(f"there is no output {name}: no sequence was predicted")
        if any(name not in part.outputs for part in self.parts):
            raise ModelError(f"there is no output {name}; there are {', '.join(sorted(self.parts[0].outputs))}")
        values = [part.outputs[name] for part in self.parts]
        if len({value.shape[1:] for value in values}) > 1:
            shown = ", ".join(map(str, self.versions)) or "unknown"
            raise ModelError(f"{name}: the versions that answered ({shown}) differ; choose one of them (model_version)")
        return np.concatenate(values)

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each predicted sequence, with the columns of ``answers``; numbers are float32."""
        import pandas as pd

        frames = []
        for part in self.parts:
            frames.append(
                pd.DataFrame({SEQUENCE_ID: list(part.ids), **columns_of(part.outputs, len(part.ids), self.task)})
            )
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({SEQUENCE_ID: []}, dtype=object)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.answers)
