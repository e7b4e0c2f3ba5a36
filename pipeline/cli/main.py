"""The command line, ``noisy-gru``. Every command imports what it needs when it runs, so that --help is quick."""

from __future__ import annotations

import importlib.metadata
import json
import signal
from pathlib import Path
from typing import Annotated

import typer

from noisy_gru.pipeline.cli.history_commands import history_app
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
from noisy_gru.pipeline.cli.predict_command import predict
from noisy_gru.pipeline.cli.retrain_commands import retrain_app
from noisy_gru.pipeline.cli.runs_commands import runs_app
from noisy_gru.pipeline.cli.serve_command import serve
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED
from noisy_gru.pipeline.runs.interrupts import deferred_signals
from noisy_gru.pipeline.runs.process_setup import end_soon, prepare_process

__all__ = ["EXIT_CONFIG", "EXIT_FAILED", "app", "main"]

EXIT_CODES = """Exit codes: 0 done (run: a model is published; retrain run: or there was nothing to do); 1 failed;
2 the command or the configuration is wrong; 3 run: trained, but the model was refused and nothing published; 4 predict:
some of the input could not be used; 5 kubeflow submit --wait: still running; 6 retrain plan --exit-code: not due;
75 another run goes on, try again later; 130 interrupted."""

app = typer.Typer(
    help=f"From one YAML file and a file of rows to a published sequence model.\n\n{EXIT_CODES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
runs_app.add_typer(history_app)
app.add_typer(runs_app, name="runs")
app.add_typer(retrain_app, name="retrain")
app.command()(predict)
app.command()(serve)


def main() -> None:
    """The console script, with the groups of commands that other rooms declare (setup.py, `noisy_gru.commands`)."""
    prepare_process()
    for entry in sorted(importlib.metadata.entry_points(group="noisy_gru.commands"), key=lambda entry: entry.name):
        app.add_typer(entry.load(), name=entry.name)
    with deferred_signals(signal.SIGTERM, signal.SIGINT) as signals:
        try:
            with signals.raising():
                app(prog_name="noisy-gru")
        except SystemExit as ended:
            if signals.received:
                end_soon(ended.code if isinstance(ended.code, int) else EXIT_FAILED)
            raise


@app.command()
def validate(config: ConfigArgument, set_: SetOption = None, debug: DebugOption = False) -> None:
    """Check a configuration: its keys, the files and columns it names, its schema, its metrics. Reads no data."""
    from noisy_gru.pipeline.config.loading import load_config

    with exit_on_error(debug):
        loaded = load_config(config, set_ or [])
        from noisy_gru.pipeline.config.checks import check_config

        for note in check_config(loaded):
            typer.echo(note)
        typer.echo(f"{config}: fine")


@app.command()
def run(
    config: ConfigArgument,
    set_: SetOption = None,
    root: RootOption = None,
    span: SpanOption = "latest",
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run the pipeline: data in, a published model out.

    Finished steps whose inputs, configuration and code are as before are not run again. An interrupted or killed run
    is continued by running it again.
    """
    from noisy_gru.pipeline.config.checks import check_config
    from noisy_gru.pipeline.config.loading import load_config
    from noisy_gru.pipeline.runs.running import default_root, run_config
    from noisy_gru.schema.errors import UserError

    with exit_on_error(debug):
        try:
            loaded = load_config(config, set_ or [])
            check_config(loaded, span=span)
            record = run_config(
                loaded,
                config_path=config,
                root=root or default_root(loaded),
                overrides=set_ or [],
                span=span,
                debug=debug,
            )
        except UserError as error:
            if as_json:
                typer.echo(json.dumps({"run_id": None, "status": "failed", "blessed": None, "error": str(error)}))
            raise
    if as_json:
        typer.echo(json.dumps(run_summary(record)))
    code = {"succeeded": 0, "refused": EXIT_REFUSED, "interrupted": EXIT_INTERRUPTED}
    raise typer.Exit(code.get(record.status, EXIT_FAILED))


@app.command()
def init(
    data: Annotated[
        list[str],
        typer.Option(
            metavar="FILES…",
            help="Files or patterns: CSV (also .gz), Parquet, or TFRecord of Example; several may follow.",
            show_default=False,
        ),
    ],
    more: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True, show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="Folder to write config.yaml and schema.pbtxt to.")] = Path(),
    task: Annotated[
        str | None, typer.Option(help="classification, regression or forecasting. Default: guessed.")
    ] = None,
    entity: Annotated[str | None, typer.Option(help="Column that names the sequence. Default: guessed.")] = None,
    time: Annotated[str | None, typer.Option(help="Column that orders the steps. Default: guessed.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Label, or column to forecast (can be given again). Default: guessed.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the pipeline. Default: that of the folder.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    debug: DebugOption = False,
) -> None:
    """Look at your files and write a configuration and a schema to start from, both commented.

    Says what it guessed, why, and where it is not sure; an option replaces a guess.
    """
    with exit_on_error(debug):
        from noisy_gru.pipeline.init.proposal import propose

        proposal = propose(
            [*data, *(more or [])], out=out, task=task, entity=entity, time=time, targets=target or [], name=name
        )
        proposal.write(out, force=force)
        for line in proposal.told:
            typer.echo(line)
        typer.echo(f"\nWritten: {out / 'config.yaml'} and {out / 'schema.pbtxt'}. Read both; then")
        typer.echo(f"  noisy-gru validate {out / 'config.yaml'}\n  noisy-gru run {out / 'config.yaml'}")


@app.command()
def doctor(root: RootOption = None, debug: DebugOption = False) -> None:
    """Check this machine and environment, and say what each finding means. Ends with 1 if something has to be done."""
    with exit_on_error(debug):
        from noisy_gru.pipeline.doctor import check_environment

        findings = check_environment(root)
        for finding in findings:
            typer.echo(f"{finding.status:<8} {finding.name:<24} {finding.found}")
            if finding.status != "ok":
                typer.echo(f"{'':<9}{finding.meaning}")
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(EXIT_FAILED)
