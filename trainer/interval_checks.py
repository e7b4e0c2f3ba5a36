"""Which trainings fit quantiles and intervals."""

from __future__ import annotations

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.interval_config import is_calibrated, is_scored
from noisy_gru.trainer.training_config import TrainingConfig


def interval_problems(training: TrainingConfig, dataset: DatasetConfig) -> list[str]:
    """Return messages about quantiles and intervals that the training or the splits don't allow; empty if none."""
    task = dataset.task
    problems = []
    quantiles = getattr(task, "quantiles", None)
    loss = "the likelihood" if getattr(task, "distribution", None) is not None else "the pinball loss"
    if quantiles is not None and training.loss != "auto":
        problems.append(
            f"task.quantiles are trained with {loss}, and training.loss is {training.loss}; leave "
            "training.loss out, or ask for task.intervals around the prediction of that loss"
        )
    if is_calibrated(task) and not dataset.has_eval_split:
        key, remedy = "task.intervals", "leave task.intervals out, or train task.quantiles without a calibration"
        if quantiles is not None:
            key, remedy = "task.quantiles", "set task.calibration: {method: none}"
        problems.append(
            f"{key} are calibrated on the eval split, and there is none: give splits.eval (or eval_from_train) a "
            f"share, or {remedy}"
        )
    elif is_scored(task) and not dataset.has_eval_split:
        problems.append(
            "task.calibration.anomaly_scores are measured on the eval split, and there is none: give splits.eval (or "
            "eval_from_train) a share, or leave them out"
        )
    return problems
