"""The commands ``noisy-gru schema``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from noisy_gru.pipeline.cli.options import (
    ConfigArgument,
    DebugOption,
    JsonOption,
    MoreArgument,
    SetOption,
    exit_on_error,
)

schema_app = typer.Typer(
    help="Show the schema that sequences are validated against, and bring schema.pbtxt up to date.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@schema_app.command("show")
def show(
    config: ConfigArgument, set_: SetOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Show the schema of a configuration: what follows from it, and what schema.pbtxt says of values."""
    with exit_on_error(debug):
        import sys

        from noisy_gru.components.derived_schema_gen.curated_file import read_curated
        from noisy_gru.pipeline.cli.schema_view import columns_of, print_columns
        from noisy_gru.pipeline.config.loading import load_config
        from noisy_gru.schema.derivation import check_curated

        loaded = load_config(config, set_ or [])
        path = loaded.schema_path
        derivation = check_curated(read_curated(path), path, loaded.dataset)
        columns = columns_of(derivation.schema, loaded.dataset)
        if as_json:
            typer.echo(json.dumps({"schema": path, "columns": columns, "notes": derivation.notes}))
            return
        print_columns(columns, sys.stdout)
        for note in derivation.notes:
            typer.echo(note)


@schema_app.command("update")
def update(
    config: ConfigArgument,
    more: MoreArgument = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILES…",
            help="Data files or patterns to infer bounds of new columns from. Several may follow. "
            "Default: data.files of CONFIG, all spans.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference; write nothing.")] = False,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Bring schema.pbtxt up to date with the columns of CONFIG, and show the difference.

    Adds columns with bounds inferred from the data, as init does; removes entries of columns that are gone, and what
    the configuration contradicts. All else, comments included, stays as you wrote it.
    """
    with exit_on_error(debug):
        from noisy_gru.pipeline.config.loading import load_config
        from noisy_gru.pipeline.schema_file.update import update_schema
        from noisy_gru.schema.errors import ConfigError

        if more and not data:
            raise ConfigError(f"expected one CONFIG, found {', '.join(more)} besides; data files follow --data")
        change = update_schema(load_config(config, set_ or []), [*(data or []), *(more or [])])
        changed = change.after != change.before
        if changed and not dry_run:
            change.write()
        if as_json:
            content = {"schema": str(change.path), "changed": changed, "written": changed and not dry_run}
            content |= {"added": change.added, "removed": change.removed, "corrected": change.corrected}
            typer.echo(json.dumps({**content, "diff": change.diff}))
            return
        typer.echo(change.diff, nl=False)
        if not changed:
            typer.echo(f"{change.path}: up to date")
        else:
            typer.echo(f"{change.path}: {'not written (--dry-run)' if dry_run else 'written; please review it'}")
