"""Report a run that has ended wherever its configuration says, in a process of its own: the run is as it was.

>>> track(config.tracking, record, directory)  # doctest: +SKIP
['tracking.mlflow: API request to … failed …']
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from noisy_gru.pipeline.config.tracking_config import TrackingConfig, check_tracking
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord
from noisy_gru.schema.errors import UserError


def track(config: TrackingConfig, record: RunRecord, directory: RunDirectory) -> list[str]:
    """Report a run to each of the places; return what went wrong, a line for each place.

    Args:
        config: the places.
        record: of the run.
        directory: root of the run.
    """
    from noisy_gru.pipeline.tracking.mlflow_run import log_run
    from noisy_gru.pipeline.tracking.prometheus_file import write_metrics
    from noisy_gru.pipeline.tracking.run_trace import send_trace
    from noisy_gru.pipeline.tracking.tensorboard_files import write_events
    from noisy_gru.pipeline.tracking.wandb_run import log_wandb_run

    check_tracking(config)
    places: list[Callable[[], object]] = []
    if (prometheus := config.prometheus) is not None:
        places.append(lambda: write_metrics(Path(prometheus.folder), directory, record.pipeline))
    if (opentelemetry := config.opentelemetry) is not None:
        places.append(lambda: send_trace(opentelemetry, record))
    if (tensorboard := config.tensorboard) is not None:
        places.append(lambda: write_events(tensorboard, record, directory))
    if (wandb := config.wandb) is not None:
        places.append(lambda: log_wandb_run(wandb, record, directory))
    if (mlflow := config.mlflow) is not None:
        places.append(lambda: log_run(mlflow, record, directory))
    problems = []
    for report in places:
        try:
            report()
        except UserError as error:
            problems.append(str(error))
    return problems
