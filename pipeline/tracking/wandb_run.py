"""A run of the pipeline as a run of Weights & Biases: settings, metrics by epoch, results and report.

A run that is logged again is the same run there, by its id.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import defaultdict
from typing import Any

from noisy_gru.pipeline.config.tracking_config import WandbConfig
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord
from noisy_gru.pipeline.tracking.run_values import history_of, results_of, settings_of
from noisy_gru.schema.errors import UserError

FOLDER = "wandb"
_KEY = "WANDB_API_KEY"
_FAILED = 1
# By default the client waits for minutes.
_SECONDS = 30.0


def log_wandb_run(config: WandbConfig, record: RunRecord, directory: RunDirectory) -> None:
    """Log a run that has ended.

    Args:
        config: where to.
        record: of the run.
        directory: root of the run; its folder `wandb` holds what is not sent yet.

    Raises:
        UserError: there is no key, or the server can't be reached or refused.
    """
    if config.mode == "online" and not os.environ.get(_KEY):
        raise UserError(f"tracking.wandb: expected the API key in the environment variable {_KEY}, which is not set")
    import wandb  # pyright: ignore[reportMissingImports]

    number = re.sub(r"[^A-Za-z0-9_-]", "-", record.run_id)
    for before in (directory.root / FOLDER).glob(f"offline-run-*-{number}"):
        shutil.rmtree(before)
    # What the client would find out about this process and its folder is not about the run.
    settings = wandb.Settings(
        console="off", silent=True, disable_git=True, disable_code=True, save_code=False, init_timeout=_SECONDS,
        x_disable_stats=True, x_disable_meta=True,
    )  # fmt: skip
    try:
        run = wandb.init(
            project=config.project,
            entity=config.entity,
            mode=config.mode,
            dir=str(directory.root),
            id=number,
            name=record.run_id,
            resume="allow" if config.mode == "online" else None,
            config=dict(settings_of(record.config)),
            tags=[record.status],
            settings=settings,
        )
        _log(run, record, directory)
    except (wandb.Error, OSError) as error:
        raise UserError(f"tracking.wandb: {type(error).__name__}: {error}") from error


def _log(run: Any, record: RunRecord, directory: RunDirectory) -> None:
    import wandb  # pyright: ignore[reportMissingImports]

    epochs: dict[int, dict[str, float]] = defaultdict(dict)
    for name, value, epoch in history_of(record, directory):
        epochs[epoch][name] = value
    for epoch in sorted(epochs):
        run.log({"epoch": epoch, **epochs[epoch]}, step=epoch)
    results: dict[str, Any] = {"status": record.status, **results_of(record)}
    run.summary.update({**results, **({} if record.version is None else {"version": record.version})})
    report = directory.report_file(record.run_id)
    if report.is_file():
        run.log({"report": wandb.Html(report.read_text(encoding="utf-8"), inject=False)})
    run.finish(exit_code=0 if record.status in ("succeeded", "refused") else _FAILED)
