"""Folds: every origin is in one of them, and times are numbers of one unit."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from noisy_gru.pipeline.backtest.folds import equal_folds, moments


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=40), st.integers(1, 9))
def test_every_origin_is_in_exactly_one_fold(times: list[int], count: int) -> None:
    origins = np.array(times, float)
    folds = equal_folds(origins.min(), origins.max(), count)
    assert [fold.number for fold in folds] == list(range(1, count + 1))
    held = np.stack([fold.holds(origins) for fold in folds]).sum(axis=0)
    # Folds without a duration (all origins at once) leave them to the last one.
    assert (held == 1).all()


def test_folds_have_the_same_duration() -> None:
    starts = [fold.start for fold in equal_folds(0.0, 12.0, 4)]
    assert starts == [0.0, 3.0, 6.0, 9.0]


@given(
    st.datetimes(
        min_value=pd.Timestamp("1970-01-01").to_pydatetime(), max_value=pd.Timestamp("2200-01-01").to_pydatetime()
    )
)
def test_iso_times_are_those_of_pandas(time) -> None:
    text = f"{time:%Y-%m-%dT%H:%M:%S}Z"
    assert moments([text, "17", "-2.5"]).tolist() == [pd.Timestamp(text).timestamp(), 17.0, -2.5]
