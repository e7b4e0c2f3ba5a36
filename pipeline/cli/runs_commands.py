"""``noisy-gru runs …``: list and show runs; roll back, restore and promote the versions they published."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noisy_gru.pipeline.cli.options import (
    DebugOption,
    JsonOption,
    RunIdArgument,
    RunsRootOption,
    exit_on_error,
    local_path,
    run_summary,
)
from noisy_gru.pipeline.exit_codes import EXIT_FAILED

if TYPE_CHECKING:
    from noisy_gru.registry.rollout import VersionChange

runs_app = typer.Typer(
    help="List, show, compare and prune runs; roll back, restore and promote published versions.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ModelOption = Annotated[
    str | None, typer.Option(help="Name of the model. Default: the only published one.", show_default=False)
]
ServingDirOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder that holds a folder for each model. Default: serving/ under the root.",
        show_default=False,
        callback=local_path,
    ),
]
ReasonOption = Annotated[str, typer.Option(help="Reason, kept in the model's history.", show_default=False)]


@runs_app.command("list")
def list_runs(root: RunsRootOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the runs under a root, oldest first: start, status, metrics and published version."""
    from noisy_gru.pipeline.cli.runs_view import all_records, published_state, table

    with exit_on_error(debug):
        records = all_records(root)
        if as_json:
            history = {"plan", "previous", "warm_start", "replay_of", "pruned"}
            listed = [
                {
                    **run_summary(record),
                    "spans": [span["span"] for span in record.spans],
                    **record.model_dump(mode="json", include=history),
                    "version_state": published_state(record),
                }
                for record in records
            ]
            typer.echo(json.dumps(listed))
        else:
            table(records, sys.stdout)


@runs_app.command("show")
def show_run(
    run_id: RunIdArgument,
    root: RunsRootOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the record of a run: steps with duration and numbers, rows, metrics, and what was published or refused."""
    from noisy_gru.pipeline.cli.runs_view import find_record, page, published_state

    with exit_on_error(debug):
        record = find_record(run_id, root)
        if as_json:
            content = {**record.model_dump(mode="json"), "version_state": published_state(record)}
            typer.echo(json.dumps(content, indent=1))
        else:
            page(record, sys.stdout)


@runs_app.command()
def track(
    run_id: RunIdArgument,
    root: RunsRootOption = None,
    debug: DebugOption = False,
) -> None:
    """Report a run to MLflow, Prometheus and OpenTelemetry, as `tracking` in its configuration says.

    Every run does so when it ends; this does it again, where something failed. Nothing is reported twice.
    """
    from noisy_gru.pipeline.cli.runs_view import find_record

    with exit_on_error(debug):
        from noisy_gru.pipeline.config.tracking_config import TrackingConfig
        from noisy_gru.pipeline.runs.run_directory import RunDirectory
        from noisy_gru.pipeline.tracking.tracking import track as report
        from noisy_gru.schema.errors import ConfigError

        record = find_record(run_id, root)
        config = TrackingConfig.model_validate(record.config.get("tracking") or {})
        if not config.is_used:
            raise ConfigError(f"run {record.run_id}: its configuration has no place to report to under `tracking`")
        problems = report(config, record, RunDirectory(Path(record.root) if root is None else root))
        for problem in problems:
            typer.echo(f"error: {problem}", err=True)
        if problems:
            raise typer.Exit(EXIT_FAILED)


@runs_app.command()
def rollback(
    root: RunsRootOption = None,
    model: ModelOption = None,
    to: Annotated[
        int | None,
        typer.Option(help="Version to roll back to. Default: the one before the newest.", show_default=False),
    ] = None,
    reason: ReasonOption = "",
    wait: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds between moving the labels and withdrawing the version. If longer than the servers' polling "
            "interval (10 s, if started as serving/README.md says), requests by label see no error.",
        ),
    ] = 0.0,
    serving_dir: ServingDirOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Withdraw the newest version of a model, so that the one before it is served again. Nothing is deleted.

    Servers follow within seconds. The same model is not published again; `runs restore` brings it back.
    """
    from noisy_gru.registry import rollout

    with exit_on_error(debug):
        folder, name = find_model(root, serving_dir, model)
        rollout.rollback(
            folder, name, to=to, reason=reason, wait=wait, notify=partial(_print_change, name, as_json=as_json)
        )


@runs_app.command()
def restore(
    version: Annotated[int, typer.Argument(metavar="VERSION", help="Withdrawn version.", show_default=False)],
    root: RunsRootOption = None,
    model: ModelOption = None,
    reason: ReasonOption = "",
    serving_dir: ServingDirOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Restore a withdrawn version: undo `runs rollback`."""
    from noisy_gru.registry import rollout

    with exit_on_error(debug):
        folder, name = find_model(root, serving_dir, model)
        rollout.restore(folder, name, version, reason=reason, notify=partial(_print_change, name, as_json=as_json))


@runs_app.command()
def promote(
    root: RunsRootOption = None,
    model: ModelOption = None,
    reason: ReasonOption = "",
    serving_dir: ServingDirOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Move the label `stable` to the canary, the newest version (with serving.versions.rollout: canary)."""
    from noisy_gru.registry import rollout

    with exit_on_error(debug):
        folder, name = find_model(root, serving_dir, model)
        rollout.promote(folder, name, reason=reason, notify=partial(_print_change, name, as_json=as_json))


def find_model(root: Path | None, serving_dir: Path | None, name: str | None) -> tuple[Path, str]:
    """Return the serving directory and the name of the one published model that matches.

    Args:
        root: root of the runs; None: every root under runs/.
        serving_dir: replaces serving/ under the root.
        name: name of the model; None: any.

    Raises:
        UserError: no published model matches, or several do.
    """
    from noisy_gru.pipeline.cli.runs_view import ALL_ROOTS
    from noisy_gru.pipeline.runs.run_directory import RunDirectory
    from noisy_gru.registry.published_versions import published_versions, withdrawn_versions
    from noisy_gru.schema.errors import UserError

    if serving_dir is not None:
        folders = [serving_dir]
    elif root is not None:
        folders = [RunDirectory(root).serving]
    else:
        folders = sorted(ALL_ROOTS.glob("*/serving"))
    found = [
        (folder, child.name)
        for folder in folders
        if folder.is_dir()
        for child in sorted(folder.iterdir())
        if name in (None, child.name) and (published_versions(child) or withdrawn_versions(child))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(folder / each) for folder, each in found)
        raise UserError(f"expected one published model, found several: {names}. Choose one with --root and --model")
    places = ", ".join(str(folder) for folder in folders) or str(ALL_ROOTS.absolute())
    what = "no published model" if name is None else f"no published model {name}"
    raise UserError(f"{what} in {places}. Give the root of its runs with --root, or its folder with --serving-dir")


def _print_change(name: str, change: VersionChange, *, as_json: bool) -> None:
    if as_json:
        content: dict[str, Any] = {"model": name, "newest": change.newest, "stable": change.stable}
        typer.echo(json.dumps({**content, "message": change.text, "left_alone": change.left_alone}))
        return
    typer.echo(f"{name}: {change.text}")
    if change.stable != change.newest:
        typer.echo(f"stable is {change.stable}, canary {change.newest}")
    if change.left_alone:
        typer.echo(f"not changed, because edited by hand: {', '.join(change.left_alone)}")
