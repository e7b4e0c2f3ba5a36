"""The gate on a backtest: what it lets through, and what it says of everything else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from noisy_gru.registry.backtest_record import BacktestGate, BacktestRecord, Gain, backtest_problem

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
GAINS = [
    Gain("mae/load", "seasonal", 0.5, 0.2),
    Gain("mae/load", "ridge", 0.1, -0.05),
    Gain("mae/price", "seasonal", 0.3, 0.1),
    Gain("mae/price", "ridge", None, None),
]


def problem(root: Path, must_beat: list[str], days: float = 30, age: float = 3.0, key: str = "k") -> str:
    record = BacktestRecord((NOW - timedelta(days=age)).isoformat(), "k", 0.95, GAINS)
    file = record.write(root)
    assert file == root / "backtest" / "k.json"
    gate = BacktestGate.from_json(BacktestGate(key, must_beat, days).to_json())
    assert gate is not None
    return backtest_problem(root / "backtest", gate, now=NOW)


def test_a_backtest_that_beat_the_baselines_lets_the_model_through(tmp_path: Path) -> None:
    assert problem(tmp_path, ["seasonal"]) == ""
    assert problem(tmp_path, ["seasonal"], days=3.0) == ""
    assert BacktestGate.from_json("") is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"must_beat": ["seasonal"], "key": "other"}, "there is no backtest of this configuration"),
        ({"must_beat": ["seasonal"], "days": 2}, "the backtest is 3 days old, at most 2 are allowed (max_age_days)"),
        ({"must_beat": ["drift"]}, "it was not compared with drift, only with seasonal, ridge. Run noisy-gru backtest"),
        (
            {"must_beat": ["seasonal", "ridge"]},
            "mae/load is 0.1 better than ridge, and the bound at 95% is -0.05: expected one above 0; mae/price is un",
        ),
    ],
)
def test_anything_else_is_refused_with_the_reason(tmp_path: Path, arguments: dict, expected: str) -> None:
    assert expected in problem(tmp_path, **arguments)


@pytest.mark.parametrize("content", ["", "{}", '{"format": 2}', '{"format": 1, "at": "x"}', "[]"])
def test_a_damaged_record_is_no_backtest(tmp_path: Path, content: str) -> None:
    (tmp_path / "k.json").write_text(content)
    found = backtest_problem(tmp_path, BacktestGate("k", ["last"], 1), now=NOW)
    assert "can't be read" in found and "noisy-gru backtest CONFIG --root" in found
