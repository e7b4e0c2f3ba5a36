"""The rows of a bucket as NumPy columns, with their file and row number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from noisy_gru.data.report.quarantine import Record, plain
from noisy_gru.data.values.parsing import format_times
from noisy_gru.schema.config import SPLITS

Coded = tuple[np.ndarray, list[str]]


@dataclass(frozen=True)
class Rows:
    """N rows.

    ``entity`` int64 [N] indexes ``entities`` (sorted names), ``file`` int32 [N] indexes ``file_names``; ``row`` is 0
    for steps that were filled in. ``numeric`` float32 [N] each, NaN where missing; texts are codes int32 [N] (-1 where
    missing) and values. ``label`` is coded text, or float64 [N]; with ``label_per_step`` each row has its own, else
    that of its series. ``step_targets`` are the numeric columns that hold the targets of each step. ``split`` int8 [N]
    indexes SPLITS. ``repeat`` int64 [N] is how many nanoseconds later the clock shows a row's time again, 0 where it
    doesn't (`data.time.ambiguous: infer`); None where that is resolved.
    """

    entities: list[str]
    entity: np.ndarray
    time: np.ndarray
    file_names: list[str]
    file: np.ndarray
    row: np.ndarray
    numeric: dict[str, np.ndarray]
    categorical: dict[str, Coded]
    label: Any = None
    split: np.ndarray | None = None
    label_per_step: bool = False
    step_targets: tuple[str, ...] = ()
    repeat: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.entity)

    def take(self, which: np.ndarray) -> Rows:
        """Select rows by an index or a mask, in its order."""
        label = self.label
        if label is not None:
            label = (label[0][which], label[1]) if isinstance(label, tuple) else label[which]
        return replace(
            self,
            entity=self.entity[which],
            time=self.time[which],
            file=self.file[which],
            row=self.row[which],
            numeric={name: values[which] for name, values in self.numeric.items()},
            categorical={name: (codes[which], texts) for name, (codes, texts) in self.categorical.items()},
            label=label,
            split=None if self.split is None else self.split[which],
            repeat=None if self.repeat is None else self.repeat[which],
        )

    def sorted(self) -> Rows:
        """Return the rows sorted by entity, split and time; ties by file and row."""
        split = np.zeros(len(self), np.int8) if self.split is None else self.split
        order = np.lexsort((self.row, self.file, self.time, split, self.entity))
        return self if np.array_equal(order, np.arange(len(self))) else self.take(order)

    def starts(self) -> np.ndarray:
        """Return the first row of each series (an entity in a split), int64 [S + 1], with N at the end."""
        if not len(self):
            return np.zeros(1, np.int64)
        new = self.entity[1:] != self.entity[:-1]
        if self.split is not None:
            new = new | (self.split[1:] != self.split[:-1])
        return np.concatenate([[0], np.flatnonzero(new) + 1, [len(self)]])

    def label_text(self, index: int) -> str | float | None:
        """Return the label of a row; None if it is missing."""
        if self.label is None:
            return None
        if isinstance(self.label, tuple):
            code = int(self.label[0][index])
            return None if code < 0 else self.label[1][code]
        return plain(float(self.label[index]))

    def records(self, which: Iterable[int], time_kind: str, problem: str) -> list[Record]:
        """Return the quarantine records of rows, without filled-in steps."""
        index = np.asarray(list(which), np.int64)
        index = index[self.row[index] > 0]
        found = []
        for place, time in zip(index.tolist(), format_times(self.time[index], time_kind), strict=True):
            values: Record = {name: plain(float(column[place])) for name, column in self.numeric.items()}
            for name, (codes, texts) in self.categorical.items():
                values[name] = texts[codes[place]] if codes[place] >= 0 else ""
            record: Record = {
                "file": self.file_names[self.file[place]],
                "row": int(self.row[place]),
                "problem": problem,
                "entity": self.entities[self.entity[place]],
                "time": time,
                "values": values,
            }
            if self.label is not None:
                record["label"] = self.label_text(place)
            if self.split is not None:
                record["split"] = SPLITS[self.split[place]]
            found.append(record)
        return found
