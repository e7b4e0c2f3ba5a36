"""Entry point of multi-worker training: run the same command on every machine.

    python -m noisy_gru.trainer.distributed.worker FOLDER -- noisy-gru run config.yaml --root /shared/runs

The chief (worker 0) runs the command; whenever its Trainer trains, the other workers train with it, and they exit when
the command does. FOLDER is shared by all workers and belongs to this run. The cluster comes from TF_CONFIG, as the
Training Operator sets it, or from `--hosts` and `--workers` with the pod index of an indexed Job.
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
from noisy_gru.trainer.distributed.rendezvous import END, RENDEZVOUS, announce_end, run_worker

_CONFIG_EXIT = 2

app = typer.Typer(add_completion=False)


@app.command()
def work(
    folder: Annotated[Path, typer.Argument(help="Rendezvous folder of this run, shared by all workers.")],
    command: Annotated[list[str], typer.Argument(help="Command that the chief runs, after --.")],
    hosts: Annotated[
        str | None, typer.Option(help="host:port of a worker, with {index} in it; default: the cluster of TF_CONFIG.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Number of workers, with --hosts.")] = None,
    index: Annotated[int | None, typer.Option(envvar=POD_INDEX, min=0, help="Its index, with --hosts.")] = None,
) -> None:
    """Run COMMAND on worker 0, and train with it on the others."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        cluster = _cluster(hosts, workers, index)
        if cluster is None or cluster.is_chief:
            code = _run_command(folder, cluster, command)
        else:
            code = run_worker(folder.absolute(), cluster, os.environ)
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


def _run_command(folder: Path, cluster: Cluster | None, command: list[str]) -> int:
    """Run the command of the chief, which trains with the workers that wait in the folder."""
    environment = dict(os.environ)
    if cluster is not None:
        environment[TF_CONFIG] = cluster.tf_config()
        environment[RENDEZVOUS] = str(folder.absolute())
        # The training process needs the GPU memory that the command's own process would otherwise allocate.
        environment.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        # Left by an earlier attempt of this pod.
        (folder / END).unlink(missing_ok=True)
    code = subprocess.run(command, env=environment, check=False).returncode
    # A shell's exit code for a signal.
    code = code if code >= 0 else 128 - code
    if cluster is not None:
        announce_end(folder, code)
    return code


if __name__ == "__main__":
    app()
