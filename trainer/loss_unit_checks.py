"""Which forecasts have the units that `training.loss_units` measures errors in."""

from __future__ import annotations

from noisy_gru.schema.config import DatasetConfig, ForecastingConfig
from noisy_gru.trainer.training_config import TrainingConfig


def loss_unit_problems(training: TrainingConfig, dataset: DatasetConfig) -> list[str]:
    """Return messages about units of the loss that the task or its windows don't have; empty if none."""
    units, task = training.unit_weights, dataset.task
    if units is None:
        return []
    if not isinstance(task, ForecastingConfig):
        return [f"training.loss_units needs task.kind: forecasting, received {task.kind}; leave it out"]
    key = "training.loss_units.value"
    logged = [each.name for each in dataset.data.numeric if each.scale == "log1p" and each.name in task.targets]
    if units.value and logged:
        return [
            f"{key} measures errors as parts of the values, and those of {', '.join(logged)} are logarithms (scale: "
            "log1p), whose errors are parts already; leave one of them out"
        ]
    if units.value and getattr(task, "distribution", None) is not None:
        return [f"{key} has no form for the likelihood of task.distribution; leave one of them out"]
    if not units.season:
        return []
    key = "training.loss_units.season"
    inputs = {feature.name for feature in dataset.data.numeric}
    if unread := ", ".join(name for name in task.targets if name not in inputs):
        return [
            f"{key} compares the past of each target, but {unread} is not a numeric feature; add it to data.features, "
            "or leave the weight out"
        ]
    if task.season_length is None:
        return [
            f"{key} measures errors in differences over a season, and there is none; give task.season_length (24 for "
            "hours of days), or leave the weight out"
        ]
    if task.input_length <= task.season_length:
        return [
            f"{key} measures errors in differences over a season of {task.season_length} steps, and a window has "
            f"task.input_length: {task.input_length}; make it longer, or leave the weight out"
        ]
    return []
