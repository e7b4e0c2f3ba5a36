"""Simulation of publication gates over 100 nights of retraining, with the product's own decision function.

    python benchmarks/publication_gate.py
    python benchmarks/publication_gate.py --sequences 50 --lives 1000 --json

The world: each night's candidate has a true accuracy of N(.85, .02); one in 20 is broken and .10 worse. The answers of
two models are paired: with probability 1/2 a sequence is as hard for both (one uniform draw decides on both answers,
each model being right if it lies below its accuracy), otherwise they err independently. A published candidate is the
model that the next night is compared with; the first night's candidate is published unseen. Columns: share of nights
that publish / of publications truly worse by more than .02 / of broken candidates that pass / true accuracy served on
average.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np

from noisy_gru.components.evaluation.paired_bootstrap import Accept, Bootstrap, is_accepted, paired_bootstrap

NIGHTS = 100
# Sequences that the candidate alone has right, that the served model alone has right, and all.
Rule = Callable[[int, int, int], bool]


@dataclass(frozen=True)
class Outcome:
    """Outcome of a simulated gate; see the module."""

    published: float
    truly_worse: float
    broken_that_pass: float
    served: float


def no_more_than(worse: float) -> Rule:
    """Accept by comparing the two accuracies as numbers."""
    return lambda won, lost, count: (won - lost) / count >= -worse - 1e-12


def wald(accept: Accept, margin: float) -> Rule:
    """Accept by the normal (Wald) interval of a paired difference, 95 % one-sided."""

    def passes(won: int, lost: int, count: int) -> bool:
        difference = (won - lost) / count
        lower = difference - 1.645 * (max((won + lost) / count - difference**2, 0) / count) ** 0.5
        return lower > margin if accept == "better" else lower > -margin

    return passes


def product(accept: Accept, margin: float, bootstrap: Bootstrap) -> Rule:
    """Accept by `evaluation.compare`, the product's own decision."""

    @cache  # the decision depends on these numbers alone
    def passes(won: int, lost: int, count: int) -> bool:
        candidate, served = np.zeros(count), np.zeros(count)
        candidate[:won] = 1
        served[won : won + lost] = 1
        found = paired_bootstrap(candidate, served, np.arange(count), bootstrap, ties_possible=True)
        return is_accepted(found, accept, margin)

    return passes


def simulate(rule: Rule, sequences: int, *, lives: int, seed: int = 0, nights: int = NIGHTS) -> Outcome:
    """Live through the nights, many times over.

    Args:
        rule: decides on each candidate.
        sequences: in the test split.
        lives: independent repetitions.
        seed: of the world; all rules see the same candidates.
        nights: of one life.
    """
    random = np.random.default_rng(seed)
    served = _candidates(random, lives)[0]
    published = worse = broken_passed = broken_seen = 0
    accuracy = 0.0
    for _ in range(nights):
        candidate, broken = _candidates(random, lives)
        shared = random.random((lives, sequences)) < 0.5
        first, second = random.random((2, lives, sequences))
        right = first < candidate[:, None]
        was_right = np.where(shared, first, second) < served[:, None]
        won, lost = (right & ~was_right).sum(axis=1).tolist(), (was_right & ~right).sum(axis=1).tolist()
        passes = np.array([rule(*each, sequences) for each in zip(won, lost, strict=True)])
        published += passes.sum()
        worse += (passes & (candidate < served - 0.02)).sum()
        broken_passed += (passes & broken).sum()
        broken_seen += broken.sum()
        served = np.where(passes, candidate, served)
        accuracy += served.mean()
    return Outcome(
        float(published / (nights * lives)),
        float(worse / max(published, 1)),
        float(broken_passed / broken_seen),
        float(accuracy / nights),
    )


def _candidates(random: np.random.Generator, lives: int) -> tuple[np.ndarray, np.ndarray]:
    broken = random.random(lives) < 1 / 20
    return random.normal(0.85, 0.02, lives) - 0.1 * broken, broken


def main() -> None:
    """Print the table of docs/decisions/0025."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, nargs="+", default=[20, 50, 100, 500])
    parser.add_argument("--lives", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bootstrap = Bootstrap(seed=options.seed)
    rules = {
        "numbers, 0": no_more_than(0.0),
        "numbers, .05": no_more_than(0.05),
        "normal interval, not worse by .02": wald("not_worse", 0.02),
        "normal interval, better": wald("better", 0.0),
        "product, not worse by .02": product("not_worse", 0.02, bootstrap),
        "product, better": product("better", 0.0, bootstrap),
    }
    found = {
        count: {name: simulate(rule, count, lives=options.lives, seed=options.seed) for name, rule in rules.items()}
        for count in options.sequences
    }
    if options.json:
        print(json.dumps({n: {name: asdict(each) for name, each in row.items()} for n, row in found.items()}, indent=1))
        return
    print("| test sequences |", " | ".join(rules), "|")
    print("|---|" + "---|" * len(rules))
    for count, row in found.items():
        cells = (
            f"{each.published:.2f} / {each.truly_worse:.2f} / {each.broken_that_pass:.3f} / {each.served:.3f}"
            for each in row.values()
        )
        print(f"| {count} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
