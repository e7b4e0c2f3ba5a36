"""The `task` section: what a model predicts of a sequence."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from noisy_gru.schema.section import Section


def _label_text(value: Any) -> Any:
    """YAML reads 1 as a number and true as a Boolean; ingestion makes the texts `1` and `true` of both."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, int) else value


LabelText = Annotated[str, BeforeValidator(_label_text)]


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
