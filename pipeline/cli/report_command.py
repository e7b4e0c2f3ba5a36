"""``noisy-gru report``: one page on a run, as a file that needs nothing else."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from noisy_gru.pipeline.cli.options import (
    DebugOption,
    JsonOption,
    OpenOption,
    RunIdArgument,
    RunsRootOption,
    exit_on_error,
)


def report(
    run_id: RunIdArgument,
    root: RunsRootOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. Default: beside the run's record, runs/<run>.html.", show_default=False),
    ] = None,
    open_: OpenOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the report of a run: outcome, data, drift, training, evaluation, worst cases, gates, lineage, time.

    A page of one file, which works offline. --json prints its numbers instead, and writes nothing.
    """
    with exit_on_error(debug):
        from noisy_gru.pipeline.cli.runs_view import find_record
        from noisy_gru.pipeline.report.account import run_account
        from noisy_gru.pipeline.runs.run_directory import RunDirectory

        record = find_record(run_id, root)
        directory = RunDirectory(Path(record.root) if root is None else root)
        account = run_account(record, directory.root)
        file = out or directory.report_file(record.run_id)
        show_account(account, file, "noisy-gru report", as_json=as_json, open_=open_)


def show_account(account: dict[str, Any], file: Path, command: str, *, as_json: bool, open_: bool) -> None:
    """Print the numbers of a page as JSON, or write the page and print where; ``open_`` opens it in a browser.

    Raises:
        MissingExtraError: a page can't be drawn here; ``command`` needs an extra.
    """
    from noisy_gru.compat.extras import require

    if as_json:
        typer.echo(json.dumps(account))
        return
    require("matplotlib", command)
    from noisy_gru.pipeline.report.page import run_page
    from noisy_gru.storage.atomic_files import write_atomically

    write_atomically(file, run_page(account))
    typer.echo(file)
    if open_:
        webbrowser.open(file.absolute().as_uri())
