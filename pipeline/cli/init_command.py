"""``noisy-gru init``: a configuration and a schema from data files, or from a query."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from noisy_gru.pipeline.cli.options import DebugOption, MoreArgument, RootOption, exit_on_error, local_path

_SEARCH_SECONDS = 600.0


def init(
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILES…",
            help="Data files or patterns: CSV, JSON lines, Parquet, Arrow, Excel, .ts, TFRecords. Several may follow. "
            "Or --query.",
            show_default=False,
        ),
    ] = None,
    more: MoreArgument = None,
    query: Annotated[
        str | None,
        typer.Option(help="In place of files: a statement that returns a table, or a file of one that ends in .sql."),
    ] = None,
    connection: Annotated[
        str,
        typer.Option(
            help="Of --query: sqlite:FILE or duckdb:FILE, read only; `duckdb:` alone queries files, as in SELECT * "
            "FROM 'rows/*.parquet'."
        ),
    ] = "duckdb:",
    prepare: Annotated[
        list[str] | None,
        typer.Option(help="Statement that DuckDB runs before --query (repeatable): data.sql.prepare."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder to write config.yaml and schema.pbtxt to.", callback=local_path)
    ] = Path(),
    task: Annotated[
        str | None, typer.Option(help="classification, regression or forecasting. Default: inferred.")
    ] = None,
    entity: Annotated[
        str | None,
        typer.Option(
            help="Column that names the sequence; `shop+product`: several that do so together; `none`: all rows are "
            "one series. Default: inferred."
        ),
    ] = None,
    time: Annotated[str | None, typer.Option(help="Column that orders the steps. Default: inferred.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Label, or column to forecast (repeatable). Default: inferred.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the pipeline. Default: name of the folder.")] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="Of tables: wide_series (a column for each series), wide_steps (a row for each sequence), or none (a "
            "row for each step). Default: inferred."
        ),
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(
            help="File to write the preview to as a page (HTML), with larger pictures.",
            show_default=False,
            callback=local_path,
        ),
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Open that page in a browser. Without --preview: preview.html in --out.")
    ] = False,
    search: Annotated[
        bool,
        typer.Option(
            "--search",
            help="Validate the proposed model: train others on your data as well, and write the best on the eval "
            "split into config.yaml, with the reason.",
        ),
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Of --search: begin no training after this time: 90s, 30m, 2h. Default: 10m.",
            show_default=False,
        ),
    ] = None,
    root: RootOption = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Take the likeliest reading where one is NOT SURE; ask nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    debug: DebugOption = False,
) -> None:
    """Infer a commented configuration and schema from data files, or from a query.

    Prints a preview of the data, and each inferred setting with the reason. Where two readings are near each other it
    says NOT SURE, and asks if it runs in a terminal; an option decides beforehand.
    """
    with exit_on_error(debug):
        from noisy_gru.compat.extras import require
        from noisy_gru.pipeline.cli.experiment_commands import parse_budget
        from noisy_gru.pipeline.cli.questions import ask_user
        from noisy_gru.pipeline.init.proposal import propose
        from noisy_gru.pipeline.init.query import propose_query, query_of
        from noisy_gru.schema.errors import ConfigError
        from noisy_gru.storage.atomic_files import write_atomically

        files = [*(data or []), *(more or [])]
        if bool(files) == bool(query):
            received = "received both" if query else "received neither"
            raise ConfigError(f"expected either --data with files, or --query with a statement; {received}")
        if query is None and (connection != "duckdb:" or prepare):
            raise ConfigError("--connection and --prepare are for --query; give a statement such as SELECT * FROM rows")
        seconds = parse_budget(budget) or _SEARCH_SECONDS
        if not search and (budget is not None or root is not None):
            raise ConfigError("--budget and --root are of --search; add it, or leave them out")
        if search:
            require("tfx", "noisy-gru init --search")
        page = preview or (out / "preview.html" if open_ else None)
        if page is not None:
            require("matplotlib", "noisy-gru init --preview")
        given = {
            "out": out,
            "task": task,
            "entity": entity,
            "time": time,
            "targets": target or [],
            "name": name,
            "layout": layout,
            "ask": ask_user if not yes and sys.stdin.isatty() and sys.stdout.isatty() else None,
        }
        if query is None:
            proposal = propose(files, **given)
        else:
            proposal = propose_query(query_of(query, connection, prepare or []), **given)
        proposal.write(out, force=force)
        for line in [*proposal.preview.lines(), "", *proposal.guesses]:
            typer.echo(line)
        if page is not None:
            from noisy_gru.pipeline.init.preview_page import preview_page

            write_atomically(page, preview_page(proposal))
            typer.echo(f"\nPreview: {page}")
            if open_:
                webbrowser.open(page.absolute().as_uri())
        if search:
            from noisy_gru.pipeline.init.model_search import adopt, search_models

            typer.echo(f"\nWrote {out / 'config.yaml'} and {out / 'schema.pbtxt'}. Searching for the model:")
            found = search_models(out / "config.yaml", root=root, seconds=seconds)
            adopt(out / "config.yaml", found)
            for line in ["", *found.lines, "", f"model: {found.reason}"]:
                typer.echo(line)
        typer.echo(f"\nWrote {out / 'config.yaml'} and {out / 'schema.pbtxt'}. Review both, then run:")
        typer.echo(f"  noisy-gru validate {out / 'config.yaml'}\n  noisy-gru run {out / 'config.yaml'}")
