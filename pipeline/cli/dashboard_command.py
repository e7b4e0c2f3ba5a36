"""``noisy-gru dashboard``: runs, versions, checks and drift of several roots in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from noisy_gru.pipeline.cli.options import DebugOption, HostOption, exit_on_error


def dashboard(
    root: Annotated[
        list[Path] | None,
        typer.Option(help="Root of runs (repeatable; more may follow). Default: every root under runs/."),
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(metavar="", hidden=True, show_default=False)] = None,
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: any free port.", min=0, max=65535)] = 8080,
    allow_changes: Annotated[
        bool, typer.Option("--allow-changes", help="Offer rollback and promote, each with a confirmation.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Show runs, versions, checks, drift and failures in a browser, and follow a run, until Ctrl-C.

    Read-only, and on this machine alone, unless an option says otherwise. The pages fetch nothing from elsewhere.
    """
    from noisy_gru.compat.extras import require
    from noisy_gru.pipeline.cli.runs_view import ALL_ROOTS
    from noisy_gru.schema.errors import UserError

    with exit_on_error(debug):
        require("aiohttp", "noisy-gru dashboard")
        require("matplotlib", "noisy-gru dashboard")
        from noisy_gru.pipeline.dashboard.server import serve_dashboard

        roots = [*(root or []), *(more or [])] or sorted({each.parent for each in ALL_ROOTS.glob("*/runs")})
        if not roots:
            raise UserError(f"no runs under {ALL_ROOTS.absolute()}. Give the root of the runs with --root")
        serve_dashboard(roots, host=host, port=port, allow_changes=allow_changes, log=typer.echo)
