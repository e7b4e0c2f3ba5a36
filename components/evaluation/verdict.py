"""Verdict on a candidate: the file in the `evaluation` artifact, and its messages.

>>> read_verdict(Path(evaluation_uri)).passed  # doctest: +SKIP
True
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from noisy_gru.components.evaluation.comparisons import Comparison, Verdict
from noisy_gru.components.evaluation.metric_catalogue import higher_is_better
from noisy_gru.components.evaluation.paired_bootstrap import MIN_CLUSTERS
from noisy_gru.components.evaluation.planned_comparisons import PUBLISHED, WHOLE
from noisy_gru.components.evaluation.sequence_clusters import PLURALS

VERDICT = "verdict.json"
_FORMAT = 1
_NAMES = {
    "majority": "always answering the most frequent class",
    "last": "repeating the last value",
    "seasonal": "repeating the value of a season ago",
    "train_mean": "always answering the train split's mean",
    "train_median": "always answering the train split's median",
}


def write_verdict(verdict: Verdict, folder: Path) -> None:
    """Write ``verdict.json``."""
    content = {"format": _FORMAT, "passed": verdict.passed, **asdict(verdict)}
    (folder / VERDICT).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_verdict(folder: Path) -> Verdict | None:
    """Read ``verdict.json``; None if there is none, as in artifacts of an earlier release."""
    file = folder / VERDICT
    if not file.exists():
        return None
    content = json.loads(file.read_text(encoding="utf-8"))
    comparisons = [Comparison(**each) for each in content.pop("comparisons")]
    del content["format"], content["passed"]
    return Verdict(comparisons=comparisons, **content)


def refusals(verdict: Verdict, published: str) -> list[str]:
    """Return why the candidate is refused, one sentence each, with what to do.

    Args:
        verdict: on it.
        published: what to call the published model.
    """
    reasons = []
    if verdict.sequences < verdict.min_sequences:
        reasons.append(
            f"the test split has {verdict.sequences} sequences, at least {verdict.min_sequences} are needed: a "
            "result on so few is mostly chance. Bring more data, enlarge the test split, or lower "
            "evaluation.min_test_sequences"
        )
    reasons += [verdict.shortfall] if verdict.shortfall else []
    return reasons + [sentence(each, published) for each in verdict.comparisons if each.required and not each.passed]


def warnings(verdict: Verdict, published: str) -> list[str]:
    """Return warnings that don't decide: where the candidate is worse, or no better than a naive baseline."""
    failed = [each for each in verdict.comparisons if not each.required and not each.passed]
    return [sentence(each, published) for each in failed if _is_remarkable(each)]


def _is_remarkable(each: Comparison) -> bool:
    if each.difference is None:
        return True
    if each.against != PUBLISHED:
        return each.difference <= 0
    return each.upper is not None and each.upper < 0  # small slices are noisy


def sentence(comparison: Comparison, published: str) -> str:
    """Describe a comparison: the numbers, the interval and the required result.

    Args:
        comparison: to tell.
        published: what to call the published model.
    """
    each = comparison
    other = published if each.against == PUBLISHED else _NAMES[each.against]
    where = each.metric if each.slice == WHOLE else f"{each.metric} for {each.slice}"
    if each.candidate is None or each.difference is None:
        return f"{where} is not a number: the model's answers aren't, or there is nothing to compare with {other}"
    ratio = "" if higher_is_better(each.metric) or not each.other else f" ({each.candidate / each.other:.3g} times)"
    beside = f"the {each.other:.4g} of {other}{ratio}"
    amount = f"{abs(each.difference):.4g} {'better' if each.difference > 0 else 'worse'} than"
    text = f"{where} is {each.candidate:.4g}, {amount if each.difference else 'as good as'} {beside}"
    return f"{text} on {_evidence(each)}; {_interval(each)}; {_requirement(each)}"


def _evidence(each: Comparison) -> str:
    unit = each.cluster_unit if each.clusters == 1 else PLURALS[each.cluster_unit]
    grouped = "" if each.clusters == each.sequences else f" ({each.clusters} {unit})"
    return f"{each.sequences} test sequences{grouped}"


def _interval(each: Comparison) -> str:
    if each.lower is None or each.upper is None:
        unit = "sequences" if each.clusters == each.sequences else PLURALS[each.cluster_unit]
        return f"an interval needs at least {MIN_CLUSTERS} {unit}: enlarge the test split or bring more data"
    # "At least 0.05 worse" would be read the other way round.
    ends = f"between {_amount(each.lower)} and {_amount(each.upper)}"
    return f"it may be {ends} ({each.confidence * 100:.4g} % on each side)"


def _amount(bound: float) -> str:
    return f"{abs(bound):.3g} {'better' if bound > 0 else 'worse'}" if bound else "as good"


def _requirement(each: Comparison) -> str:
    if each.passed:
        return "that passes"
    if each.accept == "better":
        return f"that it is better{f' by more than {each.margin:.3g}' if each.margin else ''} has to be shown"
    return f"that it is not worse by more than {each.margin:.3g} has to be shown{_remedy(each)}"


def _remedy(each: Comparison) -> str:
    """Estimate how many sequences would show it if both models were equal: the interval narrows with their root."""
    if each.lower is None or each.difference is None or not each.margin or each.difference < -each.margin:
        return ""
    reach = each.difference - each.lower
    needed = each.sequences * (reach / each.margin) ** 2
    digits = 10 ** max(len(str(int(needed))) - 2, 0)
    return f" (of two equal models, about {int(-(-needed // digits)) * digits} sequences would show it)"
