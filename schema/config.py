"""The configuration of a data set, and the names of all its sections.

    >>> from noisy_gru.schema.config import DatasetConfig
    >>> DatasetConfig.model_validate_json(text)  # doctest: +SKIP

``DatasetConfig`` travels to the components as JSON; `data_config` (with `feature_config` and `time_config`),
`task_config` and `split_config` hold its sections.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from noisy_gru.schema.calendars import CalendarName
from noisy_gru.schema.csv_config import CsvConfig
from noisy_gru.schema.data_config import FORMATS, RECORDS, DataConfig
from noisy_gru.schema.feature_config import FeatureConfig
from noisy_gru.schema.layout_config import ExcelConfig, LayoutConfig
from noisy_gru.schema.policies_config import PoliciesConfig
from noisy_gru.schema.resample_config import Aggregate, ResampleConfig
from noisy_gru.schema.section import Section
from noisy_gru.schema.spans_config import SpansConfig
from noisy_gru.schema.split_config import (
    SPLITS,
    ColumnSplitConfig,
    EntitySplitConfig,
    FileSplitConfig,
    SplitName,
    SplitsConfig,
    TimeSplitConfig,
)
from noisy_gru.schema.sql_config import SqlConfig
from noisy_gru.schema.task_config import (
    ClassificationConfig,
    ForecastingConfig,
    MultiLabelConfig,
    RegressionConfig,
    TaskConfig,
    has_step_targets,
    is_multi_label,
    is_per_step,
    targets_of,
)
from noisy_gru.schema.time_config import TimeConfig

__all__ = [
    "FORMATS",
    "RECORDS",
    "SPLITS",
    "Aggregate",
    "CalendarName",
    "ClassificationConfig",
    "ColumnSplitConfig",
    "CsvConfig",
    "DataConfig",
    "DatasetConfig",
    "EntitySplitConfig",
    "ExcelConfig",
    "FeatureConfig",
    "FileSplitConfig",
    "ForecastingConfig",
    "LayoutConfig",
    "MultiLabelConfig",
    "PoliciesConfig",
    "RegressionConfig",
    "ResampleConfig",
    "Section",
    "SpansConfig",
    "SplitName",
    "SplitsConfig",
    "SqlConfig",
    "TaskConfig",
    "TimeConfig",
    "TimeSplitConfig",
]


class DatasetConfig(Section):
    """The description of a data set that ingestion, Transform and serving share."""

    data: DataConfig
    task: TaskConfig
    splits: SplitsConfig = Field(default_factory=EntitySplitConfig)
    seed: int = Field(default=0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _consistent(self) -> DatasetConfig:
        problems = []
        forecasting = isinstance(self.task, ForecastingConfig)
        names = {feature.name: feature for feature in self.data.features}
        if isinstance(self.splits, FileSplitConfig) != isinstance(self.data.files, dict):
            problems.append(
                "splits.by: files and patterns for each split under data.files go together; "
                f"received splits.by: {self.splits.by} with a "
                f"{'mapping' if isinstance(self.data.files, dict) else 'list'} of files"
            )
        if isinstance(self.splits, FileSplitConfig) and isinstance(self.data.files, dict):
            missing = {"train", "test"} - set(self.data.files)
            if missing:
                problems.append(f"data.files names no {' and no '.join(sorted(missing))}")
            if "eval" in self.data.files and self.splits.eval_from_train:
                problems.append("data.files names eval, so splits.eval_from_train must be 0")
        if not isinstance(self.task, ForecastingConfig):
            label, several = getattr(self.task, "label", ""), "labels" if is_multi_label(self.task) else "targets"
            key, answers = ("label", [label]) if label else (several, targets_of(self.task))
            problems += [
                f"task.{key} {name} is also a feature, so the model would read the answer"
                for name in answers
                if name in names
            ]
        for feature in self.data.features:
            if feature.known_in_advance and not forecasting:
                problems.append(f"feature {feature.name} is known_in_advance, which only forecasting has")
        if isinstance(self.task, ForecastingConfig):
            for target in self.task.targets:
                feature = names.get(target)
                if feature is not None and (feature.known_in_advance or feature.kind != "numeric"):
                    problems.append(f"target {target} must be numeric and not known_in_advance")
                if feature is not None and feature.static:
                    problems.append(f"target {target} must not be static: it has a value for each step")
                if feature is not None and feature.offset:
                    problems.append(
                        f"target {target} takes no offset, since predictions are float32 in the units of the data: "
                        "subtract a constant in the data, or predict its differences"
                    )
            if self.data.time is None:
                problems.append("forecasting needs data.time")
            if isinstance(self.splits, TimeSplitConfig) and self.splits.embargo is not None:
                if self.splits.embargo < self.task.max_horizon:
                    problems.append(
                        f"splits.embargo ({self.splits.embargo}) is shorter than the furthest horizon "
                        f"({self.task.max_horizon}), so train targets could touch eval targets"
                    )
        problems += self._problems_of_resample() + self._problems_of_layout()
        if self.data.windows != "cut" and not forecasting:
            problems.append("data.windows: stored is for forecasting, which alone cuts windows: remove it")
        if self.data.entity is None:
            problems += self._problems_of_one_series()
        if isinstance(self.splits, TimeSplitConfig) and self.data.time is None:
            problems.append("splits.by: time needs data.time")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _problems_of_resample(self) -> list[str]:
        resample = self.data.resample
        columns = [each.name for each in self.data.features if each.is_column]
        if isinstance(self.task, ForecastingConfig) or has_step_targets(self.task):
            columns += [target for target in targets_of(self.task) if target not in columns]
        return [
            f"data.resample.aggregate: {column} is neither a feature nor a target of forecasting; expected one of "
            f"{', '.join(columns)}"
            for column in (resample.aggregate if resample is not None else ())
            if column not in columns
        ]

    def _problems_of_layout(self) -> list[str]:
        layout = self.data.layout
        if layout is not None and layout.kind == "wide_steps" and is_per_step(self.task):
            return [
                "task.per_step: true needs a label for each step, and a row of data.layout.kind: wide_steps has one "
                "for all its steps; leave per_step out, or bring the data as a row for each step"
            ]
        read = [each.name for each in self.data.features if each.is_column]
        read += self.task.targets if isinstance(self.task, ForecastingConfig) else []
        if layout is None or layout.value in read:
            return []
        return [
            f"data.layout.value: {layout.value} is neither a feature nor a target, so the cells would not be read; "
            f"expected one of {', '.join(dict.fromkeys(read))}"
        ]

    def _problems_of_one_series(self) -> list[str]:
        problems = []
        if not isinstance(self.task, ForecastingConfig):
            problems.append(
                f"data.entity: null makes one series of all rows, and {self.task.kind} needs many sequences: name the "
                "column that tells them apart"
            )
        elif isinstance(self.splits, EntitySplitConfig) and not self.splits.keeps_all:
            problems.append("data.entity: null is one series, which can't be split by entity: set splits.by: time")
        elif not isinstance(self.splits, TimeSplitConfig | EntitySplitConfig) and self.splits.eval_from_train:
            problems.append(
                "splits.eval_from_train takes whole entities, and data.entity: null is one series: name the rows of "
                "eval, or set splits.by: time"
            )
        return problems

    @property
    def has_eval_split(self) -> bool:
        """Whether a split is held out for early stopping; train and test always are there."""
        splits, files = self.splits, self.data.files
        if isinstance(splits, FileSplitConfig):
            return splits.eval_from_train > 0 or (isinstance(files, dict) and "eval" in files)
        if isinstance(splits, ColumnSplitConfig):
            return splits.eval_from_train > 0 or bool(splits.values.get("eval"))
        # Named times that are equal leave nothing between them.
        is_empty = isinstance(splits, TimeSplitConfig) and isinstance(splits.eval, str) and splits.eval == splits.test
        return splits.eval != 0 and not is_empty
