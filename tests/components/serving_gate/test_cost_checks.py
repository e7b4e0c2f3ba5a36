"""Budgets against times and memory that are given."""

from __future__ import annotations

import numpy as np
import pytest

from noisy_gru.components.serving_gate.cost_checks import BATCH, SINGLE, cost_checks, timed_calls
from noisy_gru.components.serving_gate.probe import ProbeResult
from noisy_gru.registry.config import BudgetsConfig

# 1 to 100 ms; the 99th percentile lies a hundredth of the way from the 99th to the last.
MILLISECONDS = [number / 1000 for number in range(100, 0, -1)]
SEEN = ProbeResult(times={SINGLE: MILLISECONDS, BATCH: [0.25] * 4}, memory=48_000_000)


def test_latency_and_memory_are_told() -> None:
    latency, memory = cost_checks(SEEN, BudgetsConfig(batch_size=16))
    assert latency.numbers == pytest.approx(
        {
            "batch_size": 16,
            "single_p50_ms": 50.5,
            "single_p90_ms": 90.1,
            "single_p99_ms": 99.01,
            "single_calls": 100,
            # 100 sequences in 5.05 s, 64 in a second
            "single_sequences_per_second": 100 / 5.05,
            "batch_p50_ms": 250,
            "batch_p90_ms": 250,
            "batch_p99_ms": 250,
            "batch_calls": 4,
            "batch_sequences_per_second": 64,
        }
    )
    assert latency.found == (
        "one sequence: p50 50.5 ms, p99 99 ms, 20 sequences/s (100 calls); "
        "16 sequences: p50 250 ms, p99 250 ms, 64 sequences/s (4 calls)"
    )
    times = latency.distributions["single_ms"]
    assert (times["edges"][0], times["edges"][-1], len(times["counts"])) == (1.0, 100.0, 20)
    np.testing.assert_array_equal(times["counts"], np.histogram(range(1, 101), times["edges"])[0])
    np.testing.assert_allclose(np.diff(np.log(times["edges"])), np.log(100) / 20)
    assert latency.distributions["batch_ms"] == {"edges": [250.0, 250.0], "counts": [4.0]}
    assert memory.numbers == {"memory_mb": 48}
    assert latency.passed
    assert memory.passed


def test_a_missed_budget_says_its_name_and_both_numbers() -> None:
    latency, memory = cost_checks(
        SEEN, BudgetsConfig(single_p50_ms=51, single_p99_ms=99, batch_p50_ms=200, batch_p99_ms=250, memory_mb=40)
    )
    assert latency.problems == [
        "p99 of one sequence is 99.01 ms; serving.budgets.single_p99_ms allows 99",
        "p50 of 32 sequences is 250 ms; serving.budgets.batch_p50_ms allows 200",
    ]
    assert memory.problems == ["loading the model and asking it takes 48 MB; serving.budgets.memory_mb allows 40"]


def test_memory_that_is_not_known_misses_a_budget_alone() -> None:
    unknown = ProbeResult(times=SEEN.times)
    assert cost_checks(unknown, BudgetsConfig())[1].passed
    (problem,) = cost_checks(unknown, BudgetsConfig(memory_mb=1))[1].problems
    assert problem.startswith("serving.budgets.memory_mb is set, but this system has no /proc/self/status")


def test_without_a_budget_few_calls_are_made() -> None:
    ordered = [b"short", b"middle", b"long"]
    quiet = timed_calls(ordered, BudgetsConfig(batch_size=7, requests=500))
    assert quiet[SINGLE].calls < 100
    assert quiet[SINGLE].seconds < 10
    timed = timed_calls(ordered, BudgetsConfig(batch_size=7, requests=500, memory_mb=1))
    assert (timed[SINGLE].calls, timed[BATCH].calls) == (500, 500)
    assert [list(inputs["examples"]) for inputs in timed[SINGLE].inputs] == [[b"short"], [b"middle"], [b"long"]]
    (batch,) = timed[BATCH].inputs
    assert list(batch["examples"]) == [b"short", b"middle", b"long", b"short", b"middle", b"long", b"short"]
