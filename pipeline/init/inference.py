"""Infer the roles of a table's columns: entity, time, label or targets.

    >>> guess_columns(frame)  # doctest: +SKIP
    Columns(entity='utterance', time='step', time_kind='integer', constant=['speaker'], …)

Names count, values count more: a time never repeats within a sequence, a label never changes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from noisy_gru.schema.errors import ConfigError

_ENTITY_NAMES = r"(^|_)(id|ids|entity|series|sequence|seq_id|utterance|user|customer|device|sensor|station|origin|unit"
_ENTITY_NAMES += r"|patient|machine|engine|vehicle|session|trial|subject|symbol|store|item|case|episode|run|name)($|_)"
_TIME_NAMES = (
    r"(^|_)(time|timestamp|datetime|date|step|t|frame|tick|cycle|hour|day|index|idx|seq|order|position|ts)($|_)"
)
_LABEL_NAMES = r"(^|_)(label|class|target|y|outcome|category|activity|speaker|diagnosis|fault|status|result)($|_)"
_TARGET_NAMES = r"(^|_)(target|y|value|demand|sales|load|temp|temperature|price|count|level|consumption|power)($|_)"
MOST_CANDIDATES = 40
MOST_CLASSES = 100
MOST_UNPARSABLE = 0.05  # the default of policies.max_quarantined_fraction


@dataclass
class Guess:
    """An inferred setting, the reason, and whether it is certain."""

    what: str
    why: str
    sure: bool = True

    def __str__(self) -> str:
        return f"{self.what}: {self.why}{'' if self.sure else '  <- UNCERTAIN, please check'}"


@dataclass
class Roles:
    """Columns by role. ``constant`` ones never change within a sequence, the likeliest label first."""

    entity: str
    time: str | None
    time_kind: str
    constant: list[str]
    others: list[str]
    guesses: list[Guess] = field(default_factory=list)


def named(column: str, pattern: str) -> bool:
    """Return whether a column's name, split into words, matches a pattern."""
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", column).lower().replace("-", "_").replace(" ", "_")
    return re.search(pattern, words) is not None


def is_timestamp(column: pd.Series) -> bool:
    """Return whether a column holds timestamps, as such or as text."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return True
    texts = column.dropna().head(200)
    if not len(texts) or not all(isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value) for value in texts):
        return all(hasattr(value, "isoformat") for value in texts) and len(texts) > 0
    return bool(pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True).notna().all())


def _time_kind(column: pd.Series) -> str | None:
    if is_timestamp(column):
        return "timestamp"
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        return None
    known = column.dropna()
    if len(known) < (1 - MOST_UNPARSABLE) * len(column) or not len(known):
        return None
    # A run quarantines the rows of a few cells that are no times.
    return "integer" if (known % 1 == 0).all() else "float" if len(known) == len(column) else None


def guess_columns(frame: pd.DataFrame, *, entity: str | None = None, time: str | None = None) -> Roles:
    """Infer the roles of a table's columns.

    Args:
        frame: first rows of the files.
        entity: column that names the sequence, if known.
        time: column that orders the steps, if known.

    Raises:
        ConfigError: a given column is missing, or no two columns can be entity and time.
    """
    for option, column in (("--entity", entity), ("--time", time)):
        if column is not None and column not in frame:
            raise ConfigError(
                f"{option}: expected one of the columns {', '.join(map(str, frame.columns))}, found {column}"
            )
    entities = [entity] if entity else _entity_candidates(frame)
    kinds = {name: _time_kind(frame[name]) for name in ([time] if time else map(str, frame.columns))}
    if time and kinds[time] is None:
        raise ConfigError(
            f"--time {time}: expected numbers or ISO timestamps in every row, found {frame[time].iloc[0]!r}"
        )
    best: tuple[float, str, str, list[str]] | None = None
    for key in entities[:MOST_CANDIDATES]:
        for when, kind in list(kinds.items())[:MOST_CANDIDATES]:
            if when == key or kind is None:
                continue
            score, reasons = _score(frame, key, when, kind)
            if best is None or score > best[0]:
                best = score, key, when, reasons
    if best is None or (best[0] < 3 and not (entity and time)):
        raise ConfigError(
            f"no two columns of {', '.join(map(str, frame.columns))} look like the name of a sequence and the order of "
            "its steps. Give them with --entity and --time; if all rows are one series, add a column with its name"
        )
    score, key, when, reasons = best
    guesses = [
        Guess(f"entity {key}", "given" if entity else reasons[0], score >= 5),
        Guess(f"time {when}", "given" if time else "; ".join(reasons[1:]) or "the best of the columns", score >= 5),
    ]
    rest = [name for name in map(str, frame.columns) if name not in (key, when)]
    groups = frame.groupby(key, sort=False, observed=True)
    constant = [name for name in rest if _is_constant(groups, frame, name)] if groups.ngroups < len(frame) / 1.5 else []
    constant.sort(key=lambda name: not named(name, _LABEL_NAMES))
    others = [name for name in rest if name not in constant]
    return Roles(key, when, str(kinds[when]), constant, others, guesses)


def _entity_candidates(frame: pd.DataFrame) -> list[str]:
    found = []
    for name in map(str, frame.columns):
        column = frame[name]
        if pd.api.types.is_float_dtype(column) or is_timestamp(column):
            continue
        if column.nunique() <= len(frame) / 1.5:
            found.append(name)
    return found


def _score(frame: pd.DataFrame, entity: str, time: str, kind: str) -> tuple[float, list[str]]:
    """Return the score of two columns as entity and time, and the reasons."""
    pairs = frame[[entity, time]].dropna()
    unique = 1 - pairs.duplicated().mean() if len(pairs) else 0.0
    if unique < 0.95:
        return -1.0, [""]
    score, reasons = 2.0, [""]
    reasons.append(f"no duplicates within a {entity}" if unique == 1 else "few duplicates")
    moments: Any = pd.to_datetime(pairs[time], format="ISO8601", utc=True) if kind == "timestamp" else pairs[time]
    steps: Any = moments.groupby(pairs[entity], sort=False, observed=True).diff().dropna()
    zero: Any = pd.Timedelta(0) if kind == "timestamp" else 0
    if len(steps) and (steps > zero).mean() > 0.99:
        score += 1.5
        reasons.append("increases in the order of the rows")
    if len(steps) and (steps == steps.mode().iloc[0]).mean() > 0.9:
        score += 0.5
        reasons.append("in equal steps")
    sizes = pairs.groupby(entity, sort=False, observed=True).size()
    score += 0.5 if sizes.median() >= 3 else -2
    score += 2.0 * (kind == "timestamp") + 1.5 * named(time, _TIME_NAMES) - 1.0 * (kind == "float")
    score += 1.5 * named(entity, _ENTITY_NAMES) + 0.5 * (not pd.api.types.is_numeric_dtype(pairs[entity]))
    score -= 1.0 * (len(sizes) == 1)
    reasons[0] = f"{sizes.median():g} rows each (median)" + (
        ", and its name suggests it" if named(entity, _ENTITY_NAMES) else ""
    )
    return score, reasons


def _is_constant(groups: Any, frame: pd.DataFrame, name: str) -> bool:
    return bool(frame[name].notna().any()) and bool((groups[name].nunique() <= 1).all())


def guess_task(frame: pd.DataFrame, roles: Roles, *, task: str | None, targets: list[str]) -> tuple[str, list[str]]:
    """Infer the task and its label or targets; add the reasons to ``roles.guesses``.

    Raises:
        ConfigError: a given column can't be label or target.
    """
    for name in targets:
        if name not in frame or name in (roles.entity, roles.time):
            raise ConfigError(f"--target: expected one of {', '.join(roles.constant + roles.others)}, found {name}")
    if task not in (None, "classification", "regression", "forecasting"):
        raise ConfigError(f"--task: expected classification, regression or forecasting, found {task}")
    long = frame.groupby(roles.entity, observed=True).size().median() >= 200 and frame[roles.entity].nunique() < 50
    labels = [name for name in roles.constant if frame[name].nunique() > 1]
    if task is None and targets:
        task = "forecasting" if any(name not in roles.constant for name in targets) else _label_task(frame, targets[0])
        roles.guesses.append(Guess(f"task {task}", f"--target {targets[0]} {_changes(task)} within a sequence"))
    elif task is None and labels and not long:
        task = _label_task(frame, labels[0])
        roles.guesses.append(Guess(f"task {task}", f"{labels[0]} {_changes(task)} within a sequence", len(labels) == 1))
    elif task is None:
        task = "forecasting"
        why = "few long series" if long else "no column is the same in all rows of a sequence"
        roles.guesses.append(Guess("task forecasting", why, long and not labels))
    else:
        roles.guesses.append(Guess(f"task {task}", "given"))
    if task == "forecasting":
        return task, targets or [_guess_target(frame, roles)]
    if not targets:
        if not labels:
            raise ConfigError(
                f"--task {task}: needs a label, a column with one value for each {roles.entity}, but there is none. "
                "Add it to the data, or give it with --target"
            )
        targets = labels[:1]
        why = f"{frame[targets[0]].nunique()} values, one for each {roles.entity}"
        rest = f"; alternatives: {', '.join(labels[1:])}" if labels[1:] else ""
        roles.guesses.append(Guess(f"label {targets[0]}", why + rest, not rest))
    if len(targets) > 1 or targets[0] not in roles.constant:
        raise ConfigError(
            f"--target {' '.join(targets)}: {task} needs one label, a column that never changes within a sequence"
        )
    return task, targets


def _changes(task: str) -> str:
    return "changes" if task == "forecasting" else "never changes"


def _label_task(frame: pd.DataFrame, name: str) -> str:
    column = frame[name].dropna()
    if not pd.api.types.is_numeric_dtype(column):
        return "classification"
    return "classification" if (column % 1 == 0).all() and column.nunique() <= MOST_CLASSES else "regression"


def _guess_target(frame: pd.DataFrame, roles: Roles) -> str:
    numeric = [name for name in roles.others if pd.api.types.is_numeric_dtype(frame[name])]
    if not numeric:
        raise ConfigError(
            f"nothing to forecast: expected a numeric column that changes, besides {roles.entity} and {roles.time}"
        )
    hinted = [name for name in numeric if named(name, _TARGET_NAMES)]
    target = (hinted or numeric)[0]
    why = "its name suggests it" if hinted else "the first numeric column"
    roles.guesses.append(Guess(f"target {target}", why, sure=False))
    return target
