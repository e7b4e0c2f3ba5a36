"""One retraining, from the question whether it is due to telling how it ended; one at a time for a pipeline.

>>> done = retrain_once(config, config_path=path, root=Path("runs/vowels"))  # doctest: +SKIP
>>> done.outcome, done.plan["summary"]  # doctest: +SKIP
('not due', 'not due: nothing new since version 1795625257, which was trained on spans 3-9')

Each retraining leaves a line where it begins and one where it ends (``retraining.jsonl``), so that one which was killed
is found the next time: it is then recorded as failed, told of, and gone on with.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from noisy_gru.components.retrain_planner.plan import RetrainPlan
from noisy_gru.data.reading.file_hashes import hash_cache
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.config.retraining_config import NotifyEvent
from noisy_gru.pipeline.retrain.interrupted_runs import close_open_attempts, run_to_resume
from noisy_gru.pipeline.retrain.notifications import Delivery, notify
from noisy_gru.pipeline.retrain.retraining_report import (
    EVENTS,
    OUTCOMES,
    Outcome,
    RetrainResult,
    hook_content,
    killed_content,
)
from noisy_gru.pipeline.runs.interrupts import Signals, deferred_signals
from noisy_gru.pipeline.runs.output_redirection import output_to
from noisy_gru.pipeline.runs.run_directory import RunDirectory, RunRecord
from noisy_gru.pipeline.runs.running import run_config
from noisy_gru.pipeline.runs.step_errors import error_message, is_expected
from noisy_gru.registry.retraining_attempts import Attempt, append_attempt
from noisy_gru.schema.errors import ConfigError, UserError

LATEST = "latest"


def to_stderr(text: str) -> None:
    """A line for a person, seen at once."""
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
    teller: Callable[..., list[Delivery]] = notify,
    say: Callable[[str], None] = to_stderr,
) -> RetrainResult:
    """Plans, runs if it is due, records how that ended, and tells the hooks.

    Args:
        config: as ``load_config`` gives it.
        config_path: the file it came from, for the record.
        root: where everything of the run goes.
        overrides: the ``--set`` values that are already in ``config``, for the record.
        force: train whatever the plan says.
        debug: whether the traceback of what went wrong in the run is shown, too.
        now: the clock.
        planner: in place of ``plan_retraining``.
        runner: in place of ``run_config``.
        teller: in place of ``notify``.
        say: is given what a person should know while it goes on.

    Returns:
        What became of it; what goes wrong in planning or in the run is in there, not raised.

    Raises:
        UserError: the root can't be written; or, as ``BusyError``, is in use, or the model is.
    """
    directory = RunDirectory(root)
    directory.create()
    # What is planned, run, told of and pruned is interrupted; what is recorded of it is not.
    with (
        deferred_signals(signal.SIGTERM, signal.SIGINT) as signals,
        signals.held(),
        directory.locked("noisy-gru retrain run", model=config.model_name),
        hash_cache(directory.hashes),
    ):
        job = _Job(config, directory, now, teller, say, signals)
        directory.close_killed()
        for attempt in close_open_attempts(directory, config.model_name, now=now()):
            job.tell_of_killed(attempt)
        try:
            job.go(config_path, overrides, force, debug, planner, runner)
        except KeyboardInterrupt:
            job.end("interrupted", error="interrupted before the run began")
        job.prune()
        return job.told()


class _Job:
    """One call of ``retrain_once``, with the locks held."""

    def __init__(
        self,
        config: PipelineConfig,
        directory: RunDirectory,
        now: Callable[[], datetime],
        teller: Callable[..., list[Delivery]],
        say: Callable[[str], None],
        signals: Signals,
    ):
        self._signals = signals
        self._config = config
        self._directory = directory
        self._now = now
        self._teller = teller
        self._say = say
        self._plan: dict[str, Any] | None = None
        self._resumes: str | None = None
        self._record: RunRecord | None = None
        self._end: RetrainResult | None = None
        self._spans, self._data = "", ""

    @property
    def _model_dir(self) -> Path:
        return self._directory.serving / self._config.model_name

    def go(
        self,
        config_path: Path,
        overrides: Sequence[str],
        force: bool,
        debug: bool,
        planner: Callable[..., RetrainPlan] | None,
        runner: Callable[..., RunRecord] | None,
    ) -> None:
        try:
            span = self._decide(planner, force)
            if span is None:
                self.end("held" if (self._plan or {}).get("held") else "not due")
                return
            record = self._run(runner, config_path, overrides, debug, span)
        except Exception as error:
            if self._signals.received:
                raise KeyboardInterrupt from error
            # The one place where nothing may be left untold: nobody looks at the terminal.
            if not is_expected(error):
                logging.getLogger(__name__).exception("unexpected")
            self.end("failed", error=error_message(error), wrong_config=isinstance(error, ConfigError))
        else:
            self.end(OUTCOMES.get(record.status, "failed"), error=record.error)

    def _decide(self, planner: Callable[..., RetrainPlan] | None, force: bool) -> str | None:
        """The newest span to train on; None if there is nothing to do."""
        cut_off = None if force else run_to_resume(self._directory, self._config)
        if cut_off is not None:
            self._resumes, self._spans, self._data = cut_off.run_id, cut_off.spans, cut_off.data
            before = self._directory.record(cut_off.run_id)
            self._plan = {**(before.plan or {}), "resumes": cut_off.run_id}
            self._say(f"{self._config.name}: goes on with the retraining that was cut off, {cut_off.run_id}")
            return cut_off.newest_span
        self._say(f"{self._config.name}: is it due?")
        # What libraries print goes to a log, as in a run.
        with output_to(self._directory.logs / "plan.log"), self._signals.raising(until_it_ends=True):
            decision = (planner or _planned)(
                self._config, serving_dir=self._directory.serving, now=self._now(), force=force
            )
        self._plan, self._spans, self._data = decision.to_dict(), decision.spans, decision.data
        self._say(f"{self._config.name}: {decision.summary}")
        if not decision.retrain:
            return None
        return LATEST if decision.newest_span is None else str(decision.newest_span)

    def _run(
        self,
        runner: Callable[..., RunRecord] | None,
        config_path: Path,
        overrides: Sequence[str],
        debug: bool,
        span: str,
    ) -> RunRecord:
        self._record = (runner or run_config)(
            self._config,
            config_path=config_path,
            root=self._directory.root,
            overrides=overrides,
            span=span,
            debug=debug,
            now=self._now,
            plan=self._plan,
            held=self._directory,
            begun=self._begun,
        )
        return self._record

    def _begun(self, record: RunRecord) -> None:
        """The run has an id: from here on it is an attempt, which needs an end."""
        self._record = record
        reason = f"goes on with {self._resumes}" if self._resumes else str((self._plan or {}).get("summary", ""))
        self._append(record.run_id, "started", reason)

    def end(self, outcome: Outcome, *, error: str | None = None, wrong_config: bool = False) -> None:
        """Records how it ended, once: a signal that comes while the hooks are told changes nothing of it."""
        if self._end is not None:
            return
        record = self._record
        self._end = RetrainResult(
            pipeline=self._config.name,
            outcome=outcome,
            plan=self._plan,
            resumes=self._resumes,
            record=record,
            error=error,
            wrong_config=wrong_config,
        )
        if record is not None and outcome != "not due":
            version = record.version if outcome == "published" else None
            self._append(record.run_id, outcome, error or "; ".join(record.refusals), version)

    def prune(self) -> None:
        """Deletes what old runs left, after a retraining that ended well; a failure here changes nothing of it."""
        if self._end is None or self._end.outcome not in ("published", "refused"):
            return
        from ml_metadata.errors import StatusError

        from noisy_gru.pipeline.runs.pruning import prune_as_configured

        try:
            with self._signals.raising():
                pruned = prune_as_configured(self._config, self._directory, now=self._now(), held=True)
        except (UserError, OSError, StatusError) as error:
            self._say(f"WARNING: retraining.keep: what old runs left was not deleted: {error_message(error)}")
            return
        except KeyboardInterrupt:
            self._say("WARNING: interrupted while old runs were pruned; the next pruning goes on")
            return
        if pruned.runs:
            self._say(f"{self._config.name}: {len(pruned.runs)} old runs pruned, {pruned.bytes / 1e6:.1f} MB freed")

    def told(self) -> RetrainResult:
        """What became of it, after the hooks have been told."""
        if self._end is None:
            raise RuntimeError("a retraining was told of before it ended")
        end = self._end
        content = hook_content(
            self._config,
            self._directory,
            end.record,
            outcome=end.outcome,
            decision=end.plan,
            resumes=end.resumes,
            error=end.error,
        )
        try:
            notified = tuple(self._tell(EVENTS[end.outcome], content))
        except KeyboardInterrupt:
            self._say("WARNING: interrupted while the hooks were told; some may not know")
            notified = ()
        return replace(end, notified=notified)

    def tell_of_killed(self, attempt: Attempt) -> None:
        """An earlier run of which nobody could tell when it was killed."""
        self._say(f"{self._config.name}: run {attempt.run_id} has failed: {attempt.reason}")
        self._tell("failure", killed_content(self._config, self._directory, attempt))

    def _append(self, run_id: str, event: Any, reason: str, version: int | None = None) -> None:
        at = self._now().astimezone(UTC).isoformat(timespec="seconds")
        attempt = Attempt(
            at=at, event=event, run_id=run_id, spans=self._spans, data=self._data, version=version, reason=reason
        )
        try:
            append_attempt(self._model_dir, attempt)
        except OSError as error:
            if event == "started":
                raise
            # The next retraining closes it, from the record of the run.
            self._say(f"WARNING: how it ended can't be recorded: {error_message(error)}")

    def _tell(self, event: NotifyEvent, content: dict[str, Any]) -> list[Delivery]:
        # A signal that came before, and ended what is told of now, doesn't keep the hooks from being told.
        with self._signals.raising(noted=False):
            told = self._teller(self._config.retraining.notify, event, content)
        for each in told:
            if each.error is not None:
                self._say(f"WARNING: retraining.notify: nobody was told of this {event}: {each.error}")
        return told


def _planned(config: PipelineConfig, **options: Any) -> RetrainPlan:
    from noisy_gru.pipeline.config.checks import check_config
    from noisy_gru.pipeline.retrain.local_plan import plan_retraining

    check_config(config)
    return plan_retraining(config, **options)


def record_killed(
    config: PipelineConfig,
    *,
    root: Path,
    why: str,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    teller: Callable[..., list[Delivery]] = notify,
    say: Callable[[str], None] = to_stderr,
) -> None:
    """Records and tells of a retraining whose process is gone without a word.

    Args:
        config: as ``load_config`` gives it.
        root: where everything of the run goes.
        why: how the process ended.
        now: the clock.
        teller: in place of ``notify``.
        say: is given what a person should know.

    Raises:
        BusyError: another run goes on; it has recorded this one, too.
    """
    directory = RunDirectory(root)
    directory.create()
    job = _Job(config, directory, now, teller, say, Signals())
    with directory.locked("the record of a killed run", model=config.model_name):
        directory.close_killed()
        killed = close_open_attempts(directory, config.model_name, now=now(), why=why)
        for attempt in killed:
            job.tell_of_killed(attempt)
    if not killed:
        job.end("failed", error=f"{why}, before a run began")
        job.told()
