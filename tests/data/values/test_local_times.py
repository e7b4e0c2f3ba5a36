"""Times without a zone by the clock of a place: as pandas and zoneinfo localize them, in whatever they come."""

from __future__ import annotations

import contextlib
import datetime
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from noisy_gru.data.arrow import pa
from noisy_gru.data.reading.in_memory_tables import frame_source, rows_source
from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.requests.stream_steps import read_stream_steps
from noisy_gru.data.sequences.chunks import pack, unpack
from noisy_gru.data.sequences.sequences import regular_series
from noisy_gru.data.sequences.splits import split_boundaries
from noisy_gru.data.values.cells import CellReader
from noisy_gru.data.values.wall_clock import from_wall_clock, wall_clock
from noisy_gru.pipeline.streaming.streaming import streamed_dataset
from noisy_gru.schema.config import CsvConfig, DatasetConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.time_config import TimeSpelling

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/St_Johns", "UTC"]
BERLIN = {"column": "t", "kind": "timestamp", "timezone": "Europe/Berlin", "without_zone": "timezone"}


def dataset_of(time: dict[str, Any]) -> DatasetConfig:
    return DatasetConfig.model_validate(
        {
            "data": {"files": ["*.csv"], "entity": "id", "time": time, "features": ["x"]},
            "task": {"kind": "classification", "label": "y"},
        }
    )


SPRING, AUTUMN = "2026-03-29T02:30:00", "2026-10-25T02:30:00"


def ns(text: str) -> int:
    return pd.Timestamp(text).value


near_changes = st.builds(
    lambda day, minute: pd.Timestamp(day).value + minute * 60 * 10**9,
    st.sampled_from(["2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-04-05", "2026-10-04", "1996-10-27"]),
    st.integers(-180, 400),
)
clocks = st.lists(near_changes | st.integers(ns("1900-01-01"), ns("2036-12-31")), min_size=1, max_size=20)


@settings(max_examples=150, deadline=None)
@given(clocks, st.sampled_from(ZONES), st.sampled_from(["reject", "earlier", "later"]),
       st.sampled_from(["reject", "shift_forward", "shift_backward"]))  # fmt: skip
@example([ns(SPRING), ns(AUTUMN)], "Europe/Berlin", "later", "shift_forward")
@example([ns("2011-12-30T12:00")], "Pacific/Apia", "reject", "reject")
def test_times_are_those_of_pandas(times: list[int], zone: str, ambiguous: str, nonexistent: str) -> None:
    found, bad = from_wall_clock(np.array(times, np.int64), zone, ambiguous=ambiguous, nonexistent=nonexistent)
    index = pd.DatetimeIndex(np.array(times, "datetime64[ns]"))
    which: Any = "NaT" if ambiguous == "reject" else np.full(len(times), ambiguous == "earlier")
    skips: Any = "NaT" if nonexistent == "reject" else nonexistent
    expected = index.tz_localize(zoneinfo.ZoneInfo(zone), ambiguous=which, nonexistent=skips)
    assert bad.tolist() == expected.isna().tolist()
    assert found[~bad].tolist() == expected[~bad].astype("int64").tolist()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(ns("2037-01-01"), ns("2200-01-01")), min_size=1), st.sampled_from(ZONES))
def test_later_years_are_those_of_zoneinfo(times: list[int], zone: str) -> None:
    epoch, place = datetime.datetime(1970, 1, 1), zoneinfo.ZoneInfo(zone)
    for option, fold in (("earlier", 0), ("later", 1)):
        found, bad = from_wall_clock(np.array(times) // 1000 * 1000, zone, ambiguous=option)
        for time, utc, wrong in zip(times, found.tolist(), bad.tolist(), strict=True):
            local = (epoch + datetime.timedelta(microseconds=time // 1000)).replace(tzinfo=place, fold=fold)
            shown = local.astimezone(datetime.UTC)
            assert wrong == (shown.astimezone(place).replace(tzinfo=None) != local.replace(tzinfo=None))
            if not wrong:
                assert utc // 1000 == (shown.replace(tzinfo=None) - epoch) // datetime.timedelta(microseconds=1)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=1), st.sampled_from(ZONES))
def test_the_clock_of_a_time_is_the_time(times: list[int], zone: str) -> None:
    inside = np.clip(np.array(times, np.int64), -(2**63) + 10**15, 2**63 - 1 - 10**15)
    clock = wall_clock(inside, zone)
    earlier, bad = from_wall_clock(clock, zone, ambiguous="earlier")
    later, _ = from_wall_clock(clock, zone, ambiguous="later")
    assert not bad.any()
    assert ((earlier == inside) | (later == inside)).all()
    from_wall_clock(np.array(times, np.int64), zone)  # at the ends of int64


SUMMER, UTC_SUMMER = "2026-07-01 08:00:00", ns("2026-07-01T06:00:00")


@pytest.mark.parametrize(
    ("array", "spelled", "expected"),
    [
        (pa.array([SUMMER]), None, UTC_SUMMER),
        (pa.array([SUMMER + "Z"]), None, ns(SUMMER)),
        (pa.array([SUMMER + "+05:00"]), None, ns(SUMMER) - 5 * 3600 * 10**9),
        (pa.array(["2026-07-01"]), None, ns("2026-06-30T22:00")),
        (pa.array(["20260701"]), None, ns("2026-06-30T22:00")),
        (pa.array([20260701]), None, ns("2026-06-30T22:00")),
        (pa.array(["01.07.2026 08:00"]), "%d.%m.%Y %H:%M", UTC_SUMMER),
        (pa.array(["01.07.2026 08:00 +0000"]), "%d.%m.%Y %H:%M %z", ns(SUMMER)),
        (pa.array([1782892800]), "epoch_s", 1782892800 * 10**9),
        (pa.array(["1782892800"]), "epoch_s", 1782892800 * 10**9),
        (pa.array([ns(SUMMER)]).cast(pa.timestamp("ns")), None, UTC_SUMMER),
        (pa.array([ns(SUMMER)]).cast(pa.timestamp("ns")), "%Y", UTC_SUMMER),
        (pa.array([ns(SUMMER)]).cast(pa.timestamp("ns", "Asia/Tokyo")), None, ns(SUMMER)),
        (pa.array([datetime.date(2026, 7, 1)]), None, ns("2026-06-30T22:00")),
    ],
)
def test_only_times_without_a_zone_are_local(array: Any, spelled: str | None, expected: int) -> None:
    values, bad = CellReader(CsvConfig()).times([array], "timestamp", TimeSpelling(spelled, "Europe/Berlin"))
    assert (values.tolist(), bad.tolist()) == ([expected], [False])


def test_a_date_and_a_clock_are_local() -> None:
    arrays = [pa.array(["01.07.2026"]), pa.array(["08:00"])]
    spelling = TimeSpelling("%d.%m.%Y %H:%M", "Europe/Berlin")
    values, bad = CellReader(CsvConfig()).times(arrays, "timestamp", spelling, [None, None])
    assert (values.tolist(), bad.tolist()) == ([UTC_SUMMER], [False])


def test_rows_of_the_changes_are_quarantined_by_name(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,t,x,y\n" + "".join(f"a,{time},1,p\n" for time in (SPRING, SUMMER, AUTUMN, AUTUMN + "+02:00")))
    quarantine = Quarantine()
    (table,) = Reader(configured(time=BERLIN)).tables(Source(str(path), "rows.csv", "csv"), quarantine)
    assert table["time"].to_pylist() == [UTC_SUMMER, ns("2026-10-25T00:30")]
    assert [line["row"] for line in quarantine.lines] == [1, 3]
    assert all(
        "in Europe/Berlin the clock skips this time or shows it twice" in each["problem"] for each in quarantine.lines
    )
    shifted = configured(time={**BERLIN, "ambiguous": "later", "nonexistent": "shift_forward"})
    (table,) = Reader(shifted).tables(Source(str(path), "rows.csv", "csv"), Quarantine())
    assert table["time"].to_pylist()[::2] == [ns("2026-03-29T01:00"), ns("2026-10-25T01:30")]


def test_a_client_sends_the_times_of_training(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    dataset = configured(time=BERLIN)
    path = tmp_path / "rows.csv"
    path.write_text(f"id,t,x,y\na,{SUMMER},1,p\n")
    frame = pd.DataFrame({"id": ["a"], "t": [pd.Timestamp(SUMMER)], "x": [1], "y": ["p"]})
    wanted = ["id", "t", "x", "y"]
    moments = (datetime.datetime(2026, 7, 1, 8), datetime.datetime(2026, 7, 1, 6, tzinfo=datetime.UTC))
    sources = [
        Source(str(path), "rows.csv", "csv"),
        frame_source(frame, wanted),
        frame_source(frame.assign(t=[SUMMER]), wanted),
        *(rows_source([{"id": "a", "t": when, "x": 1, "y": "p"}], wanted) for when in moments),
    ]
    for source in sources:
        (table,) = Reader(dataset).tables(source, Quarantine())
        assert table["time"].to_pylist() == [UTC_SUMMER]


INFER = {**BERLIN, "ambiguous": "infer"}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 90), st.sampled_from([10, 20, 60, 7]), st.sampled_from([1, -1]), st.sampled_from(["a", "ab"]))
def test_repeated_hours_are_inferred_as_pandas_does(start: int, step: int, way: int, names: str) -> None:
    """Each entity's rows from some time before the change on, oldest or newest first, entities taking turns."""
    utc = pd.date_range("2026-10-24T22:00", periods=40, freq=f"{step}min", tz="UTC") + pd.Timedelta(minutes=start)
    clock = utc.tz_convert("Europe/Berlin").tz_localize(None)
    expected: list[int] = []
    with contextlib.suppress(ValueError):
        expected = clock.tz_localize("Europe/Berlin", ambiguous="infer").astype("int64").tolist()
    times = [str(each) for each in clock][::way]
    rows = [{"id": name, "t": time, "x": 1, "y": "p"} for time in times for name in names]
    dataset, quarantine = dataset_of(INFER), Quarantine()
    source = rows_source(rows, ["id", "t", "x", "y"])
    chunks = [chunk for table in Reader(dataset).tables(source, quarantine) for _, chunk in pack(table, source.name, 1)]
    series, _ = regular_series(unpack(chunks), dataset, quarantine)
    begin, end = pd.Timestamp("2026-10-25T02:00"), pd.Timestamp("2026-10-25T03:00")
    again = expected or [time.value for time, shown in zip(utc, clock, strict=True) if not begin <= shown < end]
    assert series.rows.time.tolist() == again * len(names)
    assert len(quarantine.lines) == (len(clock) - len(again)) * len(names)
    if quarantine.lines:
        assert "Set data.time.ambiguous: earlier or later" in quarantine.lines[0]["problem"]


def test_a_running_stream_knows_what_came_before() -> None:
    dataset, last = dataset_of(INFER), None
    for clock, utc in (("01:40", "23:40"), ("02:10", "00:10"), ("02:40", "00:40"), ("02:20", "01:20"),
                       ("02:50", "01:50"), ("03:10", "02:10")):  # fmt: skip
        source = rows_source([{"id": "a", "t": f"2026-10-25T{clock}", "x": 1}], ["id", "t", "x"])
        found = read_stream_steps([source], dataset, {"a": last}, ["x"])
        (last,) = found.times
        assert last == ns(f"2026-10-{24 if utc.startswith('23') else 25}T{utc}")


def test_a_stream_of_messages_refuses_to_infer() -> None:
    with pytest.raises(ConfigError, match=r"data\.time\.ambiguous: expected earlier, later or reject for noisy-gru"):
        streamed_dataset(dataset_of({**INFER, "frequency": "1h", "gaps": "fill"}))


def test_boundaries_of_splits_are_local_too(configured: Callable[..., DatasetConfig]) -> None:
    task = {"kind": "forecasting", "targets": ["x"], "input_length": 1, "horizons": [1]}
    splits = {"by": "time", "eval": "2026-07-01", "test": "2026-07-02T00:00Z"}
    found = split_boundaries(configured(time=BERLIN, task=task, splits=splits), 0, ns("2027-01-01"))
    assert (found.eval, found.test) == (ns("2026-06-30T22:00"), ns("2026-07-02"))


def test_without_the_option_nothing_changes(configured: Callable[..., DatasetConfig]) -> None:
    dataset = configured(time={**BERLIN, "without_zone": "utc"})
    (table,) = Reader(dataset).tables(
        rows_source([{"id": "a", "t": SUMMER, "x": 1, "y": "p"}], ["id", "t", "x", "y"]), Quarantine()
    )
    assert table["time"].to_pylist() == [ns(SUMMER)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kind": "integer", "timezone": "UTC"}, "without_zone: timezone needs kind: timestamp"),
        ({"without_zone": "utc", "ambiguous": "earlier"}, "ambiguous and nonexistent are for without_zone: timezone"),
    ],
)
def test_options_that_contradict_are_errors(
    configured: Callable[..., DatasetConfig], change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        configured(time={**BERLIN, **change})
