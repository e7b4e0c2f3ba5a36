"""Draft the sections of a configuration that follow from an interpreted table: first from a sample, then all rows."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from noisy_gru.components.evaluation.config import EvaluationConfig
from noisy_gru.pipeline.init.columns import MOST_UNPARSABLE
from noisy_gru.pipeline.init.feature_inference import (
    MOST_VOCABULARY,
    calendar_features,
    infer_features,
    propose_offset,
)
from noisy_gru.pipeline.init.interpretation import Interpretation
from noisy_gru.pipeline.init.missing_codes import guess_of
from noisy_gru.pipeline.init.roles import Guess
from noisy_gru.pipeline.init.sizing import (
    MOST_LOST,
    Training,
    prefers_convolutions,
    prefers_difference,
    prefers_parallel_forecast,
    prefers_segments,
    training_of,
    windows_of,
)
from noisy_gru.pipeline.init.split_inference import (
    column_splits,
    entity_splits,
    file_splits,
    prefers_time,
    split_column,
    start_of_test,
    tested_sequences,
    time_splits,
)
from noisy_gru.pipeline.init.time_structure import season_of
from noisy_gru.pipeline.schema_file.data_profile import Measures
from noisy_gru.schema.config import SPLITS, DatasetConfig
from noisy_gru.schema.file_patterns import escape
from noisy_gru.storage.object_stores import is_remote

_SURE_ENTITIES = 50


class Draft:
    """The sections ``data``, ``task`` and ``splits``, and the training's settings.

    Args:
        reading: the interpreted table.
        patterns: files or patterns, relative to the current folder.
        published: split of each pattern, if they are a published split.
        out: folder of the configuration.
    """

    def __init__(
        self, reading: Interpretation, patterns: Sequence[str], published: Sequence[str] | None, out: Path
    ) -> None:
        roles, frame = reading.roles, reading.table.frame
        self.reading = reading
        self.min_tested: int | None = None
        self._names = list(dict.fromkeys(published or [""]))
        self.training = Training(epochs=50, batch_size=32, patience=10, difference=False)
        column = split_column(frame, roles)
        self.features, self.left_out = infer_features(
            frame, roles, reading.answers, forecasting=reading.is_forecast, without=[column] if column else []
        )
        if reading.task == "regression":
            propose_offset(reading.answers[0], frame[reading.answers[0]], roles, is_target=True)
        self.splits: dict[str, Any] | None = None
        self.task: dict[str, Any]
        files: list[str] | dict[str, list[str]] = _relative(patterns, out)
        if column is not None and not reading.is_forecast:
            self.splits = column_splits(column, frame, roles)
        elif published is not None:
            self.splits = self._published(list(dict.fromkeys(published)))
            if self.splits is not None and self.splits["by"] == "files":
                placed = list(zip(_relative(patterns, out), published, strict=True))
                files = {split: [each for each, name in placed if name == split] for split in SPLITS}
                files = {split: some for split, some in files.items() if some}
        self.data: dict[str, Any] = {
            "files": files,
            "entity": roles.entity,
            "time": {"column": roles.time, "kind": roles.time_kind},
        }
        if reading.is_forecast:
            self.task = {"kind": "forecasting", "targets": reading.answers, "input_length": 1, "horizons": [1]}
        else:
            several = "labels" if reading.task == "classification" else "targets"
            self.task = {"kind": reading.task}
            self.task |= {several: reading.answers} if len(reading.answers) > 1 else {"label": reading.answers[0]}
            if reading.is_per_step:
                self.task["per_step"] = True

    def _published(self, names: list[str]) -> dict[str, Any] | None:
        reading = self.reading
        if not reading.is_forecast:
            return file_splits(names, reading.table, reading.roles)
        start = start_of_test(reading.table, reading.roles, names)
        if start is not None:
            reading.roles.guesses.append(
                Guess(f"splits by time, test from {start}", "the files of test go on from there")
            )
            return {"by": "time", "eval": 0.1, "test": start}
        return file_splits(names, reading.table, reading.roles) if reading.roles.entity is not None else None

    def mark_missing(self, codes: dict[str, list[float]]) -> None:
        """Write the numbers that stand for a missing value, by column; those of the answer are of all columns."""
        for place, entry in enumerate(self.features):
            name = entry if isinstance(entry, str) else str(entry.get("name"))
            if name in codes:
                self.features[place] = {
                    **({"name": entry} if isinstance(entry, str) else entry),
                    "missing_codes": codes[name],
                }
                self.reading.roles.guesses.append(guess_of(name, codes[name]))
        named = [entry if isinstance(entry, str) else entry.get("name") for entry in self.features]
        for name in [name for name in self.reading.answers if name in codes and name not in named]:
            csv = self.data.setdefault("csv", {})
            csv["missing"] = [*csv.get("missing", []), *(f"{code:g}" for code in codes[name])]
            self.reading.roles.guesses.append(guess_of(name, codes[name]))

    def dataset(self) -> DatasetConfig:
        """Return the configuration of the data set as drafted so far."""
        one_series = self.reading.roles.entity is None
        splits = self.splits or {"by": "time" if one_series else "entity"}
        return DatasetConfig.model_validate(
            {"data": {**self.data, "features": self.features}, "task": self.task, "splits": splits}
        )

    def fit(self, measures: Measures) -> None:
        """Choose splits, lengths and the training from the profile of all rows."""
        lengths = np.array(sorted(measures.steps.values()), int)
        if self.reading.is_forecast:
            table = self.reading.table
            # Rows that can't be used are in one of them alone.
            complete = not table.is_cut and measures.rows * (1 - MOST_UNPARSABLE) <= len(table.frame)
            self._mark_static(complete)
            self._fit_forecast(lengths, list(measures.steps), complete=complete)
            return
        self.data["max_length"] = int(np.ceil(max(lengths, default=1) * 1.5))
        if self.splits is None:
            self._split_by_entity(list(measures.steps))
        self._check_tested(list(measures.steps))
        self.training = training_of(len(lengths), int(lengths.sum()))
        reads_numbers = any(not feature.static for feature in self.dataset().data.numeric)
        is_whole = self.reading.task == "classification" and not self.reading.is_per_step
        if is_whole and reads_numbers and prefers_convolutions(lengths):
            self.training = dataclasses.replace(self.training, preset="classification")
            why = (
                f"{len(lengths)} sequences of {int(np.median(lengths))} steps (median): with so few, convolutions "
                "before the GRUs and random kernels beside them do better on published data than the GRUs alone"
            )
            self.reading.roles.guesses.append(Guess("preset classification", why))
        elif not self.reading.is_per_step and prefers_segments(lengths):
            self.training = dataclasses.replace(self.training, preset="long")
            why = (
                f"{len(lengths)} sequences of {int(np.median(lengths))} steps (median): the GRUs read segments of 24 "
                "steps, as step by step a training would take many times as long"
            )
            self.reading.roles.guesses.append(Guess("preset long", why))

    def _fit_forecast(self, lengths: np.ndarray, entities: list[str], *, complete: bool) -> None:
        reading, roles, structure = self.reading, self.reading.roles, self.reading.structure
        season: int | None = None
        histories = reading.histories()
        times = max(lengths, default=1)
        if structure is not None:
            roles.guesses.append(Guess(f"steps {structure.name}", structure.describe()))
            if structure.gaps != "ignore":
                self.data["time"] |= {**structure.steps, "gaps": structure.gaps}
                lengths = np.round(lengths / (1 - structure.holes)).astype(int)
                times = max(lengths, default=1)
                why = f"{structure.holes:.2%} of the steps are missing; filled ones have missing values"
                roles.guesses.append(Guess("gaps fill", why))
                if structure.align != "exact":
                    self.data["time"]["align"] = structure.align
                    why = f"times are about {structure.name} apart and change their phase: each row moves to a step"
                    roles.guesses.append(Guess(f"align {structure.align}", why))
            elif roles.time_kind == "timestamp" and structure.is_regular:
                # The times ahead follow, and with them the calendar that a forecast reads.
                self.data["time"] |= {**structure.steps, "gaps": "fill"}
                roles.guesses.append(Guess("gaps fill", "none so far; the times of forecasts follow from the steps"))
            if structure.market is not None:
                why = "no row is on the weekdays on which this market is closed"
                roles.guesses.append(Guess(f"holidays of {structure.market}", why))
            season, why = season_of(structure, histories, int(np.median(lengths)) if len(lengths) else 0)
            if season is not None:
                roles.guesses.append(Guess(f"season {season}", why))
        if (
            roles.entity is not None
            and self.splits is None
            and not prefers_time(reading.table, roles, lengths, test=0.15)
        ):
            self._split_by_entity(entities)
        by_time = self.splits is None or self.splits["by"] == "time"
        windows = windows_of(lengths, season, by_time=by_time)
        if self.splits is None:
            self.splits = time_splits(int(times), windows.horizons[-1], len(lengths))
        self.task |= {"input_length": windows.input_length, "horizons": windows.horizons}
        if self.data["time"].get("gaps") == "fill" and not complete:
            # Rows that the sample doesn't show may leave out years.
            self.data["time"]["fill_limit"] = windows.input_length + windows.horizons[-1]
        if windows.stride > 1:
            self.task["stride"] = windows.stride
        if season is not None:
            self.task["season_length"] = season
        lost = lengths[lengths < windows.input_length + windows.horizons[-1]].sum() / max(lengths.sum(), 1)
        if lost > MOST_LOST:
            self.data["policies"] = {"too_short": "drop"}
            why = f"{lost:.0%} of the rows are of a {roles.entity} with fewer steps than any window"
            roles.guesses.append(Guess("too_short drop", why, sure=False))
        why = f"histories of {int(np.median(lengths)) if len(lengths) else 0} steps (median)"
        roles.guesses.append(Guess(f"input_length {windows.input_length}, horizons {windows.horizons}", why))
        if by_time and 1 < len(entities) <= MOST_VOCABULARY:
            named = self.dataset().data.entity_columns
            self.features += [{"name": name, "kind": "categorical"} for name in named if name not in self.left_out]
        if roles.time_kind == "timestamp":
            known = {"known_in_advance": True} if "frequency" in self.data["time"] else {}
            for name in calendar_features(structure, int(times)):
                self.features.append({"calendar": name, **known})
                when = ", also at the time that is forecast" if known else ""
                roles.guesses.append(Guess(f"calendar {name}", f"the target may depend on it{when}"))
        self.training = training_of(
            windows.count(lengths),
            windows.count(lengths) * windows.input_length,
            difference=prefers_difference(histories, windows.horizons[-1]),
        )
        if prefers_parallel_forecast(windows, season):
            # Relative to its last value, which is a difference, too.
            self.training = dataclasses.replace(self.training, preset="forecasting", difference=False)
            why = (
                f"{windows.input_length} steps read and {windows.horizons[-1]} ahead: the GRUs read and forecast "
                "segments of 24 steps, which does better on published data of such lengths"
            )
            roles.guesses.append(Guess("preset forecasting", why))

    def _mark_static(self, complete: bool) -> None:
        """Make static what is constant within an entity; numbers only where all rows are known."""
        frame, roles = self.reading.table.frame, self.reading.roles
        for place, entry in enumerate(self.features):
            given = {"name": entry} if isinstance(entry, str) else entry
            name = given.get("name")
            if name in roles.constant and (complete or not pd.api.types.is_numeric_dtype(frame[name])):
                self.features[place] = {**given, "static": True}
                roles.guesses.append(Guess(f"static {name}", f"one value for each {roles.entity}"))

    def _check_tested(self, entities: list[str]) -> None:
        """Lower what a run requires of a test split that can't be larger, and say so."""
        roles = self.reading.roles
        if self.splits is None or roles.entity is None:
            return
        tested = tested_sequences(self.splits, entities, self.reading.table, roles, self._names)
        usual = EvaluationConfig().min_test_sequences
        if tested < usual:
            self.min_tested = max(tested, 1)
            why = f"the test split has no more, which are few: a result on fewer than {usual} is mostly chance"
            roles.guesses.append(Guess(f"min_test_sequences {self.min_tested}", why, sure=False))

    def _split_by_entity(self, entities: list[str]) -> None:
        self.splits = entity_splits(entities)
        self.reading.roles.guesses.append(
            Guess(
                "splits by entity",
                f"{self.splits['eval']:.0%} of {len(entities)} for early stopping, {self.splits['test']:.0%} for "
                "evaluation",
                len(entities) >= _SURE_ENTITIES,
            )
        )


def _relative(patterns: Sequence[str], out: Path) -> list[str]:
    here, there = escape(str(Path.cwd())), escape(str(out.absolute()))
    return [
        pattern if is_remote(pattern) else os.path.relpath(os.path.join(here, pattern), there)  # noqa: PTH118
        for pattern in patterns
    ]
