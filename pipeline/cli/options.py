"""What the commands of the command line share: exit codes, options, errors in words. Imports nothing heavy."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noisy_gru.pipeline.exit_codes import EXIT_BUSY, EXIT_CONFIG, EXIT_FAILED, EXIT_INTERRUPTED

if TYPE_CHECKING:
    from noisy_gru.pipeline.runs.run_directory import RunRecord

# What a machine refuses: no place, no right to write, no memory, a broken disk, too many open files.
_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOMEM, errno.EIO, errno.EFBIG}
    | {errno.EMFILE, errno.ENFILE}
)

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
        help="Where everything of the runs goes: artifacts, metadata, logs, records, serving/<model>/<version>. "
        "Default: runs/<name>, with the name in CONFIG.",
        show_default=False,
    ),
]
SpanOption = Annotated[
    str,
    typer.Option(
        metavar="N|latest",
        help="The newest span to read, where data.files hold {SPAN} or a date: a number, a date (2026-07-31), latest. "
        "How many before it are read, data.spans says.",
    ),
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else.")]


@contextmanager
def exit_on_error(debug: bool) -> Iterator[None]:
    """Prints a user's mistake, or what the machine lacks, and ends with its exit code.

    Any other error is a bug, whose traceback is of use.
    """
    from noisy_gru.compat.extras import missing_extra
    from noisy_gru.schema.errors import BusyError, ConfigError, UserError

    try:
        yield
    except ModuleNotFoundError as error:
        known = None if debug else missing_extra(error, "this command")
        if known is None:
            raise
        typer.echo(f"error: {known}", err=True)
        raise typer.Exit(EXIT_CONFIG) from error
    except UserError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        codes = ((ConfigError, EXIT_CONFIG), (BusyError, EXIT_BUSY))
        raise typer.Exit(next((code for kind, code in codes if isinstance(error, kind)), EXIT_FAILED)) from error
    except OSError as error:
        if debug or error.errno not in _MACHINE:
            raise
        place = f"{error.filename}: " if error.filename else ""
        typer.echo(f"error: {place}{error.strerror}", err=True)
        raise typer.Exit(EXIT_FAILED) from error
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def run_summary(record: RunRecord) -> dict[str, Any]:
    """What ``run --json`` prints."""
    keys = {
        *("run_id", "pipeline", "status", "blessed", "refusals", "published_path", "version", "metrics", "rows"),
        *("sequences", "seconds", "started", "finished", "root", "log", "error"),
    }
    summary = record.model_dump(mode="json", include=keys)
    steps = [step.model_dump(mode="json", include={"name", "seconds", "status", "numbers"}) for step in record.steps]
    return {**summary, "steps": steps}
