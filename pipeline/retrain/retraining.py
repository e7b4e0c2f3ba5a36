"""Retrain once: plan, run if due, record the result, notify. One retraining at a time for a pipeline.

>>> result = retrain_once(config, config_path=path, root=Path("runs/vowels"))  # doctest: +SKIP
>>> result.outcome, result.plan["summary"]  # doctest: +SKIP
('not due', 'not due: nothing new since version 1795625257, which was trained on spans 3-9')

Each retraining adds a line to ``retraining.jsonl`` when it begins and one when it ends. So one that was killed is found
the next time: it is recorded as failed, the hooks are notified, and it is resumed.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from noisy_gru.components.retrain_planner.plan import RetrainPlan
from noisy_gru.data.reading.file_hashes import hash_cache
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.retrain.interrupted_runs import close_open_attempts
from noisy_gru.pipeline.retrain.notifications import Delivery, notify
from noisy_gru.pipeline.retrain.retraining_job import RetrainingJob
from noisy_gru.pipeline.retrain.retraining_report import (
    RetrainResult,
)
from noisy_gru.pipeline.runs.interrupts import Signals, deferred_signals
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord


def to_stderr(text: str) -> None:
    """Print a line to standard error at once."""
    print(text, file=sys.stderr, flush=True)


def retrain_once(
    config: PipelineConfig,
    *,
    config_path: Path,
    root: Path,
    overrides: Sequence[str] = (),
    force: bool = False,
    debug: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    planner: Callable[..., RetrainPlan] | None = None,
    runner: Callable[..., RunRecord] | None = None,
    notifier: Callable[..., list[Delivery]] = notify,
    log: Callable[[str], None] = to_stderr,
) -> RetrainResult:
    """Plan, run if retraining is due, record the result and notify the hooks.

    Args:
        config: configuration from ``load_config``.
        config_path: its file, for the record.
        root: root of the runs.
        overrides: ``--set`` values that ``config`` holds already, for the record.
        force: train whatever the plan says.
        debug: whether to print the traceback of an error in the run.
        now: clock.
        planner: replaces ``plan_retraining``.
        runner: replaces ``run_config``.
        notifier: replaces ``notify``.
        log: receives one line of progress at a time.

    Returns:
        The result. Errors in planning or in the run are in it, not raised.

    Raises:
        UserError: the root can't be written.
        BusyError: another run holds the root or the model.
    """
    directory = RunDirectory(root)
    directory.create()
    # Planning, the run, notifications and pruning can be interrupted; recording can not.
    with (
        deferred_signals(signal.SIGTERM, signal.SIGINT) as signals,
        signals.deferring(),
        directory.locked("noisy-gru retrain run", model=config.model_name),
        hash_cache(directory.hashes),
    ):
        job = RetrainingJob(config, directory, now, notifier, log, signals)
        directory.close_killed()
        for attempt in close_open_attempts(directory, config.model_name, now=now()):
            job.notify_of_killed(attempt)
        try:
            job.run(config_path, overrides, force, debug, planner, runner)
        except KeyboardInterrupt:
            job.end("interrupted", error="interrupted before the run began")
        job.prune()
        return job.notified_result()


def record_killed(
    config: PipelineConfig,
    *,
    root: Path,
    reason: str,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    notifier: Callable[..., list[Delivery]] = notify,
    log: Callable[[str], None] = to_stderr,
) -> None:
    """Record a retraining whose process was killed as failed, and notify the hooks.

    Args:
        config: configuration from ``load_config``.
        root: root of the runs.
        reason: how the process ended.
        now: clock.
        notifier: replaces ``notify``.
        log: receives one line at a time.

    Raises:
        BusyError: another run holds the root; it has recorded this one already.
    """
    directory = RunDirectory(root)
    directory.create()
    job = RetrainingJob(config, directory, now, notifier, log, Signals())
    with directory.locked("the record of a killed run", model=config.model_name):
        directory.close_killed()
        killed = close_open_attempts(directory, config.model_name, now=now(), reason=reason)
        for attempt in killed:
            job.notify_of_killed(attempt)
    if not killed:
        job.end("failed", error=f"{reason}, before a run began")
        job.notified_result()
