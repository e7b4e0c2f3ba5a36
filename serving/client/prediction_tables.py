"""Predictions as Arrow tables, with what they belong to: entity, the targets' times, the model's version.

table = prediction_table(predictions, "long")  # one row for each sequence, horizon and target
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from noisy_gru.data.arrow import pa
from noisy_gru.data.requests.origins import Origins
from noisy_gru.data.values.parsing import format_times
from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig, TaskConfig
from noisy_gru.schema.errors import ConfigError, ModelError
from noisy_gru.schema.interval_config import levels_of
from noisy_gru.schema.task_config import has_step_targets, is_multi_label, is_per_step, targets_of
from noisy_gru.serving.client.prediction_columns import (
    ACTUAL,
    P_VALUES,
    PROBABILITY,
    SEQUENCE_ID,
    STEP,
    TIME,
    Part,
    by_step,
    columns_of,
    columns_of_what_came,
    without_taken,
)

Layout = Literal["short", "wide", "long"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
ENTITY, VERSION = "entity", "model_version"
_LONG = ("horizon", "time", "target", "quantile", "prediction", "units", "class", "probability", "predicted")
_CAME = ("actual", "p_value")


@dataclass(frozen=True)
class _Context:
    task: TaskConfig
    origins: Origins | None
    places: Mapping[str, int]


def prediction_table(
    parts: Sequence[Part],
    task: TaskConfig,
    layout: Layout,
    *,
    origins: Origins | None = None,
    places: Mapping[str, int] | None = None,
) -> Any:
    """Return predictions as a pyarrow Table.

    Args:
        parts: outputs of sequences.
        task: of the configuration.
        layout: `short`: a row for each sequence, with its id and the columns of `Predictions.answers`. `wide`: also
            `entity`, for a forecast `time@<horizon>`, and `model_version`. `long`: a row for each sequence, horizon
            and target (`sequence_id`, `entity`, `horizon`, `time`, `target`, `prediction`, `model_version`); of a
            classification for each class, or each of several labels (`class`, `probability`, `predicted`); of a
            regression one (`target`, `prediction`). With quantiles there are `quantile` and a row for each, after that
            of the prediction, whose `quantile` is null;
            with `task.units` there are `units`; with p-values `actual` and `p_value` in the row of the prediction.
            Where several columns name an entity, they come after `entity` (or `sequence_id`). With `task.per_step` each
            row is of a step (long: of a step and a class or target), and `step` (from 1) and `time` follow in every
            layout.
        origins: entities and targets' times of sequences; None: unknown.
        places: index of each sequence id in ``origins``.

    Returns:
        Numbers are float32, horizons, versions and answered labels (0 or 1) int64, times timestamps in UTC (or numbers,
        as `data.time.kind`).
        Null is what isn't known: the entity of ready-made tf.Examples; a time where events are irregular; the version
        over REST. With `task.units` the table's metadata has `units`.

    Raises:
        ConfigError: a column of the answers has the name of one of these.
        ModelError: the outputs are not those of the task.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout: expected one of {', '.join(LAYOUTS)}, received {layout!r}")
    context = _Context(task, origins, places or {})
    if is_per_step(task):
        tables = [_steps(context, part, layout) for part in parts]
    elif layout == "long":
        tables = [_long(context, part) for part in parts]
    else:
        tables = [_wide(context, part, short=layout == "short") for part in parts]
    if not tables:
        return pa.table({SEQUENCE_ID: pa.array([], pa.string())})
    # Versions may differ in their classes.
    table = pa.concat_tables(tables, promote_options="default")
    units = getattr(task, "units", None)
    return table if units is None else table.replace_schema_metadata({"units": units})


def _wide(context: _Context, part: Part, *, short: bool) -> Any:
    count, task = len(part.ids), context.task
    came = columns_of_what_came(part.outputs, task)
    columns = columns_of(part.outputs, count, task)
    answers = {name: _or_null(values) if name in came else _typed(values) for name, values in columns.items()}
    before, version = _belongs(context, part, answers)
    if short:
        before.pop(ENTITY)
        return pa.table({**before, **answers})
    times = {}
    if isinstance(task, ForecastingConfig):
        found = _times(context, part)
        times = {f"time@{horizon}": found.slice(place * count, count) for place, horizon in enumerate(task.horizons)}
    _check_names(answers, {**before, **times, **version}, advice=True)
    return pa.table({**before, **answers, **times, **version})


def _steps(context: _Context, part: Part, layout: Layout) -> Any:
    """Return the table of answers at each step."""
    outputs, sequence, step = by_step(part.outputs, len(part.ids), context.task)
    columns = columns_of(outputs, len(step), context.task)
    taken = [STEP, TIME, *(_LONG if layout == "long" else columns)]
    before, version = _belongs(context, part, taken)
    if layout == "short":
        before.pop(ENTITY)
    index = pa.array(sequence, pa.int64())
    before = {name: column.take(index) for name, column in before.items()}
    before[STEP] = pa.array(step, pa.int64())
    origins = context.origins
    if origins is not None and origins.step_times is not None:
        places = _places(context, part)
        times = [origins.step_times[place] for place in places]
        if [len(each) for each in times] != np.bincount(sequence, minlength=len(places)).tolist():
            raise ModelError("the model returned answers to other numbers of steps than it was sent")
        before[TIME] = _as_times(np.concatenate(times) if times else np.zeros(0, np.int64), origins.time_kind)
    after = {} if layout == "short" else {name: column.take(index) for name, column in version.items()}
    if layout == "long" and has_step_targets(context.task):
        targets = targets_of(context.task)
        own = {"target": pa.array(targets * len(step), pa.string()), "prediction": _stacked([*columns.values()])}
        if context.task.units is not None:
            own["units"] = pa.array([context.task.units] * (len(targets) * len(step)), pa.string())
        return _repeated(before, len(targets), own, after)
    if layout == "long":
        own, classes = _by_class(columns, len(step))
        return _repeated(before, classes, own, after)
    answers = {name: _typed(values) for name, values in columns.items()}
    _check_names(answers, {**before, **after}, advice=layout == "wide")
    return pa.table({**before, **answers, **after})


def _by_class(columns: Mapping[str, np.ndarray], count: int) -> tuple[dict[str, Any], int]:
    """Return the columns of a row for each answer and class, and the number of classes."""
    label, *probabilities = columns.items()
    classes = [name.removeprefix(PROBABILITY) for name, _ in probabilities]
    values = _stacked([each for _, each in probabilities]) if probabilities else pa.array([], pa.float32())
    own = {"class": pa.array(np.tile(np.array(classes, object), count), pa.string()), "probability": values}
    own["predicted"] = pa.array([name == chosen for chosen in label[1].tolist() for name in classes], pa.bool_())
    return own, len(classes)


def _check_names(answers: Mapping[str, Any], given: Mapping[str, Any], *, advice: bool) -> None:
    if taken := sorted(given.keys() & answers.keys()):
        raise ConfigError(
            f"the predictions have columns of the names {', '.join(taken)} already; rename them in the data"
            + (", or choose the layout short" if advice else "")
        )


def _long(context: _Context, part: Part) -> Any:
    count, task = len(part.ids), context.task
    outputs = dict(part.outputs)
    came = [outputs.pop(key) for key in (ACTUAL, P_VALUES) if key in outputs]
    columns = columns_of(outputs, count, task)
    before, version = _belongs(context, part, (*_LONG, *_CAME) if came else _LONG)
    if isinstance(task, ClassificationConfig):
        own, classes = _by_class(columns, count)
        return _repeated(before, classes, own, version)
    if is_multi_label(task):
        labels = task.labels
        own = {
            "class": pa.array(labels * count, pa.string()),
            "probability": _stacked([columns[f"{PROBABILITY}{label}"] for label in labels]),
            "predicted": pa.array(np.stack([columns[label] for label in labels], axis=1).reshape(-1) > 0, pa.bool_()),
        }
        return _repeated(before, len(labels), own, version)
    # Of each number the prediction, then its quantiles.
    levels = [None, *levels_of(task)]
    own = {}
    targets = targets_of(task)
    horizons = task.horizons if isinstance(task, ForecastingConfig) else [0]
    each = len(horizons) * len(targets) * len(levels)
    if isinstance(task, ForecastingConfig):
        # Times are by horizon, then sequence; rows by sequence, then horizon, then target.
        places = np.arange(count)[:, None] + count * np.arange(len(horizons))
        places = np.repeat(places.reshape(-1), len(targets) * len(levels))
        own["horizon"] = pa.array(np.tile(np.repeat(np.array(horizons, np.int64), each // len(horizons)), count))
        own["time"] = _times(context, part).take(pa.array(places, pa.int64()))
    named = np.repeat(np.array(targets, object), len(levels))
    own["target"] = pa.array(np.tile(named, count * len(horizons)), pa.string())
    if len(levels) > 1:
        own["quantile"] = pa.array(levels * (count * len(horizons) * len(targets)), pa.float64())
    own["prediction"] = _stacked([*columns.values()])
    for name, values in zip(_CAME, came, strict=False):
        # Beside the prediction, not its quantiles.
        padded = np.full((values.size, len(levels)), np.nan, np.float32)
        padded[:, 0] = values.reshape(-1)
        own[name] = _or_null(padded.reshape(-1))
    if task.units is not None:
        own["units"] = pa.array([task.units] * (count * each), pa.string())
    return _repeated(before, each, own, version)


def _repeated(before: Mapping[str, Any], times: int, own: Mapping[str, Any], after: Mapping[str, Any]) -> Any:
    count = len(before[SEQUENCE_ID])
    index = pa.array(np.repeat(np.arange(count), times), pa.int64())
    return pa.table(
        {
            **{name: column.take(index) for name, column in before.items()},
            **own,
            **{name: column.take(index) for name, column in after.items()},
        }
    )


def _belongs(context: _Context, part: Part, taken: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    places = _places(context, part)
    origins = context.origins
    entities = [None] * len(part.ids) if origins is None else [origins.entities[place] for place in places]
    before = {SEQUENCE_ID: pa.array(part.ids, pa.string()), ENTITY: pa.array(entities, pa.string())}
    named = {} if origins is None else without_taken(origins.columns_at(places), [*taken, *before, VERSION])
    before |= {name: pa.array(texts, pa.string()) for name, texts in named.items()}
    return before, {VERSION: pa.array([part.version] * len(part.ids), pa.int64())}


def _times(context: _Context, part: Part) -> Any:
    """Return the times of a part's targets, all sequences of the first horizon first."""
    origins, horizons = context.origins, len(context.task.horizons)  # type: ignore[union-attr]
    kind = {"timestamp": pa.timestamp("ns", "UTC"), "float": pa.float64()}.get(
        origins.time_kind if origins is not None else "timestamp", pa.int64()
    )
    if origins is None or origins.target_times is None:
        return pa.nulls(len(part.ids) * horizons, kind)
    return _as_times(origins.target_times[_places(context, part)].T.reshape(-1), origins.time_kind)


def _as_times(times: np.ndarray, time_kind: str) -> Any:
    """Return times as an Arrow array: timestamps in UTC, or numbers."""
    if time_kind == "timestamp":
        return pa.array(times).cast(pa.timestamp("ns")).cast(pa.timestamp("ns", "UTC"))
    return pa.array(times).cast(pa.float64() if time_kind == "float" else pa.int64())


def _places(context: _Context, part: Part) -> list[int]:
    return [context.places[name] for name in part.ids] if context.origins is not None else []


def _typed(values: np.ndarray) -> Any:
    if values.dtype.kind == "i":
        return pa.array(values)
    return pa.array(values.tolist(), pa.string()) if values.dtype == object else pa.array(values.astype(np.float32))


def _or_null(values: np.ndarray) -> Any:
    """Return float32 with null in place of NaN."""
    return pa.array(values.astype(np.float32), mask=np.isnan(values))


def _stacked(columns: list[np.ndarray]) -> Any:
    """Return the numbers of columns, all of the first sequence first."""
    return pa.array(np.stack(columns, axis=1).astype(np.float32).reshape(-1))


def plain_rows(table: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a prediction's table as text formats have them: numbers of nine digits, times as ISO 8601."""
    columns = [_plain(column) for column in table.columns]
    for row in zip(*columns, strict=True):
        yield dict(zip(table.column_names, row, strict=True))


def _plain(column: Any) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        numbers = column.cast(pa.int64()).to_pylist()
        texts = iter(format_times(np.array([each for each in numbers if each is not None], np.int64), "timestamp"))
        return [None if each is None else next(texts) for each in numbers]
    if pa.types.is_float32(column.type):
        # Nine digits distinguish any two float32.
        return [None if each is None else float(f"{each:.9g}") for each in column.to_pylist()]
    return column.to_pylist()
