"""``noisy-gru retrain …``: plan a retraining, run it once, or run it on a schedule."""

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
    help="Retrain the published model: plan, run once, or run on a schedule.",
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
            help="Folder that holds a folder for each model. Default: serving/ under the root.", show_default=False
        ),
    ] = None,
    span: SpanOption = "latest",
    as_json: JsonOption = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 6 if retraining is not due, 7 if an alarm holds it.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Print whether the model is due for retraining, with the reasons. Changes nothing."""
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
        bool, typer.Option("--dry-run", help="Print whether it would train, and why; change nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Train whatever the rules and alarms say.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Retrain if due: plan, run, publish if better, record the result, notify the hooks of retraining.notify.

    A killed retraining is recorded as failed; a killed or interrupted one is resumed first. Exits with 0 if a model was
    published or retraining is not due, 3 if the model was refused, 7 if an alarm holds it for a person, 75 if another
    run is in progress.
    """
    from noisy_gru.pipeline.runs.run_directory import RunDirectory
    from noisy_gru.schema.errors import UserError

    with exit_on_error(debug):
        try:
            loaded, root = _loaded(config, set_, root)
            if dry_run:
                _show(_planned(loaded, RunDirectory(root).serving, force=force, debug=debug), as_json)
                return
            result, code = _retrained(loaded, config, root, set_ or [], force=force, debug=debug)
        except UserError as error:
            if as_json:
                # No hook was notified: the scheduler that started this has to.
                typer.echo(json.dumps({"outcome": None, "error": str(error), "notified": None}))
            raise
    if as_json:
        typer.echo(json.dumps(result))
    raise typer.Exit(code)


@retrain_app.command("schedule")
def schedule(
    config: ConfigArgument,
    set_: SetOption = None,
    root: RootOption = None,
    cron: Annotated[
        str | None,
        typer.Option(
            help="Cron expression: five fields as in crontab, or six, seconds first. Default: "
            "retraining.schedule.cron.",
            show_default=False,
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(
            help="Time zone of the expression, such as Europe/Berlin. Default: retraining.schedule.timezone.",
            show_default=False,
        ),
    ] = None,
    jitter: Annotated[
        str | None,
        typer.Option(
            help="Random delay of up to this much, such as 10m. Default: retraining.schedule.jitter.",
            show_default=False,
        ),
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Retrain on a cron schedule whenever the model is due. Runs until SIGTERM (exit code 0) or Ctrl-C (130).

    Each retraining is a process of its own, one at a time; times missed during a run, or while the machine is down, are
    made up for by one run. Stopping ends the current step; the next start resumes there.
    """
    from noisy_gru.compat.extras import require

    with exit_on_error(debug):
        given = [("cron", cron), ("timezone", timezone), ("jitter", jitter)]
        options = [f"retraining.schedule.{key}={json.dumps(value)}" for key, value in given if value is not None]
        loaded, root = _loaded(config, [*(set_ or []), *options], root)
        require("tfx", "noisy-gru retrain schedule")
        from noisy_gru.pipeline.retrain.schedule import run_schedule

        code = run_schedule(loaded, config, root, set_ or [])
    raise typer.Exit(code)


def _loaded(config: Path, overrides: list[str] | None, root: Path | None) -> tuple[PipelineConfig, Path]:
    from noisy_gru.pipeline.config.loading import load_config
    from noisy_gru.pipeline.runs.run_directory import default_root

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
    # Output of libraries would hide the plan, and there is no log for it.
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
    result = retrain_once(config, config_path=config_path, root=root, overrides=overrides, force=force, debug=debug)
    if result.error is not None and result.record is None:
        typer.echo(f"error: {result.error}", err=True)
    code = EXIT_CONFIG if result.wrong_config else CODES.get(result.outcome, EXIT_FAILED)
    return result.to_dict(run_summary(result.record) if result.record else None), code
