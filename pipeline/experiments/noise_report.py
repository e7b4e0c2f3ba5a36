"""The report of `noisy-gru noise`: what each scale and kind of noise changes, from which first state, and a verdict."""

from __future__ import annotations

import json
from typing import Any

import yaml

from noisy_gru.pipeline.experiments.engine import Result, Trials
from noisy_gru.pipeline.experiments.epochs_to_level import DEFINITION, epochs_to_level, level_of
from noisy_gru.pipeline.experiments.learning_curves import learning_curves, trainings_of
from noisy_gru.pipeline.experiments.noise_verdict import Effect, Verdict, judge_noise
from noisy_gru.pipeline.experiments.paired_statistics import mean_and_spread, paired_interval
from noisy_gru.pipeline.experiments.variants import Variant
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.experiments.starts import CARRIED, OWN
from noisy_gru.trainer.model_config import LayerConfig

NONE, CONFIGURED = "x0", "x1"


def noise_report(trials: Trials, trainer: TrainerConfig, *, pipeline: str, metric: str, best: str) -> dict[str, Any]:
    """Return the JSON of a noise report.

    Args:
        trials: of `noise_variants`.
        trainer: as configured.
        pipeline: name of the pipeline.
        metric: of the task.
        best: `max` or `min`.
    """
    seeds = trials.complete_seeds
    report: dict[str, Any] = {
        **trials.report_head(pipeline=pipeline, metric=metric, best=best),
        "trainings": trainings_of(trials),
        "learning": learning_curves(trials),
        "level": None,
        "scales": [],
        "auto": None,
        "not_measured": {},
        "verdict": None,
        "suggestion": None,
    }
    if not seeds:
        return report
    report["not_measured"] = trials.results[CONFIGURED, seeds[0]]["not_measured"]
    level = level_of([trials.results[NONE, seed]["history"]["val_loss"] for seed in seeds])
    report["level"] = {
        "loss": level,
        "definition": DEFINITION,
        "never_reached": {each.name: _never(trials, each, level) for each in trials.compared},
    }
    measures = _measures(trials, metric, level)
    for variant in trials.compared:
        own = measures[variant.name]
        entry: dict[str, Any] = {
            "name": variant.name,
            "scale": variant.values.get("scale"),
            "kind": variant.values.get("kind"),
            "stddev": [layer.stddev for layer in variant.trainer.model.layers],
            "measures": {},
        }
        for name, values in own.items():
            mean, spread = mean_and_spread(values)
            entry["measures"][name] = {
                "mean": mean,
                "spread": spread,
                "by_seed": values,
                "against_none": _difference(variant, values, measures[NONE][name], NONE),
                "against_configured": _difference(variant, values, measures[CONFIGURED][name], CONFIGURED),
            }
        report["scales"].append(entry)
    report["auto"] = _auto(trials)
    verdict = _verdict(trials, measures, metric, best)
    report["verdict"] = verdict.sentence
    if verdict.name is not None:
        report["suggestion"] = _suggestion(next(each for each in trials.compared if each.name == verdict.name))
    return report


def _auto(trials: Trials) -> dict[str, Any] | None:
    """Return the scale that `model.stddev: auto` would choose of these, by the mean over the seeds of both losses."""
    sums: dict[str, float] = {}
    for variant in trials.compared:
        results = [trials.results[variant.name, seed] for seed in trials.complete_seeds]
        if "scale" not in variant.values or any(CARRIED not in each["first_states"] for each in results):
            continue
        losses = [each["metrics"]["loss"] + each["first_states"][CARRIED]["loss"] for each in results]
        sums[variant.name] = mean_and_spread(losses)[0]
    return {"scale": min(sums, key=lambda name: sums[name]), "sums": sums} if sums else None


def _suggestion(variant: Variant) -> dict[str, Any]:
    model = variant.trainer.model
    kind = variant.values.get("kind")
    if kind is None or kind == "carried":
        lines, settings = layers_yaml(model.layers), _settings(model.layers, with_noise=kind is not None)
    else:
        lines, settings = f"model:\n  stddev: {kind}", [f"model.stddev={kind}"]
    return {"scale": variant.values.get("scale"), "kind": kind, "yaml": lines, "set": settings}


def layers_yaml(layers: list[LayerConfig]) -> str:
    """Return the lines of the configuration for these layers."""
    lines = []
    for layer in layers:
        text = yaml.safe_dump(layer_values(layer), default_flow_style=True, sort_keys=False, width=1000).strip()
        lines.append(f"    - {text}")
    return "\n".join(["model:", "  layers:", *lines])


def layer_values(layer: LayerConfig) -> dict[str, Any]:
    """Return what a configuration says of a layer."""
    values = layer.model_dump(mode="json", exclude_defaults=True)
    return {**values, "units": layer.units, "stddev": _rounded(layer.stddev)}


def _never(trials: Trials, variant: Variant, level: float) -> list[int]:
    """Return the seeds with which a variant never reaches the level."""
    histories = {seed: trials.results[variant.name, seed]["history"]["val_loss"] for seed in trials.complete_seeds}
    return [seed for seed, losses in histories.items() if min(losses) > level]


def _measures(trials: Trials, metric: str, level: float) -> dict[str, dict[str, list[float]]]:
    """Return the numbers of each complete seed, by variant and measure."""
    first = trials.results[NONE, trials.complete_seeds[0]]
    found = {}
    for variant in trials.compared:

        def values(of: Any, name: str = variant.name) -> list[float]:
            return trials.values(name, of)

        measures = {OWN: values(lambda result: result["metrics"][metric])}
        for start in first["first_states"]:
            measures[start] = values(lambda result, start=start: result["first_states"][start][metric])
        for name in ("nll", "ece") if "nll" in first["metrics"] else ("loss",):
            if name in first["metrics"]:
                measures[name] = values(lambda result, name=name: result["metrics"][name])
        most = variant.trainer.training.epochs
        measures["epochs_to_level"] = values(
            lambda result, most=most: epochs_to_level(result["history"]["val_loss"], level, most)
        )
        measures["epochs"] = values(_epochs)
        found[variant.name] = measures
    return found


def _epochs(result: Result) -> float:
    return float(result["best_epoch"])


def _difference(variant: Variant, values: list[float], base: list[float], name: str) -> dict[str, Any] | None:
    return None if variant.name == name else paired_interval(values, base).to_dict()


def _verdict(trials: Trials, measures: dict[str, dict[str, list[float]]], metric: str, best: str) -> Verdict:
    """Judge what matters in use: the first state that is served, another sequence's, and a start in the middle."""
    used = [name for name in measures[NONE] if name in (OWN, CARRIED) or name.startswith("burn_in_")]
    effects = [
        Effect(variant.name, start, measures[variant.name][start], measures[NONE][start])
        for variant in trials.compared
        if variant.name != NONE
        for start in used
    ]
    return judge_noise(effects, metric=metric, best=best)


def _settings(layers: list[LayerConfig], *, with_noise: bool) -> list[str]:
    keys = [f"model.layers.{index}" for index in range(len(layers))]
    settings = [f"{key}.stddev={json.dumps(_rounded(layer.stddev))}" for key, layer in zip(keys, layers, strict=True)]
    noise = [f"{key}.noise={layer.noise}" for key, layer in zip(keys, layers, strict=True)]
    return settings + (noise if with_noise else [])


def _rounded(value: float) -> float:
    """Return a product without the noise of binary fractions: 0.075 for 3 * 0.025."""
    return float(f"{value:.12g}")
