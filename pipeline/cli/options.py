"""Options and error handling that all commands share. Imports nothing heavy."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noisy_gru.pipeline.exit_codes import EXIT_BUSY, EXIT_CONFIG, EXIT_FAILED, EXIT_INTERRUPTED

if TYPE_CHECKING:
    from noisy_gru.pipeline.runs.run_record import RunRecord

# Errors of the machine: no space, no permission, no memory, a broken disk, too many open files.
_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOMEM, errno.EIO, errno.EFBIG}
    | {errno.EMFILE, errno.ENFILE}
)


def local_path(path: Path | None) -> Path | None:
    """Refuse a URI where a command writes to a path: pathlib would make a folder named s3: of it."""
    from noisy_gru.storage.object_stores import scheme_of_folder

    if path is not None and (scheme := scheme_of_folder(path)) is not None:
        raise typer.BadParameter(
            f"expected a path of this machine, received one of {scheme}://. Artifacts, records and outputs are written "
            "to a folder here, or a mounted one; data.files, schema and the files of predict and init may be on s3:// "
            "or gs://"
        )
    return path


ConfigArgument = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="Configuration file (YAML).", show_default=False)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a configuration key, for example training.epochs=5 or model.layers.0.units=32: dots between "
        "keys, a number for an item of a list, the value as YAML. Repeatable. Paths stay relative to CONFIG.",
        show_default=False,
    ),
]
RootOption = Annotated[
    Path | None,
    typer.Option(
        help="Root folder of the runs: artifacts, metadata, logs, run records, serving/<model>/<version>. "
        "Default: runs/<name>, with the name in CONFIG.",
        show_default=False,
        callback=local_path,
    ),
]
RunsRootOption = Annotated[
    Path | None,
    typer.Option(help="Root of the runs. Default: every root under runs/.", show_default=False, callback=local_path),
]
SpanOption = Annotated[
    str,
    typer.Option(
        metavar="N|latest",
        help="Newest span to read, where data.files hold {SPAN} or a date: a number, a date (2026-07-31) or latest. "
        "data.spans sets how many spans before it are read.",
    ),
]
RunIdArgument = Annotated[str, typer.Argument(metavar="RUN", help="Run id, an unambiguous prefix of it, or `latest`.")]
MoreArgument = Annotated[list[str] | None, typer.Argument(metavar="", hidden=True, show_default=False)]
HostOption = Annotated[str, typer.Option(help="Address to listen on.")]
OpenOption = Annotated[bool, typer.Option("--open", help="Open the page in a browser.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print only one JSON object on standard output.")]


@contextmanager
def exit_on_error(debug: bool) -> Iterator[None]:
    """Print the message of a user's or the machine's error, and exit with its code.

    Any other error is a bug and keeps its traceback.
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
    """Return the object that ``run --json`` prints."""
    keys = {
        *("run_id", "pipeline", "status", "blessed", "refusals", "published_path", "version", "metrics", "rows"),
        *("sequences", "seconds", "started", "finished", "root", "log", "error"),
    }
    summary = record.model_dump(mode="json", include=keys)
    steps = [step.model_dump(mode="json", include={"name", "seconds", "status", "numbers"}) for step in record.steps]
    page = Path(record.root) / "runs" / f"{record.run_id}.html"
    return {**summary, "report": str(page) if page.is_file() else None, "steps": steps}
