"""Checks of a served model's latency and memory against budgets.

The numbers are those of a Session, without network or queue: a server needs no less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from noisy_gru.components.serving_gate.probe import ProbeResult, TimedRequests
from noisy_gru.components.serving_gate.probe_sequences import filled, spread
from noisy_gru.components.serving_gate.report import GateCheck
from noisy_gru.components.serving_gate.signature_contract import DEFAULT, EXAMPLES
from noisy_gru.registry.config import BudgetsConfig

SINGLE, BATCH = "single", "batch"
# Without a budget the numbers are for information, and shouldn't cost more than they are worth.
_QUIET_CALLS, _QUIET_SECONDS = 60, 1.0
_BINS = 20
_MEGABYTE = 1e6


def text_batch(examples: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Inputs of `serving_default`: serialized tf.Examples as an object array [B]."""
    array = np.empty(len(examples), dtype=object)
    array[:] = examples
    return {EXAMPLES: array}


def timed_calls(ordered: Sequence[bytes], budgets: BudgetsConfig) -> dict[str, TimedRequests]:
    """Return the timed requests: sequences of all lengths, one per call, and a batch of them."""
    calls, seconds = (budgets.requests, float("inf")) if budgets.any else (_QUIET_CALLS, _QUIET_SECONDS)
    singles = [text_batch([example]) for example in spread(ordered)]
    batch = [text_batch(filled(ordered, budgets.batch_size))]
    return {
        SINGLE: TimedRequests(DEFAULT, singles, calls, seconds),
        BATCH: TimedRequests(DEFAULT, batch, calls, seconds),
    }


def cost_checks(seen: ProbeResult, budgets: BudgetsConfig) -> list[GateCheck]:
    """Return the checks of latency and memory; without a budget a check always passes."""
    return [_latency(seen, budgets), _memory(seen, budgets)]


def _latency(seen: ProbeResult, budgets: BudgetsConfig) -> GateCheck:
    numbers: dict[str, float] = {"batch_size": budgets.batch_size}
    problems, found = [], []
    for name, sequences in ((SINGLE, 1), (BATCH, budgets.batch_size)):
        what = "one sequence" if sequences == 1 else f"{sequences} sequences"
        taken = np.array(seen.times[name])
        p50, p90, p99 = (float(value) for value in np.percentile(1000 * taken, [50, 90, 99]))
        rate = sequences * len(taken) / float(taken.sum())
        numbers |= {f"{name}_p50_ms": p50, f"{name}_p90_ms": p90, f"{name}_p99_ms": p99}
        numbers[f"{name}_calls"] = len(taken)
        numbers[f"{name}_sequences_per_second"] = rate
        found.append(f"{what}: p50 {p50:.3g} ms, p99 {p99:.3g} ms, {rate:,.0f} sequences/s ({len(taken)} calls)")
        for percentile, value in (("p50", p50), ("p99", p99)):
            allowed = getattr(budgets, f"{name}_{percentile}_ms")
            if allowed is not None and value > allowed:
                problems.append(
                    f"{percentile} of {what} is {value:.4g} ms; serving.budgets.{name}_{percentile}_ms "
                    f"allows {allowed:g}"
                )
    headline = (
        f"p50/p99 {numbers['single_p50_ms']:.3g}/{numbers['single_p99_ms']:.3g} ms for one sequence, "
        f"{numbers['batch_p50_ms']:.3g}/{numbers['batch_p99_ms']:.3g} ms for {budgets.batch_size}"
    )
    distributions = {f"{name}_ms": _distribution(1000 * np.array(seen.times[name])) for name in (SINGLE, BATCH)}
    return GateCheck("latency", "; ".join(found), problems, numbers, headline, distributions)


def _distribution(values: np.ndarray) -> dict[str, list[float]]:
    """Return counts between edges of equal ratio: times have a long tail."""
    low, high = float(values.min()), float(values.max())
    edges = np.geomspace(low, high, _BINS + 1) if 0 < low < high else np.array([low, high])
    edges[0], edges[-1] = low, high
    counts = np.histogram(values, edges)[0] if low < high else np.array([len(values)])
    return {"edges": edges.tolist(), "counts": counts.astype(float).tolist()}


def _memory(seen: ProbeResult, budgets: BudgetsConfig) -> GateCheck:
    if seen.memory is None:
        problem = "serving.budgets.memory_mb is set, but this system has no /proc/self/status to measure memory with"
        return GateCheck("memory", "not measured", [problem] if budgets.memory_mb is not None else [])
    megabytes = seen.memory / _MEGABYTE
    problems = []
    if budgets.memory_mb is not None and megabytes > budgets.memory_mb:
        problems.append(
            f"loading the model and asking it takes {megabytes:.4g} MB; serving.budgets.memory_mb "
            f"allows {budgets.memory_mb:g}"
        )
    return GateCheck("memory", f"loading and asking takes {megabytes:.3g} MB", problems, {"memory_mb": megabytes})
