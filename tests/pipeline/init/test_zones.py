"""The zone that `noisy-gru init` takes for calendars: of stored times, and of written offsets, against zoneinfo."""

from __future__ import annotations

import json
import zoneinfo
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisy_gru.data.arrow import pa
from noisy_gru.pipeline.config.checks import check_config
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.init.proposal import propose
from noisy_gru.pipeline.init.roles import Roles, Table
from noisy_gru.pipeline.init.zones import zone_of_clock, zone_of_texts, zone_of_type

ZONES = ("Europe/Berlin", "Europe/London", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe",
         "Asia/Tehran", "Pacific/Auckland", "Africa/Casablanca")  # fmt: skip


@settings(max_examples=25)
@given(
    zone=st.sampled_from(ZONES),
    begin=st.dates(pd.Timestamp("2005-01-01").date(), pd.Timestamp("2030-01-01").date()),
    hours=st.integers(2000, 12_000),
    step=st.sampled_from([9, 12, 24]),
)
def test_offsets_have_a_zone_with_the_same_clock(zone, begin, hours, step):
    moments = pd.date_range(pd.Timestamp(begin), periods=hours // step, freq=f"{step}h", tz="UTC")
    local = moments.tz_convert(zoneinfo.ZoneInfo(zone))
    texts = pd.Series([each.isoformat() for each in local])
    found = zone_of_texts(texts)
    offsets = {each.utcoffset() for each in local}
    if found is None:
        # No zone has half an hour of summer all year.
        (offset,) = offsets
        assert not offset or offset % pd.Timedelta("1h")
        return
    there = moments.tz_convert(zoneinfo.ZoneInfo(found.name))
    assert [each.utcoffset() for each in there] == [each.utcoffset() for each in local]
    assert found.sure == (len(offsets) > 1)


@pytest.mark.parametrize(
    ("texts", "zone"),
    [
        (["2026-01-15T12:00:00Z", "2026-07-15T12:00:00Z"], None),
        (["2026-01-15T12:00:00", "2026-07-15T12:00:00"], None),
        (["01-2024", "02-2024"], None),
        (["2026-01-15", "2026-07-15"], None),
        (["2026-01-15T12:00+05:30", "2026-07-15T12:00+05:30"], "Asia/Calcutta"),
        (["2026-01-15T12:00+0900", "2026-07-15T12:00+0900"], "Etc/GMT-9"),
        (["2026-01-15 12:00:00.5-03:00"], "Etc/GMT+3"),
        (["2026-01-15T12:00+01:00", "2026-01-15T12:00+09:00"], None),  # of two places
        ([None, "2026-01-15T12:00+01:00", "2026-07-15T12:00+02:00"], "Europe/Berlin"),
    ],
)
def test_texts_by_hand(texts, zone):
    found = zone_of_texts(pd.Series(texts, dtype=object))
    assert (found.name if found is not None else None) == zone


@pytest.mark.parametrize(
    ("kind", "zone"),
    [
        (pa.timestamp("us"), None),
        (pa.timestamp("us", "UTC"), None),
        (pa.timestamp("ns", "Asia/Tokyo"), "Asia/Tokyo"),
        (pa.timestamp("ms", "+02:00"), "Etc/GMT-2"),
        (pa.timestamp("ms", "Mars/Base"), None),
        (pa.date32(), None),
        (pa.int64(), None),
    ],
)
def test_types_by_hand(kind, zone):
    found = zone_of_type(kind)
    assert (found.name if found is not None else None) == zone


def rows() -> pd.DataFrame:
    when = pd.date_range("2026-01-05", periods=5000, freq="h", tz="America/New_York")
    return pd.DataFrame({"when": when, "load": 50 + 10 * np.sin(when.hour / 24 * 6.283)})


def parquet(table: pd.DataFrame) -> str:
    table.to_parquet("rows.parquet")
    return "rows.parquet"


def json_lines(table: pd.DataFrame) -> str:
    lines = [{"when": each.isoformat(), "load": load} for each, load in zip(table["when"], table["load"], strict=True)]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return "rows.jsonl"


def csv(table: pd.DataFrame) -> str:
    table.to_csv("rows.csv", index=False)
    return "rows.csv"


@pytest.mark.parametrize("write", [parquet, json_lines, csv])
def test_calendars_are_by_the_clock_of_the_times(tmp_path, monkeypatch, write: Any):
    monkeypatch.chdir(tmp_path)
    table = rows()
    # The sample must see both offsets: summer begins on 8 March.
    propose([write(table)], out=Path("draft")).write(Path("draft"))
    config = load_config(Path("draft/config.yaml"))
    check_config(config)
    assert config.data.time is not None and config.data.time.timezone == "America/New_York"
    assert [each.calendar for each in config.data.features if each.calendar][:2] == ["hour_of_day"] * 2


@pytest.mark.parametrize(
    ("zone", "begin", "found"),
    [
        ("Europe/Berlin", "2023-01-01", "Europe/Berlin"),
        ("Europe/Paris", "2023-09-01", "Europe/Berlin"),
        ("America/New_York", "2023-01-01", "America/New_York"),
        ("Australia/Sydney", "2023-01-01", "Australia/Sydney"),
        ("UTC", "2023-01-01", None),
        ("Asia/Tokyo", "2023-01-01", None),
        ("Europe/Berlin", "2023-01-01 to June", None),
    ],
)
def test_clocks_that_go_back_have_a_zone(zone: str, begin: str, found: str | None) -> None:
    hours = 3000 if "June" in begin else 24 * 365
    times = pd.date_range(begin.split(" ")[0], periods=hours, freq="1h", tz="UTC").tz_convert(zone).tz_localize(None)
    frame = pd.DataFrame({"meter": np.repeat(["a", "b"], hours), "time": np.tile(times.to_numpy(), 2)})
    frame["kwh"] = np.arange(2 * hours)
    frame = pd.concat([frame, frame.iloc[[5]]], ignore_index=True)  # a copy of a row
    table = Table(frame, np.zeros(len(frame), int))
    zone_found = zone_of_clock(table, Roles("meter", "time", "timestamp", [], []))
    assert (zone_found.name if zone_found else None) == found
