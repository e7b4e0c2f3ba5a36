"""The report of `noisy-gru compare`: variants by their metric on eval, with paired intervals against the configured."""

from __future__ import annotations

from typing import Any

from noisy_gru.pipeline.experiments.engine import Trials
from noisy_gru.pipeline.experiments.paired_statistics import Interval, mean_and_spread, paired_interval


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
        "variants": [],
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
    return report


def outcome(interval: Interval, best: str) -> str:
    """Return `better`, `worse`, or `no difference found` where the interval holds 0 or is unknown."""
    gain = interval.times(1.0 if best == "max" else -1.0)
    if not gain.excludes_zero:
        return "no difference found"
    return "better" if gain.low > 0 else "worse"
