"""The command line, ``noisy-gru``. Every command imports what it needs when it runs, so that --help is quick."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from noisy_gru.pipeline.runs import RunAccount

EXIT_FAILED = 1
EXIT_CONFIG = 2
EXIT_REFUSED = 3
EXIT_UNUSED_INPUT = 4
EXIT_INTERRUPTED = 130

EXIT_CODES = """Exit codes: 0 done (run: a model is published); 1 failed; 2 the command or the configuration is wrong;
3 run: trained, but the model was refused and nothing published; 4 predict: some of the input could not be used;
130 interrupted."""

app = typer.Typer(
    help=f"From one YAML file and a file of rows to a published sequence model.\n\n{EXIT_CODES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
runs_app = typer.Typer(help="The runs under a root: their accounts.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(runs_app, name="runs")

ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML file.", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key: dots between keys, a number for an item of a list, a YAML value, for example "
        "training.epochs=5 or model.layers.0.units=32. Can be given again. Paths stay relative to CONFIG.",
        show_default=False,
    ),
]
RootOption = Annotated[
    Path | None,
    typer.Option(
        help="Where everything of the runs goes: artifacts, metadata, logs, accounts, serving/<model>/<version>. "
        "Default: runs/<name>, with the name in CONFIG.",
        show_default=False,
    ),
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else.")]


def main() -> None:
    """The console script."""
    app(prog_name="noisy-gru")


@contextmanager
def errors_in_words(debug: bool) -> Iterator[None]:
    """Prints a user's mistake and ends with its exit code; any other error is a bug, whose traceback is of use."""
    from noisy_gru.schema.errors import ConfigError, UserError

    try:
        yield
    except UserError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_FAILED) from error
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


@app.command()
def validate(config: ConfigArgument, set_: SetOption = None, debug: DebugOption = False) -> None:
    """Check a configuration: its keys, the files and columns it names, its schema, its metrics. Reads no data."""
    from noisy_gru.pipeline.loading import load_config

    with errors_in_words(debug):
        loaded = load_config(config, set_ or [])
        from noisy_gru.pipeline.checking import check_config

        for note in check_config(loaded):
            typer.echo(note)
        typer.echo(f"{config}: fine")


@app.command()
def run(
    config: ConfigArgument,
    set_: SetOption = None,
    root: RootOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run the pipeline: data in, a published model out.

    Finished steps whose inputs, configuration and code are as before are not run again. An interrupted or killed run
    is continued by running it again.
    """
    from noisy_gru.pipeline.checking import check_config
    from noisy_gru.pipeline.loading import load_config
    from noisy_gru.pipeline.running import default_root, run_config
    from noisy_gru.schema.errors import UserError

    with errors_in_words(debug):
        try:
            loaded = load_config(config, set_ or [])
            check_config(loaded)
            account = run_config(
                loaded, config_path=config, root=root or default_root(loaded), overrides=set_ or [], debug=debug
            )
        except UserError as error:
            if as_json:
                typer.echo(json.dumps({"run_id": None, "status": "failed", "blessed": None, "error": str(error)}))
            raise
    if as_json:
        typer.echo(json.dumps(run_summary(account)))
    code = {"succeeded": 0, "refused": EXIT_REFUSED, "interrupted": EXIT_INTERRUPTED}
    raise typer.Exit(code.get(account.status, EXIT_FAILED))


def run_summary(account: RunAccount) -> dict[str, Any]:
    """What ``run --json`` prints."""
    keys = {
        *("run_id", "pipeline", "status", "blessed", "refusals", "published_path", "version", "metrics", "rows"),
        *("sequences", "seconds", "started", "finished", "root", "log", "error"),
    }
    summary = account.model_dump(mode="json", include=keys)
    steps = [step.model_dump(mode="json", include={"name", "seconds", "status", "numbers"}) for step in account.steps]
    return {**summary, "steps": steps}


@app.command()
def predict(
    config: ConfigArgument,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT…", help="Files or patterns, in a format of training.")],
    set_: SetOption = None,
    root: RootOption = None,
    version: Annotated[
        int | None, typer.Option(help="Version of the published model. Default: the latest.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write. Default: standard output.", show_default=False)
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="csv or jsonl. Default: by the ending of --out, else csv.")
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Ask the published model: one line for each sequence of the input; for forecasting, from each one's latest window.

    Rows and sequences that can't be used are told on standard error with the reason, and the exit code is 4.
    """
    from noisy_gru.pipeline.loading import load_config
    from noisy_gru.pipeline.running import default_root

    with errors_in_words(debug):
        loaded = load_config(config, set_ or [])
        from noisy_gru.pipeline.prediction import predict_files

        unused = predict_files(
            loaded, inputs, root=root or default_root(loaded), version=version, out=out, format_=format_
        )
    if unused:
        raise typer.Exit(EXIT_UNUSED_INPUT)


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
    with errors_in_words(debug):
        from noisy_gru.pipeline.init import propose

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
    with errors_in_words(debug):
        from noisy_gru.pipeline.doctor import check_environment

        findings = check_environment(root)
        for finding in findings:
            typer.echo(f"{finding.status:<8} {finding.name:<24} {finding.found}")
            if finding.status != "ok":
                typer.echo(f"{'':<9}{finding.meaning}")
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(EXIT_FAILED)


RunsRootOption = Annotated[
    Path | None, typer.Option(help="The root of the runs. Default: every root under runs/.", show_default=False)
]


@runs_app.command("list")
def list_runs(root: RunsRootOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """The runs under a root, oldest first: when, how they ended, their metrics, the version they published."""
    from noisy_gru.pipeline.runs_view import all_accounts, table

    with errors_in_words(debug):
        accounts = all_accounts(root)
        if as_json:
            typer.echo(json.dumps([run_summary(account) for account in accounts]))
        else:
            table(accounts, sys.stdout)


@runs_app.command("show")
def show_run(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, the beginning of it, or `latest`.")],
    root: RunsRootOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """The account of one run: its steps with time and numbers, rows, metrics, what was published and why not."""
    from noisy_gru.pipeline.runs_view import find_account, page

    with errors_in_words(debug):
        account = find_account(run_id, root)
        if as_json:
            typer.echo(account.model_dump_json(indent=1))
        else:
            page(account, sys.stdout)
