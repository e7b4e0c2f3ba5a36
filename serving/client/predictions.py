"""Predictions: a model's outputs under the names of the configuration's columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from noisy_gru.data.requests.origins import Origins
from noisy_gru.saved_model.conformal_scores import ConformalScores
from noisy_gru.schema.config import TaskConfig
from noisy_gru.schema.errors import ModelError
from noisy_gru.schema.html_tables import html_heading, html_list, html_table
from noisy_gru.schema.task_config import is_per_step
from noisy_gru.serving.client.errors import Refused
from noisy_gru.serving.client.prediction_columns import (
    SEQUENCE_ID,
    Part,
    columns_of,
    columns_of_what_came,
    without_taken,
)
from noisy_gru.serving.client.prediction_tables import Layout, plain_rows, prediction_table

if TYPE_CHECKING:
    import pandas as pd

Answer = dict[str, Any]
_SHOWN, _COLUMNS_SHOWN = 10, 12  # rows and columns in a notebook
_OF_STEPS: dict[str, Any] = {
    "probabilities": 0.0,
    "class_id": -1,
    "label_bytes": b"",
    "predictions": 0.0,
}  # what is after the end


def answers_of(
    ids: Sequence[str],
    outputs: Mapping[str, np.ndarray],
    task: TaskConfig,
    entity_columns: Mapping[str, Sequence[str]] | None = None,
) -> list[Answer]:
    """Return one mapping for each sequence: its id, the columns of its entity if several, those of ``columns_of``.

    Raises:
        ModelError: as ``columns_of``.
    """
    columns = columns_of(outputs, len(ids), task)
    before = without_taken(entity_columns or {}, columns)
    came = columns_of_what_came(outputs, task)
    values = [
        [None if name in came and value != value else value for value in _plain(column)]
        for name, column in columns.items()
    ]
    names = (SEQUENCE_ID, *before, *columns)
    return [dict(zip(names, row, strict=True)) for row in zip(ids, *before.values(), *values, strict=True)]


def _padded(values: list[np.ndarray], empty: Any) -> list[np.ndarray]:
    """Pad answers to steps, [B, T, ...], to one number of steps."""
    most = max(value.shape[1] for value in values)
    return [
        np.pad(value, [(0, 0), (0, most - value.shape[1]), *[(0, 0)] * (value.ndim - 2)], constant_values=empty)
        for value in values
    ]


def _plain(column: np.ndarray) -> list[Any]:
    if column.dtype == object or column.dtype.kind == "i":
        return column.tolist()
    # Nine digits distinguish any two float32.
    return [float(f"{value:.9g}") for value in column.tolist()]


def _shown(value: Any) -> str | float | None:
    return value if isinstance(value, str | int | float) or value is None else str(value)


@dataclass(frozen=True)
class Predictions:
    """A model's predictions.

    Attributes:
        task: of the configuration.
        parts: the outputs, in the order of the request.
        refused: sequences that the server refused (with ``on_error="collect"``).
        unusable: rows that belong to no sequence, with `reason`, `problem`, `file` and `row`.
        unused: number of unused rows, by reason.
        origins: entities and targets' times of ``places``; None of ready-made tf.Examples.
        places: index of each sequence id in ``origins``.
    """

    task: TaskConfig
    parts: Sequence[Part]
    refused: list[Refused] = field(default_factory=list)
    unusable: list[dict[str, Any]] = field(default_factory=list)
    unused: Counter[str] = field(default_factory=Counter)
    origins: Origins | None = None
    places: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def ids(self) -> list[str]:
        """The ids of the predicted sequences, in the order of the request."""
        return [name for part in self.parts for name in part.ids]

    @cached_property
    def answers(self) -> list[Answer]:
        """One mapping for each predicted sequence: `sequence_id`, then the names of ``columns_of``.

        Where several columns name an entity, they come before the latter. With `task.per_step` one for each step:
        after these `step` (from 1), and `time` if there is `data.time`.
        """
        if is_per_step(self.task):
            return list(plain_rows(self.to_arrow("short")))
        return [
            answer
            for part in self.parts
            for answer in answers_of(part.ids, part.outputs, self.task, self._entity_columns(part))
        ]

    def _entity_columns(self, part: Part) -> dict[str, list[str]]:
        if self.origins is None:
            return {}
        return self.origins.columns_at([self.places[name] for name in part.ids])

    def p_values(self, scores: ConformalScores, actual: np.ndarray) -> np.ndarray:
        """Return the conformal p-value of each value that came after these answers: small where it is strange.

        Args:
            scores: of the version that answered (``anomalies.read_scores``).
            actual: what came, in the units of the data: [B, H, K] of forecasts, [B, K] of a regression; NaN where it is
                missing, or not known yet.

        Returns:
            float64 in the shape of ``actual``, NaN where that is.

        Raises:
            ModelError: the answers are of another model.
        """
        names = [name for name in ("predictions", "quantiles") if self.parts and name in self.parts[0].outputs]
        return scores.p_values({name: self.output(name) for name in names}, actual)

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
        if is_per_step(self.task) and name in _OF_STEPS:
            values = _padded(values, _OF_STEPS[name])
        if len({value.shape[1:] for value in values}) > 1:
            shown = ", ".join(map(str, self.versions)) or "unknown"
            raise ModelError(f"{name}: the versions that answered ({shown}) differ; choose one of them (model_version)")
        return np.concatenate(values)

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each predicted sequence or step, with the columns of ``answers``; numbers are float32."""
        import pandas as pd

        if is_per_step(self.task):
            return self.to_arrow("short").to_pandas()
        frames = []
        for part in self.parts:
            columns = columns_of(part.outputs, len(part.ids), self.task)
            before = without_taken(self._entity_columns(part), columns)
            frames.append(pd.DataFrame({SEQUENCE_ID: list(part.ids), **before, **columns}))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({SEQUENCE_ID: []}, dtype=object)

    def to_arrow(self, layout: Layout = "wide") -> Any:
        """Return a pyarrow Table, with entities, times and the model's version; see ``prediction_table``."""
        return prediction_table(self.parts, self.task, layout, origins=self.origins, places=self.places)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the first rows, and how many rows and sequences have no answer."""
        versions = f" of version {', '.join(map(str, self.versions))}" if self.versions else ""
        parts = [html_heading(f"{len(self)} predictions{versions}")]
        if first := next((part for part in self.parts if part.ids), None):
            few = {name: values[:_SHOWN] for name, values in first.outputs.items()}
            head = replace(self, parts=[Part(list(first.ids[:_SHOWN]), few, first.version)])
            rows = head.answers[:_SHOWN]
            names = list(rows[0])[:_COLUMNS_SHOWN]
            parts.append(html_table(names, [[_shown(row.get(name)) for name in names] for row in rows]))
        notes = [f"{len(self.unusable)} rows without a prediction"] if self.unusable else []
        notes += [f"{len(self.refused)} sequences refused"] if self.refused else []
        notes += [f"{count} rows not used: {reason}" for reason, count in self.unused.items()]
        return f"<div>{''.join(parts)}{html_list(notes) if notes else ''}</div>"

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.answers)
