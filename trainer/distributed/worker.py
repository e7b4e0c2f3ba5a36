"""One machine of a training on several: the same command on all of them.

    python -m noisy_gru.trainer.distributed.worker FOLDER -- noisy-gru run config.yaml --root /shared/runs

The chief (worker 0) runs the command; when its Trainer has something to train, the others train along, and they end
when the command does. FOLDER is seen by all, and belongs to this run. Which machines there are is told by TF_CONFIG, as
the Training Operator sets it, or by `--hosts` and `--workers`, with the index that an indexed Job gives its pods.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.distributed.cluster import POD_INDEX, TF_CONFIG, Cluster
from noisy_gru.trainer.distributed.rendezvous import MEETING, OVER, end_meeting, follow

_CONFIG_EXIT = 2

app = typer.Typer(add_completion=False)


@app.command()
def work(
    folder: Annotated[Path, typer.Argument(help="Where the workers of this run meet; all of them see it.")],
    command: Annotated[list[str], typer.Argument(help="What the chief runs, after --.")],
    hosts: Annotated[
        str | None, typer.Option(help="host:port of a worker, with {index} in it; without: TF_CONFIG says it.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="How many there are, with --hosts.")] = None,
    index: Annotated[int | None, typer.Option(envvar=POD_INDEX, min=0, help="Of this one, with --hosts.")] = None,
) -> None:
    """Run the command on worker 0, and train along with it on the others."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        cluster = _cluster(hosts, workers, index)
        code = _lead(folder, cluster, command) if cluster is None or cluster.is_chief else _follow(folder, cluster)
    except ConfigError as error:
        typer.echo(str(error), err=True)
        code = _CONFIG_EXIT
    raise typer.Exit(code)


def _cluster(hosts: str | None, workers: int | None, index: int | None) -> Cluster | None:
    if hosts is None and workers is None:
        return Cluster.of_environment(os.environ)
    if hosts is None or workers is None or index is None:
        raise ConfigError(
            f"--hosts, --workers and --index (or {POD_INDEX}) belong together. "
            f"Received: --hosts {hosts} --workers {workers} --index {index}"
        )
    return Cluster.of_pods(hosts, workers=workers, index=index) if workers > 1 else None


def _lead(folder: Path, cluster: Cluster | None, command: list[str]) -> int:
    """Run the command, which trains with those who wait in the folder."""
    environment = dict(os.environ)
    if cluster is not None:
        environment[TF_CONFIG] = cluster.tf_config()
        environment[MEETING] = str(folder.absolute())
        # The training is a process of its own, which needs the GPUs that this one would take for itself.
        environment.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        # Of an earlier try of this pod.
        (folder / OVER).unlink(missing_ok=True)
    code = subprocess.run(command, env=environment, check=False).returncode
    # As a shell tells of a signal.
    code = code if code >= 0 else 128 - code
    if cluster is not None:
        end_meeting(folder, code)
    return code


def _follow(folder: Path, cluster: Cluster) -> int:
    return follow(folder.absolute(), cluster, os.environ)


if __name__ == "__main__":
    app()
