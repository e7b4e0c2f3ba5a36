"""The `data` section: files and columns, and what of it goes together.

`csv_config`, `feature_config`, `policies_config`, `spans_config` and `time_config` hold sections of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from noisy_gru.schema.calendars import calendar_problem
from noisy_gru.schema.csv_config import CsvConfig
from noisy_gru.schema.feature_config import FeatureConfig, expand_features
from noisy_gru.schema.layout_config import ExcelConfig, LayoutConfig
from noisy_gru.schema.policies_config import PoliciesConfig
from noisy_gru.schema.resample_config import OF_TEXTS, ResampleConfig
from noisy_gru.schema.section import Section
from noisy_gru.schema.span_patterns import holds_spans, pattern_problems
from noisy_gru.schema.spans_config import SpansConfig
from noisy_gru.schema.split_config import SplitName
from noisy_gru.schema.sql_config import SqlConfig
from noisy_gru.schema.time_config import TimeConfig

FORMATS = ("csv", "parquet", "jsonl", "arrow", "ts", "xlsx", "example", "sequence_example")
# Formats of which a record is a sequence, whose lists are in order.
RECORDS = ("example", "sequence_example")


class DataConfig(Section):
    """Where the data is and what its columns mean."""

    files: list[str] | dict[SplitName, list[str]] = Field(
        default_factory=list,
        description="File patterns, relative to the configuration file; or patterns for each split, which keeps a "
        "published split as it is. A pattern may hold `{SPAN}` (a whole number; `{SPAN:3}`: three digits) or a date, "
        "`{YYYY}`, `{MM}` and `{DD}`, and `{VERSION}` beside it, of which the newest counts; see `spans`. Needed "
        "unless there is `sql`.",
    )
    sql: SqlConfig | None = Field(default=None, description="A query in place of files. See `sql`.")
    spans: SpansConfig = Field(default_factory=SpansConfig, description="See `spans`.")
    format: Literal["auto", "csv", "parquet", "jsonl", "arrow", "ts", "xlsx", "example", "sequence_example"] = Field(
        default="auto",
        description="`auto` goes by the file's ending (.csv, .parquet, .jsonl, .ndjson, .arrow, .feather, .ts, .xlsx; "
        "texts also with .gz). TFRecords have to be named: `example` (tf.Example with list features) or "
        "`sequence_example`.",
    )
    csv: CsvConfig = Field(default_factory=CsvConfig, description="See `csv`.")
    excel: ExcelConfig = Field(default_factory=ExcelConfig, description="See `excel`.")
    layout: LayoutConfig | None = Field(
        default=None, description="Of wide tables; null: tables have a row for each step. See `layout`."
    )
    entity: str | list[str] | None = Field(
        description="Column that names the sequence (or, for forecasting, the series), or several that do so together: "
        "`[shop, product]`; predictions have their columns, too. null: all rows are one series, which forecasting may "
        "split by time. Its name in predictions is `series`."
    )
    time: TimeConfig | None = Field(
        default=None, description="Needed for tables; a TFRecord's lists are in order already."
    )
    resample: ResampleConfig | None = Field(
        default=None,
        description="Aggregate the rows of each step of time to one; null: every row is a step. See `resample`.",
    )
    features: Annotated[list[FeatureConfig], BeforeValidator(expand_features)] = Field(
        min_length=1, description="The input columns; a bare name is a numeric feature with the defaults."
    )
    min_length: int = Field(default=1, ge=1, description="Fewest steps of a sequence.")
    max_length: int = Field(default=1000, ge=1, description="Most steps of a sequence.")
    windows: Literal["cut", "stored"] = Field(
        default="cut",
        description="Of forecasting. `cut`: ingestion stores each step once, and whatever reads it cuts the "
        "windows; `stored`: it writes a tf.Example for each window, for other tools that read its artifact.",
    )
    policies: PoliciesConfig = Field(default_factory=lambda: PoliciesConfig(), description="See `policies`.")

    @model_validator(mode="before")
    @classmethod
    def _frequency_of_resample(cls, values: Any) -> Any:
        """The steps of ``resample`` are those of ``time``."""
        time, resample = (values.get("time"), values.get("resample")) if isinstance(values, dict) else (None, None)
        if isinstance(time, dict) and isinstance(resample, dict) and time.get("frequency") is None:
            return {**values, "time": {**time, "frequency": resample.get("frequency")}}
        return values

    @field_validator("entity")
    @classmethod
    def _entity_columns(cls, entity: str | list[str] | None) -> str | list[str] | None:
        if not isinstance(entity, list):
            return entity
        if not entity or len(set(entity)) < len(entity):
            raise ValueError(f"expected a column, or several of different names; received {entity}")
        return entity[0] if len(entity) == 1 else entity

    @field_validator("features")
    @classmethod
    def _unique(cls, features: list[FeatureConfig]) -> list[FeatureConfig]:
        names = [feature.name for feature in features]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"expected each feature once; listed more than once: {', '.join(twice)}")
        return features

    @model_validator(mode="after")
    def _patterns_hold_spans(self) -> DataConfig:
        if problems := pattern_problems(self.patterns):
            raise ValueError("; ".join(f"files: {problem}" for problem in problems))
        if self.spans != SpansConfig() and not self.has_spans:
            raise ValueError("spans needs {SPAN} or a date ({YYYY}, {MM}, {DD}) in every pattern of files")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length ({self.min_length}) is larger than max_length ({self.max_length})")
        if self.sql is None and "files" not in self.model_fields_set:
            raise ValueError("expected files, or sql with a query")
        if self.sql is not None and (self.files or self.format != "auto"):
            raise ValueError("sql takes the place of files and format: remove them, or sql")
        if self.time is None and self.format not in RECORDS:
            raise ValueError("tables need `time`, the column that orders the steps of an entity")
        if self.entity is None and self.format in RECORDS:
            raise ValueError(
                f"entity: null is for tables, and format is {self.format}: name the feature that has the id"
            )
        if isinstance(self.entity, list) and self.format in RECORDS:
            raise ValueError(
                f"entity: a list of columns is for tables, and format is {self.format}: write the name into one feature"
            )
        if self.resample is not None:
            self._check_resample(self.resample)
        if self.layout is not None:
            self._check_layout(self.layout)
        self._check_static()
        for feature in self.features:
            self._check_elapsed(feature)
            if feature.offset and (feature.kind != "numeric" or feature.calendar is not None):
                raise ValueError(f"feature {feature.name}: offset is for numeric columns, received {feature.offset:g}")
            if problem := calendar_problem(feature):
                raise ValueError(problem)
            if feature.calendar is not None and (self.time is None or self.time.kind != "timestamp"):
                raise ValueError(f"calendar: {feature.calendar} needs time.kind: timestamp")
        return self

    def _check_resample(self, resample: ResampleConfig) -> None:
        time = self.time
        if time is None:
            raise ValueError("resample needs `time`, the column whose steps it aggregates")
        if time.frequency != resample.frequency:
            raise ValueError(
                f"time.frequency ({time.frequency}) and resample.frequency ({resample.frequency}) differ: leave "
                "time.frequency out, the steps are those of resample"
            )
        if time.align != "exact":
            raise ValueError(
                f"time.align: {time.align} keeps one row of each step, and resample aggregates them: remove one of both"
            )
        for column, how in resample.aggregate.items():
            feature = next((feature for feature in self.features if feature.name == column), None)
            if feature is not None and feature.kind == "categorical" and how not in OF_TEXTS:
                raise ValueError(
                    f"resample.aggregate: {column} is categorical, so expected {' or '.join(OF_TEXTS)}, received {how}"
                )
            if feature is not None and feature.offset and how in ("sum", "count"):
                raise ValueError(
                    f"resample.aggregate: {how} of {column} would not be less its offset once: remove the offset, or "
                    "choose another aggregate"
                )

    def _check_layout(self, layout: LayoutConfig) -> None:
        if self.format == "ts" or self.format in RECORDS:
            raise ValueError(f"layout is for tables, and format is {self.format}: leave layout out")
        if self.entity is None or self.time is None:
            raise ValueError("layout needs entity and time: of a wide table's columns it makes one of them")
        if isinstance(self.entity, list) and (layout.kind == "wide_series" or layout.entity == "row"):
            raise ValueError(f"layout makes one column of the entity, and entity names {len(self.entity)}: name one")
        if layout.value in (*self.entity_columns, *self.time.columns):
            raise ValueError(f"layout.value ({layout.value}) is the name of the entity or the time: choose another")
        if layout.kind == "wide_steps":
            if len(self.time.columns) > 1:
                raise ValueError("layout: wide_steps makes one column of time, and time.column names several")
            if layout.steps == "number" and self.time.kind != "integer":
                raise ValueError(f"layout.steps: number makes integers, and time.kind is {self.time.kind}")
        elif layout.empty_cells == "skip" and (
            known := [each.name for each in self.features if each.known_in_advance and each.is_column]
        ):
            raise ValueError(
                f"{', '.join(known)} is known in advance, and layout.empty_cells: skip leaves no rows of the future: "
                "set empty_cells: keep"
            )

    def _check_elapsed(self, feature: FeatureConfig) -> None:
        elapsed, column = feature.elapsed, feature.column
        if elapsed is None:
            if column is not None:
                raise ValueError(f"feature {feature.name}: column is for elapsed: steps_since_observed")
            return
        if feature.kind != "numeric" or feature.known_in_advance or feature.offset or feature.calendar is not None:
            raise ValueError(
                f"elapsed: {elapsed} is a numeric feature of its own, without known_in_advance, offset and calendar"
            )
        if elapsed == "seconds_since_last":
            if self.time is None or self.time.kind != "timestamp":
                raise ValueError(f"elapsed: {elapsed} needs time.kind: timestamp")
            if column is not None:
                raise ValueError(f"elapsed: {elapsed} is of all rows: remove column ({column})")
            return
        known = [each.name for each in self.features if each.is_column and not (each.known_in_advance or each.static)]
        if column not in known:
            raise ValueError(
                f"elapsed: {elapsed} needs column, a feature that is measured (one of {', '.join(known)}); "
                f"received {column or 'none'}"
            )

    def _check_static(self) -> None:
        static = [feature for feature in self.features if feature.static]
        for feature in static:
            others = {
                "calendar": feature.calendar,
                "elapsed": feature.elapsed,
                "known_in_advance": feature.known_in_advance,
                "resample.aggregate": self.resample is not None and feature.name in self.resample.aggregate,
            }
            if other := next((key for key, value in others.items() if value), None):
                raise ValueError(
                    f"feature {feature.name} is static, one value for each entity, so it takes no {other}: leave one "
                    "of them out"
                )
        if static and self.entity is None:
            raise ValueError(
                f"feature {static[0].name} is static, one value for each entity, and entity: null is one series: leave "
                "the feature out, or name the entity's column"
            )
        if len(static) == len(self.features):
            raise ValueError(
                f"every feature is static ({', '.join(feature.name for feature in static)}), so a sequence has no "
                "steps: add a feature with a value for each step"
            )

    @property
    def entity_columns(self) -> tuple[str, ...]:
        """The columns that name an entity together; none where all rows are one series."""
        if self.entity is None:
            return ()
        return (self.entity,) if isinstance(self.entity, str) else tuple(self.entity)

    @property
    def patterns(self) -> list[str]:
        """All file patterns."""
        groups = self.files.values() if isinstance(self.files, dict) else [self.files]
        return [pattern for group in groups for pattern in group]

    @property
    def has_steps_of_its_own(self) -> bool:
        """Whether rows are moved or aggregated to the steps of a grid."""
        return self.resample is not None or (self.time is not None and self.time.align != "exact")

    @property
    def has_spans(self) -> bool:
        """Whether the file patterns hold a span, as ``{SPAN}`` or a date."""
        return holds_spans(self.patterns)

    @property
    def numeric(self) -> list[FeatureConfig]:
        """The numeric and Boolean features of each step, in the order of the configuration: the channels of tensors."""
        return [feature for feature in self.features if feature.kind != "categorical" and not feature.static]

    @property
    def categorical(self) -> list[FeatureConfig]:
        """The categorical features of each step, in the order of the configuration."""
        return [feature for feature in self.features if feature.kind == "categorical" and not feature.static]

    @property
    def static_numeric(self) -> list[FeatureConfig]:
        """The static numeric and Boolean features, in the order of the configuration: those of ``static_features``."""
        return [feature for feature in self.features if feature.kind != "categorical" and feature.static]

    @property
    def static_categorical(self) -> list[FeatureConfig]:
        """The static categorical features, in the order of the configuration."""
        return [feature for feature in self.features if feature.kind == "categorical" and feature.static]
