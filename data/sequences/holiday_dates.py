"""Dates of public holidays, of the package `holidays`.

>>> days = holiday_days("DE", None, [2026])
>>> days[:3].astype("datetime64[D]")
array(['2026-01-01', '2026-04-03', '2026-04-06'], dtype='datetime64[D]')
"""

from __future__ import annotations

import difflib
import importlib.metadata
import warnings
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from noisy_gru.schema.errors import DataError


def holiday_days(country: str, subdivision: str | None, years: Iterable[int]) -> np.ndarray:
    """Return the public holidays of some years, int64 days since 1970.

    Days that make up for a holiday at a weekend count, too (US: Friday 3 July 2026).

    Args:
        country: code of ISO 3166.
        subdivision: state or province; None: the holidays of the whole country alone.
        years: of the Gregorian calendar.

    Raises:
        DataError: the package has no such country or subdivision.
    """
    return np.array([day for year in years for day in _of_year(country, subdivision, year)], np.int64)


def market_holiday_days(market: str, years: Iterable[int]) -> np.ndarray:
    """Return the days of some years on which a market is closed besides weekends, int64 days since 1970.

    Args:
        market: code of ISO 10383, such as XNYS.
        years: of the Gregorian calendar.

    Raises:
        DataError: the package has no such market.
    """
    return np.array([day for year in years for day in _of_market(market, year)], np.int64)


def check_market(market: str) -> None:
    """Raise DataError if the package has no such market."""
    import holidays

    markets: dict[str, list[str]] = holidays.list_supported_financial(include_aliases=True)
    if market not in markets:
        close = difflib.get_close_matches(market.upper(), markets, n=1)
        guess = f" (did you mean {close[0]}?)" if close else ""
        raise DataError(
            f"data.time.holidays: expected a market that the package holidays "
            f"{importlib.metadata.version('holidays')} has, received market: {market}{guess}. "
            f"It has {', '.join(sorted(code for code in markets if len(code) == 4))}"
        )


def check_holidays(country: str, subdivision: str | None, *, key: str = "calendar: holiday") -> None:
    """Raise DataError if the package has no such country or subdivision; ``key`` is where the configuration has it."""
    import holidays

    countries: dict[str, list[str]] = holidays.list_supported_countries(include_aliases=True)
    package = f"the package holidays {importlib.metadata.version('holidays')}"
    if country not in countries:
        raise DataError(
            f"{key}: expected a country that {package} has, received "
            f"country: {country}. It has {', '.join(sorted(code for code in countries if len(code) == 2))}"
        )
    if subdivision is not None and subdivision not in countries[country]:
        folded = {name.casefold(): name for name in map(str, countries[country])}
        close = difflib.get_close_matches(subdivision.casefold(), folded, n=1)
        guess = f" (did you mean {folded[close[0]]}?)" if close else ""
        known = ", ".join(sorted(folded.values())) or "none"
        raise DataError(
            f"{key}: expected a subdivision of {country} that {package} has ({known}), "
            f"received subdivision: {subdivision}{guess}"
        )


@lru_cache(maxsize=4096)
def _of_year(country: str, subdivision: str | None, year: int) -> tuple[int, ...]:
    import holidays

    check_holidays(country, subdivision)
    with warnings.catch_warnings():
        # A year whose dates a country has not published yet.
        warnings.simplefilter("ignore")
        # Of the years beside it, too: the day off for a holiday at New Year may be in either. So a date is the same
        # whatever the years of the other rows are.
        found: Any = holidays.country_holidays(
            country, subdiv=subdivision, years=[year - 1, year, year + 1], expand=False
        )
        return _days(found, year)


@lru_cache(maxsize=4096)
def _of_market(market: str, year: int) -> tuple[int, ...]:
    import holidays

    check_market(market)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _days(holidays.financial_holidays(market, years=[year - 1, year, year + 1], expand=False), year)


def _days(found: Any, year: int) -> tuple[int, ...]:
    return tuple(sorted(np.datetime64(day, "D").astype(int).item() for day in found if day.year == year))
