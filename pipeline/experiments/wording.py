"""How the terminal and the page call what an experiment measured."""

from __future__ import annotations

import math
from typing import Any

from noisy_gru.trainer.experiments.starts import CARRIED

LUCK = "the best of many variants is in part luck: confirm it with a run, or with more --seeds"


def interval_text(interval: dict[str, Any] | None, decimals: int) -> str:
    """Format a difference; empty for none.

    >>> interval_text({"mean": 0.0123, "low": -0.0045, "high": 0.0291}, 4)
    '+0.0123 [-0.0045, +0.0291]'
    """
    if interval is None:
        return ""
    mean, low, high = (None if each is None else f"{each:+.{decimals}f}" for each in _bounds(interval))
    return f"{mean} (one pair)" if low is None else f"{mean} [{low}, {high}]"


def _bounds(interval: dict[str, Any]) -> tuple[float, float | None, float | None]:
    return interval["mean"], interval["low"], interval["high"]


def decimals_of(value: float) -> int:
    """Return the decimals that show four digits of a value."""
    return min(max(3 - math.floor(math.log10(abs(value))), 0), 10) if value and math.isfinite(value) else 4


def footer(report: dict[str, Any]) -> str:
    """Say what the numbers are of."""
    seeds = report["seeds"]
    text = f"eval split, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}; intervals: {report['intervals']}"
    if not report["is_complete"]:
        text += f"; {len(report['seeds_asked_for']) - len(seeds)} seeds are left: run it again to go on"
    return text


def measure_title(name: str, metric: str) -> str:
    """Return what a measure of a noise report is called, where the task has this metric."""
    if name in ("nll", "ece", "loss"):
        return name
    if name == "epochs_to_level":
        return "epochs to level"
    if name == "epochs":
        return "best epoch"
    start, _, number = name.rpartition("_")
    if start == "burn_in":
        return f"{metric}, from the middle, {number} steps of burn-in"
    if start == "noise":
        return f"{metric}, from noise {number}"
    return f"{metric}, from another sequence's state" if name == CARRIED else f"{metric}, as served"
