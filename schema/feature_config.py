"""Features: the entries of `data.features`."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from noisy_gru.schema.calendars import CalendarEncoding, CalendarName, expand_calendar
from noisy_gru.schema.section import Section

ElapsedName = Literal["seconds_since_last", "steps_since_observed"]


class FeatureConfig(Section):
    """An input column."""

    name: str = Field(min_length=1, description="Column name (or feature key in a TFRecord).")
    kind: Literal["numeric", "categorical", "boolean"] = Field(
        default="numeric",
        description="How the column is read and encoded. `boolean`: true and false (also yes, no, t, f, y, n, on, off, "
        "1, 0; see `csv.true`) as the number 1 or 0, without scaling.",
    )
    scale: Literal["zscore", "minmax", "robust", "log1p", "none"] = Field(
        default="zscore",
        description="Scaling of a numeric feature, fitted on the train split: z-score, to [0, 1], "
        "median and interquartile range, z-score of log(1 + value) (negative values mirrored; for skewed amounts; "
        "a forecast's target then is forecast in logarithms, too), or none.",
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
    missing_codes: list[float | str] = Field(
        default_factory=list,
        description="Values that stand for a missing one in this column, such as `[-9, 9999]`, in files of every "
        "format and in what a client sends (`csv.missing` does so for all columns). A category's is compared as text.",
    )
    known_in_advance: bool = Field(
        default=False,
        description="Forecasting only: the values up to the furthest horizon are known when the model predicts (price "
        "list, plan, calendar); `model.future` says how a prediction reads them. Requests hold such a column's future "
        "rows; a calendar's follow from `time.frequency`.",
    )
    static: bool = Field(
        default=False,
        description="The column has one value for each entity (the type of a shop, a patient's age). It is stored and "
        "sent once for each sequence, sets where the GRUs start, and is read by the model's head. Rows may leave it "
        "out where another row of the entity has it; `policies.conflicting_static` decides where they differ.",
    )
    calendar: CalendarName | None = Field(
        default=None,
        description="Not a column but the step's time in `time.timezone` (needs `time.kind: timestamp`): `{calendar: "
        "hour_of_day}` stands for the two features `hour_of_day_sin` and `hour_of_day_cos`. See "
        "docs/data-formats.md#calendars.",
    )
    encoding: CalendarEncoding | None = Field(
        default=None,
        description="Of a calendar: `cyclic`, sine and cosine of the part of the cycle that has passed (the default); "
        "or `category`, its number with an embedding (`week_of_month` needs it). `weekend` and `holiday` are 0 or 1 "
        "and take none.",
    )
    country: str | None = Field(
        default=None,
        description="Of `calendar: holiday`: whose public holidays, as a code of ISO 3166 (`DE`; in YAML Norway is "
        '`"NO"`, quoted).',
    )
    subdivision: str | None = Field(
        default=None,
        pattern=r"^[\w -]+$",
        description="Of `calendar: holiday`: a state or province that has holidays of its own, as the package "
        "`holidays` names it (`BY`).",
    )
    elapsed: ElapsedName | None = Field(
        default=None,
        description="Not a column but what passed within the sequence: `seconds_since_last` since the row before "
        "(filled steps are no rows; needs `time.kind: timestamp`), `steps_since_observed` since `column` last had a "
        "value (0 where it has one). Missing before there is one. The name is `seconds_since_last`, or "
        "`steps_since_observed_<column>`, unless `name` says another.",
    )
    column: str | None = Field(
        default=None, description="With `elapsed: steps_since_observed`: the feature it is about."
    )
    embedding_dim: int = Field(default=8, ge=1, description="Width of the embedding of a categorical feature.")
    vocabulary_size: int = Field(
        default=1000, ge=1, description="Most values kept of a categorical feature; the rest are OOV."
    )

    @field_validator("country", "subdivision", mode="before")
    @classmethod
    def _quoted(cls, code: Any) -> Any:
        if isinstance(code, bool):
            raise ValueError(f'YAML reads NO, ON and the like as true or false, here {code}; quote the code: "NO"')
        return code

    @field_validator("country", mode="after")
    @classmethod
    def _two_letters(cls, code: str | None) -> str | None:
        if code is not None and not re.fullmatch("[A-Z]{2}", code):
            guess = f" (did you mean {code.upper()}?)" if re.fullmatch("[A-Za-z]{2}", code) else ""
            raise ValueError(f"expected a code of ISO 3166, two capital letters such as DE; received {code!r}{guess}")
        return code

    @model_validator(mode="before")
    @classmethod
    def _unscaled_booleans(cls, values: Any) -> Any:
        """Scale none is the default of a Boolean."""
        if isinstance(values, dict) and values.get("kind") == "boolean":
            return {"scale": "none", **values}
        return values

    @model_validator(mode="after")
    def _no_scaled_boolean(self) -> FeatureConfig:
        if self.kind == "boolean" and self.scale != "none":
            raise ValueError(f"kind: boolean is 0 or 1 and takes scale: none, received scale: {self.scale}")
        return self

    @model_validator(mode="after")
    def _codes_of_columns(self) -> FeatureConfig:
        if self.missing_codes and not self.is_column:
            raise ValueError(f"missing_codes is of columns of the data, and {self.calendar or self.elapsed} is none")
        texts = [code for code in self.missing_codes if isinstance(code, str)]
        if self.kind != "categorical" and texts:
            raise ValueError(
                f"missing_codes of a {self.kind} feature: expected numbers, received {texts[0]!r} "
                "(data.csv.missing takes texts)"
            )
        return self

    @property
    def is_column(self) -> bool:
        """Whether it is read from the data, rather than computed from times and other columns."""
        return self.calendar is None and self.elapsed is None


def expand_features(value: Any) -> Any:
    """Expand bare names to features, and a calendar or elapsed entry without a name to its features."""
    if not isinstance(value, list):
        return value
    return [feature for item in value for feature in _expand(item)]


def entry_of_feature(entries: list[Any], place: int) -> int:
    """Return the index of the entry of `data.features`, as it was written, that the feature at ``place`` comes from."""
    entries_of = [index for index, item in enumerate(entries) for _ in _expand(item)]
    return entries_of[place]


def _expand(item: Any) -> list[Any]:
    if isinstance(item, dict) and item.get("calendar") and "name" not in item:
        return expand_calendar(item)
    if isinstance(item, dict) and item.get("elapsed") and "name" not in item:
        about = f"_{item['column']}" if item.get("column") else ""
        return [{**item, "name": f"{item['elapsed']}{about}"}]
    return [{"name": item} if isinstance(item, str) else item]
