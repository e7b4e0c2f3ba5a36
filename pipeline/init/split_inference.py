"""Infer the splits: files, folders or a column that are named train and test, else by time or by entity."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from noisy_gru.data.sequences.splits import hash_fraction
from noisy_gru.pipeline.init.columns import MOST_UNPARSABLE, moments
from noisy_gru.pipeline.init.roles import Guess, Roles, Table
from noisy_gru.schema.errors import ConfigError

SPLIT_WORDS = {"train": "train", "training": "train", "test": "test", "testing": "test", "holdout": "test"}
SPLIT_WORDS |= dict.fromkeys(("eval", "evaluation", "val", "valid", "validation", "dev"), "eval")
# A split by time of fewer steps has parts without a window.
LEAST_TIMES = 8
_LEAST_ENTITIES = 10
SEED = 0  # of the drafted configuration
_MOST_PART = 0.4
LEAST_TESTED = 25  # a run needs evaluation.min_test_sequences, 20 by default
_FEW = 5  # a fifth of few sequences is tested
Splits = dict[str, Any]


def published_splits(paths: Sequence[str]) -> list[str] | None:
    """Return the split of each file, where all are named, or lie in folders named, after train and test."""
    if len(paths) < 2:
        return None
    every = [Path(path).parts for path in paths]
    # A name that all share, such as that of a folder above, tells none of them apart.
    shared = set.intersection(*map(set, every))
    found = []
    for parts in every:
        own = [part.lower() for part in reversed(parts) if part not in shared]
        words = [word for part in own for word in re.split(r"[^a-z]+", part)]
        named = [SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS]
        if not named:
            return None
        found.append(named[0])
    if set(found) == {"train", "eval"}:
        # A split to evaluate on has to be there; early stopping takes its part from train.
        found = ["test" if split == "eval" else split for split in found]
    return found if {"train", "test"} <= set(found) else None


def split_column(frame: pd.DataFrame, roles: Roles) -> str | None:
    """Return the column whose values are names of splits."""
    for column in roles.constant + roles.others:
        values = {str(value).lower() for value in frame[column].dropna().unique()[:10]}
        if values and values <= set(SPLIT_WORDS) and {"train", "test"} <= {SPLIT_WORDS[value] for value in values}:
            return column
    return None


def column_splits(column: str, frame: pd.DataFrame, roles: Roles) -> Splits:
    """Return the splits of a column."""
    values: dict[str, list[str]] = {}
    for value in map(str, frame[column].dropna().unique()):
        values.setdefault(SPLIT_WORDS[value.lower()], []).append(value)
    roles.guesses.append(Guess(f"splits by column {column}", "its values are names of splits"))
    rows = frame[column].astype(str).isin(values["train"])
    rest = {} if "eval" in values else {"eval_from_train": _part_of_train(frame.loc[rows.to_numpy()], roles)}
    return {"by": "column", "column": column, "values": values, **rest}


def _part_of_train(train: pd.DataFrame, roles: Roles) -> float:
    """Return the part of train for early stopping that holds an entity, by ingestion's hash."""
    if roles.entity is None:
        return 0.0
    hashes = [hash_fraction(str(name), SEED) for name in train[roles.entity].dropna().unique()]
    return _first_part(np.array(hashes), (0.15, 0.2, 0.25, 0.3))


def _first_part(hashes: np.ndarray, parts: Sequence[float], least: int = 1) -> float:
    """Return the first part that at least so many of the entities are in, two where there are many."""
    least = max(least, 1 if len(hashes) < 20 else 2)
    return next((part for part in parts if np.sum(hashes < part) >= least), parts[-1])


def file_splits(names: Sequence[str], table: Table, roles: Roles) -> Splits:
    """Return the splits of files, whose ``names`` are those of the table's parts."""
    _check_names(names, table, roles)
    roles.guesses.append(
        Guess("splits by files", f"their names, or their folders', say {', '.join(sorted(set(names)))}")
    )
    train = table.frame[np.array([name == "train" for name in names])[table.part]]
    return {"by": "files", **({} if "eval" in names else {"eval_from_train": _part_of_train(train, roles)})}


def _check_names(names: Sequence[str], table: Table, roles: Roles) -> None:
    """Refuse splits in which the numbering of sequences begins anew: a run takes equal names for one sequence."""
    rows = pd.DataFrame({"part": table.part, "time": table.frame[roles.time]})
    rows["entity"] = table.frame[roles.entity] if roles.entity is not None else ""
    parts = rows.dropna().groupby(["entity", "time"], sort=False)["part"].nunique()
    if np.mean(parts > 1) <= MOST_UNPARSABLE:
        return
    example = parts.index[int(np.argmax(parts.to_numpy() > 1))][0]
    raise ConfigError(
        f"{roles.entity} {example} is in several of {', '.join(names)}, with the same {roles.time}: rows with one name "
        f"are one sequence, in one split. Make the names different, for example {names[0]}-{example} and "
        f"{names[-1]}-{example}, or give files of one split alone"
    )


def start_of_test(table: Table, roles: Roles, names: Sequence[str]) -> str | None:
    """Return the time at which the rows of test begin, if they continue those of train; None if they don't.

    Args:
        table: sampled rows, whose parts are splits.
        roles: entity and time.
        names: split of each part.
    """
    when = moments(table.frame[roles.time], roles.time_kind)
    is_test = np.array([name == "test" for name in names])[table.part]
    if roles.entity is not None:
        known = set(table.frame.loc[~is_test, roles.entity]) & set(table.frame.loc[is_test, roles.entity])
        if len(known) < 0.5 * table.frame.loc[is_test, roles.entity].nunique():
            return None
    past, future = when[~is_test & np.isfinite(when)], when[is_test & np.isfinite(when)]
    if not len(past) or not len(future) or past.max() >= future.min():
        return None
    first = table.frame.loc[is_test, roles.time].iloc[int(np.nanargmin(when[is_test]))]
    return str(first) if roles.time_kind != "integer" else f"{float(first):.0f}"


def time_splits(times: int, furthest: int, series: int) -> Splits:
    """Return a split by time in which each part holds windows, and the test enough of them to decide.

    Args:
        times: steps of a series.
        furthest: the furthest horizon; windows end that many steps before their part does.
        series: number of series.
    """
    enough = int(np.ceil(LEAST_TESTED / max(series, 1)))
    least = {"eval": furthest + 1, "test": furthest + enough}
    parts = {name: max(usual, least[name] / max(times - 1, 1)) for name, usual in (("eval", 0.1), ("test", 0.15))}
    return {"by": "time", **{name: round(min(part, _MOST_PART), 3) for name, part in parts.items()}}


def entity_splits(entities: Sequence[str]) -> Splits:
    """Return a split by entity: a tenth each for early stopping and evaluation, more where that holds too few."""
    hashes = np.array([hash_fraction(name, SEED) for name in entities])
    parts = (0.1, 0.15, 0.2, 0.25, 0.3)
    test = _first_part(hashes, parts, LEAST_TESTED if len(entities) > 2 * LEAST_TESTED else len(entities) // _FEW)
    return {"by": "entity", "eval": _first_part(hashes[hashes >= test] - test, parts), "test": test}


def tested_sequences(splits: Splits, entities: Sequence[str], table: Table, roles: Roles, names: Sequence[str]) -> int:
    """Return the number of sequences of the test split, as far as the sample tells; ``names``: of the table's parts."""
    if splits["by"] == "entity":
        return int(np.sum(np.array([hash_fraction(name, SEED) for name in entities]) < splits["test"]))
    if splits["by"] == "column":
        is_test = table.frame[splits["column"]].astype(str).isin(splits["values"]["test"]).to_numpy()
    else:
        is_test = np.array([name == "test" for name in names])[table.part]
    return len(entities) if table.is_cut else int(table.frame.loc[is_test, roles.entity].nunique())


def prefers_time(table: Table, roles: Roles, lengths: np.ndarray, test: float) -> bool:
    """Return whether the future of the same entities should decide, and not other entities.

    Args:
        table: sampled rows.
        roles: entity and time.
        lengths: rows of each entity, int [E].
        test: part of the time range that is for the evaluation.
    """
    if len(lengths) < _LEAST_ENTITIES:
        return True
    if np.quantile(lengths, 0.75) < LEAST_TIMES:
        return False
    when = moments(table.frame[roles.time], roles.time_kind)
    last = pd.Series(when).groupby(table.series(roles.entity)).max().to_numpy()
    start = np.nanmax(when) - test * (np.nanmax(when) - np.nanmin(when))
    return bool(np.mean(last >= start) >= 0.2)
