"""The command line ``noisy-gru``. Commands import what they need when they run, so that --help is quick."""

from __future__ import annotations

import importlib.metadata
import json
import signal

import typer

from noisy_gru.pipeline.cli.backtest_command import backtest
from noisy_gru.pipeline.cli.dashboard_command import dashboard
from noisy_gru.pipeline.cli.experiment_commands import compare, noise
from noisy_gru.pipeline.cli.history_commands import history_app
from noisy_gru.pipeline.cli.init_command import init
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
from noisy_gru.pipeline.cli.report_command import report
from noisy_gru.pipeline.cli.retrain_commands import retrain_app
from noisy_gru.pipeline.cli.runs_commands import runs_app
from noisy_gru.pipeline.cli.schema_commands import schema_app
from noisy_gru.pipeline.cli.score_command import score
from noisy_gru.pipeline.cli.serve_command import serve
from noisy_gru.pipeline.cli.show_commands import show_app
from noisy_gru.pipeline.cli.stream_command import stream
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED
from noisy_gru.pipeline.runs.interrupts import deferred_signals
from noisy_gru.pipeline.runs.process_setup import end_soon, prepare_process

__all__ = ["EXIT_CONFIG", "EXIT_FAILED", "app", "main"]

EXIT_CODES = """Exit codes: 0 success (run: a model was published; retrain run: or retraining is not due); 1 failed;
2 invalid command or configuration; 3 run: the model was trained but refused, and not published; 4 predict: some of the
input could not be used; 5 kubeflow submit --wait: still running; 6 retrain plan --exit-code: not due; 7 retrain: held
by an alarm; 8 stream: a call of Kafka's client did not return, start it again; 75 another run is in progress, try again
later; 130 interrupted."""

app = typer.Typer(
    help=f"Train, evaluate and publish a sequence model from a YAML configuration and tables.\n\n{EXIT_CODES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
runs_app.add_typer(history_app)
app.add_typer(runs_app, name="runs")
app.add_typer(retrain_app, name="retrain")
app.add_typer(schema_app, name="schema")
app.add_typer(show_app, name="show")
app.command()(init)
app.command()(backtest)
app.command()(predict)
app.command()(score)
app.command()(serve)
app.command()(stream)
app.command()(report)
app.command()(compare)
app.command()(noise)
app.command()(dashboard)


def main() -> None:
    """Run the console script, with the command groups of the entry point `noisy_gru.commands` (setup.py)."""
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
    """Check a configuration: keys, data files and their columns, schema, metrics. Reads no rows."""
    from noisy_gru.pipeline.config.loading import load_config

    with exit_on_error(debug):
        loaded = load_config(config, set_ or [])
        from noisy_gru.pipeline.config.checks import check_config

        for note in check_config(loaded):
            typer.echo(note)
        typer.echo(f"{config}: valid")


@app.command()
def run(
    config: ConfigArgument,
    set_: SetOption = None,
    root: RootOption = None,
    span: SpanOption = "latest",
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run the pipeline on this machine: ingest, validate, train, evaluate and publish.

    Steps whose inputs, configuration and code are unchanged come from the cache. To resume an interrupted or killed
    run, run it again.
    """
    from noisy_gru.pipeline.config.checks import check_config
    from noisy_gru.pipeline.config.loading import load_config
    from noisy_gru.pipeline.runs.run_directory import default_root
    from noisy_gru.pipeline.runs.running import run_config
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
def doctor(root: RootOption = None, debug: DebugOption = False) -> None:
    """Check whether this machine and environment can run the pipeline. Exits with 1 if there is a problem."""
    with exit_on_error(debug):
        from noisy_gru.pipeline.doctor import check_environment

        checks = check_environment(root)
        for check in checks:
            typer.echo(f"{check.status:<8} {check.name:<24} {check.found}")
            if check.status != "ok":
                typer.echo(f"{'':<9}{check.meaning}")
    if any(check.status == "problem" for check in checks):
        raise typer.Exit(EXIT_FAILED)
