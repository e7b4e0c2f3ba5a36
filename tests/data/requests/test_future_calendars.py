"""Calendars that are known in advance: a request's future times are those of training."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from noisy_gru.data.requests.prediction_input import read_for_prediction
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.schema.config import DatasetConfig

TASK = {"kind": "forecasting", "targets": ["x"], "input_length": 3, "horizons": [1, 2]}
CALENDARS: list[Any] = [
    {"calendar": "hour_of_day", "known_in_advance": True},
    {"calendar": "day_of_week", "encoding": "category", "known_in_advance": True},
    {"calendar": "holiday", "country": "DE", "known_in_advance": True},
    {"calendar": "minute_of_hour", "encoding": "category"},
]
TIME = {"column": "t", "kind": "timestamp", "timezone": "Europe/Berlin"}
# Around midnight of German Unity Day, in summer time.
START = "2026-10-02T18:00"
MASK = {"missing_label": "drop"}


def lists(record: bytes) -> dict[str, list[Any]]:
    from tensorflow.core.example import example_pb2

    features = example_pb2.Example.FromString(record).features.feature
    return {name: list(getattr(value, value.WhichOneof("kind")).value) for name, value in features.items()}


def rows(times: pd.DatetimeIndex, entity: str = "a") -> str:
    return "".join(f"{entity},{time.isoformat()},{place}\n" for place, time in enumerate(times))


def trained(ingest: Any, dataset: DatasetConfig, path: Any) -> dict[str, dict[str, list[Any]]]:
    """The examples of training, by id, without targets."""
    found = {}
    for part in ingest(dataset, [path]).parts:
        encode = Encoder(part, dataset)
        for place, name in enumerate(part.ids):
            content = lists(encode(place))
            found[name] = {key: value for key, value in content.items() if not key.startswith(("target/", "naive_"))}
    return found


HEAD = "id,t,x\n"


@pytest.mark.slow
@pytest.mark.parametrize("gaps", ["fill", "split"])
def test_the_frequency_says_when_the_horizons_are(ingest, table, configured, gaps) -> None:
    """A request that ends where a window of training does holds the same lists; it has only rows of the past."""
    time = {**TIME, "frequency": "1h", "gaps": gaps}
    dataset = configured(task=TASK, features=["x", *CALENDARS], time=time, policies={"missing_label": "drop"})
    every = pd.date_range(START, periods=12, freq="1h")
    whole = table(HEAD + rows(every) + rows(every[2:], "b"), "whole.csv")
    expected = trained(ingest, dataset, whole)
    assert len(expected) == 14
    for name, content in expected.items():
        entity, _, last = name.partition("@")
        past = every[every <= pd.Timestamp(last).tz_localize(None)][2 if entity == "b" else 0 :]
        request = read_for_prediction([table(HEAD + rows(past, entity))], dataset)
        assert request.ids == [name]
        found = lists(request.examples[0])
        assert {key: found[key] for key in found if key != "x"} == {key: content[key] for key in content if key != "x"}
        assert len(found["x"]) == 3
        assert request.origins is not None
        assert request.origins.entities == [entity]
        assert request.origins.target_times is not None
        ahead = pd.DatetimeIndex(request.origins.target_times[0].astype("datetime64[ns]"))
        assert [str(each) for each in ahead] == [
            str(pd.Timestamp(last).tz_localize(None) + pd.Timedelta(hours=hours)) for hours in (1, 2)
        ]
        assert request.report.rows_kept == len(past)
        assert request.report.unbalanced == 0
    # 22:00 to 02:00 in Berlin is Friday to Saturday, the 3rd of October.
    some = expected["a@2026-10-02T22:00:00Z"]
    assert some["holiday_DE"] == [0, 0, 1, 1, 1]
    assert some["day_of_week"] == [b"5", b"5", b"6", b"6", b"6"]
    assert some["minute_of_hour"] == [b"0", b"0", b"0"]


@pytest.mark.slow
def test_rows_without_a_reading_are_the_past(table, configured) -> None:
    """As for a model without such calendars: the last row is the last step, whatever it holds."""
    time = {**TIME, "frequency": "1h", "gaps": "fill"}
    every = pd.date_range(START, periods=5, freq="1h")
    text = HEAD + rows(every[:4]) + f"a,{every[4].isoformat()},\n"
    ids = [
        read_for_prediction([table(text)], configured(task=TASK, features=["x", *more], time=time)).ids
        for more in ([], CALENDARS)
    ]
    assert ids[0] == ids[1] == ["a@2026-10-02T22:00:00Z"]
    strict = configured(task=TASK, features=["x", *CALENDARS], time=time, policies={"missing_value": "quarantine"})
    found = read_for_prediction([table(text)], strict)
    assert (found.ids, dict(found.report.quarantined)) == (["a@2026-10-02T21:00:00Z"], {"missing_value": 1})


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["impute", "quarantine"])
def test_irregular_events_come_with_the_times_to_predict(ingest, table, configured, policy) -> None:
    """Training reads the later rows' own times; so a request has to hold them."""
    policies = {"missing_value": policy, "missing_label": "drop"}
    dataset = configured(task=TASK, features=["x", *CALENDARS], time=TIME, policies=policies)
    every = pd.DatetimeIndex(
        ["2026-10-02T18:00", "2026-10-02T18:20", "2026-10-02T21:50", "2026-10-02T22:10", "2026-10-05T03:00"]
    )
    expected = trained(ingest, dataset, table(HEAD + rows(every), "whole.csv"))
    future = "".join(f"a,{each.isoformat()},\n" for each in every[3:])
    found = read_for_prediction([table(HEAD + rows(every[:3]) + future)], dataset)
    assert found.ids == ["a@2026-10-02T21:50:00Z"]
    assert lists(found.examples[0]) == expected["a@2026-10-02T21:50:00Z"]
    assert found.origins is not None
    assert found.origins.target_times is not None
    assert found.origins.target_times.astype("datetime64[ns]").tolist() == [every[3:].as_unit("ns").asi8.tolist()]
    assert expected["a@2026-10-02T21:50:00Z"]["day_of_week"] == [b"5", b"5", b"5", b"6", b"1"]

    without = read_for_prediction([table(HEAD + rows(every[:3]))], dataset)
    assert (without.ids, dict(without.report.quarantined)) == ([], {"future_missing": 3})
    problem = without.unusable[0]["problem"]
    assert "expected 2 rows without a gap at the end" in problem
    assert "only the entity and the time" in problem
    assert "data.time.frequency" in problem


@pytest.mark.slow
def test_beside_a_plan_the_rows_say_when(table, configured) -> None:
    time = {**TIME, "frequency": "1h", "gaps": "fill"}
    plan = {"name": "plan", "known_in_advance": True}
    dataset = configured(task=TASK, features=["x", plan, CALENDARS[1]], time=time)
    every = pd.date_range(START, periods=5, freq="1h")
    text = "id,t,x,plan\n" + "".join(
        f"a,{each.isoformat()},{place if place < 3 else ''},{place}\n" for place, each in enumerate(every)
    )
    found = read_for_prediction([table(text)], dataset)
    assert found.ids == ["a@2026-10-02T20:00:00Z"]
    assert lists(found.examples[0])["day_of_week"] == [b"5", b"5", b"5", b"5", b"6"]
    short = read_for_prediction([table(text.rsplit("a,", 1)[0])], dataset)
    assert "hold only the columns known in advance (plan), received 1" in short.unusable[0]["problem"]


@pytest.mark.slow
def test_calendars_alone(table, configured) -> None:
    """A model that reads nothing else: the past is the rows that are given."""
    time = {**TIME, "frequency": "1h", "gaps": "split"}
    dataset = configured(task=TASK, features=CALENDARS[:2], time=time)
    every = pd.date_range(START, periods=4, freq="1h")
    found = read_for_prediction([table("id,t\n" + "".join(f"a,{each.isoformat()}\n" for each in every))], dataset)
    assert found.ids == ["a@2026-10-02T21:00:00Z"]
    assert lists(found.examples[0])["day_of_week"] == [b"5", b"5", b"5", b"6", b"6"]


def test_no_rows(table, configured) -> None:
    time = {**TIME, "frequency": "1h", "gaps": "fill"}
    dataset = configured(task=TASK, features=["x", *CALENDARS], time=time)
    assert read_for_prediction([table(HEAD)], dataset).ids == []
    assert dict(read_for_prediction([table(HEAD + "a,2026-10-02T18:00,1\n")], dataset).report.quarantined) == {
        "too_short": 1
    }


@pytest.mark.slow
@pytest.mark.parametrize("gaps", ["fill", "split"])
@pytest.mark.parametrize("how", ["align", "resample"])
def test_times_that_are_moved_to_a_grid(ingest, table, configured, how, gaps) -> None:
    """Of aligned and of aggregated rows, with what has passed since the last reading beside the calendars."""
    time = {**TIME, "frequency": "1h", "gaps": gaps, **({"align": "floor"} if how == "align" else {})}
    more = {"resample": {"frequency": "1h"}} if how == "resample" else {}
    elapsed = [{"elapsed": "seconds_since_last"}, {"elapsed": "steps_since_observed", "column": "x"}]
    dataset = configured(task=TASK, features=["x", *elapsed, *CALENDARS], time=time, policies=MASK, **more)
    grid = pd.date_range(START, periods=9, freq="1h")
    minutes = [7, 31, 44] if how == "resample" else [7]
    every = pd.DatetimeIndex([hour + pd.Timedelta(minutes=each) for hour in grid for each in minutes])
    expected = trained(ingest, dataset, table(HEAD + rows(every), "whole.csv"))
    assert len(expected) == 5
    for name, content in expected.items():
        last = pd.Timestamp(name.partition("@")[2]).tz_localize(None)
        found = read_for_prediction([table(HEAD + rows(every[every < last + pd.Timedelta(hours=1)]))], dataset)
        assert found.ids == [name]
        # As texts: NaN, of the first step, is unlike itself.
        assert sorted(map(str, lists(found.examples[0]).items())) == sorted(map(str, content.items()))
        assert found.origins is not None
        assert found.origins.target_times is not None
        ahead = found.origins.target_times.astype("datetime64[ns]")[0]
        assert ahead.tolist() == [(last + pd.Timedelta(hours=hours)).as_unit("ns").value for hours in (1, 2)]
