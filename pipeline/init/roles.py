"""Roles of a table's columns, and guesses with their reasons: what inference hands on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd


@dataclass
class Guess:
    """An inferred setting, the reason, and whether it is certain; ``option`` sets another value."""

    what: str
    why: str
    sure: bool = True
    option: str = ""
    value: str = ""
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.sure:
            return f"{self.what}: {self.why}"
        others = f"; or {', '.join(self.others)}" if self.others else ""
        return f"{self.what}: {self.why}{others}  <- NOT SURE{f', {self.option} decides' if self.option else ''}"


@dataclass
class Table:
    """Sampled rows. ``part`` int [N] tells apart pieces in which the same entity may begin again: splits, samples.

    ``is_cut``: a file has more rows than those.
    """

    frame: pd.DataFrame
    part: np.ndarray
    is_cut: bool = False

    def series(self, entity: str | None) -> np.ndarray:
        """Return the number of each row's series, int64 [N]: rows of one entity in one part; -1 without an entity."""
        if entity is None:
            return self.part.astype(np.int64)
        codes = pd.factorize(self.frame[entity])[0].astype(np.int64)
        return np.where(codes < 0, -1, codes * (int(self.part.max()) + 1 if len(self.part) else 1) + self.part)


@dataclass
class Roles:
    """Columns by role; ``entity`` None: one series. ``constant`` ones never change within a sequence.

    ``ids`` name rows or entities once more: they are left out, with the reason. ``labelled_parts``: the entity and the
    column of its parts, each of which has a label of its own.
    """

    entity: str | None
    time: str
    time_kind: str
    constant: list[str]
    others: list[str]
    ids: dict[str, str] = field(default_factory=dict)
    guesses: list[Guess] = field(default_factory=list)
    labelled_parts: tuple[str, ...] = ()
