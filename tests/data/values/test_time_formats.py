"""Timestamps by a pattern or a unit, against Python's strptime and exact fractions."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from noisy_gru.data.arrow import pa
from noisy_gru.data.values.parsing import parse_times
from noisy_gru.data.values.time_formats import formatted_times
from noisy_gru.schema.time_config import EPOCHS, TimeConfig

PATTERNS = [
    *("%d.%m.%Y", "%d.%m.%Y %H:%M", "%m/%d/%Y", "%m/%d/%Y %I:%M %p", "%d/%m/%y", "%Y%m%d", "%Y%m%d%H%M%S", "%Y-%m-%d"),
    *(
        "%d-%b-%Y",
        "%d %B %Y %H:%M:%S",
        "%a, %d %b %Y",
        "%Y-%j",
        "%Y-%m",
        "%Y",
        "%H:%M %d/%m/%Y",
        "%Y-%m-%dT%H:%M:%S.%f",
    ),
    *("%Y-%m-%d %H:%M:%S %z", "100%% %Y%m%d", "%d.%m.%Y,%H Uhr"),
]
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2068, 12, 30))


def nanoseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(deadline=None, max_examples=60)
@given(moments=st.lists(MOMENTS, min_size=1, max_size=8), hours=st.integers(-12, 14))
def test_what_strftime_writes_is_read_as_strptime_reads_it(pattern: str, moments: list[datetime], hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    texts = [moment.replace(tzinfo=zone if "%z" in pattern else None).strftime(pattern) for moment in moments]
    texts = [re.sub(r"^(\d{1,3})(?=\D|$)", lambda found: found[0], text) for text in texts]
    values, bad = formatted_times(pa.array(texts), pattern)
    assert not bad.any(), texts
    assert values.tolist() == [nanoseconds(datetime.strptime(text, pattern)) for text in texts]


@pytest.mark.parametrize("pattern", [each for each in PATTERNS if each not in ("%Y-%j", "%a, %d %b %Y")])
@settings(deadline=None, max_examples=100)
@given(
    text=st.one_of(st.text("0123456789./-: APMTapm", max_size=20), st.sampled_from(["now", "today", "NaT", "nan", ""]))
)
@example(text="2020120")
@example(text="1.2.2020")
@example(text="30.02.2020")
def test_nothing_is_read_that_strptime_refuses(pattern: str, text: str) -> None:
    (value,), (bad,) = formatted_times(pa.array([text]), pattern)
    if not bad:
        assert value == nanoseconds(datetime.strptime(text.strip(), pattern))


@pytest.mark.parametrize(
    "text", ["now", "today", "NaT", "2020-1-1", "20201", "202011", " ", "\uff11\uff19991231", "20201301", "2020-01-01"]
)
def test_texts_that_are_no_dates_of_eight_digits(text: str) -> None:
    assert formatted_times(pa.array([text]), "%Y%m%d")[1].tolist() == [True]


def test_years_beyond_nanoseconds_are_unparsable() -> None:
    values, bad = formatted_times(pa.array(["31.12.9999", "01.01.1600", "01.01.2000", None]), "%d.%m.%Y")
    assert bad.tolist() == [True, True, False, True]
    assert values[2] == pd.Timestamp("2000-01-01").value


AMOUNTS = st.one_of(
    st.integers(-(2**63), 2**63).map(str),
    st.decimals(-(10**11), 10**11, places=3).map(str),
    st.decimals(-(10**11), 10**11, allow_nan=False).map(str),
    st.text("0123456789.eE+-", max_size=12),
)


@pytest.mark.parametrize("unit", EPOCHS)
@settings(deadline=None, max_examples=150)
@given(texts=st.lists(AMOUNTS, min_size=1, max_size=10))
@example(
    texts=[
        "1700000000.123",
        "-0.5",
        "9223372036854775807",
        "-9223372036854775808",
        "1e3",
        "1E400",
        "9223372036.854775807",
    ]
)
def test_amounts_since_1970_are_exact(unit: str, texts: list[str]) -> None:
    values, bad = formatted_times(pa.array(texts), unit)
    for text, value, wrong in zip(texts, values.tolist(), bad, strict=True):
        if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", text):
            assert wrong, text
            continue
        amount = Fraction(Decimal(text)) * EPOCHS[unit]
        whole = int(amount)  # towards zero
        if abs(whole) < 2**63 - EPOCHS[unit]:
            assert (value, bool(wrong)) == (whole, False), text
        elif abs(whole) >= 2**63:
            assert wrong, text


def test_numbers_and_texts_of_one_value_are_one_time() -> None:
    for unit, amounts in {"epoch_s": [1700000000.123, 0.1, 1e9], "epoch_ms": [1700000000123.0, 5.5]}.items():
        stored = formatted_times(pa.array(amounts), unit)
        text = formatted_times(pa.array([repr(amount) for amount in amounts]), unit)
        assert stored[0].tolist() == text[0].tolist()
        assert not stored[1].any()
    values, bad = formatted_times(pa.array([1700000000, None, 2**62]), "epoch_s")
    assert (values[0], bad.tolist()) == (1700000000 * 10**9, [False, True, True])
    values, bad = formatted_times(pa.array([1700000000, None], pa.uint64()), "epoch_s")
    assert (values[0], bad.tolist()) == (1700000000 * 10**9, [False, True])
    values, bad = formatted_times(pa.array([20251231.0, float("nan"), float("inf"), 20250230.0]), "%Y%m%d")
    assert (values[0], bad.tolist()) == (pd.Timestamp("2025-12-31").value, [False, True, True, True])


def test_stored_times_are_what_they_are() -> None:
    column = pa.array([datetime(2025, 12, 31, 6)], pa.timestamp("ms"))
    for spelled in ("%d.%m.%Y", "epoch_s"):
        found = formatted_times(column, spelled)
        expected = parse_times(column, "timestamp")
        assert (found[0].tolist(), found[1].tolist()) == (expected[0].tolist(), expected[1].tolist())


def test_values_of_python_among_texts_may_be_iso() -> None:
    texts = pa.array(["31.12.2025", "2025-12-31 00:00:00", "2025-12-31"])
    native = np.array([False, True, False])
    values, bad = formatted_times(texts, "%d.%m.%Y", native)
    assert bad.tolist() == [False, False, True]
    assert values[0] == values[1] == pd.Timestamp("2025-12-31").value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "%d.%m.%Q"}, "%Q can't be read"),
        ({"format": "%d.%m."}, "expected a pattern with a year"),
        ({"format": "dd.mm.yyyy"}, "expected a pattern with a year"),
        ({"format": "%Y-%m-%d %H:%M %p"}, "need each other"),
        ({"format": "%Y-%m-%d %I:%M"}, "need each other"),
        ({"format": "%d.%m.%Y %y"}, "say the same"),
        ({"format": "%d %b %m %Y"}, "say the same"),
        ({"format": "%Y %j %d"}, "takes neither month nor day"),
        ({"format": "%d.%m.%Y %d"}, "more than once"),
        ({"format": "epoch_s", "kind": "integer"}, "format needs kind: timestamp, received kind: integer"),
        ({"column": ["a"]}, r"expected a name, or two of them: \[date, time\]"),
        ({"column": ["a", "a"]}, r"expected a name, or two of them: \[date, time\]"),
        ({"column": ["a", "b"], "kind": "float"}, "a list of columns needs kind: timestamp"),
    ],
)
def test_formats_that_mean_nothing_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TimeConfig.model_validate({"column": "t", "kind": "timestamp", **options})
