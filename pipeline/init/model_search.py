"""Validate the model that `noisy-gru init` proposes: train others on the same data, and keep the best on eval.

>>> found = search_models(Path("my-model/config.yaml"), root=None, seconds=600.0)  # doctest: +SKIP
>>> print("\n".join(found.lines))  # doctest: +SKIP
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from noisy_gru.pipeline.config.checks import check_config
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.experiments.engine import Trials
from noisy_gru.pipeline.experiments.experiment import run_experiment
from noisy_gru.pipeline.experiments.variants import CONFIGURED, Variant, known_metrics, require_eval_split, single
from noisy_gru.pipeline.runs.run_directory import default_root
from noisy_gru.schema.config import ForecastingConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.task_config import is_per_step
from noisy_gru.storage.atomic_files import write_atomically
from noisy_gru.trainer.config import TrainerConfig

SEEDS = 3
_SEGMENTS = range(2, 49)
_MODEL = re.compile(r"^model:\n(?:[ \t#].*\n|\n(?=[ \t#]))*", re.MULTILINE)


@dataclass(frozen=True)
class Candidate:
    """A model to try: its name and the `model` section."""

    name: str
    model: dict[str, Any]


@dataclass(frozen=True)
class Tried:
    """What a candidate has on eval: the metric by seed, and the seconds of a training."""

    candidate: Candidate
    scores: list[float]
    seconds: float

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.scores))


@dataclass(frozen=True)
class ModelSearch:
    """The end of a search.

    Attributes:
        metric: that decides, on eval.
        best: `max` or `min`.
        ranked: the best first; of those trained with fewer seeds than others, the others first.
        chosen: the best; None: the proposed model stays.
        failed: by name, why a candidate was left out.
        is_complete: whether the time was enough for all of them.
    """

    metric: str
    best: str
    ranked: list[Tried]
    chosen: Tried | None
    failed: dict[str, str] = field(default_factory=dict)
    is_complete: bool = True

    @property
    def reason(self) -> str:
        """Why this model, in one sentence."""
        own = next(each for each in self.ranked if each.candidate.name == CONFIGURED)
        if self.chosen is None:
            return f"the proposed model has the best {self.metric} on eval, {own.mean:.4g}, of {len(self.ranked)}"
        seeds = f"{len(self.chosen.scores)} seed{'s' if len(self.chosen.scores) > 1 else ''}"
        return (
            f"{self.chosen.candidate.name} has {self.metric} {self.chosen.mean:.4g} on eval, the proposed model "
            f"{own.mean:.4g} (mean of {seeds}); the best of {len(self.ranked)}"
        )

    @property
    def lines(self) -> list[str]:
        """The table for the terminal."""
        width = max(len(each.candidate.name) for each in self.ranked)
        lines = [f"{'model':<{width}}  {self.metric} on eval  seeds  seconds"]
        for each in self.ranked:
            lines.append(
                f"{each.candidate.name:<{width}}  {each.mean:>{len(self.metric) + 8}.4g}  {len(each.scores):>5}  "
                f"{each.seconds:>7.1f}"
            )
        lines += [f"left out: {name}: {why}" for name, why in self.failed.items()]
        if not self.is_complete:
            lines.append("The time was up before all were trained; a longer --budget tries the rest.")
        return lines


def candidates_of(config: PipelineConfig) -> list[Candidate]:
    """Return the models that fit a configuration's task and data, beside the one it has."""
    task = config.task
    tried: list[Candidate] = []
    reference = {"preset": "reference"}
    if isinstance(task, ForecastingConfig):
        season = task.season_length or 24
        segment = season if season in _SEGMENTS and season <= task.input_length else min(24, task.input_length // 2)
        tried += [
            Candidate("reference", reference),
            Candidate("differences", {**reference, "target": "difference"}),
            Candidate("relative to the window", {**reference, "window_normalization": "mean_std"}),
        ]
        if segment >= 2:
            tried += [
                Candidate("forecasting", {"preset": "forecasting", "segment": segment}),
                Candidate(
                    "forecasting, mean and deviation of the window",
                    {"preset": "forecasting", "segment": segment, "window_normalization": "mean_std"},
                ),
                Candidate(
                    "forecasting, with a linear path",
                    {"preset": "forecasting", "segment": segment, "linear_path": True},
                ),
            ]
        tried.append(Candidate("small", {"preset": "small", "target": "difference"}))
    else:
        tried += [Candidate("reference", reference), Candidate("small", {"preset": "small"})]
        if is_per_step(task):
            tried.append(Candidate("both directions", {**reference, "bidirectional": True}))
        else:
            tried += [
                Candidate("classification", {"preset": "classification"}),
                Candidate("convolutions", {"preset": "classification", "random_kernels": None}),
                Candidate("long", {"preset": "long"}),
                Candidate("attention", {**reference, "pooling": "attention"}),
            ]
    return tried


def search_models(path: Path, *, root: Path | None, seconds: float) -> ModelSearch:
    """Train the proposed model and others on the configured data, and rank them on the eval split.

    Each is trained once; then the best two and the proposed one with further seeds, while there is time.

    Args:
        path: of the configuration.
        root: root of the runs, for the transformed data and results; None: that of the configuration.
        seconds: after which no training is begun any more.

    Raises:
        UserError: there is no eval split, the data can't be transformed, or the proposed model can't be trained.
    """
    config = load_config(path, [])
    check_config(config)
    require_eval_split(config, "init --search")
    metric, best = next(iter(known_metrics(config).items()))
    own = Candidate(CONFIGURED, {})
    variants, by_name = [Variant(CONFIGURED, single(config.trainer))], {CONFIGURED: own}
    for each in candidates_of(config):
        try:
            changed = load_config(path, [f"model={json.dumps(each.model)}"])
            check_config(changed, files=False)
        except ConfigError:
            continue  # one that doesn't fit these columns
        trainer = single(changed.trainer)
        if _built(trainer) not in [_built(one.trainer) for one in variants]:
            variants.append(Variant(each.name, trainer, {"model": each.model}))
            by_name[each.name] = each

    def trained(some: Sequence[Variant], seeds: int, left: float) -> Trials:
        return run_experiment(
            config,
            some,
            command="init",
            root=root or default_root(config),
            seeds=seeds,
            shown=metric,
            required=[CONFIGURED],
            budget=left,
        ).trials

    first = trained(variants, 1, seconds)
    tried = _tried(first, by_name, metric)
    ranked = _ranked(tried, best)
    complete = not first.budget_spent
    left = seconds - first.seconds
    if complete and left > 0 and len(ranked) > 1:
        names = {CONFIGURED, *(each.candidate.name for each in ranked[:2])}
        again = trained([each for each in variants if each.name in names], SEEDS, left)
        complete = not again.budget_spent
        if len(again.complete_seeds) > 1:
            more = _tried(again, by_name, metric)
            ranked = _ranked(more, best) + [each for each in ranked if each.candidate.name not in names]
    winner = ranked[0]
    return ModelSearch(metric, best, ranked, None if winner.candidate is own else winner, dict(first.failed), complete)


def _built(trainer: TrainerConfig) -> TrainerConfig:
    """Return a configuration without the name of its preset, whose keys it has."""
    return trainer.model_copy(update={"model": trainer.model.model_copy(update={"preset": None})})


def _tried(trials: Trials, by_name: dict[str, Candidate], metric: str) -> list[Tried]:
    """Return what each variant has for the seeds that all of those with a result have."""
    seeds = trials.complete_seeds
    found = []
    for variant in trials.compared:
        own = [trials.results.get((variant.name, seed)) for seed in seeds or trials.seeds[:1]]
        results = [each for each in own if each is not None]
        if results:
            scores = [each["metrics"][metric] for each in results]
            found.append(Tried(by_name[variant.name], scores, float(np.mean([each["seconds"] for each in results]))))
    return found


def _ranked(tried: Sequence[Tried], best: str) -> list[Tried]:
    """Return the best first; of equals the one that was there first, which is the proposed one."""
    return sorted(tried, key=lambda each: -each.mean if best == "max" else each.mean)


def adopt(path: Path, search: ModelSearch) -> None:
    """Write the chosen model into the configuration, or why the proposed one stays."""
    text = path.read_text(encoding="utf-8")
    found = _MODEL.search(text)
    if found is None:
        raise ConfigError(f"{path}: no section model to write the result of the search to; run noisy-gru init again")
    if search.chosen is None:
        section = found[0].replace("model:\n", f"model:\n  # By noisy-gru init --search: {search.reason}.\n", 1)
    else:
        lines = yaml.safe_dump(search.chosen.candidate.model, sort_keys=False).splitlines()
        section = "\n".join(
            ["model:", f"  # By noisy-gru init --search: {search.reason}.", *(f"  {line}" for line in lines), "", ""]
        )
    write_atomically(path, text[: found.start()] + section + text[found.end() :])
