"""Run the retraining schedule of a configuration: each retraining in a process of its own."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

# An environment that was made before it became a requirement still type-checks.
from cronsim import CronSim

from noisy_gru.pipeline.config.cron import CronTimes, cron_times
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.exit_codes import EXIT_BUSY
from noisy_gru.pipeline.retrain.child_process import ProcessExit, RetrainProcess, command
from noisy_gru.pipeline.retrain.interrupted_runs import run_to_resume
from noisy_gru.pipeline.retrain.retraining import record_killed, to_stderr
from noisy_gru.pipeline.retrain.schedule_loop import STATE, ScheduleLoop
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.schema.durations import parse_duration
from noisy_gru.schema.errors import BusyError, ConfigError
from noisy_gru.storage.locks import exclusive_lock

_HOURS = 24
_LOOK_BACK = timedelta(minutes=2)


def run_schedule(
    config: PipelineConfig,
    config_path: Path,
    root: Path,
    overrides: Sequence[str],
    *,
    run_child: Callable[[], ProcessExit] | None = None,
    score_child: Callable[[], ProcessExit] | None = None,
) -> int:
    """Retrain at the times of ``retraining.schedule`` until a signal ends it; score new spans after each check.

    Args:
        config: configuration from ``load_config``, with the command line's schedule.
        config_path: its file, which each retraining reads anew.
        root: root of the runs.
        overrides: ``--set`` values passed to each retraining.
        run_child: runs one retraining; None: ``RetrainProcess``.
        score_child: scores once; None: ``RetrainProcess`` of `noisy-gru score`, where ``score`` is scheduled.

    Returns:
        The exit code: 0 after SIGTERM, as services are stopped, 130 after SIGINT.

    Raises:
        ConfigError: no cron expression is given.
        BusyError: another scheduler runs under this root.
    """
    rules = config.retraining.schedule
    if rules.cron is None:
        raise ConfigError("no schedule: expected --cron, or retraining.schedule.cron in CONFIG")
    times = cron_times(rules.cron)
    zone = ZoneInfo(rules.timezone)
    directory = RunDirectory(root)
    directory.create()
    limit = None if rules.time_limit is None else parse_duration(rules.time_limit).total_seconds()
    if run_child is None:
        run_child = RetrainProcess(command(config_path, root=root, overrides=overrides), time_limit=limit).run
    if score_child is None and config.score is not None and config.score.scheduled:
        scoring = command(config_path, root=root, overrides=overrides, name=("score",))
        score_child = RetrainProcess(scoring, time_limit=limit).run

    def log(text: str) -> None:
        to_stderr(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}")

    def retrain() -> None:
        ended = run_child()
        log(_outcome_line(ended))
        if ended.code != EXIT_BUSY and (ended.report is None or ended.report.get("notified") is None):
            _record_failure(config, root, ended, log)
        if score_child is not None:
            # However the check ended: the model that is published scores.
            for line in _score_lines(score_child()):
                log(line)

    advice = "One scheduler under a root: stop it first"
    with exclusive_lock(directory.root / ".schedule.lock", "noisy-gru retrain schedule", advice):
        log(f"{config.name}: {' '.join(times.fields)!r} (seconds first) in {rules.timezone}, under {directory.root}")
        ended_by = ScheduleLoop(
            next_time=lambda after: next_time(times, zone, after),
            local=lambda when: f"{when.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}",
            jitter=parse_duration(rules.jitter),
            state=directory.root / STATE,
            retrain=retrain,
            catch_up=rules.missed == "run",
            has_run_to_resume=lambda: run_to_resume(directory, config) is not None,
            log=log,
        ).run()
    return 0 if ended_by == signal.SIGTERM else 128 + ended_by


def next_time(times: CronTimes, zone: ZoneInfo, after: datetime) -> datetime | None:
    """Return the first time of a cron expression after a moment, with the rules of Debian's cron for clock changes.

    An expression that names an hour fires once for each time it names: as soon as the clock has skipped it, and the
    first time if the clock repeats it. An expression for every hour follows the wall clock.

    Args:
        times: the expression.
        zone: time zone of the expression.
        after: the moment, with a time zone.

    Returns:
        The time in UTC; None if there is none in fifty years.
    """
    after = after.astimezone(UTC)
    every_hour = len(times.hours) == _HOURS
    # A second minute, left out below: cronsim jumps to a single one in a leap that misses a change by half an hour.
    minutes = {*times.minutes, (times.minutes[0] + 1) % 60} if every_hour else times.minutes
    # Numbers in place of stars: cronsim has Debian's rules only where neither the minute nor the hour begins with one.
    # Five fields, and the seconds added here, as it has no such rules for six.
    expression = " ".join(
        (
            _numbers(minutes),
            "*" if every_hour else _numbers(times.hours),
            _day_field(times.fields[3], times.days),
            _numbers(times.months),
            _day_field(times.fields[5], times.weekdays),
        )
    )
    for minute in CronSim(expression, (after - _LOOK_BACK).astimezone(zone)):
        if every_hour and minute.minute not in times.minutes:
            continue
        for second in times.seconds:
            moment = minute.astimezone(UTC) + timedelta(seconds=second)
            if moment > after:
                return moment
    return None


def _numbers(numbers: Sequence[int] | set[int]) -> str:
    return ",".join(map(str, numbers))


def _day_field(written: str, numbers: Sequence[int]) -> str:
    """Keep a field that begins with a star, because the star decides whether both day fields have to match."""
    return written.replace("?", "*") if written[0] in "*?" else _numbers(numbers)


def _outcome_line(ended: ProcessExit) -> str:
    report = ended.report
    if report is None:
        return f"WARNING: the retraining {ended.reason}"
    if report.get("error"):
        return f"{report['outcome'] or 'no retraining'}: {report['error']}"
    run = report.get("run") or {}
    published = run.get("version") is not None and report["outcome"] == "published"
    version = f" version {run['version']}" if published else ""
    reason = "; ".join(run.get("refusals") or []) or ("" if run else str((report.get("plan") or {}).get("summary", "")))
    reason = reason.removeprefix(f"{report['outcome']}: ")  # a plan's summary begins with it
    return f"{report['outcome']}{version}{f': {reason}' if reason else ''}"


def _score_lines(ended: ProcessExit) -> list[str]:
    if ended.report is None:
        return [f"WARNING: scoring {ended.reason}"]
    spans = ended.report.get("spans", [])
    failed = [f"WARNING: scoring of span {each['span']} failed: {each['error']}" for each in spans if each["error"]]
    scored = [each["span"] for each in spans if not each["error"]]
    return [*failed, *([f"scored: spans {', '.join(scored)}"] if scored else [])] or ["scored: nothing new"]


def _record_failure(config: PipelineConfig, root: Path, ended: ProcessExit, log: Callable[[str], None]) -> None:
    """Record the failure and notify the hooks in place of the child, which couldn't."""
    reason = str(ended.report.get("error")) if ended.report else f"the process of the retraining {ended.reason}"
    try:
        record_killed(config, root=root, reason=reason, log=log)
    except BusyError as error:
        log(str(error))
