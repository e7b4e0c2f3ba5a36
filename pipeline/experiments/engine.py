"""Train every variant with every seed; finished trainings are kept on disk, so that a killed experiment goes on.

    trials = run_trials(variants, seeds, store, train, live, budget=1800.0)
    trials.values("x10", lambda result: result["metrics"]["accuracy"])

The order is by seed, so that a budget that runs out leaves complete pairs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape

from noisy_gru.pipeline.experiments.paired_statistics import METHOD
from noisy_gru.pipeline.experiments.variants import Variant
from noisy_gru.pipeline.runs.progress import LiveProgress
from noisy_gru.schema.durations import shown_seconds
from noisy_gru.schema.errors import ConfigError
from noisy_gru.storage.atomic_files import write_atomically
from noisy_gru.trainer.config import TrainerConfig

Result = dict[str, Any]
ERROR = "error"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trials:
    """The results of an experiment.

    Attributes:
        variants: in the order of the experiment.
        seeds: those that were asked for.
        results: of each finished training, by the variant's name and the seed.
        failed: by the name of a variant, why a training of it failed; it is in no comparison.
        seconds: of the trainings of this call.
        budget_spent: whether trainings were left out because the time was up.
    """

    variants: list[Variant]
    seeds: list[int]
    results: dict[tuple[str, int], Result] = field(default_factory=dict)
    seconds: float = 0.0
    budget_spent: bool = False
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def compared(self) -> list[Variant]:
        """The variants that no training failed of."""
        return [each for each in self.variants if each.name not in self.failed]

    @property
    def complete_seeds(self) -> list[int]:
        """The seeds that every compared variant was trained with: all comparisons are of these."""
        return [seed for seed in self.seeds if all((each.name, seed) in self.results for each in self.compared)]

    def report_head(self, *, pipeline: str, metric: str, best: str) -> dict[str, Any]:
        """Return what the JSON of every report begins with."""
        return {
            "pipeline": pipeline,
            "split": "eval",
            "metric": metric,
            "best": best,
            "seeds": self.complete_seeds,
            "seeds_asked_for": self.seeds,
            "intervals": f"95 %, {METHOD}",
            "is_complete": not self.budget_spent,
            "failed": self.failed,
        }

    def values(self, name: str, of: Callable[[Result], float]) -> list[float]:
        """Return a number of a variant's results, one for each complete seed."""
        return [of(self.results[name, seed]) for seed in self.complete_seeds]


class ResultStore:
    """Results of finished trainings, a JSON file for each.

    Args:
        folder: of the experiments on one state of data and code.
        measured: what is measured beside the metrics; another measurement is another result.
    """

    def __init__(self, folder: Path, measured: Any = None):
        self.folder = folder
        self._measured = measured
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, trainer: TrainerConfig) -> Path:
        """Return the file of a training, with its seed in the configuration."""
        content = json.dumps([trainer.model_dump(mode="json"), self._measured], sort_keys=True)
        return self.folder / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.json"

    def read(self, trainer: TrainerConfig) -> Result | None:
        """Return the result of a training; None if there is none, or its file is damaged."""
        path = self.path(trainer)
        try:
            return json.loads(path.read_text(encoding="utf-8"))["result"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            logger.warning("%s is damaged, so it is trained again", path)
            return None

    def write(self, trainer: TrainerConfig, result: Result) -> None:
        """Write the result of a training."""
        content = {"trainer": trainer.model_dump(mode="json"), "measured": self._measured, "result": result}
        write_atomically(self.path(trainer), json.dumps(content, indent=1) + "\n")


def with_seed(trainer: TrainerConfig, seed: int) -> TrainerConfig:
    """Return a configuration with another seed."""
    return trainer.model_copy(update={"seed": seed})


def run_trials(
    variants: Sequence[Variant],
    seeds: Sequence[int],
    store: ResultStore,
    train: Callable[[TrainerConfig], Result],
    live: LiveProgress,
    *,
    shown: str,
    required: Sequence[str] = (),
    budget: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Trials:
    """Train every variant with every seed that has no result yet.

    Args:
        variants: of the configuration.
        seeds: of the trainings.
        store: of results.
        train: trains a configuration, and returns its result.
        live: shows each training, with the time that is left.
        shown: name of the metric to show.
        required: variants whose failure ends the experiment; another one that fails is left out.
        budget: seconds after which no training is begun any more; None: unlimited.
        clock: returns seconds.

    Raises:
        ConfigError: a required variant can't be trained.
    """
    begun = clock()
    jobs = [(variant, seed) for seed in seeds for variant in variants]
    results: dict[tuple[str, int], Result] = {}
    failed: dict[str, str] = {}
    missing = []
    for variant, seed in jobs:
        found = store.read(with_seed(variant.trainer, seed))
        if found is None:
            missing.append((variant, seed))
        elif ERROR in found:
            failed[variant.name] = found[ERROR]
        else:
            results[variant.name, seed] = found
    if results and missing:
        live.line(f"{len(results)} of {len(jobs)} trainings were finished before")
    taken: list[float] = []
    spent = False
    while missing := [(variant, seed) for variant, seed in missing if variant.name not in failed]:
        if budget is not None and clock() - begun >= budget:
            spent = True
            break
        variant, seed = missing.pop(0)
        place = len(jobs) - len(missing)
        name = f"{variant.name} seed {seed}"
        live.started(name, place, len(jobs))
        start = clock()
        trainer = with_seed(variant.trainer, seed)
        result: Result
        try:
            result = train(trainer)
        except ConfigError as error:
            # Such as a loss that is not finite; without the one that all are compared with there is no experiment.
            if variant.name in required:
                raise
            result = {ERROR: str(error)}
        finally:
            live.stop()
        store.write(trainer, result)
        taken.append(clock() - start)
        if ERROR in result:
            failed[variant.name] = result[ERROR]
            live.line(f"[red]✗[/] {place:>3}/{len(jobs)} {escape(name)}  {escape(result[ERROR])}")
            continue
        results[variant.name, seed] = result
        left = len(missing) * sum(taken) / len(taken)
        if budget is not None:
            left = min(left, max(budget - (clock() - begun), 0.0))
        live.line(
            f"[green]✓[/] {place:>3}/{len(jobs)} {escape(name)}  {shown} {result['metrics'][shown]:.4g}  "
            f"{taken[-1]:.1f} s" + (f", about {shown_seconds(left)} left" if missing else "")
        )
    return Trials(list(variants), list(seeds), results, clock() - begun, spent, failed)
