"""The commands ``noisy-gru kubeflow submit``, ``schedule`` and ``status``. They import what they need when they run.

CONFIG is compiled on the way, so that a run has its current settings; a compiled pipeline is sent as it is.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from noisy_gru.compat.extras import require
from noisy_gru.kubeflow.cluster.cluster_options import (
    CaOption,
    ExperimentOption,
    HostOption,
    NamespaceOption,
    ParameterOption,
    PipelineArgument,
    ServiceAccountOption,
    TokenFileOption,
    compiled_of,
    connection_of,
)
from noisy_gru.pipeline.cli.options import DebugOption, JsonOption, SetOption, exit_on_error
from noisy_gru.pipeline.exit_codes import EXIT_FAILED

if TYPE_CHECKING:
    from noisy_gru.kubeflow.cluster.connection import Client, Connection
    from noisy_gru.pipeline.config.pipeline_config import PipelineConfig

EXIT_STILL_RUNNING = 5
# kfp's own variable for where people look, if that is another address than the API's.
UI = "KF_PIPELINES_UI_ENDPOINT"


def submit(
    pipeline: PipelineArgument,
    parameter: ParameterOption = None,
    set_: SetOption = None,
    experiment: ExperimentOption = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run. Default: the pipeline's, with the time.", show_default=False)
    ] = None,
    direct: Annotated[
        bool, typer.Option("--direct", help="Send the pipeline with the run; upload no version of it.")
    ] = False,
    service_account: ServiceAccountOption = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end; the exit code tells success from failure.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option(help="With --wait: seconds to wait. Default: as long as it takes.", min=1)
    ] = None,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    token_file: TokenFileOption = None,
    ca: CaOption = None,
    debug: DebugOption = False,
) -> None:
    """Run the pipeline on Kubeflow Pipelines: upload this version of it, if it isn't there, and start a run.

    Prints the run's id. With --wait, the exit code: 0 it succeeded; 1 it failed or was stopped; 5 it was still going on
    after --timeout.
    """
    with exit_on_error(debug):
        require("kfp", "noisy-gru kubeflow")
        from noisy_gru.kubeflow.cluster import status as states
        from noisy_gru.kubeflow.cluster import submission
        from noisy_gru.kubeflow.cluster.macros import check_macros
        from noisy_gru.kubeflow.compiled_pipeline import parse_assignments

        connection = connection_of(host, namespace, token_file, ca)
        with compiled_of(pipeline, set_ or []) as (compiled, config):
            given = parse_assignments(parameter or [])
            check_macros(compiled, given, recurring=False)
            arguments = compiled.arguments(given)
            client = _checked(connection)
            published = None
            if not direct:
                published = submission.publish(client, connection, compiled)
                typer.echo(f"{compiled.version}: {'uploaded' if published.uploaded else 'is there already'}", err=True)
            run_id = submission.submit(
                client,
                connection,
                compiled,
                published=published,
                arguments=arguments,
                experiment=experiment or compiled.name,
                run_name=name or f"{compiled.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
                service_account=service_account or (config.kubeflow.service_account if config else None),
            )
        typer.echo(run_id)
        typer.echo(f"{os.environ.get(UI, connection.host)}/#/runs/details/{run_id}", err=True)
        if not wait:
            return
        run = submission.wait(
            client, connection, run_id, timeout=timeout, on_state=lambda line: typer.echo(line, err=True)
        )
        if run is None:
            typer.echo(f"still going on after {timeout:g} s: noisy-gru kubeflow status --run {run_id}", err=True)
            raise typer.Exit(EXIT_STILL_RUNNING)
        outcome = states.run_status(run, datetime.now(UTC))
    if outcome.state not in ("succeeded", "skipped"):
        typer.echo(f"error: the run {outcome.state}: {outcome.error or 'the server gives no reason'}", err=True)
        raise typer.Exit(EXIT_FAILED)


def schedule(
    pipeline: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG|PIPELINE",
            help="The YAML file of the configuration, or a compiled pipeline; not needed with --disable and --list.",
            show_default=False,
        ),
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option(
            help="When, in UTC: six fields, seconds first, or crontab's five. Default: kubeflow.schedule of CONFIG, or "
            "its retraining.schedule.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the schedule. Default: the pipeline's.", show_default=False)
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter",
            metavar="NAME=VALUE",
            help="Value of a pipeline parameter, before that in CONFIG. Text may hold [[ScheduledTime]], "
            "[[Index]] and [[RunUUID]]. Can be given again.",
            show_default=False,
        ),
    ] = None,
    set_: SetOption = None,
    experiment: ExperimentOption = None,
    service_account: ServiceAccountOption = None,
    disable: Annotated[bool, typer.Option("--disable", help="Disable the schedule --name; runs go on.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the schedules.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --list: one JSON object.")] = False,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    token_file: TokenFileOption = None,
    ca: CaOption = None,
    debug: DebugOption = False,
) -> None:
    """Run the pipeline on a schedule: create the recurring run, or update it to these options.

    A pipeline has one schedule that is enabled, one run at a time, and missed times are not made up for.
    """
    with exit_on_error(debug):
        require("kfp", "noisy-gru kubeflow")
        from noisy_gru.kubeflow.cluster import schedules, submission
        from noisy_gru.kubeflow.cluster import status as states
        from noisy_gru.kubeflow.cluster.macros import check_macros
        from noisy_gru.kubeflow.compiled_pipeline import parse_assignments
        from noisy_gru.pipeline.config.cron import six_fields
        from noisy_gru.schema.errors import ConfigError

        connection = connection_of(host, namespace, token_file, ca)
        if list_:
            found = states.schedule_statuses(connection.open(), connection)
            if as_json:
                typer.echo(states.as_json(schedules=found))
            else:
                states.show_schedules(found, sys.stdout)
            return
        if pipeline is None and not (disable and name):
            raise ConfigError("name CONFIG or a compiled pipeline; or with --disable, the schedule: --name")
        if pipeline is None or (disable and name):
            _disable(connection, name or "")
            return
        with compiled_of(pipeline, set_ or [], scheduled=True) as (compiled, config):
            if disable:
                _disable(connection, compiled.name)
                return
            rules = config.kubeflow.schedule if config else None
            given = cron or (rules.cron if rules else _retraining_cron(config))
            if given is None:
                raise ConfigError(
                    "no time is given: --cron, or in CONFIG kubeflow.schedule.cron or retraining.schedule.cron"
                )
            try:
                when = six_fields(given)
            except ValueError as error:
                raise ConfigError(str(error)) from error
            if when != " ".join(given.split()):
                typer.echo(
                    f"cron {given!r} has five fields; Kubeflow counts seconds first, so it gets {when!r}", err=True
                )
            texts = {**(rules.parameters if rules else {}), **parse_assignments(parameter or [])}
            check_macros(compiled, texts, recurring=True)
            wanted = schedules.Schedule(
                name=name or compiled.name,
                cron=when,
                arguments=compiled.arguments(texts),
                experiment=experiment or compiled.name,
                service_account=service_account or (config.kubeflow.service_account if config else None),
            )
            client = _checked(connection)
            published = submission.publish(client, connection, compiled)
            result = schedules.ensure(client, connection, wanted, published)
        typer.echo(f"{wanted.name}: {result.change}, {when!r} in UTC, {compiled.version}", err=True)
        typer.echo(result.recurring_run_id)


def _checked(connection: Connection) -> Client:
    """Return a client of a server that can run the pipeline."""
    from noisy_gru.kubeflow.cluster import submission

    client = connection.open()
    if warning := submission.check_release(client, connection):
        typer.echo(f"warning: {warning}", err=True)
    return client


def _retraining_cron(config: PipelineConfig | None) -> str | None:
    """Return the cron of `noisy-gru retrain schedule`.

    Raises:
        ConfigError: it counts in a time zone that Kubeflow doesn't.
    """
    from noisy_gru.schema.errors import ConfigError

    if config is None or config.retraining.schedule.cron is None:
        return None
    schedule = config.retraining.schedule
    if schedule.timezone != "UTC":
        raise ConfigError(
            f"retraining.schedule is in the zone {schedule.timezone}, and Kubeflow counts in UTC; give the time in UTC "
            "with --cron or kubeflow.schedule.cron"
        )
    return schedule.cron


def _disable(connection: Connection, name: str) -> None:
    from noisy_gru.kubeflow.cluster import schedules

    was = schedules.disable(connection.open(), connection, name)
    typer.echo(f"{name}: {'disabled; runs that have begun go on' if was else 'was disabled already'}")


def status(
    run: Annotated[str | None, typer.Option(help="Id of one run. Default: the newest.", show_default=False)] = None,
    experiment: Annotated[
        str | None, typer.Option(help="Only the runs of this experiment.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(help="How many runs.", min=1, max=200)] = 10,
    as_json: JsonOption = False,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    token_file: TokenFileOption = None,
    ca: CaOption = None,
    debug: DebugOption = False,
) -> None:
    """The runs and schedules on Kubeflow Pipelines: their state, since when, how long, and why they failed."""
    with exit_on_error(debug):
        require("kfp", "noisy-gru kubeflow")
        from noisy_gru.kubeflow.cluster import status as states

        connection = connection_of(host, namespace, token_file, ca)
        client = connection.open()
        now = datetime.now(UTC)
        if run is not None:
            with connection.in_words(f"asking for run {run}"):
                found = client.get_run(run)
            runs, schedules = [states.run_status(found, now)], []
        else:
            runs = states.run_statuses(client, connection, now=now, limit=limit, experiment=experiment)
            schedules = states.schedule_statuses(client, connection)
        if as_json:
            typer.echo(states.as_json(runs=runs, schedules=schedules))
            return
        states.show_runs(runs, sys.stdout)
        if run is None:
            typer.echo()
            states.show_schedules(schedules, sys.stdout)
