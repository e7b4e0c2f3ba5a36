"""Run an experiment under the root of a configuration: the transformed data, then the trainings, into one log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from noisy_gru.compat.extras import require
from noisy_gru.pipeline.config.beam_options import check_can_run_here
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.experiments.engine import Parallel, Result, ResultStore, Trials, run_trials
from noisy_gru.pipeline.experiments.transformed_data import transformed_data
from noisy_gru.pipeline.experiments.variants import Variant
from noisy_gru.pipeline.experiments.worker_pool import WorkerPool
from noisy_gru.pipeline.fingerprint import MODEL_ROOMS, source_fingerprint
from noisy_gru.pipeline.runs.output_redirection import output_to
from noisy_gru.pipeline.runs.progress import LiveProgress, events_shown
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.storage.locks import exclusive_lock
from noisy_gru.trainer.config import TrainerConfig

if TYPE_CHECKING:
    from noisy_gru.trainer.experiments.starts import FirstStates


@dataclass(frozen=True)
class Experiment:
    """A finished experiment: its trials, where their results are kept, and its log."""

    trials: Trials
    folder: Path
    log: Path

    @property
    def page(self) -> Path:
        """The file of the experiment's page, beside the results."""
        return self.folder / f"{self.log.stem}.html"


def run_experiment(
    config: PipelineConfig,
    variants: Sequence[Variant],
    *,
    command: str,
    root: Path,
    seeds: int,
    shown: str,
    required: Sequence[str],
    starts: FirstStates | None = None,
    budget: float | None = None,
    parallel: int | None = 1,
) -> Experiment:
    """Train every variant with the seeds from the configuration's on.

    Args:
        config: whose data are transformed.
        variants: to train.
        command: name of the command, for the log and the lock.
        root: root of the runs.
        seeds: their number.
        shown: name of the metric to show for each training.
        required: names of the variants that others are compared with.
        starts: first states to measure from.
        budget: seconds after which no training is begun any more.
        parallel: trainings at a time, in processes of their own; None: as many as fit into memory and cores.

    Raises:
        UserError: the data can't be transformed, or a required variant can't be trained.
    """
    require("tfx", f"noisy-gru {command}")
    require("matplotlib", f"noisy-gru {command}")
    check_can_run_here(config.beam)
    directory = RunDirectory(root)
    directory.create()
    (directory.experiments / "logs").mkdir(parents=True, exist_ok=True)
    log = directory.experiments / "logs" / f"{command}-{datetime.now(UTC):%Y%m%d-%H%M%S}.log"
    with output_to(log) as (_, err):
        live = LiveProgress(err)
        live.line(f"[bold]{escape(config.name)}[/]  {command}: {len(variants)} variants x {seeds} seeds")
        try:
            with events_shown(live):
                return _run(config, variants, directory, live, log, seeds, shown, required, starts, budget, parallel)
        finally:
            live.stop()


def _run(
    config: PipelineConfig,
    variants: Sequence[Variant],
    directory: RunDirectory,
    live: LiveProgress,
    log: Path,
    seeds: int,
    shown: str,
    required: Sequence[str],
    starts: FirstStates | None,
    budget: float | None,
    parallel: int | None,
) -> Experiment:
    if config.training.members > 1:
        live.line(f"training.members is {config.training.members}: an experiment trains single models")
    files = transformed_data(config, directory, live)
    from noisy_gru.trainer.custom_config import CustomConfig
    from noisy_gru.trainer.experiments.trial import data_key, train_and_measure

    def custom_config(trainer: TrainerConfig, folder: Path | None = None) -> CustomConfig:
        fingerprint = source_fingerprint(MODEL_ROOMS)
        return CustomConfig(config.dataset, trainer, fingerprint, None if folder is None else str(folder))

    folder = directory.experiments / data_key(files, custom_config(config.trainer))
    measured = None if starts is None else _as_json(starts)
    store = ResultStore(folder, measured)

    def train(trainer: TrainerConfig) -> Result:
        # An interrupted training resumes from its checkpoint in the folder.
        return train_and_measure(files, custom_config(trainer, folder), starts)

    every = range(config.seed, config.seed + seeds)
    advice = "Two of them would train the same: wait for it, or use another root"
    with ExitStack() as stack:
        stack.enter_context(exclusive_lock(folder / ".lock", "an experiment on these data", advice))
        processes = None
        if parallel != 1:
            common = {
                "files": {"transform_graph": files.transform_graph, "train": files.train, "eval": files.eval},
                "dataset": config.dataset.model_dump(mode="json"),
                "starts": None if starts is None else asdict(starts),
                "fingerprint": source_fingerprint(MODEL_ROOMS),
                "working_dir": str(folder),
            }
            processes = Parallel(stack.enter_context(WorkerPool(common, _shown_by(live))), parallel)
        trials = run_trials(
            variants, every, store, train, live, shown=shown, required=required, budget=budget, parallel=processes
        )
    return Experiment(trials, folder, log)


def _shown_by(live: LiveProgress) -> Callable[[str, Mapping[str, Any]], None]:
    """Return a function that shows how far each training is."""
    far: dict[str, str] = {}

    def seen(name: str, event: Mapping[str, Any]) -> None:
        far[name] = f"{name} epoch {event.get('epoch')}/{event.get('epochs')}"
        if event.get("epoch") == event.get("epochs"):
            del far[name]
        if far:
            live.advanced({"message": ", ".join(far.values())})

    return seen


def _as_json(starts: FirstStates) -> Any:
    return [list(starts.stddevs), list(starts.noise_scales), list(starts.burn_in)]
