"""Alarms that hold a retraining for approval: the served model collapses on new data, or a span's size is unusual."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from noisy_gru.components.retrain_planner.config import AlarmsConfig
from noisy_gru.components.retrain_planner.evidence import DataSizes, Evidence
from noisy_gru.components.retrain_planner.plan import Reason

OFF = {"off": True}
_SHOWN = 5
_ENDLESS = 1e6


def alarms(config: AlarmsConfig, evidence: Evidence) -> Iterator[Reason]:
    """Yield the verdict of every alarm."""
    yield _served_model(config, evidence)
    yield _data_size(config, evidence)


def _served_model(config: AlarmsConfig, evidence: Evidence) -> Reason:
    if config.collapse is None:
        return Reason(rule="served_model", kind="alarm", met=False, text="no alarm is set", numbers=OFF)
    measured = evidence.measured
    served = measured.served if measured else None
    if served is None:
        why = measured.why_not_served if measured else evidence.why_not_measured
        return Reason(rule="served_model", kind="alarm", met=False, text=f"not measured: {why}")
    text = (
        f"the served model's error on {served.sequences:,} new sequences is {_part(served.error)} of the naive answer's"
    )
    text += f" (surely above {_part(served.lower)})" if served.lower is not None and served.collapsed_together else ""
    text += f", {served.published:.3g} when it was published; at most {served.limit:.3g} is no alarm"
    if served.broken:
        text += f"; {served.broken:,} of the answers are no numbers"
    if served.error > served.limit and not served.collapsed_together:
        text += f"; {served.independent:,} independent ones are too few to be sure"
    odd = sorted((part for part in served.parts if part.error > served.limit), key=lambda part: -part.error)
    for part in [*served.collapsed_parts, *(each for each in odd if each not in served.collapsed_parts)][:_SHOWN]:
        text += f"; on the {part.sequences:,} of {part.name} alone it is {_part(part.error)}"
        if part.lower is not None and part in served.collapsed_parts:
            text += f" (surely above {_part(part.lower)})"
        else:
            text += f", of which {part.independent:,} independent ones are too few to be sure"
    return Reason(rule="served_model", kind="alarm", met=served.collapsed, text=text, numbers=asdict(served))


def _part(value: float) -> str:
    """Return a part, as the alarm names it."""
    return f"{value:.3g}" if value < _ENDLESS else "a million times and more"


def _data_size(config: AlarmsConfig, evidence: Evidence) -> Reason:
    factor, sizes = config.size_factor, evidence.sizes
    if factor is None:
        return Reason(rule="data_size", kind="alarm", met=False, text="no alarm is set", numbers=OFF)
    if sizes is None or not sizes.known or not sizes.new:
        return Reason(rule="data_size", kind="alarm", met=False, text="there is nothing to compare")
    low, high = min(sizes.known) / factor, max(sizes.known) * factor
    odd = {name: size for name, size in sizes.new.items() if not low <= size <= high}
    numbers = {"new": sizes.new, "least": low, "most": high}
    if not odd:
        text = f"as large as before, to a factor of {factor:g}"
        return Reason(rule="data_size", kind="alarm", met=False, text=text, numbers=numbers)
    sizes_shown = [f"{name} has {size:,} bytes" for name, size in list(odd.items())[:_SHOWN]]
    more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
    text = f"{', '.join(sizes_shown)}{more}; {_before(sizes)}, and {factor:g} times less or more is an alarm"
    return Reason(rule="data_size", kind="alarm", met=True, text=text, numbers=numbers)


def _before(sizes: DataSizes) -> str:
    low, high = min(sizes.known), max(sizes.known)
    known = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"those that were trained on have {known}" if sizes.by_span else f"it had {known} when it was trained on"
