"""One sentence on whether the noise earns its keep, from paired differences.

Several scales, kinds and starts are looked at, so each needs a difference that would be found by chance in 5 % of all
such reports, not of all single comparisons (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from noisy_gru.pipeline.experiments.paired_statistics import CONFIDENCE, Interval, mean_and_spread, paired_interval
from noisy_gru.trainer.experiments.starts import CARRIED, OWN

_FRACTIONS = ("accuracy", "balanced_accuracy", "pr_auc")
CONFIGURED = "x1"
# How the lines of the configuration name what the table calls by a word.
TITLES = {"carried": "noise: carried", "learned": "stddev: learned", "residual": "stddev: residual"}


@dataclass(frozen=True)
class Effect:
    """The metric of one variant from one start, by seed, beside that without noise.

    Attributes:
        name: of the variant: "x10" for a factor on the configured stddev, above 0, or a kind of noise.
        start: name of the first state.
        values: with this noise.
        without: with none, of the same seeds.
    """

    name: str
    start: str
    values: Sequence[float]
    without: Sequence[float]


@dataclass(frozen=True)
class Verdict:
    """The sentence, and the variant that it suggests, "x0" for none; None if there is nothing to say yet."""

    sentence: str
    name: str | None


def judge_noise(effects: Sequence[Effect], *, metric: str, best: str) -> Verdict:
    """Return the verdict.

    Args:
        effects: of every variant and start; `zero`, the start that is served, is among them.
        metric: its name.
        best: `max` or `min`.
    """
    pairs = len(effects[0].values)
    if pairs < 2:
        return Verdict("One pair of trainings is no evidence yet: take --seeds 8.", None)
    sign = 1.0 if best == "max" else -1.0
    confidence = 1 - (1 - CONFIDENCE) / len(effects)
    gains = {
        (each.name, each.start): paired_interval(each.values, each.without, confidence).times(sign) for each in effects
    }
    bases = {each.start: mean_and_spread(each.without)[0] for each in effects}

    def amount(name: str, start: str) -> str:
        gain = abs(gains[name, start].mean)
        if metric in _FRACTIONS:
            return f"{100 * gain:.1f} points of {metric}"
        part = f" ({100 * gain / abs(bases[start]):.1f} %)" if bases[start] else ""
        return f"{gain:.3g} of {metric}{part}"

    helping = [key for key, gain in gains.items() if gain.low > 0]
    if helping:
        # The most where the model is served, and where its first state is wrong, together.
        names = dict.fromkeys(name for name, _ in helping)
        best_one = max(names, key=lambda name: sum(gain.mean for (each, _), gain in gains.items() if each == name))
        starts = [start for each, start in helping if each == best_one]
        start = max(starts, key=lambda start: gains[best_one, start].mean)
        losing = [each for (name, each), gain in gains.items() if name == best_one and each != OWN and gain.high < 0]
        losing.sort(key=lambda each: gains[best_one, each].mean)
        return Verdict(_found(best_one, start, gains[best_one, OWN], losing, amount), best_one)
    harmful = [name for (name, start), gain in gains.items() if start == OWN and gain.high < 0]
    if CONFIGURED in harmful:
        cost = amount(CONFIGURED, OWN)
        return Verdict(f"On your data the configured noise costs {cost} and buys nothing: set stddev to 0.", "x0")
    sentence = f"On your data the noise does nothing that {pairs} pairs can tell: leave stddev as it is, or set it to 0"
    if harmful:
        sentence += f" ({TITLES.get(harmful[0], harmful[0])} costs {amount(harmful[0], OWN)})"
    return Verdict(f"{sentence}.", CONFIGURED)


def _found(name: str, start: str, own: Interval, losing: Sequence[str], amount: Callable[[str, str], str]) -> str:
    """Return the sentence on a variant that helps from ``start``, and from the starts ``losing`` does worse."""
    sentence = f"{TITLES.get(name, name)} buys {amount(name, start)} {_where(start)}"
    if own.high >= 0 and losing:
        more = f", and {amount(name, OWN)} {_where(OWN)}" if start != OWN and own.low > 0 else ""
        return f"{sentence}{more}, and costs {amount(name, losing[0])} {_where(losing[0])}."
    if start == OWN:
        return f"{sentence}."
    if own.high < 0:
        cost = amount(name, OWN)
        return f"{sentence}, and costs {cost} {_where(OWN)}: take it only where the first state is often wrong."
    if own.low > 0:
        return f"{sentence}, and {amount(name, OWN)} {_where(OWN)}."
    return f"{sentence}, at no measurable cost."


def _where(start: str) -> str:
    if start == OWN:
        return "from the first state that is served"
    if start == CARRIED:
        return "for streams that start from another sequence's state"
    steps = start.rpartition("_")[2]
    return f"for streams that are picked up in their middle ({steps} steps of burn-in)"
