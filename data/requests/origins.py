"""Where predictions belong: the entity of each sequence, and the times of its targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisy_gru.data.columns import Columns
from noisy_gru.data.sequences.sequences import Sequences
from noisy_gru.data.sequences.steps import parse_steps
from noisy_gru.data.values.entity_names import names_by_column
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig
from noisy_gru.schema.task_config import is_per_step


@dataclass(frozen=True)
class Origins:
    """The origin of M sequences.

    Attributes:
        entities: text of each, [M].
        target_times: of forecasts: time of each horizon's target, [M, H], ns since 1970 (int64) for timestamps, else
            numbers; None where the time is irregular and no row says when the next events are, or without forecasting.
        time_kind: `data.time.kind`.
        entity_columns: the columns that name an entity together; none where it is one.
        step_times: of answers at each step: the times of the steps of each sequence; None without `data.time`, or
            where each sequence has one answer.
    """

    entities: list[str]
    target_times: np.ndarray | None
    time_kind: str
    entity_columns: tuple[str, ...] = ()
    step_times: list[np.ndarray] | None = None

    def part(self, which: slice) -> Origins:
        """Return the origins of some of the sequences."""
        return Origins(
            self.entities[which],
            None if self.target_times is None else self.target_times[which],
            self.time_kind,
            self.entity_columns,
            None if self.step_times is None else self.step_times[which],
        )

    def columns_at(self, places: Sequence[int]) -> dict[str, list[str]]:
        """Return the texts of the entity's columns of some sequences, by column; none where it is one column."""
        return names_by_column([self.entities[place] for place in places], self.entity_columns)


def origins_of_entities(
    names: Sequence[str], dataset: DatasetConfig, step_times: Sequence[np.ndarray] | None = None
) -> Origins | None:
    """Return the origins of streams, which are named by their entities; None if there is nothing to add to the names.

    Args:
        names: of the entities.
        dataset: the configuration.
        step_times: as in `Origins`.
    """
    columns = joined_columns(dataset)
    if not columns and step_times is None:
        return None
    kind = dataset.data.time.kind if dataset.data.time else "integer"
    return Origins(list(names), None, kind, columns, None if step_times is None else list(step_times))


def joined_columns(dataset: DatasetConfig) -> tuple[str, ...]:
    """Return the columns that name an entity together; none where it is one, or there is none."""
    columns = dataset.data.entity_columns
    return columns if len(columns) > 1 else ()


def origins_of(sequences: Sequences, dataset: DatasetConfig) -> Origins:
    """Return the entities of sequences to predict, and the times that they predict."""
    rows, task = sequences.rows, dataset.task
    entities = [rows.entities[code] for code in rows.entity[sequences.start].tolist()]
    columns = Columns.of(dataset, prediction=True)
    times: Any = None
    if isinstance(task, ForecastingConfig) and dataset.data.time is not None:
        last, ahead = sequences.stop - 1, np.array(task.horizons)
        steps = parse_steps(dataset.data.time)
        if dataset.data.time.gaps != "ignore" and steps is not None:
            times = steps.ahead(rows.time[last][:, np.newaxis], ahead)
        elif columns.future == "rows":
            times = rows.time[last[:, np.newaxis] + ahead]
    return Origins(entities, times, columns.time_kind, joined_columns(dataset), step_times_of(sequences, dataset))


def step_times_of(sequences: Sequences, dataset: DatasetConfig) -> list[np.ndarray] | None:
    """Return the times of each sequence's steps, if they have answers and times; see `Origins`."""
    if not is_per_step(dataset.task) or dataset.data.time is None:
        return None
    bounds = zip(sequences.start.tolist(), sequences.stop.tolist(), strict=True)
    return [sequences.rows.time[start:stop] for start, stop in bounds]
