"""Recurring runs: one name is one schedule, and a pipeline has never two that are enabled.

The API can't change a recurring run. So the new one is made disabled, the old one is disabled, the new one enabled, and
the old one removed: a refusal leaves the old schedule as it was. If the connection breaks in between, none may be
enabled; the same command puts that right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from noisy_gru.kubeflow.cluster.connection import Client, Connection, KubeflowError
from noisy_gru.kubeflow.cluster.submission import Published, experiment_id, pages

# One run at a time: two would publish over each other. Missed times aren't made up for: the newest data is what counts.
MAX_CONCURRENCY = 1
NO_CATCHUP = True


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A recurring run: trigger and parameters.

    Attributes:
        name: of the recurring run.
        cron: six fields, seconds first.
        arguments: values of parameters; text may hold [[ScheduledTime]], [[Index]] and [[RunUUID]].
        experiment: that its runs are shown in.
        pipeline_root: where artifacts go; None: as the pipeline or the installation has it.
        service_account: the pods'; None: the installation's default.
    """

    name: str
    cron: str
    arguments: dict[str, Any] = field(default_factory=dict)
    experiment: str
    pipeline_root: str | None = None
    service_account: str | None = None


@dataclass(frozen=True)
class Scheduled:
    """The change that `ensure` made."""

    recurring_run_id: str
    change: Literal["made", "replaced", "as it was"]


def recurring_runs(client: Client, connection: Connection) -> list[Any]:
    """Return all recurring runs of the namespace.

    Raises:
        KubeflowError: the server doesn't answer, or refuses.
    """
    with connection.in_words("listing the recurring runs"):
        return list(pages(client.list_recurring_runs, "recurring_runs", namespace=connection.namespace))


def is_enabled(recurring_run: Any) -> bool:
    """Return whether a recurring run, as kfp gives it, starts runs."""
    return recurring_run.status == "ENABLED" or (recurring_run.status is None and recurring_run.mode == "ENABLE")


def ensure(client: Client, connection: Connection, schedule: Schedule, published: Published) -> Scheduled:
    """Create or update the schedule; do nothing if it is up to date.

    Args:
        client: of the connection.
        connection: where to.
        schedule: what it should be.
        published: the version of the pipeline that it runs.

    Raises:
        KubeflowError: another schedule of the pipeline is enabled, the name is another pipeline's, or the server
            refuses or doesn't answer.
    """
    known = recurring_runs(client, connection)
    old = [each for each in known if each.display_name == schedule.name]
    _check_others(schedule, published, known)
    if len(old) == 1 and is_enabled(old[0]) and _same(old[0], schedule, published):
        return Scheduled(old[0].recurring_run_id, "as it was")
    with connection.in_words(f"making the schedule {schedule.name}"):
        new = client.create_recurring_run(
            experiment_id=experiment_id(client, connection, schedule.experiment),
            job_name=schedule.name,
            cron_expression=schedule.cron,
            max_concurrency=MAX_CONCURRENCY,
            no_catchup=NO_CATCHUP,
            params=schedule.arguments,
            pipeline_id=published.pipeline_id,
            version_id=published.version_id,
            enabled=False,
            pipeline_root=schedule.pipeline_root,
            service_account=schedule.service_account,
        ).recurring_run_id
    try:
        with connection.in_words(f"replacing the schedule {schedule.name}"):
            for each in old:
                client.disable_recurring_run(each.recurring_run_id)
            client.enable_recurring_run(new)
            for each in old:
                client.delete_recurring_run(each.recurring_run_id)
    except KubeflowError as error:
        raise KubeflowError(
            f"{error}\nThe schedule {schedule.name} is replaced in part and may be disabled; run the same command",
            status=error.status,
        ) from error
    return Scheduled(new, "replaced" if old else "made")


def disable(client: Client, connection: Connection, name: str) -> bool:
    """Disable the schedule of a name. Runs that have begun go on.

    Returns:
        Whether it was enabled.

    Raises:
        KubeflowError: there is none, or the server refuses or doesn't answer.
    """
    known = recurring_runs(client, connection)
    named = [each for each in known if each.display_name == name]
    if not named:
        names = ", ".join(sorted({each.display_name for each in known})) or "none"
        raise KubeflowError(f"{connection.host} has no schedule {name!r}; it has: {names}", status=404)
    enabled = [each for each in named if is_enabled(each)]
    with connection.in_words(f"disabling the schedule {name}"):
        for each in enabled:
            client.disable_recurring_run(each.recurring_run_id)
    return bool(enabled)


def _check_others(schedule: Schedule, published: Published, known: Sequence[Any]) -> None:
    for each in known:
        mine = _pipeline(each) == published.pipeline_id
        if each.display_name == schedule.name and not mine:
            raise KubeflowError(
                f"a recurring run {schedule.name!r} of another pipeline is there already; give this one another --name"
            )
        if each.display_name != schedule.name and mine and is_enabled(each):
            raise KubeflowError(
                f"the pipeline has a schedule already, {each.display_name!r}, and two would publish over each other; "
                f"use its name, or disable it: noisy-gru kubeflow schedule --disable --name {each.display_name}"
            )


def _pipeline(recurring_run: Any) -> str | None:
    reference = recurring_run.pipeline_version_reference
    return None if reference is None else reference.pipeline_id


def _same(found: Any, schedule: Schedule, published: Published) -> bool:
    config = found.runtime_config
    cron = found.trigger.cron_schedule if found.trigger is not None else None
    return (
        cron is not None
        and cron.cron == schedule.cron
        and found.pipeline_version_reference.pipeline_version_id == published.version_id
        and ((config.parameters if config else None) or {}) == schedule.arguments
        and ((config.pipeline_root if config else None) or None) == schedule.pipeline_root
        and str(found.max_concurrency) == str(MAX_CONCURRENCY)
        and bool(found.no_catchup) is NO_CATCHUP
        # Where none was given, the server writes its default.
        and schedule.service_account in (None, found.service_account)
    )
