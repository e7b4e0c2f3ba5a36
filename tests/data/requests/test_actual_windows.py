"""Windows whose targets have come, against a plain loop over each series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisy_gru.data.reading.files import sources_to_predict
from noisy_gru.data.reading.in_memory_tables import frame_source
from noisy_gru.data.requests.actual_windows import every_row
from noisy_gru.data.requests.prediction_input import PredictionInput, read_sources
from noisy_gru.data.requests.staged_input import stage_input
from noisy_gru.schema.config import DatasetConfig


def dataset(**more: Any) -> DatasetConfig:
    return DatasetConfig.model_validate(
        {
            "data": {
                "files": ["rows.csv"],
                "entity": "shop",
                "time": {"column": "day", "kind": "integer", "frequency": "1", "gaps": "split"},
                "features": more.pop("features", ["sold", "price"]),
            },
            "task": {
                "kind": "forecasting",
                "targets": more.pop("targets", ["sold", "price"]),
                "input_length": 3,
                "horizons": [1, 4],
            },
            "splits": {"by": "entity"},
            **more,
        }
    )


def frame_of(series: dict[str, list[tuple[int, float | None]]]) -> pd.DataFrame:
    rows = [(name, day, value, day * 10.0) for name, days in series.items() for day, value in days]
    return pd.DataFrame(rows, columns=["shop", "day", "sold", "price"])


def expected(series: dict[str, list[tuple[int, float | None]]]) -> dict[str, list[list[float | None]]]:
    """By sequence id [horizons][targets]: what came, as far as no gap lies before it."""
    found = {}
    for name, days in series.items():
        values = dict(days)
        for day in values:
            if not all(day - back in values for back in range(3)):
                continue
            came: list[list[float | None]] = []
            for horizon in (1, 4):
                is_there = all(day + step in values for step in range(1, horizon + 1))
                came.append([values[day + horizon], (day + horizon) * 10.0] if is_there else [None, None])
            if day == max(values) or any(value is not None for each in came for value in each):
                found[f"{name}@{day}"] = came
    return found


def received(request: PredictionInput) -> dict[str, list[list[float | None]]]:
    if request.actual is None:
        return {}
    values = [
        [[None if np.isnan(value) else value for value in of_horizon] for of_horizon in window]
        for window in request.actual.tolist()
    ]
    return dict(zip(request.ids, values, strict=True))


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.dictionaries(st.integers(0, 14), st.integers(0, 99) | st.none(), min_size=1).map(
            lambda days: sorted(days.items())
        ),
        min_size=1,
    )
)
def test_each_window_has_what_came_after_it(series: dict[str, list[tuple[int, float | None]]]) -> None:
    config = dataset()
    request = read_sources([frame_source(frame_of(series), None)], config, every_row)
    assert received(request) == expected(series)
    # A series without any window is reported as without the comparison.
    plain = read_sources([frame_source(frame_of(series), None)], config)
    assert plain.actual is None and set(plain.ids) <= set(request.ids)
    predicted = {name.partition("@")[0] for name in request.ids}
    missing = {line["entity"] for line in request.unusable}
    assert predicted | missing == set(series) and not predicted & missing


def test_prices_known_in_advance_need_the_rows_of_all_horizons() -> None:
    config = dataset(features=["sold", {"name": "price", "known_in_advance": True}], targets=["sold"])
    # Day 9 is the last with a value; 10 to 13 have prices alone.
    series = {"a": [(day, float(day) if day < 10 else None) for day in range(14)]}
    request = read_sources([frame_source(frame_of(series), None)], config, every_row)
    assert request.ids == [f"a@{day}" for day in range(2, 10)] and request.actual is not None
    assert request.actual[0, :, 0].tolist() == [3, 6]
    assert request.actual[-2, 0, 0] == 9 and np.isnan(request.actual[-2, 1, 0]) and np.isnan(request.actual[-1]).all()


@pytest.mark.parametrize("buckets", [1, 3])
def test_staged_on_disk_it_is_the_same_and_history_only_adds_steps(tmp_path: Path, buckets: int) -> None:
    config = dataset()
    series: dict[str, list[tuple[int, float | None]]]
    series = {name: [(day, float(day)) for day in range(12)] for name in "abc"}
    frame = frame_of(series)
    frame[frame["day"] < 6].to_csv(tmp_path / "old.csv", index=False)
    frame[(frame["day"] >= 6) & (frame["shop"] != "c")].to_csv(tmp_path / "new.csv", index=False)
    sources = sources_to_predict([str(tmp_path / "old.csv"), str(tmp_path / "new.csv")], config.data)
    (tmp_path / "work").mkdir()
    own = {source.name for source in sources if source.name.endswith("new.csv")}
    staged = stage_input(sources, config, tmp_path / "work", buckets=buckets, own=own, with_actual=True)
    found: dict[str, Any] = {}
    for batch in staged.batches(4):
        found |= received(batch)
    # Day 6 is the first to be compared: one step after day 5, four after day 2.
    whole = expected({name: series[name] for name in "ab"})
    for name, came in whole.items():
        day = int(name.partition("@")[2])
        came[0] = came[0] if day + 1 >= 6 else [None, None]
        came[1] = came[1] if day + 4 >= 6 else [None, None]
    assert found == {name: came for name, came in whole.items() if int(name.partition("@")[2]) >= 2}
    plain = stage_input(sources, config, tmp_path, buckets=buckets)
    assert all(batch.actual is None for batch in plain.batches(2))
