"""Run a configuration once on this machine: lock, log, live progress, run record.

    >>> record = run_config(config, config_path=path, root=Path("runs/vowels"))  # doctest: +SKIP
    >>> record.status, record.published_path  # doctest: +SKIP
    ('succeeded', '/…/serving/vowels/1')

Imports TFX only once the run has begun, so that its messages go to the log.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from noisy_gru.compat.beam_counters import BeamCounters, counted_bundles
from noisy_gru.compat.extras import require
from noisy_gru.components.derived_schema_gen.curated_file import read_curated
from noisy_gru.data.ingestion.spans import LATEST
from noisy_gru.data.reading.file_hashes import hash_cache
from noisy_gru.pipeline.config.beam_config import beam_arguments
from noisy_gru.pipeline.config.beam_options import check_can_run_here
from noisy_gru.pipeline.config.checks import input_files
from noisy_gru.pipeline.config.metadata_checks import metadata_problems
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.config.tracking_config import check_tracking
from noisy_gru.pipeline.fingerprint import package_versions, source_fingerprint
from noisy_gru.pipeline.runs.after_run import track_run, write_report
from noisy_gru.pipeline.runs.beam_progress import STEPS, BeamProgress
from noisy_gru.pipeline.runs.compile_cache import compile_cache
from noisy_gru.pipeline.runs.faster_steps import faster_steps
from noisy_gru.pipeline.runs.interrupts import Signals, deferred_signals
from noisy_gru.pipeline.runs.output_redirection import output_to
from noisy_gru.pipeline.runs.progress import LiveProgress, events_shown
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord, StepRecord, text_hash, timestamp
from noisy_gru.pipeline.runs.step_errors import error_message, is_expected
from noisy_gru.pipeline.runs.step_resources import ResourceMeter, disk_bytes
from noisy_gru.schema.derivation import check_curated, schema_text
from noisy_gru.schema.durations import parse_duration
from noisy_gru.schema.errors import ConfigError
from noisy_gru.storage.object_stores import file_states

if TYPE_CHECKING:
    from noisy_gru.pipeline.runs.local_runner import StepResult

_INTERRUPTED = "interrupted; run it again to resume after the last finished step"


def run_config(
    config: PipelineConfig,
    *,
    config_path: Path,
    root: Path,
    overrides: Sequence[str] = (),
    span: str = LATEST,
    on_stdout: bool = False,
    debug: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    plan: Mapping[str, Any] | None = None,
    held: RunDirectory | None = None,
    begun: Callable[[RunRecord], None] = lambda record: None,
) -> RunRecord:
    """Run a configuration once. Errors of steps are in the record, not raised.

    Args:
        config: configuration from ``load_config``.
        config_path: its file, for the record.
        root: root of the runs.
        overrides: ``--set`` values that ``config`` holds already, for the record.
        span: newest span to read: ``latest``, a number, or a date.
        on_stdout: whether live progress goes to standard output; otherwise to standard error.
        debug: whether to print the traceback of an error.
        now: clock.
        plan: the decision to retrain, for the record.
        held: the root, if the caller holds its lock already.
        begun: called with the record once it is on disk, before the first step.

    Returns:
        The record, with status `succeeded`, `refused`, `failed` or `interrupted`; also in ``runs/<run_id>.json``.

    Raises:
        UserError: the run can't begin: TFX or what `tracking` needs is not installed, the root is in use or can't be
            written, or Beam's runner or ML Metadata's server can't be used here.
    """
    require("tfx", "noisy-gru run")
    if config.model.onnx:
        require("onnx", "model.onnx: true")
    check_tracking(config.tracking)
    check_can_run_here(config.beam)
    if problems := metadata_problems(config.metadata):
        raise ConfigError(problems[0])
    directory = held or RunDirectory(root)
    directory.create()
    lock = nullcontext() if held else directory.locked(model=config.model_name)
    # Only steps are interrupted: beginning and closing the record is not.
    with deferred_signals(signal.SIGTERM, signal.SIGINT) as signals, signals.deferring(), lock:
        directory.close_killed()
        run = _Run(config, config_path, directory, overrides, now, debug, plan, span, signals)
        begun(run.record)
        with output_to(directory.log_file(run.record.run_id)) as (out, err):
            run.execute(LiveProgress(out if on_stdout else err))
        return run.record


class _Run:
    """One run and its growing record; observes the runner."""

    def __init__(
        self,
        config: PipelineConfig,
        config_path: Path,
        directory: RunDirectory,
        overrides: Sequence[str],
        now: Callable[[], datetime],
        debug: bool,
        plan: Mapping[str, Any] | None = None,
        span: str = LATEST,
        signals: Signals | None = None,
    ):
        self._signals = signals or Signals()
        begun = now()
        config_hash = text_hash(config.model_dump_json(by_alias=True))
        run_id = directory.new_run_id(begun)
        self.record = RunRecord(
            run_id=run_id,
            pipeline=config.name,
            started=timestamp(begun),
            config_path=str(config_path.absolute()),
            overrides=list(overrides),
            config_hash=config_hash,
            config=config.model_dump(mode="json", by_alias=True),
            seed=config.seed,
            root=str(directory.root),
            log=str(directory.log_file(run_id)),
            fingerprint=source_fingerprint(),
            packages=package_versions(),
            plan=None if plan is None else dict(plan),
            pid=os.getpid(),
            host=socket.gethostname(),
        )
        self._config = config
        self._span = span
        self._directory = directory
        self._now = now
        self._debug = debug
        self._began = time.monotonic()
        self._step_began = self._began
        self._total = 0
        directory.write(self.record)

    def execute(self, live: LiveProgress) -> None:
        """Run all steps; then close and write the record, whatever happened."""
        self._live = live
        record = self.record
        live.line(f"[bold]{record.pipeline}[/]  run {record.run_id}")
        try:
            signals, cache = self._signals.raising(until_it_ends=True), compile_cache(self._directory.work / "xla")
            with events_shown(live), signals, cache:
                self._run_steps()
        except KeyboardInterrupt:
            self._signals.defer()
            self._close("interrupted", _INTERRUPTED)
        except Exception as error:
            self._signals.defer()
            logging.getLogger(__name__).exception("the run failed")
            if self._signals.received:
                # Libraries turn a KeyboardInterrupt into other exceptions.
                self._close("interrupted", _INTERRUPTED)
            else:
                hint = "" if is_expected(error) else "\n(unexpected error; the log has the traceback)"
                self._close("failed", f"{error_message(error)}{hint}")
            if self._debug:
                traceback.print_exception(error, file=live.console.file)
        else:
            self._close("succeeded" if record.blessed else "refused", None)
        finally:
            live.stop()
        _outcome_lines(record, live)
        report = self._report()
        self._track()
        _places(record, live, report)

    def _run_steps(self) -> None:
        self._check_published()
        self._live.started("loading TFX", 0, 0)
        from noisy_gru.pipeline.build import build_pipeline
        from noisy_gru.pipeline.runs.beam_type_cache import cache_beam_types
        from noisy_gru.pipeline.runs.local_runner import LocalRunner, connection_config
        from noisy_gru.pipeline.runs.metadata_server import check_server
        from noisy_gru.pipeline.runs.recovery import clear_unfinished

        cache_beam_types()
        directory, config = self._directory, self._config
        connection = connection_config(config.metadata, directory.metadata)
        check_server(config.metadata, connection)
        clear_unfinished(directory, connection)
        path = config.schema_path
        # A remote file may change, and TFX caches by path: so its content is kept, too.
        derivation = check_curated(read_curated(path), path, config.dataset)
        schema = directory.keep_input(PurePosixPath(path).name, schema_text(derivation.schema))
        self.record.schema_copy = str(schema)
        input_bytes = sum(state.size for state in file_states(input_files(config, self._span)).values())
        pipeline = build_pipeline(
            config,
            pipeline_root=str(directory.artifacts),
            serving_dir=str(directory.serving),
            schema_file=str(schema),
            working_dir=str(directory.work),
            span=self._span,
            metadata_connection_config=connection,
            beam_pipeline_args=beam_arguments(config.beam, input_bytes),
        )
        self._live.stop()
        counters = BeamCounters()
        self._beam = BeamProgress(counters, input_bytes)
        with hash_cache(directory.hashes), counted_bundles(counters), faster_steps():
            LocalRunner(self.record.run_id, self).run(pipeline)

    def _check_published(self) -> None:
        """Check the published versions first: a damaged one would make the training useless."""
        from rich.markup import escape

        from noisy_gru.registry.integrity import check_served

        for note in check_served(self._directory.serving / self._config.model_name):
            logging.getLogger(__name__).warning("%s", note)
            self._live.line(f"[yellow]WARNING[/] {escape(note)}")

    def started(self, name: str, number: int, total: int) -> None:
        """Record the start of a step (``Observer``)."""
        if self._signals.received:
            # The previous step swallowed the KeyboardInterrupt.
            raise KeyboardInterrupt
        self._step_began = time.monotonic()
        self._meter = ResourceMeter()
        began = self._now().astimezone(UTC).isoformat(timespec="milliseconds")
        self.record.steps.append(StepRecord(name=name, started=began))
        self._directory.write(self.record)
        self._live.started(name, number, total)
        if name in STEPS:
            self._beam.begin(name, self.record.sequences)
            self._live.watch(self._beam.text)

    def finished(self, result: StepResult) -> None:
        """Record a successful step with the key numbers of its artifacts (``Observer``)."""
        from noisy_gru.pipeline.runs.step_report import report

        used = self._meter.stop()
        report(result, self.record)
        step = self.record.steps[-1]
        step.cpu_seconds, step.peak_mb = used.cpu_seconds, used.peak_mb
        step.disk_bytes = disk_bytes(output.uri for outputs in result.outputs.values() for output in outputs)
        self._directory.write(self.record)
        self._live.finished(self.record.steps[-1])

    def _report(self) -> Path | None:
        """Write the report; whoever interrupts a run doesn't want to wait for one."""
        if not self._config.report.enabled or self.record.status == "interrupted":
            return None
        return write_report(self._directory, self.record)

    def _track(self) -> None:
        """Report the run elsewhere; whoever interrupts a run doesn't want to wait for that either."""
        tracking = self._config.tracking
        if not tracking.is_used or self.record.status == "interrupted":
            return
        timeout = parse_duration(tracking.timeout).total_seconds()
        if (problem := track_run(self._directory, self.record, timeout)) is not None:
            from rich.markup import escape

            self._live.line(f"[yellow]WARNING[/] {escape(problem)}")

    def _close(self, status: Any, error: str | None) -> None:
        record = self.record
        for step in record.steps:
            if step.status == "running":
                step.status = "interrupted" if status == "interrupted" else "failed"
                step.seconds = round(time.monotonic() - self._step_began, 3)
                used = self._meter.stop()
                step.cpu_seconds, step.peak_mb = used.cpu_seconds, used.peak_mb
                self._live.finished(step)
        record.status = status
        record.error = error
        record.finished = timestamp(self._now())
        record.seconds = round(time.monotonic() - self._began, 3)
        try:
            self._directory.write(record)
        except OSError as problem:
            # The disk may be full, which may be why the run failed: its end is printed all the same.
            self._live.line(f"WARNING: the run record can't be written: {problem.strerror}")


def _outcome_lines(record: RunRecord, live: LiveProgress) -> None:
    from rich.markup import escape

    colour = {"succeeded": "green", "refused": "yellow"}.get(record.status, "red")
    live.line(f"[bold {colour}]{record.status}[/] in {record.seconds:.0f} s")
    for refusal in record.refusals if record.status == "refused" else ():
        live.line(f"  refused: {escape(refusal)}")
    if record.error:
        live.line(escape(record.error))


def _places(record: RunRecord, live: LiveProgress, report: Path | None) -> None:
    """Show where everything is; the report last, as it is the page to open."""
    from rich.markup import escape

    places = (
        ("model", record.published_path),
        ("artifacts", str(Path(record.root) / "artifacts")),
        ("log", record.log),
        ("record", str(Path(record.root) / "runs" / f"{record.run_id}.json")),
        ("report", None if report is None else str(report)),
    )
    for name, place in places:
        if place:
            live.line(f"  {name:<10} {escape(place)}")
