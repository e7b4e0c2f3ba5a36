"""``noisy-gru runs …``: the records of runs, and what became of the versions that they published."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noisy_gru.pipeline.cli.options import DebugOption, JsonOption, exit_on_error, run_summary

if TYPE_CHECKING:
    from noisy_gru.registry.rollout import VersionChange

runs_app = typer.Typer(
    help="The runs under a root: their records, and taking back what they published.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

RunsRootOption = Annotated[
    Path | None, typer.Option(help="The root of the runs. Default: every root under runs/.", show_default=False)
]
ModelOption = Annotated[
    str | None, typer.Option(help="Name of the model. Default: the only one that is published.", show_default=False)
]
ServingDirOption = Annotated[
    Path | None,
    typer.Option(help="Folder that holds the models' folders. Default: serving/ under the root.", show_default=False),
]
ReasonOption = Annotated[str, typer.Option(help="Why: kept in the model's history.", show_default=False)]


@runs_app.command("list")
def list_runs(root: RunsRootOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """The runs under a root, oldest first: when, how they ended, their metrics, the version they published."""
    from noisy_gru.pipeline.cli.runs_view import all_records, published_state, table

    with exit_on_error(debug):
        records = all_records(root)
        if as_json:
            history = {"plan", "previous", "warm_start", "replay_of", "pruned"}
            told = [
                {
                    **run_summary(record),
                    "spans": [span["span"] for span in record.spans],
                    **record.model_dump(mode="json", include=history),
                    "version_state": published_state(record),
                }
                for record in records
            ]
            typer.echo(json.dumps(told))
        else:
            table(records, sys.stdout)


@runs_app.command("show")
def show_run(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, the beginning of it, or `latest`.")],
    root: RunsRootOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """The record of one run: its steps with time and numbers, rows, metrics, what was published and why not."""
    from noisy_gru.pipeline.cli.runs_view import find_record, page, published_state

    with exit_on_error(debug):
        record = find_record(run_id, root)
        if as_json:
            content = {**record.model_dump(mode="json"), "version_state": published_state(record)}
            typer.echo(json.dumps(content, indent=1))
        else:
            page(record, sys.stdout)


@runs_app.command()
def rollback(
    root: RunsRootOption = None,
    model: ModelOption = None,
    to: Annotated[
        int | None, typer.Option(help="Version to go back to. Default: the one before the newest.", show_default=False)
    ] = None,
    reason: ReasonOption = "",
    wait: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds between telling servers where the labels go and withdrawing the version. With more than the "
            "interval of their polling (10, if started as serving/README.md says), clients that ask for a label see no "
            "error.",
        ),
    ] = 0.0,
    serving_dir: ServingDirOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Withdraw the newest version of a published model: the one before it is served again. Nothing is deleted.

    Servers follow within seconds. The withdrawn model is not published again, and `runs restore` brings it back.
    """
    from noisy_gru.registry import rollout

    with exit_on_error(debug):
        folder, name = find_model(root, serving_dir, model)
        rollout.rollback(folder, name, to=to, reason=reason, wait=wait, notify=partial(_tell, name, as_json=as_json))


@runs_app.command()
def restore(
    version: Annotated[int, typer.Argument(metavar="VERSION", help="The withdrawn version.", show_default=False)],
    root: RunsRootOption = None,
    model: ModelOption = None,
    reason: ReasonOption = "",
    serving_dir: ServingDirOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Bring a withdrawn version back: the undoing of `runs rollback`."""
    from noisy_gru.registry import rollout

    with exit_on_error(debug):
        folder, name = find_model(root, serving_dir, model)
        rollout.restore(folder, name, version, reason=reason, notify=partial(_tell, name, as_json=as_json))


@runs_app.command()
def promote(
    root: RunsRootOption = None,
    model: ModelOption = None,
    reason: ReasonOption = "",
    serving_dir: ServingDirOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Give the label `stable` to the canary, the newest version (with serving.versions.rollout: canary)."""
    from noisy_gru.registry import rollout

    with exit_on_error(debug):
        folder, name = find_model(root, serving_dir, model)
        rollout.promote(folder, name, reason=reason, notify=partial(_tell, name, as_json=as_json))


def find_model(root: Path | None, serving_dir: Path | None, name: str | None) -> tuple[Path, str]:
    """The serving directory and the name of the one model that is meant.

    Args:
        root: of the runs; None: every root under runs/.
        serving_dir: takes the place of serving/ under the root.
        name: of the model; None: whichever there is.

    Raises:
        UserError: if there is none, or several.
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
        raise UserError(f"several published models: {names}. Name one with --root and --model")
    places = ", ".join(str(folder) for folder in folders) or str(ALL_ROOTS.absolute())
    what = "no published model" if name is None else f"no published model {name}"
    raise UserError(f"{what} in {places}. Name the root of its runs with --root, or its folder with --serving-dir")


def _tell(name: str, change: VersionChange, *, as_json: bool) -> None:
    if as_json:
        content: dict[str, Any] = {"model": name, "newest": change.newest, "stable": change.stable}
        typer.echo(json.dumps({**content, "message": change.text, "left_alone": change.left_alone}))
        return
    typer.echo(f"{name}: {change.text}")
    if change.stable != change.newest:
        typer.echo(f"stable is {change.stable}, canary {change.newest}")
    if change.left_alone:
        typer.echo(f"left as edited: {', '.join(change.left_alone)}")
