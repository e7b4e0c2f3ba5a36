"""One retraining with the locks held: decide, run, record the outcome, notify the hooks, prune."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from noisy_gru.components.retrain_planner.plan import RetrainPlan
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.config.retraining_config import NotifyEvent
from noisy_gru.pipeline.retrain.interrupted_runs import run_to_resume
from noisy_gru.pipeline.retrain.notifications import Delivery
from noisy_gru.pipeline.retrain.retraining_report import (
    EVENTS,
    OUTCOMES,
    Outcome,
    RetrainResult,
    check_of,
    hook_content,
    killed_content,
)
from noisy_gru.pipeline.runs.check_log import append_check
from noisy_gru.pipeline.runs.interrupts import Signals
from noisy_gru.pipeline.runs.output_redirection import output_to
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord
from noisy_gru.pipeline.runs.running import run_config
from noisy_gru.pipeline.runs.step_errors import error_message, is_expected
from noisy_gru.registry.retraining_attempts import Attempt, append_attempt
from noisy_gru.schema.errors import ConfigError, UserError

LATEST = "latest"
# Every night appends about 20 KB: this is some weeks.
_PLAN_LOG_BYTES = 1_000_000


class RetrainingJob:
    """One call of ``retrain_once``, with the locks held."""

    def __init__(
        self,
        config: PipelineConfig,
        directory: RunDirectory,
        now: Callable[[], datetime],
        notifier: Callable[..., list[Delivery]],
        log: Callable[[str], None],
        signals: Signals,
    ):
        self._signals = signals
        self._config = config
        self._directory = directory
        self._now = now
        self._notifier = notifier
        self._log = log
        self._plan: dict[str, Any] | None = None
        self._resumes: str | None = None
        self._record: RunRecord | None = None
        self._end: RetrainResult | None = None
        self._spans, self._data = "", ""

    @property
    def _model_dir(self) -> Path:
        return self._directory.serving / self._config.model_name

    def run(
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
            # Nobody watches the terminal: every error goes into the record and to the hooks.
            if not is_expected(error):
                logging.getLogger(__name__).exception("unexpected")
            self.end("failed", error=error_message(error), wrong_config=isinstance(error, ConfigError))
        else:
            self.end(OUTCOMES.get(record.status, "failed"), error=record.error)

    def _decide(self, planner: Callable[..., RetrainPlan] | None, force: bool) -> str | None:
        """Return the newest span to train on; None if there is nothing to do."""
        resumable = None if force else run_to_resume(self._directory, self._config)
        if resumable is not None:
            self._resumes, self._spans, self._data = resumable.run_id, resumable.spans, resumable.data
            before = self._directory.record(resumable.run_id)
            self._plan = {**(before.plan or {}), "resumes": resumable.run_id}
            self._log(f"{self._config.name}: resuming the interrupted retraining {resumable.run_id}")
            return resumable.newest_span
        self._log(f"{self._config.name}: checking whether retraining is due")
        # Output of libraries goes to a log, as in a run.
        with output_to(_rotated(self._directory.logs / "plan.log")), self._signals.raising(until_it_ends=True):
            decision = (planner or _planned)(
                self._config, serving_dir=self._directory.serving, now=self._now(), force=force
            )
        self._plan, self._spans, self._data = decision.to_dict(), decision.spans, decision.data
        self._log(f"{self._config.name}: {decision.summary}")
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
        """Record the start of the attempt: the run has an id now."""
        self._record = record
        reason = f"resumes {self._resumes}" if self._resumes else str((self._plan or {}).get("summary", ""))
        self._append(record.run_id, "started", reason)

    def end(self, outcome: Outcome, *, error: str | None = None, wrong_config: bool = False) -> None:
        """Record the outcome, once: a signal during the notifications does not change it."""
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
        now = self._now()
        try:
            append_check(self._directory.root, check_of(self._end, now))
        except OSError as failure:
            self._log(f"WARNING: {self._directory.root}: this check can't be recorded: {error_message(failure)}")
        self._write_metrics()
        if outcome == "held" and self._config.report.enabled:
            self._write_held_page(now)
        if record is not None and outcome != "not due":
            version = record.version if outcome == "published" else None
            self._append(record.run_id, outcome, error or "; ".join(record.refusals), version)

    def _write_metrics(self) -> None:
        """Write the file for Prometheus anew, with this check in it; an error doesn't change the outcome."""
        if (prometheus := self._config.tracking.prometheus) is None:
            return
        try:
            from noisy_gru.pipeline.tracking.prometheus_file import write_metrics

            write_metrics(Path(prometheus.folder), self._directory, self._config.name)
        except (ImportError, UserError) as error:
            self._log(f"WARNING: {error}")

    def _write_held_page(self, now: datetime) -> None:
        """Write the page of a night that is held for a person; an error doesn't change the outcome."""
        try:
            from noisy_gru.pipeline.report.held import write_held_page

            page = write_held_page(self._directory, self._plan or {}, self._config, now=now)
        except (ImportError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            self._log(f"WARNING: the report of this night was not written: {error_message(error)}")
        else:
            self._log(f"{self._config.name}: report {page}")

    def prune(self) -> None:
        """Prune old runs, however the night ended but by a signal; an error doesn't change the outcome."""
        # Also after a failure: nights that fail must not fill the disk. A run to resume is its pipeline's newest: kept.
        if self._end is None or self._end.outcome == "interrupted" or self._end.wrong_config:
            return
        from ml_metadata.errors import StatusError

        from noisy_gru.pipeline.runs.pruning import prune_as_configured

        try:
            with self._signals.raising():
                pruned = prune_as_configured([self._config], self._directory, now=self._now(), held=True)
        except (UserError, OSError, StatusError) as error:
            self._log(f"WARNING: retraining.keep: old runs were not pruned: {error_message(error)}")
            return
        except KeyboardInterrupt:
            self._log("WARNING: pruning of old runs was interrupted; the next pruning deletes the rest")
            return
        if pruned.runs:
            self._log(f"{self._config.name}: pruned {len(pruned.runs)} old runs, freed {pruned.bytes / 1e6:.1f} MB")

    def notified_result(self) -> RetrainResult:
        """Notify the hooks and return the result with their deliveries."""
        if self._end is None:
            raise RuntimeError("end() must be called before notified_result()")
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
            notified = tuple(self._notify(EVENTS[end.outcome], content))
        except KeyboardInterrupt:
            self._log("WARNING: interrupted during the notifications; some hooks may not have been notified")
            notified = ()
        return replace(end, notified=notified)

    def notify_of_killed(self, attempt: Attempt) -> None:
        """Notify the hooks of an earlier run that was killed."""
        self._log(f"{self._config.name}: run {attempt.run_id} failed: {attempt.reason}")
        self._notify("failure", killed_content(self._config, self._directory, attempt))

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
            # The next retraining adds it, from the record of the run.
            self._log(f"WARNING: the outcome {event} can't be recorded: {error_message(error)}")

    def _notify(self, event: NotifyEvent, content: dict[str, Any]) -> list[Delivery]:
        # A signal that ended the run doesn't keep the hooks from being notified.
        with self._signals.raising(pending=False):
            deliveries = self._notifier(self._config.retraining.notify, event, content)
        for each in deliveries:
            if each.error is not None:
                self._log(f"WARNING: retraining.notify: the {event} notification was not delivered: {each.error}")
        return deliveries


def _rotated(log: Path) -> Path:
    """Return a log to append to; once it is large, it becomes `<name>.1`, in place of the one before."""
    if log.is_file() and log.stat().st_size > _PLAN_LOG_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))
    return log


def _planned(config: PipelineConfig, **options: Any) -> RetrainPlan:
    from noisy_gru.pipeline.config.checks import check_config
    from noisy_gru.pipeline.retrain.local_plan import plan_retraining

    check_config(config)
    return plan_retraining(config, **options)
