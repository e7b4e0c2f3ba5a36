"""Infer the task, and its label or targets."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from noisy_gru.pipeline.init.columns import (
    LABEL_NAMES,
    SOFT_LABEL_NAMES,
    is_calendar_part,
    moments,
    named,
    words_of,
)
from noisy_gru.pipeline.init.readings import entity_candidates
from noisy_gru.pipeline.init.roles import Guess, Roles, Table
from noisy_gru.schema.csv_config import FALSE_TEXTS, TRUE_TEXTS
from noisy_gru.schema.errors import ConfigError

TASKS = ("classification", "regression", "forecasting")
MOST_CLASSES = 100
MOST_TARGETS = 8
# What describes an entity, and hardly ever is what a model should tell of it.
_ONE_OF_LABELS = "label|labels|tag|tags|is|has"
_STATIC_NAMES = (
    "type|kind|region|continent|country|state|city|county|gender|sex|race|ethn|ethnicity|age|size|category|brand|lat"
    "|latitude|lon|long|lng|longitude|name|code|height|weight|black|hisp|educ|area|zone|group|family|cluster|elevation"
    "|altitude|capacity|model|manufacturer|department|dept|timezone|address|owner|iso|fips|dist|distance"
)
# From the surest on. What weather and prices do often only explains what is asked for.
_TARGET_NAMES = (
    "target|rul",
    "sales|sold|demand|glucose|visits|visitors|passengers|consumption|kwh|mwh|load|ot|orders|revenue|adj_close|close|cnt"
    "|count|cases|deaths|pm2_5|pm25|pm10|traffic|power|energy|generation|production|emissions|gdp|gsp|murders"
    "|quantity|qty|bookings|arrivals|departures|admissions|calls|rides|trips|umsatz|absatz|verbrauch|menge|nachfrage",
    "unemp|unemployment|crmrte|wage|lwage|fare|sunactivity|inv|value|price|temp|temperature|tmax",
    "level|volume|rate|amount|usage|flow|speed",
)
_COVARIATE_NAMES = "setting|settings|setpoint|config|lat|latitude|lon|lng|longitude|age|holiday"
_LEAST_LABELLED = 10
_LEAST_SEQUENCES = 20
_MANY_TIMES_LONGER = 4.0
_LEAST_RECORDED = 20
_LEAST_PART = 5  # rows of a part of an entity that has a label of its own


def guess_task(table: Table, roles: Roles, *, task: str | None, targets: list[str]) -> tuple[str, list[str]]:
    """Infer the task and its label or targets; add the reasons to ``roles.guesses``.

    Raises:
        ConfigError: a given column can't be label or target.
    """
    frame = table.frame
    columns = roles.constant + roles.others
    for name in targets:
        if name not in frame or name in (roles.entity, roles.time):
            raise ConfigError(f"--target: expected one of {', '.join(columns)}, received {name}")
    if task not in (None, *TASKS):
        raise ConfigError(f"--task: expected classification, regression or forecasting, received {task}")
    labels = [name for name in roles.constant if frame[name].nunique() > 1]
    if task in (None, "classification") and (several := _several_labels(frame, roles, targets)):
        why = "columns of two values with one for each sequence" + ("" if targets else ", named alike")
        names = ", ".join(several)
        roles.guesses.append(Guess("task classification", "given" if task else f"{names} are true or false"))
        roles.guesses.append(
            Guess(f"labels {names}", why, bool(targets), "--target", several[0], () if targets else tuple(several[1:]))
        )
        return "classification", several
    labels.sort(
        key=lambda name: (
            not _is_named(name, LABEL_NAMES),
            not named(name, SOFT_LABEL_NAMES),
            named(name, _STATIC_NAMES) or is_calendar_part(name),
        )
    )
    if _is_step_label(frame, roles, task, targets):
        roles.guesses.append(Guess("task classification", "given" if task else f"{targets[0]} is not a number"))
        roles.guesses.append(Guess(f"label {targets[0]}, per_step", f"it changes within a sequence of {roles.entity}"))
        return "classification", targets
    if task == "regression" and roles.entity is not None and _are_step_targets(frame, roles, targets):
        named_targets = ", ".join(targets)
        roles.guesses.append(Guess("task regression", "given"))
        roles.guesses.append(Guess(f"{named_targets}, per_step", f"they change within a sequence of {roles.entity}"))
        return task, targets
    if task is None:
        targets = list(targets)
        task = _guess_kind(table, roles, labels, targets)
        if task == "classification" and targets and targets[0] in roles.others:
            roles.guesses.append(Guess(f"label {targets[0]}, per_step", f"a class at each step of {roles.entity}"))
            return task, targets
    else:
        roles.guesses.append(Guess(f"task {task}", "given"))
    if task == "forecasting":
        if any(not pd.api.types.is_numeric_dtype(frame[name]) for name in targets):
            raise ConfigError(f"--target {' '.join(targets)}: forecasting needs columns of numbers")
        return task, targets or _guess_targets(table, roles)
    if not targets:
        if not labels:
            raise ConfigError(
                f"--task {task}: needs a label, a column with one value for each {roles.entity or 'sequence'}, but "
                "there is none. Add it to the data, or give it with --target"
            )
        targets = labels[:1]
        why = f"{frame[targets[0]].nunique()} values, one for each {roles.entity}"
        sure = len(labels) == 1 or (_is_named(labels[0], LABEL_NAMES) and not _is_named(labels[1], LABEL_NAMES))
        roles.guesses.append(Guess(f"label {targets[0]}", why, sure, "--target", targets[0], tuple(labels[1:])))
    several = task == "regression" and len(targets) > 1
    if (len(targets) > 1 and not several) or any(name not in roles.constant for name in targets):
        raise ConfigError(
            f"--target {' '.join(targets)}: {task} needs one label, a column that never changes within a sequence"
        )
    return task, targets


def _are_step_targets(frame: pd.DataFrame, roles: Roles, targets: list[str]) -> bool:
    """Return whether the given targets are numbers that change within a sequence: those of each step."""
    return bool(targets) and all(
        name in roles.others and pd.api.types.is_numeric_dtype(frame[name]) for name in targets
    )


def _several_labels(frame: pd.DataFrame, roles: Roles, targets: list[str]) -> list[str]:
    """Return the columns that are a label each: those given, or those of true and false that begin alike (`tag_…`)."""
    flags = [name for name in roles.constant if _is_boolean(frame[name])]
    if targets:
        return targets if len(targets) > 1 and all(name in flags for name in targets) else []
    for word in _ONE_OF_LABELS.split("|"):
        alike = [name for name in flags if words_of(name).startswith(f"{word}_")]
        if len(alike) > 1:
            return alike
    return []


def _is_boolean(column: pd.Series) -> bool:
    """Return whether a column is read as true or false, and has both."""
    texts = {str(value).strip().lower() for value in column.dropna().unique().tolist()[:3]}
    known = {"0", "1", "0.0", "1.0", *TRUE_TEXTS, *FALSE_TEXTS}
    return len(texts) == 2 and texts <= known


def _is_step_label(frame: pd.DataFrame, roles: Roles, task: str | None, targets: list[str]) -> bool:
    """Return whether the given target is a class that changes within a sequence: the label of each step."""
    if len(targets) != 1 or targets[0] not in roles.others or roles.entity is None:
        return False
    column = frame[targets[0]]
    is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    return (task == "classification" or (task is None and not is_number)) and column.nunique() <= MOST_CLASSES


def _guess_kind(table: Table, roles: Roles, labels: list[str], targets: list[str]) -> str:
    """Infer the kind of task: a label is named so, or the time tells nothing but the order of short recordings."""
    frame = table.frame

    def decide(kind: str, why: str, sure: bool = True) -> str:
        others = ("forecasting",) if kind != "forecasting" else (_label_task(frame[labels[0]]),) if labels else ()
        roles.guesses.append(Guess(f"task {kind}", why, sure, "--task", kind, others))
        return kind

    if targets:
        if any(name not in roles.constant for name in targets):
            return decide("forecasting", f"{targets[0]} changes within a sequence")
        return decide(_label_task(frame[targets[0]]), f"{targets[0]} never changes within a sequence")
    sizes = np.unique(table.series(roles.entity), return_counts=True)[1]
    candidates = _target_candidates(frame, roles)
    # A few long recordings may be the first ones of many.
    if labels and (len(sizes) >= (2 if table.is_cut else _LEAST_LABELLED) or not candidates):
        first = labels[0]
        if _is_named(first, LABEL_NAMES) or not candidates:
            why = f"{first} never changes within a sequence" + (
                ", and its name is that of a label" if _is_named(first, LABEL_NAMES) else ", and no number changes"
            )
            return decide(_label_task(frame[first]), why)
        stated = any(_is_named(name, "|".join(_TARGET_NAMES[:2])) for name in candidates)
        is_soft = named(first, SOFT_LABEL_NAMES) or not (named(first, _STATIC_NAMES) or is_calendar_part(first))
        if not stated and is_soft and _label_task(frame[first]) == "classification" and _come_one_by_one(table, roles):
            return decide(
                "classification", f"{first} never changes within a sequence, and sequences do not go on together", False
            )
        if not stated and not named(first, _STATIC_NAMES) and _are_recordings(table, roles, sizes):
            return decide(
                _label_task(frame[first]),
                f"{first} never changes within a sequence, and {roles.time} only numbers the steps of each",
                False,
            )
    if not candidates:
        raise ConfigError(
            "nothing to forecast and no label: expected a column of numbers that changes within a sequence, besides "
            f"{_named(roles)}, or a column with one value for each sequence"
        )
    why = "all rows are one series" if roles.entity is None else f"numbers change over {roles.time}"
    if labels and _is_named(labels[0], LABEL_NAMES):
        return decide("forecasting", f"{why}, and {len(sizes)} sequences are few to learn {labels[0]} from", False)
    if labels:
        why += ", and no column is named like a label"
    roles.labelled_parts = _labelled_parts(table, roles)
    steps = [] if roles.labelled_parts or labels else _step_labels(frame, roles, len(sizes), candidates)
    if steps:
        targets += steps
        why = f"{steps[0]} changes within a sequence of {roles.entity}, and its name is that of a label"
        roles.guesses.append(
            Guess("task classification, per_step", why, False, "--task", "classification", ("forecasting",))
        )
        return "classification"
    return decide("forecasting", why)


def _step_labels(frame: pd.DataFrame, roles: Roles, sequences: int, candidates: list[str]) -> list[str]:
    """Return the first column of text that is named like a label and changes within many sequences, if any."""
    stated = any(_is_named(name, "|".join(_TARGET_NAMES[:2])) for name in candidates)
    if roles.entity is None or sequences < _LEAST_LABELLED or stated:
        return []
    return [
        name
        for name in roles.others
        if named(name, LABEL_NAMES)
        and not pd.api.types.is_numeric_dtype(frame[name])
        and 2 <= frame[name].nunique() <= MOST_CLASSES
    ][:1]


def _labelled_parts(table: Table, roles: Roles) -> tuple[str, ...]:
    """Return the entity and the column of its parts, where a column that is named like a label changes between them."""
    frame = table.frame
    if roles.entity is None:
        return ()
    named_labels = [name for name in roles.others if _is_named(name, LABEL_NAMES)]
    for label in [name for name in named_labels if 1 < frame[name].nunique() <= MOST_CLASSES]:
        for part in [name for name in entity_candidates(frame) if name not in (label, roles.entity, roles.time)]:
            groups = frame.groupby([roles.entity, part], sort=False)
            enough = _LEAST_LABELLED <= groups.ngroups < len(frame) / _LEAST_PART
            if enough and (groups[label].nunique() <= 1).all() and _is_in_blocks(table, roles, groups):
                return roles.entity, part
    return ()


def _is_in_blocks(table: Table, roles: Roles, groups: Any) -> bool:
    """Return whether the rows of each group follow each other in time, as those of a part of a recording do."""
    order = np.lexsort((moments(table.frame[roles.time], roles.time_kind), table.series(roles.entity)))
    part = groups.ngroup().to_numpy()[order]
    return int(np.sum(np.diff(part) != 0)) + 1 == groups.ngroups


def _come_one_by_one(table: Table, roles: Roles) -> bool:
    """Return whether many sequences take a small part of the time of all, as trips and runs do, and no panel's series.

    Their first columns of few values are hardly what a forecast is made of.
    """
    if roles.time_kind != "timestamp":
        return False
    when = pd.Series(moments(table.frame[roles.time], roles.time_kind)).groupby(table.series(roles.entity))
    first, last = when.min(), when.max()
    whole = last.max() - first.min()
    return len(first) >= _LEAST_SEQUENCES and bool(whole > _MANY_TIMES_LONGER * (last - first).median() > 0)


def _are_recordings(table: Table, roles: Roles, sizes: np.ndarray) -> bool:
    """Return whether many short sequences count their steps from the same small number."""
    if roles.time_kind != "integer" or named(roles.time, "year|years|yr|ds|date") or len(sizes) < _LEAST_SEQUENCES:
        return False
    when = moments(table.frame[roles.time], roles.time_kind)
    first = pd.Series(when).groupby(table.series(roles.entity)).min()
    # Designed experiments with a handful of visits count them from 1, too.
    return bool(first.nunique() <= 2 and first.max() <= 1 and _LEAST_RECORDED <= np.median(sizes) <= 2000)


def _label_task(column: pd.Series) -> str:
    column = column.dropna()
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return "classification"
    return "classification" if (column % 1 == 0).all() and column.nunique() <= MOST_CLASSES else "regression"


def _named(roles: Roles) -> str:
    return roles.time if roles.entity is None else f"{roles.entity} and {roles.time}"


def _is_named(name: str, words: str) -> bool:
    """Return whether a name has one of ``words``, or is the y of a formula; ``acc_y`` is an axis."""
    return named(name, words) or words_of(name) == "y"


def _is_cumulative(table: Table, roles: Roles, name: str) -> bool:
    """Return whether a column never falls within a series, as a total so far does."""
    series = table.series(roles.entity)
    order = np.lexsort((moments(table.frame[roles.time], roles.time_kind), series))
    values = table.frame[name].to_numpy(float, na_value=np.nan)[order]
    change = np.diff(values)[np.diff(series[order]) == 0]
    change = change[np.isfinite(change)]
    return len(change) > 10 and bool(np.all(change >= 0))


def _is_flag(column: pd.Series) -> bool:
    known = column.dropna()
    if known.nunique() == 1 and pd.api.types.is_float_dtype(column):
        return known.iloc[0] in (0, 1)
    return known.nunique() <= 2 or bool(known.isin([0, 1]).mean() > 0.9)


def _target_candidates(frame: pd.DataFrame, roles: Roles) -> list[str]:
    """Return the columns that may be forecast: numbers that change, no flags, parts of the date or derived columns."""
    numeric = [
        name
        for name in roles.others
        if pd.api.types.is_numeric_dtype(frame[name])
        and not pd.api.types.is_bool_dtype(frame[name])
        and not _is_flag(frame[name])
    ]
    own = [name for name in numeric if not is_calendar_part(name) and not _is_derived(name, numeric)]
    return [name for name in own if not named(name, _COVARIATE_NAMES)] or own or numeric


def _is_derived(name: str, names: list[str]) -> bool:
    """Return whether a name says lag, difference, square or logarithm of another column."""
    words = words_of(name)
    if re.search(r"_\d$|(^|_)lag", words) and re.sub(r"_?(lag)?_?\d+$", "", words) in map(words_of, names):
        return True
    bare = {words_of(each) for each in names}
    return any(words == prefix + each for each in bare for prefix in ("l", "c", "d", "g", "log_", "diff_")) or any(
        words in (each + "sq", each + "_sq", each + "_squared") for each in bare
    )


def _are_alike(frame: pd.DataFrame, roles: Roles, names: list[str]) -> bool:
    """Return whether a table holds some columns of floats of one magnitude, and no other column of numbers."""
    numbers = [name for name in roles.others if pd.api.types.is_numeric_dtype(frame[name])]
    if not 3 <= len(names) <= MOST_TARGETS or names != numbers:
        return False
    sizes = [float(np.nanmedian(np.abs(frame[name].to_numpy(float)))) for name in names]
    return all(map(pd.api.types.is_float_dtype, (frame[name] for name in names))) and max(sizes) <= 1000 * min(sizes)


def _guess_targets(table: Table, roles: Roles) -> list[str]:
    numeric = _target_candidates(table.frame, roles)
    if not numeric:
        raise ConfigError(f"nothing to forecast: expected a column of numbers that changes, besides {_named(roles)}")
    for words in _TARGET_NAMES:
        if hinted := [name for name in numeric if _is_named(name, words)]:
            sure = len(hinted) == 1 and (len(numeric) == 1 or words in _TARGET_NAMES[:2])
            hinted.sort(key=lambda name: _is_cumulative(table, roles, name))
            others = tuple(name for name in numeric if name != hinted[0])[:MOST_TARGETS]
            roles.guesses.append(
                Guess(f"target {hinted[0]}", "its name suggests it", sure, "--target", hinted[0], others)
            )
            return hinted[:1]
    if roles.entity is None and _are_alike(table.frame, roles, numeric):
        why = "columns of one series that are alike"
        first, *others = numeric
        roles.guesses.append(Guess(f"targets {', '.join(numeric)}", why, False, "--target", first, tuple(others)))
        return numeric
    # Codes and counts in few values are told from measurements.
    varied = [name for name in numeric if table.frame[name].nunique() > 20] or numeric
    why = "the only numeric column that changes" if len(numeric) == 1 else "the first numeric column that changes"
    others = tuple(name for name in numeric if name != varied[0])[:MOST_TARGETS]
    roles.guesses.append(Guess(f"target {varied[0]}", why, len(numeric) == 1, "--target", varied[0], others))
    return varied[:1]
