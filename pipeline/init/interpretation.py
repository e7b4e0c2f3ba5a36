"""Interpret a sampled table: roles, task, steps; readings that are near each other may be asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from noisy_gru.data.sequences.steps import FixedSteps, parse_steps
from noisy_gru.pipeline.init.columns import moments, named
from noisy_gru.pipeline.init.inference import guess_columns
from noisy_gru.pipeline.init.roles import Guess, Roles, Table
from noisy_gru.pipeline.init.task_inference import guess_task
from noisy_gru.pipeline.init.time_structure import TimeStructure, nanoseconds, time_structure
from noisy_gru.schema.config import TimeConfig

# The value of --entity for a table without a column that names its sequences.
ONE_SERIES = "none"
MOST_HISTORIES = 20
_MOST_GRID = 200_000


@dataclass(frozen=True)
class Given:
    """What is known of a table: by options, or because it was asked for."""

    task: str | None = None
    entity: str | None = None
    time: str | None = None
    targets: tuple[str, ...] = ()

    def with_answer(self, option: str, value: tuple[str, ...]) -> Given:
        """Return it with the value of an option."""
        if option == "--target":
            return replace(self, targets=value)
        return replace(self, **{option.removeprefix("--"): value[0]})


@dataclass(frozen=True)
class Interpretation:
    """A table's roles and task.

    ``answers`` are the label or the targets; ``structure`` is None where no time follows another.
    """

    table: Table
    roles: Roles
    task: str
    answers: list[str]
    structure: TimeStructure | None

    @property
    def is_forecast(self) -> bool:
        """Whether the task is forecasting."""
        return self.task == "forecasting"

    @property
    def is_per_step(self) -> bool:
        """Whether the label is one of each step: a class, or given numbers, that change within a sequence."""
        return self.task != "forecasting" and self.answers[0] not in self.roles.constant

    def histories(self) -> list[np.ndarray]:
        """Return the first target of some series, float64 [n] each, on the grid of steps where there is one."""
        frame, roles, structure = self.table.frame, self.roles, self.structure
        if structure is None or not pd.api.types.is_numeric_dtype(frame[self.answers[0]]):
            return []
        when = moments(frame[roles.time], roles.time_kind)
        values = frame[self.answers[0]].to_numpy(float, na_value=np.nan)
        series = self.table.series(roles.entity)
        found = []
        for name in np.unique(series[series >= 0])[:MOST_HISTORIES]:
            mine = (series == name) & np.isfinite(when)
            times, known = when[mine], values[mine]
            order = np.argsort(times, kind="stable")
            if len(order):
                found.append(_on_grid(times[order], known[order], structure, roles.time_kind))
        return found


def _on_grid(times: np.ndarray, values: np.ndarray, structure: TimeStructure, kind: str) -> np.ndarray:
    if structure.frequency is None:
        return values
    steps = None
    if kind == "timestamp":
        steps = parse_steps(TimeConfig.model_validate({"column": "time", "kind": kind, **structure.steps}))
    if steps is not None and not isinstance(steps, FixedSteps):
        place, _ = steps.grid(nanoseconds(times), np.array([0, len(times)]))
        place = place - place[0]
    else:
        place = np.round((times - times[0]) / structure.step).astype(np.int64)
    if place[-1] >= _MOST_GRID:
        return values
    grid = np.full(int(place[-1]) + 1, np.nan)
    grid[place] = values
    return grid


def _without_copies(table: Table) -> tuple[Table, int]:
    """Leave out rows that repeat another one of their part in every column, as ingestion does; return how many."""
    copy = table.frame.assign(part=table.part).duplicated().to_numpy()
    if not copy.any():
        return table, 0
    return replace(table, frame=table.frame[~copy].reset_index(drop=True), part=table.part[~copy]), int(copy.sum())


def interpret(table: Table, given: Given, ask: Callable[[Guess], str] | None) -> Interpretation:
    """Infer roles and task; let ``ask`` decide what is not sure, one question after the other.

    Raises:
        ConfigError: a given column can't be what it is given for, or nothing can be inferred.
    """
    table, copies = _without_copies(table)
    while True:
        one_series = given.entity == ONE_SERIES and ONE_SERIES not in table.frame
        roles = guess_columns(
            table, entity=None if one_series else given.entity, time=given.time, one_series=one_series
        )
        task, answers = guess_task(table, roles, task=given.task, targets=list(given.targets))
        question = next((guess for guess in roles.guesses if not guess.sure and guess.others), None) if ask else None
        if question is None or ask is None:
            break
        answer = ask(question)
        keeps = question.option == "--target" and answer == question.value
        given = given.with_answer(question.option, tuple(answers) if keeps else (answer,))
    if copies:
        rows = len(table.frame) + copies
        roles.guesses.append(Guess("copies", f"{copies:,} of {rows:,} rows repeat another one exactly, and count once"))
    when = moments(table.frame[roles.time], roles.time_kind)
    years = named(roles.time, "year|years|yr")
    structure = time_structure(when, table.series(roles.entity), roles.time_kind, years=years)
    return Interpretation(table, roles, task, answers, structure)
