"""The schedule of a configuration: run here, each retraining in its own process, or printed for another scheduler."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from noisy_gru.pipeline.config.cron import CronTimes, cron_times
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.exit_codes import EXIT_BUSY
from noisy_gru.pipeline.retrain.child_process import Ended, RetrainChild, command
from noisy_gru.pipeline.retrain.cron_next import next_time
from noisy_gru.pipeline.retrain.interrupted_runs import unfinished
from noisy_gru.pipeline.retrain.printed_schedule import crontab_line, systemd_units
from noisy_gru.pipeline.retrain.retraining import record_killed, to_stderr
from noisy_gru.pipeline.retrain.schedule_loop import STATE, ScheduleLoop
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.schema.durations import parse_duration
from noisy_gru.schema.errors import BusyError, ConfigError
from noisy_gru.storage.locks import exclusive_lock

PRINTED = ("systemd", "crontab")


def run_schedule(
    config: PipelineConfig,
    config_path: Path,
    root: Path,
    overrides: Sequence[str],
    *,
    run_child: Callable[[], Ended] | None = None,
) -> int:
    """Retrains at the times of ``retraining.schedule`` until a signal ends it.

    Args:
        config: as ``load_config`` gives it, with the command line's schedule.
        config_path: the file it came from, which each retraining reads anew.
        root: where everything of the runs goes.
        overrides: the ``--set`` values that each retraining gets.
        run_child: in place of the process that retrains.

    Returns:
        The exit code: 0 after a SIGTERM, as services are stopped, 130 after a SIGINT.

    Raises:
        ConfigError: no time is given.
        BusyError: this root has a scheduler already.
    """
    rules, times = config.retraining.schedule, _times(config)
    zone = ZoneInfo(rules.timezone)
    directory = RunDirectory(root)
    directory.create()
    if run_child is None:
        limit = None if rules.time_limit is None else parse_duration(rules.time_limit).total_seconds()
        run_child = RetrainChild(command(config_path, root=root, overrides=overrides), time_limit=limit).run

    def say(text: str) -> None:
        to_stderr(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}")

    def retrain() -> None:
        ended = run_child()
        say(_told(ended))
        if ended.code != EXIT_BUSY and (ended.told is None or ended.told.get("notified") is None):
            _record(config, root, ended, say)

    advice = "One scheduler under a root: stop it first"
    with exclusive_lock(directory.root / ".schedule.lock", "noisy-gru retrain schedule", advice):
        say(f"{config.name}: {' '.join(times.fields)!r} (seconds first) in {rules.timezone}, under {directory.root}")
        ended_by = ScheduleLoop(
            following=lambda after: next_time(times, zone, after),
            local=lambda when: f"{when.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}",
            jitter=parse_duration(rules.jitter),
            state=directory.root / STATE,
            retrain=retrain,
            catch_up=rules.missed == "run",
            unfinished=lambda: unfinished(directory, config),
            say=say,
        ).run()
    return 0 if ended_by == signal.SIGTERM else 128 + ended_by


def printed(kind: str, config: PipelineConfig, config_path: Path, root: Path, overrides: Sequence[str]) -> str:
    """The schedule as text for another scheduler, ``systemd`` or ``crontab``.

    Raises:
        ConfigError: no time is given, or the scheduler has no words for it.
    """
    if kind not in PRINTED:
        raise ConfigError(f"--print: expected {' or '.join(PRINTED)}, received {kind!r}")
    rules, times = config.retraining.schedule, _times(config)
    jitter = parse_duration(rules.jitter)
    line = command(config_path, root=root, overrides=overrides)[:-1]
    folder = Path.cwd()
    if kind == "crontab":
        return crontab_line(
            pipeline=config.name, times=times, timezone=rules.timezone, jitter=jitter, command=line, folder=folder
        )
    units = systemd_units(
        pipeline=config.name,
        times=times,
        timezone=rules.timezone,
        jitter=jitter,
        catch_up=rules.missed == "run",
        time_limit=None if rules.time_limit is None else parse_duration(rules.time_limit),
        command=line,
        folder=folder,
    )
    text = "\n".join(f"# ~/.config/systemd/user/{name}\n{content}" for name, content in units.items())
    timer = next(name for name in units if name.endswith(".timer"))
    start = f"# Then: systemctl --user daemon-reload; systemctl --user enable --now {timer}; loginctl enable-linger\n"
    return f"{text}\n{start}"


def _times(config: PipelineConfig) -> CronTimes:
    cron = config.retraining.schedule.cron
    if cron is None:
        raise ConfigError("no time is given: --cron, or retraining.schedule.cron in CONFIG")
    return cron_times(cron)


def _told(ended: Ended) -> str:
    told = ended.told
    if told is None:
        return f"WARNING: the retraining {ended.words}"
    if told.get("error"):
        return f"{told['outcome'] or 'no retraining'}: {told['error']}"
    run = told.get("run") or {}
    what = f" version {run['version']}" if run.get("version") is not None and told["outcome"] == "published" else ""
    why = "; ".join(run.get("refusals") or []) or ("" if run else str((told.get("plan") or {}).get("summary", "")))
    return f"{told['outcome']}{what}{f': {why}' if why else ''}"


def _record(config: PipelineConfig, root: Path, ended: Ended, say: Callable[[str], None]) -> None:
    """The process could tell nobody, so this one does."""
    why = str(ended.told.get("error")) if ended.told else f"the process of the retraining {ended.words}"
    try:
        record_killed(config, root=root, why=why, say=say)
    except BusyError as error:
        say(str(error))
