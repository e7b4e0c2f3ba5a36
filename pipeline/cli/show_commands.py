"""``noisy-gru show …``: pictures of the data before training, and of predictions."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from noisy_gru.pipeline.cli.options import (
    ConfigArgument,
    DebugOption,
    JsonOption,
    OpenOption,
    SetOption,
    SpanOption,
    exit_on_error,
    local_path,
)
from noisy_gru.pipeline.cli.report_command import show_account

show_app = typer.Typer(help="Show data or predictions as a page.", no_args_is_help=True, rich_markup_mode=None)


@show_app.callback()
def show() -> None:
    """Show data or predictions as a page."""


@show_app.command("data")
def show_data(
    config: ConfigArgument,
    set_: SetOption = None,
    span: SpanOption = "latest",
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. Default: <name>-data.html here.", show_default=False, callback=local_path),
    ] = None,
    open_: OpenOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Read the data as a run would, and write a page: rows set aside, sequences by split, lengths, statistics.

    Trains nothing. --json prints the numbers instead, and writes nothing.
    """
    from noisy_gru.compat.extras import require

    with exit_on_error(debug):
        from noisy_gru.pipeline.config.checks import check_config
        from noisy_gru.pipeline.config.loading import load_config
        from noisy_gru.pipeline.runs.output_redirection import output_to

        loaded = load_config(config, set_ or [])
        check_config(loaded, span=span)
        require("tfx", "noisy-gru show data")
        # What libraries print isn't for the terminal.
        with tempfile.TemporaryDirectory(prefix="noisy-gru-show-") as folder, output_to(Path(folder) / "log"):
            from noisy_gru.pipeline.report.data_page import data_only_account

            account = data_only_account(loaded, config, span)
        file = out or Path(f"{loaded.name}-data.html")
        show_account(account, file, "noisy-gru show data", as_json=as_json, open_=open_)


@show_app.command("predictions")
def show_predictions(
    config: ConfigArgument,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE…", help="Files of noisy-gru predict, or folders of parts.", show_default=False),
    ],
    set_: SetOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write. Default: <name>-predictions.html here.", show_default=False, callback=local_path
        ),
    ] = None,
    open_: OpenOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a page on predictions: classes and how sure the model is, distributions, forecasts by horizon.

    Reads the layouts short and wide. --json prints the numbers instead, and writes nothing.
    """
    with exit_on_error(debug):
        from noisy_gru.pipeline.config.loading import load_config
        from noisy_gru.pipeline.report.predictions_account import predictions_page_account

        loaded = load_config(config, set_ or [])
        account = predictions_page_account(loaded, files)
        file = out or Path(f"{loaded.name}-predictions.html")
        show_account(account, file, "noisy-gru show predictions", as_json=as_json, open_=open_)
