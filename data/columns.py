"""The columns of a data set's files, by role."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from noisy_gru.schema.config import ClassificationConfig, ColumnSplitConfig, DatasetConfig, ForecastingConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.task_config import (
    has_several_targets,
    has_step_labels,
    has_step_targets,
    is_multi_label,
    targets_of,
)
from noisy_gru.schema.time_config import TimeSpelling

SEQUENCE_ID = "sequence_id"
STEPS = "steps"
ONE_SERIES = "series"  # name of the only series where data.entity is null
TARGET = "target/"
NAIVE_LAST = "naive_last/"
NAIVE_SEASONAL = "naive_seasonal/"
HORIZON_PREFIXES = (TARGET, NAIVE_LAST, NAIVE_SEASONAL)  # before the name of the target column


@dataclass(frozen=True)
class Columns:
    """Column names by role; one name may have several roles (an entity that is also a categorical feature).

    ``numeric`` are the numeric features in the files followed by the targets that are no features; ``calendar`` are the
    features that come from the time, ``elapsed`` those that say what passed, ``booleans`` those of the numeric that are
    read as true or false, several labels among them; ``static`` are those of ``numeric_features`` and ``categorical``
    that have one value for each entity. ``answers`` are the targets that a sequence has once, ``step_targets`` those
    that each step has. ``label_per_step`` says that the label is one of each row. ``time_columns`` are one or two (date
    and clock), the parts of a date, or none. ``entity`` are the columns that name it together; without one all rows are
    one series.
    """

    entity: tuple[str, ...]
    time_columns: tuple[str, ...]
    time_kind: str
    times: TimeSpelling
    booleans: tuple[str, ...]
    numeric: tuple[str, ...]
    numeric_features: tuple[str, ...]
    calendar: tuple[str, ...]
    elapsed: tuple[str, ...]
    categorical: tuple[str, ...]
    calendar_categories: tuple[str, ...]
    known_in_advance: tuple[str, ...]
    future: Literal["rows", "computed"] | None
    static: tuple[str, ...]
    targets: tuple[str, ...]
    answers: tuple[str, ...]
    step_targets: tuple[str, ...]
    label: str | None
    label_is_class: bool
    label_per_step: bool
    split: str | None

    @classmethod
    def of(cls, dataset: DatasetConfig, *, prediction: bool = False) -> Columns:
        """Return the columns of a data set; with ``prediction`` without label and split.

        Raises:
            DataError: a column has a name that is reserved in the tf.Examples.
        """
        data, task = dataset.data, dataset.task
        numeric = [*data.numeric, *data.static_numeric]
        features = tuple(feature.name for feature in numeric if feature.is_column)
        forecasting = isinstance(task, ForecastingConfig)
        several = has_several_targets(task)
        steps = has_step_targets(task)
        targets = tuple(targets_of(task)) if forecasting or several or steps else ()
        labels = task.labels if is_multi_label(task) else []
        known = [feature for feature in data.features if feature.known_in_advance]
        # Without a grid nobody knows when the next events come.
        regular = data.time is not None and data.time.gaps != "ignore"
        computed = regular and all(feature.calendar is not None for feature in known)
        columns = cls(
            entity=data.entity_columns,
            time_columns=data.time.columns if data.time else (),
            time_kind=data.time.kind if data.time else "integer",
            times=data.time.spelling if data.time else TimeSpelling(),
            booleans=(*(feature.name for feature in numeric if feature.kind == "boolean"), *labels),
            numeric=features + tuple(target for target in targets if target not in features),
            numeric_features=features,
            calendar=tuple(feature.name for feature in data.numeric if feature.calendar is not None),
            elapsed=tuple(feature.name for feature in data.numeric if feature.elapsed is not None),
            categorical=tuple(
                feature.name for feature in [*data.categorical, *data.static_categorical] if feature.calendar is None
            ),
            calendar_categories=tuple(feature.name for feature in data.categorical if feature.calendar is not None),
            known_in_advance=tuple(feature.name for feature in known),
            future=("computed" if computed else "rows") if known else None,
            static=tuple(feature.name for feature in data.features if feature.static),
            targets=targets,
            answers=targets if several else (),
            step_targets=targets if steps else (),
            label=None if forecasting or several or steps or prediction else task.label,  # type: ignore[union-attr]
            label_is_class=isinstance(task, ClassificationConfig),
            label_per_step=has_step_labels(task),
            split=dataset.splits.column if isinstance(dataset.splits, ColumnSplitConfig) and not prediction else None,
        )
        columns._check_reserved()
        return columns

    def _check_reserved(self) -> None:
        features = [*self.numeric_features, *self.calendar, *self.elapsed, *self.categorical, *self.calendar_categories]
        names = [*features, *([self.label] if self.label else []), *self.answers, *self.step_targets]
        taken = [name for name in names if name in (SEQUENCE_ID, STEPS) or name.startswith(HORIZON_PREFIXES)]
        if taken:
            raise DataError(
                f"the columns {', '.join(taken)} have names that are reserved in a sequence's tf.Example "
                f"({SEQUENCE_ID}, {STEPS}, {', '.join(prefix + '…' for prefix in HORIZON_PREFIXES)}): rename them in "
                "the data"
            )

    def past_only(self, names: Iterable[str]) -> list[str]:
        """Return those columns that are measured: neither known in advance, nor static, nor the entity or the time."""
        given = {*self.known_in_advance, *self.static, *self.entity, *self.time_columns}
        return [name for name in names if name not in given]

    def required(self, *, prediction: bool = False) -> list[str]:
        """Return the names that every file must have; predictions need no targets that aren't features."""
        numeric = self.numeric_features if prediction else self.numeric
        names = [*self.entity, *self.time_columns, *numeric, *self.categorical, self.label, self.split]
        return list(dict.fromkeys(name for name in names if name is not None))

    def wanted(self) -> list[str]:
        """Return all names that are read if a file has them."""
        return list(dict.fromkeys([*self.required(), *self.targets]))

    @property
    def texts(self) -> list[str]:
        """The text columns: ids, classes and categories."""
        label = [self.label] if self.label is not None and self.label_is_class else []
        return list(dict.fromkeys([*self.entity, *self.categorical, *label]))
