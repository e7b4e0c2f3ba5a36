"""``noisy-gru report``: one page on a run, as a file that needs nothing else."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from noisy_gru.pipeline.cli.options import DebugOption, JsonOption, exit_on_error, local_path


def report(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Run id, an unambiguous prefix of it, or `latest`.")],
    root: Annotated[
        Path | None,
        typer.Option(
            help="Root of the runs. Default: every root under runs/.", show_default=False, callback=local_path
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. Default: beside the run's record, runs/<run>.html.", show_default=False),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the report of a run: outcome, data, drift, training, evaluation, worst cases, gates, lineage, time.

    A page of one file, which works offline. --json prints its numbers instead, and writes nothing.
    """
    from noisy_gru.compat.extras import require

    with exit_on_error(debug):
        from noisy_gru.pipeline.cli.runs_view import find_record
        from noisy_gru.pipeline.report.account import run_account
        from noisy_gru.pipeline.runs.run_directory import RunDirectory
        from noisy_gru.storage.atomic_files import write_atomically

        record = find_record(run_id, root)
        directory = RunDirectory(Path(record.root) if root is None else root)
        account = run_account(record, directory.root)
        if as_json:
            typer.echo(json.dumps(account))
            return
        require("matplotlib", "noisy-gru report")
        from noisy_gru.pipeline.report.page import run_page

        file = out or directory.report_file(record.run_id)
        write_atomically(file, run_page(account))
        typer.echo(file)
        if open_:
            webbrowser.open(file.absolute().as_uri())
