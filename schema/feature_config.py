"""Features: the entries of `data.features`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from noisy_gru.schema.section import Section

CalendarName = Literal["hour_of_day", "day_of_week", "day_of_year"]
CALENDAR_PARTS = ("sin", "cos")


class FeatureConfig(Section):
    """An input column."""

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


def expand_features(value: Any) -> Any:
    """Expand bare names to features, and a calendar entry without a name to its two features."""
    if not isinstance(value, list):
        return value
    features = []
    for item in value:
        if isinstance(item, dict) and item.get("calendar") and "name" not in item:
            features += [{"scale": "none", **item, "name": f"{item['calendar']}_{part}"} for part in CALENDAR_PARTS]
        else:
            features.append({"name": item} if isinstance(item, str) else item)
    return features
