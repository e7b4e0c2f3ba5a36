"""New steps of streams: what is sent, what is late, and what a gap does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from noisy_gru.data.reading.in_memory_tables import rows_source
from noisy_gru.data.requests.stream_steps import StreamSteps, read_stream_steps

NAN = float("nan")
FEATURES: list[Any] = [{"name": "sky", "kind": "categorical"}, "x"]


def read(dataset: Any, rows: list[tuple], before: dict[str, Any] | None = None) -> StreamSteps:
    given: list[dict[str, Any]] = [dict(zip(("id", "t", "x", "sky"), row, strict=False)) for row in rows]
    return read_stream_steps([rows_source(given, ["id", "t", "x", "sky"])], dataset, before or {}, ["x"])


def test_rows_become_padded_tensors_in_order(configured) -> None:
    steps = read(configured(features=FEATURES), [("b", 5, 1, "u"), ("a", 9, 3, None), ("a", 8, 2, "v")])
    assert (steps.ids, steps.times) == (["b", "a"], [5, 9])
    assert_array_equal(steps.tensors["features"], np.array([[[1], [0]], [[2], [3]]], np.float32))
    assert steps.tensors["features"].dtype == np.float32
    assert_array_equal(steps.tensors["lengths"], [1, 2])
    assert steps.tensors["lengths"].dtype == np.int64
    assert_array_equal(steps.tensors["sky"], np.array([[b"u", b""], [b"v", b""]], object))
    assert not steps.restarted.any()
    assert steps.report.rows_kept == 3


def test_a_single_step_is_no_sequence_that_is_too_short(configured) -> None:
    task = {"kind": "forecasting", "targets": ["x"], "input_length": 3, "horizons": [1]}
    assert read(configured(task=task), [("a", 0, 1)]).ids == ["a"]
    assert read(configured(min_length=4), [("a", 0, 1)]).ids == ["a"]


def test_late_rows_are_unusable(configured) -> None:
    steps = read(configured(), [("a", 2, 1), ("a", 4, 2), ("b", 2, 3), ("a", 3, 9)], {"a": 3, "c": 9})
    assert (steps.ids, steps.times) == (["a", "b"], [4, 2])
    assert [(line["reason"], line["row"]) for line in steps.unusable] == [("late_step", 1), ("late_step", 4)]
    assert steps.unusable[0]["problem"] == "expected a time after 3, the stream's last step"
    assert steps.report.unbalanced == 0
    assert read(configured(), [("a", 2, 1)], {"a": 3}).ids == []


@pytest.mark.parametrize(("kind", "late"), [("float", 3.5), ("timestamp", 3_500_000_000)])
def test_late_in_other_kinds_of_time(configured, kind, late) -> None:
    dataset = configured(time={"column": "t", "kind": kind})
    times = ["1970-01-01T00:00:03.5", "1970-01-01T00:00:04"] if kind == "timestamp" else [3.5, 4]
    steps = read(dataset, [("a", times[0], 1), ("a", times[1], 2)], {"a": late})
    assert_array_equal(steps.tensors["features"], [[[2]]])
    assert steps.times == [4 if kind == "float" else 4_000_000_000]
    assert [line["row"] for line in steps.unusable] == [1]


def test_gaps_are_filled_since_the_last_step(configured) -> None:
    dataset = configured(features=FEATURES, time={"column": "t", "gaps": "fill", "frequency": "1"})
    steps = read(dataset, [("a", 4, 1, "u"), ("a", 6, 2, "v"), ("b", 4, 3, "w")], {"a": 1})
    assert_array_equal(steps.tensors["lengths"], [5, 1])
    assert_array_equal(steps.tensors["features"][0, :, 0], [NAN, NAN, 1, NAN, 2])
    assert_array_equal(steps.tensors["sky"][0], np.array([b"", b"", b"u", b"", b"v"], object))
    assert steps.report.steps_filled == 3
    assert not steps.restarted.any()


def test_a_gap_cuts(configured) -> None:
    dataset = configured(time={"column": "t", "gaps": "split", "frequency": "1"})
    steps = read(dataset, [("a", 3, 1), ("b", 3, 2), ("c", 0, 3), ("c", 2, 4), ("c", 3, 5)], {"a": 2, "b": 1})
    assert steps.ids == ["a", "b", "c"]
    assert_array_equal(steps.restarted, [False, True, True])
    assert_array_equal(steps.tensors["lengths"], [1, 1, 2])
    assert_array_equal(steps.tensors["features"][2, :, 0], [4, 5])
    assert steps.report.unbalanced == 0


def test_calendar_features(configured) -> None:
    features: list[Any] = ["x", {"calendar": "hour_of_day"}]
    dataset = configured(features=features, time={"column": "t", "kind": "timestamp"})
    channels = [feature.name for feature in dataset.data.numeric]
    source = rows_source([{"id": "a", "t": "2020-01-01T06:00", "x": 1}], ["id", "t", "x"])
    steps = read_stream_steps([source], dataset, {}, channels)
    # Six o'clock is a quarter of the day.
    np.testing.assert_allclose(steps.tensors["features"], [[[1, 1, 0]]], atol=1e-7)


def test_calendars_as_categories(configured) -> None:
    features: list[Any] = ["x", {"calendar": "day_of_week", "encoding": "category"}]
    time = {"column": "t", "kind": "timestamp", "timezone": "Asia/Tokyo", "frequency": "1h", "gaps": "fill"}
    dataset = configured(features=features, time=time)
    source = rows_source([{"id": "a", "t": "2020-01-01T15:00", "x": 1}], ["id", "t", "x"])
    # The last step was at 13:00 in UTC, Wednesday 22:00 in Tokyo; the hour between is filled in.
    last = int(np.datetime64("2020-01-01T13:00", "ns").astype(np.int64))
    steps = read_stream_steps([source], dataset, {"a": last}, ["x"])
    assert_array_equal(steps.tensors["day_of_week"], np.array([[b"3", b"4"]], object))


def test_bad_values_follow_the_policies(configured) -> None:
    steps = read(configured(), [("a", 0, "oops"), ("a", 1, 2)])
    assert_array_equal(steps.tensors["features"], [[[2]]])
    assert [line["reason"] for line in steps.unusable] == ["unparsable_value"]


STATIC: list[Any] = ["x", {"name": "age", "static": True}, {"name": "sky", "kind": "categorical", "static": True}]


def read_static(
    dataset: Any, rows: list[dict[str, Any]], known: Any = None, before: dict[str, Any] | None = None
) -> StreamSteps:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return read_stream_steps([rows_source(rows, columns)], dataset, before or {}, ["x"], known)


def test_static_values_come_once_for_each_stream(configured) -> None:
    rows = [
        {"id": "b", "t": 0, "x": 1, "age": 40, "sky": ""},
        {"id": "a", "t": 0, "x": 2, "age": None, "sky": "u"},
        {"id": "a", "t": 1, "x": 3, "age": 30, "sky": ""},
    ]
    steps = read_static(configured(features=STATIC), rows)
    assert steps.ids == ["b", "a"]
    assert set(steps.tensors) == {"features", "lengths", "static_features", "sky"}
    assert_array_equal(steps.tensors["static_features"], np.array([[40], [30]], np.float32))
    assert steps.tensors["static_features"].dtype == np.float32
    assert_array_equal(steps.tensors["sky"], np.array([b"", b"u"], object))
    assert steps.static == [{"age": 40.0, "sky": None}, {"age": 30.0, "sky": "u"}]


def test_static_values_of_known_streams_may_be_left_out(configured) -> None:
    dataset = configured(features=STATIC, policies={"missing_value": "quarantine"})
    known = {"a": {"age": 30.0, "sky": "u"}, "b": {"age": None, "sky": "v"}}
    rows = [{"id": "a", "t": 5, "x": 1}, {"id": "b", "t": 5, "x": 2}]
    steps = read_static(dataset, rows, known, {"a": 4, "b": 4})
    assert_array_equal(steps.tensors["static_features"], np.array([[30], [NAN]], np.float32))
    assert_array_equal(steps.tensors["sky"], np.array([b"u", b"v"], object))
    assert steps.static == [known["a"], known["b"]]
    # A new stream must have them, by the policy.
    new = read_static(dataset, [*rows, {"id": "c", "t": 5, "x": 2}], known)
    assert new.ids == ["a", "b"]
    assert [line["reason"] for line in new.unusable] == ["missing_value"]


def test_another_static_value_than_before_is_a_conflict(configured) -> None:
    known = {"a": {"age": 30.0, "sky": "u"}}
    row = {"id": "a", "t": 5, "x": 1, "age": 30, "sky": "u"}
    assert read_static(configured(features=STATIC), [row], known).ids == ["a"]
    for change, shown in (({"age": 31}, "31 after 30"), ({"sky": "v"}, "'v' after 'u'")):
        steps = read_static(configured(features=STATIC), [{**row, **change}], known)
        assert steps.ids == []
        (line,) = steps.unusable
        assert line["reason"] == "conflicting_static"
        assert f"in all rows of entity a, received {shown};" in line["problem"]


def test_static_values_after_a_gap_that_fills_and_one_that_restarts(configured) -> None:
    for gaps, restarted in (("fill", False), ("split", True)):
        dataset = configured(features=STATIC, time={"column": "t", "kind": "integer", "frequency": "1", "gaps": gaps})
        steps = read_static(dataset, [{"id": "a", "t": 8, "x": 1}], {"a": {"age": 30.0, "sky": "u"}}, {"a": 4})
        assert steps.restarted.tolist() == [restarted]
        assert steps.tensors["static_features"].tolist() == [[30]]
        assert steps.tensors["lengths"].tolist() == [1 if restarted else 4]


def test_static_values_of_resampled_streams(configured) -> None:
    """They are checked before readings become steps: a mean of two values would be neither."""
    resample = {"frequency": "10", "aggregate": {"x": "sum"}}
    time = {"column": "t", "kind": "integer"}
    dataset = configured(features=STATIC, time=time, resample=resample)
    rows = [{"id": "a", "t": step, "x": 1, "age": 30, "sky": "u"} for step in (0, 4, 11)]
    steps = read_static(dataset, rows)
    assert_array_equal(steps.tensors["features"], [[[2], [1]]])
    assert steps.static == [{"age": 30.0, "sky": "u"}]
    rows[1]["age"] = 31
    conflict = read_static(dataset, rows)
    assert conflict.ids == []
    assert [line["reason"] for line in conflict.unusable] == ["conflicting_static"] * 3
