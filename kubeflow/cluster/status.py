"""The runs and recurring runs of an installation, as a table for people, as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

from noisy_gru.kubeflow.cluster.connection import Client, Connection
from noisy_gru.kubeflow.cluster.schedules import is_enabled, recurring_runs

_WIDE = 250


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """A run.

    Attributes:
        run_id: the server's.
        name: as it was submitted.
        state: the server's, in lower case: pending, running, succeeded, failed, canceled and so on.
        started: when it was made.
        seconds: how long it took, or has taken so far.
        error: why it failed, as the server reports it.
        recurring_run_id: of the schedule that started it, if one did.
    """

    run_id: str
    name: str
    state: str
    started: datetime | None
    seconds: float | None
    error: str | None
    recurring_run_id: str | None


@dataclass(frozen=True, kw_only=True)
class ScheduleStatus:
    """A recurring run; ``cron`` describes another trigger where there is no cron."""

    recurring_run_id: str
    name: str
    enabled: bool
    cron: str
    made: datetime | None
    error: str | None


def run_statuses(
    client: Client, connection: Connection, *, now: datetime, limit: int, experiment: str | None = None
) -> list[RunStatus]:
    """Return the newest runs, newest first.

    Args:
        client: of the connection.
        connection: where to.
        now: for how long a run has been going on.
        limit: how many.
        experiment: name of one; None: all of the namespace.

    Raises:
        KubeflowError: there is no such experiment, or the server refuses or doesn't respond.
    """
    with connection.in_words("listing the runs"):
        where: dict[str, Any] = {"namespace": connection.namespace}
        if experiment is not None:
            found = _experiment(client, connection, experiment)
            if found is None:
                return []
            where = {"experiment_id": found}
        response = client.list_runs(sort_by="created_at desc", page_size=limit, **where)
        return [run_status(run, now) for run in response.runs or []]


def _experiment(client: Client, connection: Connection, name: str) -> str | None:
    try:
        return client.get_experiment(experiment_name=name, namespace=connection.namespace).experiment_id
    except ValueError:  # kfp's way of saying that there is none
        return None


def run_status(run: Any, now: datetime) -> RunStatus:
    """Return the status of a run of kfp's."""
    started, finished = _time(run.created_at), _time(run.finished_at)
    return RunStatus(
        run_id=run.run_id,
        name=run.display_name or "",
        state=str(run.state or "PENDING").lower(),
        started=started,
        seconds=None if started is None else ((finished or now) - started).total_seconds(),
        error=_error(run),
        recurring_run_id=run.recurring_run_id,
    )


def schedule_statuses(client: Client, connection: Connection) -> list[ScheduleStatus]:
    """Return all recurring runs, by name.

    Raises:
        KubeflowError: the server refuses or doesn't respond.
    """
    return sorted((_schedule(each) for each in recurring_runs(client, connection)), key=lambda each: each.name)


def _schedule(found: Any) -> ScheduleStatus:
    trigger = found.trigger
    cron = "no trigger"
    if trigger is not None and trigger.cron_schedule is not None:
        cron = trigger.cron_schedule.cron
    elif trigger is not None and trigger.periodic_schedule is not None:
        cron = f"every {trigger.periodic_schedule.interval_second} s"
    return ScheduleStatus(
        recurring_run_id=found.recurring_run_id,
        name=found.display_name or "",
        enabled=is_enabled(found),
        cron=cron,
        made=_time(found.created_at),
        error=found.error.message if found.error else None,
    )


def as_json(**lists: Iterable[RunStatus | ScheduleStatus]) -> str:
    """Return one JSON object with a list for each keyword; times in ISO 8601."""
    return json.dumps({key: [asdict(each) for each in values] for key, values in lists.items()}, default=str)


def show_runs(runs: Iterable[RunStatus], stream: TextIO) -> None:
    """Write a table of runs."""
    _table(
        ("run", "id", "state", "started (UTC)", "took", "error"),
        [
            (run.name, run.run_id, run.state, _moment(run.started), _duration(run.seconds), run.error or "")
            for run in runs
        ],
        stream,
        "no runs",
    )


def show_schedules(schedules: Iterable[ScheduleStatus], stream: TextIO) -> None:
    """Write a table of schedules."""
    _table(
        ("schedule", "id", "state", "cron (UTC)", "made (UTC)", "error"),
        [
            (
                *(each.name, each.recurring_run_id, "enabled" if each.enabled else "disabled", each.cron),
                *(_moment(each.made), each.error or ""),
            )
            for each in schedules
        ],
        stream,
        "no schedules",
    )


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]], stream: TextIO, nothing: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    # Into a file or pipe nothing is cut off.
    console = Console(file=stream, highlight=False, soft_wrap=True, width=None if stream.isatty() else _WIDE)
    if not rows:
        console.print(nothing)
        return
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escape(" ".join(cell.split())) for cell in row))
    console.print(table)


def _error(run: Any) -> str | None:
    """Return the server's error: the failed steps', else the run's own."""
    tasks = (run.run_details.task_details if run.run_details else None) or []
    failed = [task for task in tasks if task.state == "FAILED"]
    # The graph itself fails with its step; so does the pod that prepares the step.
    steps = [task for task in failed if task.display_name and "driver" not in task.display_name] or failed
    errors = [
        f"{task.display_name}: {task.error.message}" for task in steps if task.error is not None and task.error.message
    ]
    if errors:
        return "; ".join(errors)
    message = run.error.message if run.error else None
    names = ", ".join(task.display_name or task.task_id for task in steps)
    return ": ".join(part for part in (names, message) if part) or None


def _time(value: datetime | None) -> datetime | None:
    """Return a time of the API, which writes 1970 for one that has not come."""
    if value is None or value.timestamp() <= 0:
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _moment(value: datetime | None) -> str:
    return "" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
