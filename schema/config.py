"""The part of the configuration that says what the data is: columns, task, windows, splits and policies.

    >>> TaskConfig.model_validate({"kind": "forecasting", "targets": ["temp"], "input_length": 24, "horizons": [6]})
    ... # doctest: +SKIP

Every model is frozen and refuses unknown keys. ``DatasetConfig`` is what travels to the components, as JSON.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from noisy_gru.schema.span_patterns import day_number, holds_spans, parse_day, pattern_problems

SPLITS = ("train", "eval", "test")
SplitName = Literal["train", "eval", "test"]
CalendarName = Literal["hour_of_day", "day_of_week", "day_of_year"]
CALENDAR_PARTS = ("sin", "cos")


class Section(BaseModel):
    """A part of the configuration: frozen, and strict about keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FeatureConfig(Section):
    """One input column."""

    name: str = Field(min_length=1, description="Column name (or feature key in a TFRecord).")
    kind: Literal["numeric", "categorical"] = Field(
        default="numeric", description="How the column is read and encoded."
    )
    scale: Literal["zscore", "minmax", "robust", "none"] = Field(
        default="zscore",
        description="Scaling of a numeric feature, fitted on the train split: z-score, to [0, 1], "
        "median and interquartile range, or none.",
    )
    offset: float = Field(
        default=0.0,
        allow_inf_nan=False,
        description="Subtracted from a numeric feature before it becomes float32, wherever rows are read. Needed where "
        "values lie close together and far from zero: near 1.7e9 float32 has only every 128th number. Tensors and "
        "tf.Examples that you write yourself hold the value less the offset, and so do the bounds of the schema.",
    )
    missing: Literal["impute", "mask"] = Field(
        default="impute",
        description="A missing numeric value becomes the train mean (the median with `robust`) inside the Transform "
        "graph; `mask` also adds an input that is 1 where the value was missing.",
    )
    known_in_advance: bool = Field(
        default=False,
        description="Forecasting only: the column may be read up to the horizon (calendar, price list, plan).",
    )
    calendar: CalendarName | None = Field(
        default=None,
        description="Not a column but the sine and cosine of the step's time: `{calendar: hour_of_day}` stands for the "
        "two features `hour_of_day_sin` and `hour_of_day_cos` (UTC; needs `time.kind: timestamp`).",
    )
    embedding_dim: int = Field(default=8, ge=1, description="Width of the embedding of a categorical feature.")
    vocabulary_size: int = Field(
        default=1000, ge=1, description="Most values kept of a categorical feature; the rest are OOV."
    )


def _features(value: Any) -> Any:
    """Bare names become features, and a calendar entry without a name its two features."""
    if not isinstance(value, list):
        return value
    features = []
    for item in value:
        if isinstance(item, dict) and item.get("calendar") and "name" not in item:
            features += [{"scale": "none", **item, "name": f"{item['calendar']}_{part}"} for part in CALENDAR_PARTS]
        else:
            features.append({"name": item} if isinstance(item, str) else item)
    return features


class TimeConfig(Section):
    """The column that orders the steps of an entity."""

    column: str = Field(description="Column name.")
    kind: Literal["integer", "float", "timestamp"] = Field(
        default="integer", description="`timestamp` reads ISO 8601 (no zone means UTC) and Parquet timestamps."
    )
    frequency: str | None = Field(
        default=None,
        description="Distance between regular steps: a pandas offset such as `1h` for timestamps, a number otherwise. "
        "Needed when `gaps` is not `ignore`.",
    )
    gaps: Literal["ignore", "fill", "split"] = Field(
        default="ignore",
        description="A missing step: `ignore` takes rows as they come, `fill` adds a step whose values are missing, "
        "`split` lets no sequence or window cross the gap. `fill` and `split` need `frequency`.",
    )

    @model_validator(mode="after")
    def _frequency_for_gaps(self) -> TimeConfig:
        if self.gaps != "ignore" and self.frequency is None:
            raise ValueError(f"gaps: {self.gaps} needs frequency, for example frequency: 1h")
        return self


RowPolicy = Literal["error", "quarantine", "drop"]


class PoliciesConfig(Section):
    """What happens to data that can't be used as it is. Each case is counted in the run's account."""

    duplicate_step: Literal["error", "quarantine", "drop"] = Field(
        default="quarantine",
        description="Rows with the same entity and time. Exact copies are always dropped but one; where values differ, "
        "`quarantine` sets all of them aside, `drop` keeps the first in the order of the values.",
    )
    unparsable_value: Literal["error", "quarantine", "drop", "impute"] = Field(
        default="quarantine",
        description="A value that is not of its column's kind. `impute` treats it as missing; `quarantine` and `drop` "
        "take the row. An unparsable entity, time or label can't be imputed and is quarantined instead.",
    )
    missing_value: Literal["error", "quarantine", "drop", "impute"] = Field(
        default="impute", description="An empty or NaN feature value. `impute` leaves it to the feature's `missing`."
    )
    infinite_value: Literal["error", "quarantine", "drop", "impute"] = Field(
        default="quarantine", description="An infinite feature value. `impute` treats it as missing."
    )
    missing_label: RowPolicy = Field(
        default="quarantine",
        description="A sequence without a label, or a window whose target is missing (`drop` is usual there).",
    )
    conflicting_label: RowPolicy = Field(
        default="quarantine", description="A sequence whose rows name different labels."
    )
    too_short: RowPolicy = Field(default="quarantine", description="A sequence with fewer steps than `min_length`.")
    too_long: Literal["error", "quarantine", "drop", "truncate"] = Field(
        default="truncate",
        description="A sequence with more steps than `max_length`; `truncate` keeps the latest steps.",
    )
    max_quarantined_fraction: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="The run fails when more than this part of the rows is quarantined, or of the rows of one span for "
        "what they hold themselves.",
    )


def _span_number(value: Any) -> Any:
    """A date, or its text, as the number of its span."""
    try:
        return parse_day(value) if isinstance(value, str) else day_number(value)
    except (TypeError, ValueError):
        return value


SpanNumber = Annotated[int, BeforeValidator(_span_number), Field(ge=0)]


class SpansConfig(Section):
    """Which spans a run reads, where `files` hold `{SPAN}` or a date. They are read together, as if they were one."""

    window: Literal["rolling", "static", "all"] = Field(
        default="rolling",
        description="`rolling`: the newest spans; `static`: from `first` on; `all`: every span up to the newest. The "
        "newest is the last that is there, or the one of `--span`.",
    )
    count: int = Field(
        default=1,
        ge=1,
        description="`rolling`: how many spans. Those that are there count, so a day without data makes the window "
        "reach further back; where there are fewer, all are read, and the account says so.",
    )
    first: SpanNumber | None = Field(
        default=None, description="`static`: the first span, as a number or a date. All up to the last must be there."
    )
    last: SpanNumber | None = Field(
        default=None, description="`static`: the last span; null: the newest, so that the window grows."
    )

    @model_validator(mode="after")
    def _of_this_window(self) -> SpansConfig:
        if self.window != "rolling" and self.count != 1:
            raise ValueError(f"count is for window: rolling, and the window is {self.window}")
        if self.window != "static" and (self.first is not None or self.last is not None):
            raise ValueError(f"first and last are for window: static, and the window is {self.window}")
        if self.window == "static" and self.first is None:
            raise ValueError("window: static needs first, the number or date of its first span")
        if self.first is not None and self.last is not None and self.last < self.first:
            raise ValueError(f"last ({self.last}) comes before first ({self.first})")
        return self


class DataConfig(Section):
    """Where the data is and what its columns mean."""

    files: list[str] | dict[SplitName, list[str]] = Field(
        description="File patterns, relative to the configuration file; or patterns for each split, which keeps a "
        "published split as it is. A pattern may hold `{SPAN}` (a whole number; `{SPAN:3}`: three digits) or a date, "
        "`{YYYY}`, `{MM}` and `{DD}`, and `{VERSION}` beside it, of which the newest counts; see `spans`."
    )
    spans: SpansConfig = Field(default_factory=SpansConfig, description="See `spans`.")
    format: Literal["auto", "csv", "parquet", "example", "sequence_example"] = Field(
        default="auto",
        description="`auto` goes by the file's ending (.csv, .csv.gz, .parquet). TFRecords have to be named: "
        "`example` (tf.Example with list features) or `sequence_example`.",
    )
    entity: str = Field(description="Column that names the sequence (or, for forecasting, the series).")
    time: TimeConfig | None = Field(
        default=None, description="Needed for tables; a TFRecord's lists are in order already."
    )
    features: Annotated[list[FeatureConfig], BeforeValidator(_features)] = Field(
        min_length=1, description="The input columns; a bare name is a numeric feature with the defaults."
    )
    min_length: int = Field(default=1, ge=1, description="Fewest steps of a sequence.")
    max_length: int = Field(default=1000, ge=1, description="Most steps of a sequence.")
    policies: PoliciesConfig = Field(default_factory=lambda: PoliciesConfig(), description="See `policies`.")

    @field_validator("features")
    @classmethod
    def _unique(cls, features: list[FeatureConfig]) -> list[FeatureConfig]:
        names = [feature.name for feature in features]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"features are listed twice: {', '.join(twice)}")
        return features

    @model_validator(mode="after")
    def _spans_have_a_place(self) -> DataConfig:
        if problems := pattern_problems(self.patterns):
            raise ValueError("; ".join(f"files: {problem}" for problem in problems))
        if self.spans != SpansConfig() and not self.has_spans:
            raise ValueError("spans needs {SPAN} or a date ({YYYY}, {MM}, {DD}) in every pattern of files")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length ({self.min_length}) is larger than max_length ({self.max_length})")
        if self.time is None and self.format in ("auto", "csv", "parquet"):
            raise ValueError("tables need `time`, the column that orders the steps of an entity")
        for feature in self.features:
            if feature.offset and (feature.kind != "numeric" or feature.calendar is not None):
                raise ValueError(f"feature {feature.name}: offset is for numeric columns, received {feature.offset:g}")
            if feature.calendar is None:
                continue
            if self.time is None or self.time.kind != "timestamp":
                raise ValueError(f"calendar: {feature.calendar} needs time.kind: timestamp")
            if feature.kind != "numeric" or feature.known_in_advance:
                raise ValueError(f"calendar: {feature.calendar} is numeric and takes no known_in_advance")
            if feature.name not in [f"{feature.calendar}_{part}" for part in CALENDAR_PARTS]:
                raise ValueError(
                    f"calendar: {feature.calendar} names its features itself, received name: {feature.name}"
                )
        return self

    @property
    def patterns(self) -> list[str]:
        """All file patterns."""
        groups = self.files.values() if isinstance(self.files, dict) else [self.files]
        return [pattern for group in groups for pattern in group]

    @property
    def has_spans(self) -> bool:
        """Whether the file patterns hold a span, as ``{SPAN}`` or a date."""
        return holds_spans(self.patterns)

    @property
    def numeric(self) -> list[FeatureConfig]:
        """The numeric features, in the order of the configuration: the channels of ``serving_tensors``."""
        return [feature for feature in self.features if feature.kind == "numeric"]

    @property
    def categorical(self) -> list[FeatureConfig]:
        """The categorical features, in the order of the configuration."""
        return [feature for feature in self.features if feature.kind == "categorical"]


class ClassificationConfig(Section):
    """One class for each sequence."""

    kind: Literal["classification"]
    label: str = Field(description="Column that holds the class; the same in every row of a sequence.")


class RegressionConfig(Section):
    """One number for each sequence."""

    kind: Literal["regression"]
    label: str = Field(description="Column that holds the number; the same in every row of a sequence.")


class ForecastingConfig(Section):
    """Windows cut from each entity's history: the past predicts the targets at the horizons."""

    kind: Literal["forecasting"]
    targets: list[str] = Field(min_length=1, description="Columns to predict.")
    input_length: int = Field(ge=1, description="Steps of the past that the model reads.")
    horizons: list[Annotated[int, Field(ge=1)]] = Field(
        min_length=1, description="Steps ahead of the last input step, for example [1, 6, 24]."
    )
    stride: int = Field(default=1, ge=1, description="Steps between the ends of two windows of an entity.")
    season_length: int | None = Field(
        default=None, ge=1, description="Steps of a season (24 for hourly data with days): the seasonal naive baseline."
    )

    @field_validator("horizons")
    @classmethod
    def _rising(cls, horizons: list[int]) -> list[int]:
        if sorted(set(horizons)) != horizons:
            raise ValueError(f"horizons must rise and be listed once, received {horizons}")
        return horizons

    @property
    def max_horizon(self) -> int:
        """The furthest horizon, in steps."""
        return self.horizons[-1]


TaskConfig = Annotated[ClassificationConfig | RegressionConfig | ForecastingConfig, Field(discriminator="kind")]


class EntitySplitConfig(Section):
    """Whole entities go to one split, by a hash of the entity's id."""

    by: Literal["entity"] = "entity"
    eval: float = Field(default=0.1, ge=0, lt=1, description="Part of the entities for early stopping.")
    test: float = Field(default=0.1, gt=0, lt=1, description="Part of the entities for the evaluation that decides.")

    @model_validator(mode="after")
    def _leaves_train(self) -> EntitySplitConfig:
        if self.eval + self.test >= 1:
            raise ValueError(f"eval ({self.eval}) and test ({self.test}) leave nothing to train on")
        return self


class FileSplitConfig(Section):
    """The split that ``data.files`` names; the eval part may be taken from train, by entity hash."""

    by: Literal["files"]
    eval_from_train: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Part of the train entities for early stopping, when `data.files` names no `eval`.",
    )


class ColumnSplitConfig(Section):
    """The split stands in a column."""

    by: Literal["column"]
    column: str = Field(description="Column whose value names the split.")
    values: dict[SplitName, list[str]] = Field(
        default_factory=lambda: {"train": ["train"], "eval": ["eval"], "test": ["test"]},
        description="Values of the column for each split; a row with any other value is quarantined.",
    )
    eval_from_train: float = Field(default=0.0, ge=0, lt=1, description="As for `by: files`.")


class TimeSplitConfig(Section):
    """Past, then future: train, eval and test follow each other in time."""

    by: Literal["time"]
    eval: float | str = Field(
        default=0.1, description="Part of the time range (a number below 1), or the time at which eval starts (quoted)."
    )
    test: float | str = Field(default=0.15, description="Part of the time range, or the time at which test starts.")
    embargo: int | None = Field(
        default=None,
        ge=0,
        description="Steps left out between the splits; at least the furthest horizon, which is also the default.",
    )

    @model_validator(mode="after")
    def _fractions(self) -> TimeSplitConfig:
        for name in ("eval", "test"):
            value = getattr(self, name)
            if isinstance(value, float) and not 0 <= value < 1:
                raise ValueError(f"{name} is a part of the time range, so 0 <= {name} < 1; received {value}")
        if isinstance(self.eval, float) and isinstance(self.test, float) and self.eval + self.test >= 1:
            raise ValueError(f"eval ({self.eval}) and test ({self.test}) leave nothing to train on")
        if isinstance(self.test, float) and self.test == 0:
            raise ValueError("test: 0 leaves nothing to evaluate the model on")
        return self


SplitsConfig = Annotated[
    EntitySplitConfig | FileSplitConfig | ColumnSplitConfig | TimeSplitConfig, Field(discriminator="by")
]


class DatasetConfig(Section):
    """All that ingestion, Transform and serving need to know of a data set."""

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
        if not isinstance(self.task, ForecastingConfig) and self.task.label in names:
            problems.append(f"task.label {self.task.label} is also a feature, so the model would read the answer")
        for feature in self.data.features:
            if feature.known_in_advance and not forecasting:
                problems.append(f"feature {feature.name} is known_in_advance, which only forecasting has")
        if isinstance(self.task, ForecastingConfig):
            for target in self.task.targets:
                feature = names.get(target)
                if feature is not None and (feature.known_in_advance or feature.kind != "numeric"):
                    problems.append(f"target {target} must be numeric and not known_in_advance")
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
        if isinstance(self.splits, TimeSplitConfig) and self.data.time is None:
            problems.append("splits.by: time needs data.time")
        if problems:
            raise ValueError("; ".join(problems))
        return self
