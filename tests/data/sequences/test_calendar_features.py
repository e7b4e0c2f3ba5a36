"""Calendar features against times worked by hand."""

import numpy as np
import pytest

from noisy_gru.data.sequences.calendar_features import cycle_fraction
from noisy_gru.schema.config import DataConfig


@pytest.mark.parametrize(
    ("calendar", "stamp", "expected"),
    [
        ("hour_of_day", "2013-03-10T06:00", 0.25),
        ("hour_of_day", "1969-12-31T18:00", 0.75),
        ("day_of_week", "2026-11-23T00:00", 0.0),  # a Monday
        ("day_of_week", "2026-11-29T12:00", 6.5 / 7),  # a Sunday's noon
        ("day_of_year", "2024-12-31T00:00", 365 / 366),
        ("day_of_year", "2023-12-31T00:00", 364 / 365),
        ("day_of_year", "2023-01-01T00:00", 0.0),
    ],
)
def test_phase(calendar, stamp, expected):
    time = np.array([stamp], "datetime64[ns]").astype(np.int64)
    np.testing.assert_allclose(cycle_fraction(time, calendar), [expected], atol=1e-12)


def data(**changes):
    return {
        "files": ["a.csv"],
        "entity": "id",
        "time": {"column": "t", "kind": "timestamp"},
        "features": ["x", {"calendar": "hour_of_day"}],
        **changes,
    }


def test_a_calendar_entry_is_two_features_and_survives_a_round_trip():
    config = DataConfig.model_validate(data())
    assert [feature.name for feature in config.numeric] == ["x", "hour_of_day_sin", "hour_of_day_cos"]
    assert DataConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time": {"column": "t"}}, "needs time.kind: timestamp"),
        ({"features": [{"calendar": "hour_of_day", "known_in_advance": True}]}, "takes no known_in_advance"),
        ({"features": [{"name": "hour", "calendar": "hour_of_day"}]}, "names its features itself"),
        ({"features": [{"calendar": "hour"}]}, "Input should be 'hour_of_day'"),
    ],
)
def test_calendar_entries_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        DataConfig.model_validate(data(**changes))
