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
from noisy_gru.pipeline.experiments.worker_pool import WorkerPool, fitting
from noisy_gru.pipeline.runs.progress import LiveProgress
from noisy_gru.schema.durations import shown_seconds
from noisy_gru.schema.errors import ConfigError, UserError
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


@dataclass(frozen=True)
class Parallel:
    """Trainings at the same time.

    Attributes:
        pool: of processes.
        most: how many at once; None: as many as fit, by the memory that the first training takes.
    """

    pool: WorkerPool
    most: int | None


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
    parallel: Parallel | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Trials:
    """Train every variant with every seed that has no result yet.

    Args:
        variants: of the configuration.
        seeds: of the trainings.
        store: of results.
        train: trains a configuration, and returns its result; not called with ``parallel``.
        live: shows each training, with the time that is left.
        shown: name of the metric to show.
        required: variants whose failure ends the experiment; another one that fails is left out.
        budget: seconds after which no training is begun any more; None: unlimited.
        parallel: processes to train in; None: in this one, one after the other.
        clock: returns seconds.

    Raises:
        ConfigError: a required variant can't be trained.
        UserError: a process ended in the middle of a training.
    """
    experiment = _Experiment(variants, seeds, store, live, shown, required, budget, clock)
    if parallel is None:
        experiment.run(train)
    else:
        experiment.run_in_processes(parallel)
    return experiment.trials()


class _Experiment:
    """Which trainings are missing, and what came of the others."""

    def __init__(
        self,
        variants: Sequence[Variant],
        seeds: Sequence[int],
        store: ResultStore,
        live: LiveProgress,
        shown: str,
        required: Sequence[str],
        budget: float | None,
        clock: Callable[[], float],
    ):
        self._variants, self._seeds = list(variants), list(seeds)
        self._store, self._live, self._shown, self._required = store, live, shown, required
        self._budget, self._clock = budget, clock
        self._begun = clock()
        self._results: dict[tuple[str, int], Result] = {}
        self._failed: dict[str, str] = {}
        self._taken: list[float] = []
        self._spent = False
        self._missing: list[tuple[Variant, int]] = []
        jobs = [(variant, seed) for seed in seeds for variant in variants]
        self._total = len(jobs)
        for variant, seed in jobs:
            found = store.read(with_seed(variant.trainer, seed))
            if found is None:
                self._missing.append((variant, seed))
            elif ERROR in found:
                self._failed[variant.name] = found[ERROR]
            else:
                self._results[variant.name, seed] = found
        if self._results and self._missing:
            live.line(f"{len(self._results)} of {self._total} trainings were finished before")

    def trials(self) -> Trials:
        """Return what is known now."""
        seconds = self._clock() - self._begun
        return Trials(self._variants, self._seeds, self._results, seconds, self._spent, self._failed)

    def _next(self) -> tuple[Variant, int] | None:
        """Take the next training; None if there is none, or the time is up."""
        self._missing = [each for each in self._missing if each[0].name not in self._failed]
        if not self._missing:
            return None
        if self._budget is not None and self._clock() - self._begun >= self._budget:
            self._spent = True
            return None
        return self._missing.pop(0)

    def run(self, train: Callable[[TrainerConfig], Result]) -> None:
        """Train in this process, one after the other."""
        while (job := self._next()) is not None:
            variant, seed = job
            place = self._total - len(self._missing)
            self._live.started(_name(job), place, self._total)
            start = self._clock()
            try:
                result = train(with_seed(variant.trainer, seed))
            except ConfigError as error:
                result = self._refused(variant, str(error))
            finally:
                self._live.stop()
            self._ended(job, result, self._clock() - start, place)

    def run_in_processes(self, parallel: Parallel) -> None:
        """Train in other processes, several at a time."""
        running: dict[str, tuple[tuple[Variant, int], float]] = {}
        pool, limit, done = parallel.pool, parallel.most, self._total - len(self._missing)
        while True:
            # The first one alone: its memory says how many fit.
            while len(running) < (limit or 1) and (job := self._next()) is not None:
                running[_name(job)] = job, self._clock()
                pool.begin(_name(job), with_seed(job[0].trainer, job[1]).model_dump(mode="json"))
            if not running:
                return
            self._live.started(", ".join(running), min(done + len(running), self._total), self._total)
            try:
                name, answer = pool.next_end()
            finally:
                self._live.stop()
            (variant, seed), start = running.pop(name)
            if "failed" in answer:
                raise UserError(f"{name}: {answer['failed']}")
            if limit is None:
                limit = fitting(answer["peak_bytes"])
                self._live.line(f"{limit} at a time: one takes {answer['peak_bytes'] / 1e6:.0f} MB")
            result = self._refused(variant, answer["refused"]) if "refused" in answer else answer["result"]
            done += 1
            self._ended((variant, seed), result, self._clock() - start, done, len(running), limit)

    def _refused(self, variant: Variant, problem: str) -> Result:
        """Return the result of a training that can't be, such as one whose loss is not finite."""
        if variant.name in self._required:
            # Without the one that all are compared with there is no experiment.
            raise ConfigError(problem)
        return {ERROR: problem}

    def _ended(
        self, job: tuple[Variant, int], result: Result, seconds: float, place: int, running: int = 0, at_once: int = 1
    ) -> None:
        """Keep a result, and show it with the time that is left."""
        variant, seed = job
        self._store.write(with_seed(variant.trainer, seed), result)
        self._taken.append(seconds)
        head = f"{place:>3}/{self._total} {escape(_name(job))}"
        if ERROR in result:
            self._failed[variant.name] = result[ERROR]
            self._live.line(f"[red]✗[/] {head}  {escape(result[ERROR])}")
            return
        self._results[variant.name, seed] = result
        missing = len(self._missing) + running
        left = missing * sum(self._taken) / len(self._taken) / at_once
        if self._budget is not None:
            left = min(left, max(self._budget - (self._clock() - self._begun), 0.0))
        self._live.line(
            f"[green]✓[/] {head}  {self._shown} {result['metrics'][self._shown]:.4g}  {seconds:.1f} s"
            + (f", about {shown_seconds(left)} left" if missing else "")
        )


def _name(job: tuple[Variant, int]) -> str:
    return f"{job[0].name} seed {job[1]}"
