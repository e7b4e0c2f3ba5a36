"""``noisy-gru retrain …``: whether the model is due for retraining, doing it, and doing it at set times."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noisy_gru.pipeline.cli.options import (
    ConfigArgument,
    DebugOption,
    JsonOption,
    RootOption,
    SetOption,
    SpanOption,
    exit_on_error,
    run_summary,
)
from noisy_gru.pipeline.exit_codes import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_HELD,
    EXIT_INTERRUPTED,
    EXIT_NOT_DUE,
    EXIT_REFUSED,
)

if TYPE_CHECKING:
    from noisy_gru.components.retrain_planner.plan import RetrainPlan
    from noisy_gru.pipeline.config.pipeline_config import PipelineConfig

retrain_app = typer.Typer(
    help="Whether the published model is due for retraining, and doing it: once, or at set times.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
CODES = {"published": 0, "not due": 0, "held": EXIT_HELD, "refused": EXIT_REFUSED, "interrupted": EXIT_INTERRUPTED}


@retrain_app.command("plan")
def plan(
    config: ConfigArgument,
    set_: SetOption = None,
    root: RootOption = None,
    serving_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder that holds the models' folders. Default: serving/ under the root.", show_default=False
        ),
    ] = None,
    span: SpanOption = "latest",
    as_json: JsonOption = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 6 if it is not due, 7 if it is held.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Say whether the model is due for retraining, and why or why not. Changes nothing."""
    from noisy_gru.pipeline.runs.run_directory import RunDirectory

    with exit_on_error(debug):
        loaded, root = _loaded(config, set_, root)
        decision = _planned(loaded, serving_dir or RunDirectory(root).serving, span=span, debug=debug)
        _show(decision, as_json)
    if exit_code and not decision.retrain:
        raise typer.Exit(EXIT_HELD if decision.held else EXIT_NOT_DUE)


@retrain_app.command("run")
def run(
    config: ConfigArgument,
    set_: SetOption = None,
    root: RootOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say whether it would train, and why; change nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Train whatever the rules and alarms say: a person's order.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Retrain if it is due: plan, run, publish what is better, record it, tell the hooks of retraining.notify.

    A retraining that was killed is recorded as failed, and one that was cut off is gone on with first. Ends with 0 if a
    model was published or there was nothing to do, with 7 if an alarm holds it for a person, and with 75 if another run
    goes on.
    """
    from noisy_gru.pipeline.runs.run_directory import RunDirectory
    from noisy_gru.schema.errors import UserError

    with exit_on_error(debug):
        try:
            loaded, root = _loaded(config, set_, root)
            if dry_run:
                _show(_planned(loaded, RunDirectory(root).serving, force=force, debug=debug), as_json)
                return
            told, code = _retrained(loaded, config, root, set_ or [], force=force, debug=debug)
        except UserError as error:
            if as_json:
                # No hook was told: who started this has to.
                typer.echo(json.dumps({"outcome": None, "error": str(error), "notified": None}))
            raise
    if as_json:
        typer.echo(json.dumps(told))
    raise typer.Exit(code)


@retrain_app.command("schedule")
def schedule(
    config: ConfigArgument,
    set_: SetOption = None,
    root: RootOption = None,
    cron: Annotated[
        str | None,
        typer.Option(
            help="When: five fields as in crontab, or six, seconds first. Default: retraining.schedule.cron of CONFIG.",
            show_default=False,
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(help="Of these times, such as Europe/Berlin. Default: that of CONFIG.", show_default=False),
    ] = None,
    jitter: Annotated[
        str | None,
        typer.Option(help="Up to this much later, such as 10m. Default: that of CONFIG.", show_default=False),
    ] = None,
    print_: Annotated[
        str | None,
        typer.Option(
            "--print",
            metavar="systemd|crontab",
            help="Print units for systemd, or lines for crontab, that do the same, and end.",
            show_default=False,
        ),
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Ask at set times whether the model is due, and retrain if it is. Goes on until SIGTERM (0) or Ctrl-C (130).

    Each retraining is a process of its own, one at a time; times that pass meanwhile, or while the machine is down,
    become one. A stop ends the step that runs; the next start goes on from there.
    """
    from noisy_gru.compat.extras import require
    from noisy_gru.pipeline.retrain.schedule import printed, run_schedule

    with exit_on_error(debug):
        given = [("cron", cron), ("timezone", timezone), ("jitter", jitter)]
        options = [f"retraining.schedule.{key}={json.dumps(value)}" for key, value in given if value is not None]
        loaded, root = _loaded(config, [*(set_ or []), *options], root)
        if print_ is not None:
            typer.echo(printed(print_, loaded, config, root, set_ or []), nl=False)
            return
        require("tfx", "noisy-gru retrain schedule")
        code = run_schedule(loaded, config, root, set_ or [])
    raise typer.Exit(code)


def _loaded(config: Path, overrides: list[str] | None, root: Path | None) -> tuple[PipelineConfig, Path]:
    from noisy_gru.pipeline.config.loading import load_config
    from noisy_gru.pipeline.runs.running import default_root

    loaded = load_config(config, overrides or [])
    return loaded, root or default_root(loaded)


def _planned(
    config: PipelineConfig, serving_dir: Path, *, debug: bool, span: str = "latest", force: bool = False
) -> RetrainPlan:
    from datetime import UTC, datetime

    from noisy_gru.pipeline.config.checks import check_config
    from noisy_gru.pipeline.retrain.local_plan import plan_retraining
    from noisy_gru.pipeline.runs.output_redirection import output_to

    check_config(config, span=span)
    # What libraries print would hide the answer, and there is no log to put it in.
    with output_to(Path("/dev/stderr" if debug else os.devnull)):
        return plan_retraining(config, serving_dir=serving_dir, now=datetime.now(UTC), span=span, force=force)


def _show(decision: RetrainPlan, as_json: bool) -> None:
    from noisy_gru.pipeline.cli.runs_view import console_for

    if as_json:
        typer.echo(json.dumps(decision.to_dict()))
    else:
        decision.table(console_for(sys.stdout))


def _retrained(
    config: PipelineConfig, config_path: Path, root: Path, overrides: list[str], *, force: bool, debug: bool
) -> tuple[dict[str, Any], int]:
    from noisy_gru.compat.extras import require
    from noisy_gru.pipeline.retrain.retraining import retrain_once

    require("tfx", "noisy-gru retrain run")
    done = retrain_once(config, config_path=config_path, root=root, overrides=overrides, force=force, debug=debug)
    if done.error is not None and done.record is None:
        typer.echo(f"error: {done.error}", err=True)
    code = EXIT_CONFIG if done.wrong_config else CODES.get(done.outcome, EXIT_FAILED)
    return done.to_dict(run_summary(done.record) if done.record else None), code
