"""``noisy-gru runs compare|lineage|replay|prune``: compare runs, trace versions, replay and prune."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from noisy_gru.pipeline.cli.options import (
    DebugOption,
    JsonOption,
    RunIdArgument,
    RunsRootOption,
    exit_on_error,
    local_path,
)
from noisy_gru.pipeline.cli.runs_commands import ModelOption, ServingDirOption, find_model
from noisy_gru.pipeline.exit_codes import EXIT_FAILED

if TYPE_CHECKING:
    from noisy_gru.pipeline.config.pipeline_config import PipelineConfig

history_app = typer.Typer(rich_markup_mode=None)


@history_app.command("compare")
def compare_runs(
    first: Annotated[str, typer.Argument(metavar="A", help="Run id, prefix, or `latest`.", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="B", help="Run to compare it with.", show_default=False)],
    root: RunsRootOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare two runs: differences in configuration, data, files and packages, and all metrics and durations."""
    from noisy_gru.pipeline.cli.history_view import show_comparison
    from noisy_gru.pipeline.cli.runs_view import find_record
    from noisy_gru.pipeline.runs.comparison import compare

    with exit_on_error(debug):
        found = compare(find_record(first, root), find_record(second, root))
        if as_json:
            typer.echo(json.dumps(found.to_dict(), indent=1))
        else:
            show_comparison(found, sys.stdout)


@history_app.command()
def lineage(
    version: Annotated[
        int, typer.Argument(metavar="VERSION", help="Version, published or withdrawn.", show_default=False)
    ],
    root: RunsRootOption = None,
    model: ModelOption = None,
    serving_dir: ServingDirOption = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder that the names of the input files are relative to. Default: that of the run's record.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Trace a published version to its run, configuration, spans and input files, and check the files' hashes.

    Exits with 1 if a file of the version or of its data was changed or is gone.
    """
    from noisy_gru.pipeline.cli.history_view import show_lineage
    from noisy_gru.pipeline.cli.runs_view import find_record
    from noisy_gru.pipeline.runs.lineage import publishing_run, trace, version_folder
    from noisy_gru.schema.errors import UserError

    with exit_on_error(debug):
        folder, name = find_model(root, serving_dir, model)
        run = publishing_run(version_folder(folder, name, version))
        own = folder.parent if (folder.parent / "runs").is_dir() else None
        try:
            record = find_record(run, root or own) if run else None
        except UserError:
            # The version carries what matters; on Kubeflow there is no record.
            record = None
        found = trace(folder, name, version, record, None if data is None else str(data.absolute()))
        if as_json:
            typer.echo(json.dumps(found.to_dict(), indent=1))
        else:
            show_lineage(found, sys.stdout)
    if found.files_state or any(file.state in ("changed", "gone") for file in found.files):
        raise typer.Exit(EXIT_FAILED)


@history_app.command("replay")
def replay_run(
    run_id: RunIdArgument,
    root: RunsRootOption = None,
    into: Annotated[
        Path | None,
        typer.Option(
            help="Root of the replay, which is kept: a new or empty folder. Default: a temporary one.",
            show_default=False,
        ),
    ] = None,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Replay even if input files, the schema or the base model are gone or changed."),
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Largest relative difference of a metric that counts as equal. Default: 1e-6.",
            show_default=False,
        ),
    ] = None,
    serving_dir: ServingDirOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a run again from the same data, seed and base model, and compare the metrics.

    Publishes nothing to the run's serving directory. Exits with 1 if a metric differs by more than the tolerance.
    """
    from noisy_gru.pipeline.cli.runs_view import find_record
    from noisy_gru.pipeline.runs.replay import TOLERANCE, replay

    with exit_on_error(debug), tempfile.TemporaryDirectory(prefix="noisy-gru-replay-") as temporary:
        record = find_record(run_id, root)
        found = replay(
            record,
            into=into or Path(temporary),
            anyway=anyway,
            tolerance=TOLERANCE if tolerance is None else tolerance,
            serving_dir=serving_dir,
            debug=debug,
        )
        if as_json:
            typer.echo(json.dumps(found.to_dict(), indent=1))
        else:
            from noisy_gru.pipeline.cli.history_view import show_replay

            show_replay(found, sys.stdout)
    if found.verdict not in ("exact", "within"):
        raise typer.Exit(EXIT_FAILED)


@history_app.command("prune")
def prune_runs(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG]",
            help="Configuration file, for `retraining.keep` and the root; only runs of its pipeline are pruned. "
            "Default: of every pipeline under --root, by the configuration of its newest run.",
            show_default=False,
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Root of the runs. Default: runs/<name>.", show_default=False, callback=local_path),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of newest runs to keep, in place of retraining.keep.runs.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be deleted, and change nothing.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Delete the artifacts and logs of a pipeline's old runs by its `retraining.keep`. Run records are kept.

    Never deletes what a kept run or a published or withdrawn version needs, and does not run during another run.
    """
    from datetime import UTC, datetime

    from noisy_gru.pipeline.config.loading import load_config
    from noisy_gru.pipeline.runs.pruning import newest_configs, prune_as_configured
    from noisy_gru.pipeline.runs.run_directory import RunDirectory, default_root
    from noisy_gru.schema.errors import UserError

    with exit_on_error(debug):
        if config is not None:
            configs = [load_config(config)]
            directory = RunDirectory(root or default_root(configs[0]))
        elif root is not None:
            directory = RunDirectory(root)
            configs = newest_configs(directory)
        else:
            raise UserError(
                "noisy-gru runs prune: expected the configuration file, or the root of the runs with --root"
            )
        if runs is not None:
            configs = [_keeping(config, runs) for config in configs]
        done = prune_as_configured(configs, directory, now=datetime.now(UTC), dry_run=dry_run)
        if as_json:
            typer.echo(json.dumps(done.to_dict(), indent=1))
            return
        from noisy_gru.pipeline.cli.history_view import size_text

        for path in done.paths:
            typer.echo(path)
        verb = "would be freed" if dry_run else "freed"
        typer.echo(f"{len(done.runs)} runs, {len(done.paths)} files and folders, {size_text(done.bytes)} {verb}")
        if done.shared:
            typer.echo(f"kept {len(done.shared)} folders of these runs, which a kept run or a version needs")


def _keeping(config: PipelineConfig, runs: int) -> PipelineConfig:
    """Return a configuration with another ``retraining.keep.runs``."""
    keep = config.retraining.keep.model_copy(update={"runs": runs})
    return config.model_copy(update={"retraining": config.retraining.model_copy(update={"keep": keep})})
