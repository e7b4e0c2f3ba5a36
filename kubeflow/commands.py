"""``noisy-gru kubeflow``: compile the pipeline for Kubeflow Pipelines, and try the compiled file without a cluster.

Found by the command line through the entry-point group `noisy_gru.commands`. Imports what it needs when it runs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from noisy_gru.compat.extras import require
from noisy_gru.kubeflow.cluster.cluster_commands import schedule, status, submit
from noisy_gru.pipeline.cli.options import ConfigArgument, DebugOption, SetOption, exit_on_error
from noisy_gru.pipeline.exit_codes import EXIT_FAILED

app = typer.Typer(help="The same pipeline on Kubeflow Pipelines v2.", no_args_is_help=True, rich_markup_mode=None)
app.command()(submit)
app.command()(schedule)
app.command()(status)


@app.command("compile")
def compile_(
    config: ConfigArgument,
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write; must end in .yaml.")] = Path("pipeline.yaml"),
    image: Annotated[
        str | None, typer.Option(help="Image of all steps. Default: kubeflow.image of CONFIG.", show_default=False)
    ] = None,
    set_: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Write the pipeline as a file for Kubeflow Pipelines v2, or for Vertex AI (kubeflow.platform). Sends nothing.

    Data, serving directory, span, steps and image are parameters of the pipeline, with defaults from CONFIG.
    """
    from noisy_gru.pipeline.config.loading import load_config
    from noisy_gru.pipeline.runs.output_redirection import output_to
    from noisy_gru.schema.errors import ConfigError

    with exit_on_error(debug):
        require("kfp", "noisy-gru kubeflow")
        if out.suffix != ".yaml":
            raise ConfigError(f"--out: expected a name that ends in .yaml, because KFP takes no other. Received: {out}")
        loaded = load_config(config, set_ or [])
        from noisy_gru.pipeline.config.checks import check_config

        check_config(loaded, files=False)
        # TensorFlow logs when it is imported; keep that off the terminal.
        with tempfile.TemporaryDirectory() as folder, output_to(Path(folder) / "log"):
            from noisy_gru.kubeflow.compiler.compile import compile_config

            text = compile_config(loaded, image=image)
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--out: {out} can't be written: {error.strerror}") from error
    typer.echo(f"written: {out}")


@app.command("dry-run")
def dry_run(
    pipeline: Annotated[Path, typer.Argument(metavar="PIPELINE.yaml", help="The compiled file.", show_default=False)],
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A parameter of the pipeline. Can be given again.", show_default=False),
    ] = None,
    root: Annotated[
        Path, typer.Option(help="Where artifacts, logs and the record go; later runs find the artifacts again.")
    ] = Path("runs/kubeflow-dry-run"),
    jobs: Annotated[int, typer.Option(min=1, help="How many steps may run at once.")] = 1,
    kfp_version: Annotated[
        str, typer.Option(help="Release of Kubeflow Pipelines to emulate: 2.5, 2.15 or 2.17.")
    ] = "2.15",
    debug: DebugOption = False,
) -> None:
    """Run a compiled pipeline on this machine as Kubeflow Pipelines' launcher would, each step in a process of its own.

    There are no volumes, secrets, images or limits, and retries don't wait: the differences from a cluster are listed.
    """
    with exit_on_error(debug):
        require("kfp", "noisy-gru kubeflow")
        from noisy_gru.kubeflow.compiled_pipeline import parse_assignments
        from noisy_gru.kubeflow.emulator.running import emulate

        record = emulate(
            pipeline, root, parse_assignments(parameter or []), version=kfp_version, jobs=jobs, write_line=typer.echo
        )
    if record.status != "succeeded":
        raise typer.Exit(EXIT_FAILED)
