"""The report of `noisy-gru compare`: variants by their metric on eval, with paired intervals against the configured."""

from __future__ import annotations

import json
from typing import Any

import yaml

from noisy_gru.pipeline.experiments.engine import Trials
from noisy_gru.pipeline.experiments.learning_curves import learning_curves, trainings_of
from noisy_gru.pipeline.experiments.noise_report import layer_values
from noisy_gru.pipeline.experiments.paired_statistics import CONFIDENCE, Interval, mean_and_spread, paired_interval
from noisy_gru.pipeline.experiments.variants import Variant


def comparison_report(trials: Trials, *, pipeline: str, metric: str, best: str) -> dict[str, Any]:
    """Return the JSON of a comparison.

    Args:
        trials: the first variant is the configured one.
        pipeline: name of the pipeline.
        metric: that ranks.
        best: `max` or `min`.
    """
    seeds = trials.complete_seeds
    report: dict[str, Any] = {
        **trials.report_head(pipeline=pipeline, metric=metric, best=best),
        "trainings": trainings_of(trials),
        "learning": learning_curves(trials),
        "variants": [],
        "verdict": None,
        "suggestion": None,
    }
    if not seeds:
        return report
    configured = trials.variants[0].name
    base = trials.values(configured, lambda result: result["metrics"][metric])
    for variant in trials.compared:
        values = trials.values(variant.name, lambda result: result["metrics"][metric])
        results = [trials.results[variant.name, seed] for seed in seeds]
        mean, spread = mean_and_spread(values)
        interval = None if variant.name == configured else paired_interval(values, base)
        report["variants"].append(
            {
                "name": variant.name,
                "values": variant.values,
                "mean": mean,
                "spread": spread,
                "by_seed": values,
                "difference": None if interval is None else interval.to_dict(),
                "outcome": "configured" if interval is None else outcome(interval, best),
                "metrics": {
                    name: mean_and_spread([each["metrics"][name] for each in results])[0]
                    for name in results[0]["metrics"]
                },
                "epochs": mean_and_spread([each["epochs"] for each in results])[0],
                "best_epoch": mean_and_spread([each["best_epoch"] for each in results])[0],
                "seconds": mean_and_spread([each["seconds"] for each in results])[0],
                "parameters": results[0]["parameters"],
            }
        )
    report["variants"].sort(key=lambda each: each["mean"], reverse=best == "max")
    for rank, each in enumerate(report["variants"], start=1):
        each["rank"] = rank
    report["verdict"], name = _verdict(report["variants"], base, metric, best)
    if name is not None:
        report["suggestion"] = _suggestion(next(each for each in trials.compared if each.name == name))
    return report


def _verdict(ranked: list[dict[str, Any]], base: list[float], metric: str, best: str) -> tuple[str, str | None]:
    """Return one sentence, and the variant that it suggests, if one is better.

    Several variants are looked at, so the sentence asks of each a difference that would be found by chance in 5 % of
    all such reports, not of all single comparisons (Bonferroni).
    """
    others = [each for each in ranked if each["difference"] is not None]
    if not others:
        return "No other variant could be trained.", None
    if len(base) < 2:
        return "One pair of trainings is no evidence yet: take --seeds 5.", None
    confidence = 1 - (1 - CONFIDENCE) / len(others)
    for each in others:
        interval = paired_interval(each["by_seed"], base, confidence)
        if outcome(interval, best) == "better":
            text = f"{each['name']} is better than the configuration: {interval.mean:+.3g} of {metric}"
            return f"{text}, [{interval.low:+.3g}, {interval.high:+.3g}] with {len(base)} pairs.", each["name"]
    return f"No variant is better than the configuration by a difference that {len(base)} pairs can tell.", None


def _suggestion(variant: Variant) -> dict[str, Any]:
    """Return the lines of the configuration that make it this variant; layers are a list, so all of them are said."""
    tree: dict[str, Any] = {}
    for key, value in variant.values.items():
        *sections, last = key.split(".")
        if sections[:2] == ["model", "layers"]:
            sections, last = ["model"], "layers"
            value = [layer_values(layer) for layer in variant.trainer.model.layers]
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    lines = yaml.safe_dump(tree, sort_keys=False, width=1000, allow_unicode=True).rstrip()
    settings = [f"{key}={json.dumps(value)}" for key, value in variant.values.items()]
    return {"name": variant.name, "yaml": lines, "set": settings}


def outcome(interval: Interval, best: str) -> str:
    """Return `better`, `worse`, or `no difference found` where the interval holds 0 or is unknown."""
    gain = interval.times(1.0 if best == "max" else -1.0)
    if not gain.excludes_zero:
        return "no difference found"
    return "better" if gain.low > 0 else "worse"
