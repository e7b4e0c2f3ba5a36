"""The `data.time.holidays` section: days that `data.time.frequency: 1B` leaves out besides weekends."""

from __future__ import annotations

import datetime

from pydantic import Field, field_validator, model_validator

from noisy_gru.schema.section import Section


class HolidayConfig(Section):
    """Days without a step: the public holidays of a country, those of a market, or a list."""

    country: str | None = Field(
        default=None, description="Code of ISO 3166, for its public holidays in the package `holidays`: `DE`."
    )
    subdivision: str | None = Field(default=None, description="State or province of `country`: `BY`.")
    market: str | None = Field(
        default=None,
        description="Code of ISO 10383 of a market that the package `holidays` has: `XNYS` (New York), `XLON`, "
        "`XETR`, `XECB` (TARGET).",
    )
    dates: list[str] = Field(default_factory=list, description="Further days, such as `2026-12-24`.")

    @field_validator("dates", mode="before")
    @classmethod
    def _of_yaml(cls, dates: object) -> object:
        """YAML reads dates without quotes as such."""
        if not isinstance(dates, list):
            return dates
        return [
            each.isoformat() if isinstance(each, datetime.date) and not isinstance(each, datetime.datetime) else each
            for each in dates
        ]

    @field_validator("dates")
    @classmethod
    def _are_days(cls, dates: list[str]) -> list[str]:
        for each in dates:
            try:
                datetime.date.fromisoformat(each)
            except ValueError as error:
                raise ValueError(f"expected a day such as 2026-12-24, received {each!r}") from error
        return dates

    @model_validator(mode="after")
    def _one_list(self) -> HolidayConfig:
        if self.country is not None and self.market is not None:
            raise ValueError("holidays are those of a country or of a market, received both; add others as dates")
        if self.subdivision is not None and self.country is None:
            raise ValueError("subdivision is of a country, received none")
        if self.country is None and self.market is None and not self.dates:
            raise ValueError("expected country, market or dates, such as {market: XNYS}")
        return self
