"""One sentence on whether the noise earns its keep, from paired differences.

Several scales and starts are looked at, so each needs a difference that would be found by chance in 5 % of all such
reports, not of all single comparisons (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from noisy_gru.pipeline.experiments.paired_statistics import CONFIDENCE, Interval, mean_and_spread, paired_interval
from noisy_gru.trainer.experiments.starts import CARRIED, OWN

_FRACTIONS = ("accuracy", "balanced_accuracy", "pr_auc")
_CONFIGURED = 1.0


@dataclass(frozen=True)
class Effect:
    """The metric of one scale from one start, by seed, beside that without noise.

    Attributes:
        scale: factor on the configured stddev, above 0.
        start: name of the first state.
        values: with this noise.
        without: with none, of the same seeds.
    """

    scale: float
    start: str
    values: Sequence[float]
    without: Sequence[float]


@dataclass(frozen=True)
class Verdict:
    """The sentence, and the scale that it suggests; None if there is nothing to say yet."""

    sentence: str
    scale: float | None


def judge_noise(effects: Sequence[Effect], *, metric: str, best: str) -> Verdict:
    """Return the verdict.

    Args:
        effects: of every scale and start; `zero`, the start that is served, is among them.
        metric: its name.
        best: `max` or `min`.
    """
    pairs = len(effects[0].values)
    if pairs < 2:
        return Verdict("One pair of trainings says nothing yet: take --seeds 8.", None)
    sign = 1.0 if best == "max" else -1.0
    confidence = 1 - (1 - CONFIDENCE) / len(effects)
    gains = {
        (each.scale, each.start): paired_interval(each.values, each.without, confidence).times(sign) for each in effects
    }
    bases = {each.start: mean_and_spread(each.without)[0] for each in effects}

    def amount(scale: float, start: str) -> str:
        gain = abs(gains[scale, start].mean)
        if metric in _FRACTIONS:
            return f"{100 * gain:.1f} points of {metric}"
        part = f" ({100 * gain / abs(bases[start]):.1f} %)" if bases[start] else ""
        return f"{gain:.3g} of {metric}{part}"

    helping = [key for key, gain in gains.items() if gain.low > 0]
    scales = {scale for scale, _ in helping}
    if helping:
        # The most where the model is served, and where its first state is wrong, together.
        scale = max(scales, key=lambda scale: sum(gain.mean for (each, _), gain in gains.items() if each == scale))
        start = max((start for each, start in helping if each == scale), key=lambda start: gains[scale, start].mean)
        return Verdict(_found(scale, start, gains[scale, OWN], amount), scale)
    harmful = [scale for (scale, start), gain in gains.items() if start == OWN and gain.high < 0]
    if _CONFIGURED in harmful:
        cost = amount(_CONFIGURED, OWN)
        return Verdict(f"On your data the configured noise costs {cost} and buys nothing: set stddev to 0.", 0.0)
    sentence = f"On your data the noise does nothing that {pairs} pairs can tell: leave stddev as it is, or set it to 0"
    if harmful:
        scale = min(harmful)
        sentence += f" (x{scale:g} costs {amount(scale, OWN)})"
    return Verdict(f"{sentence}.", _CONFIGURED)


def _found(scale: float, start: str, own: Interval, amount: Callable[[float, str], str]) -> str:
    sentence = f"x{scale:g} buys {amount(scale, start)} {_where(start)}"
    if start == OWN:
        return f"{sentence}."
    if own.high < 0:
        cost = amount(scale, OWN)
        return f"{sentence}, and costs {cost} {_where(OWN)}: take it only where the first state is often wrong."
    if own.low > 0:
        return f"{sentence}, and {amount(scale, OWN)} {_where(OWN)}."
    return f"{sentence}, at no measurable cost."


def _where(start: str) -> str:
    if start == OWN:
        return "from the first state that is served"
    if start == CARRIED:
        return "for streams that start from another sequence's state"
    steps = start.rpartition("_")[2]
    return f"for streams that are picked up in their middle ({steps} steps of burn-in)"
