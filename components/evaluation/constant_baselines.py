"""Constant baselines: mean and median of each label or target over the train split.

    >>> train_constants(Path("…/Split-train/FeatureStats.pb"), dataset.task)  # doctest: +SKIP
    {'temp': (55.2, 55.4)}

Both are StatisticsGen's: the mean is exact, the median that of its quantile sketch. A target's are over all its
horizons.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig, TaskConfig
from noisy_gru.schema.task_config import targets_of

TRAIN_STATISTICS = "Split-train/FeatureStats.pb"


def train_constants(file: Path, task: TaskConfig) -> dict[str, tuple[float, float]]:
    """Return mean and median by name of the label or target; empty for a classification, or if one has no numbers.

    Args:
        file: a serialized DatasetFeatureStatisticsList of the train split.
        task: of the data set.
    """
    from tensorflow_metadata.proto.v0 import statistics_pb2

    if isinstance(task, ClassificationConfig):
        return {}
    proto: Any = statistics_pb2
    statistics = proto.DatasetFeatureStatisticsList.FromString(file.read_bytes())
    found = {
        ".".join(feature.path.step): (feature.num_stats.mean, feature.num_stats.median)
        for dataset in statistics.datasets
        for feature in dataset.features
        if feature.HasField("num_stats") and _has_numbers(feature.num_stats)
    }
    if isinstance(task, ForecastingConfig):
        keys = {target: f"target/{target}" for target in task.targets}
    else:
        keys = {name: name for name in targets_of(task)}
    return {name: found[key] for name, key in keys.items()} if all(key in found for key in keys.values()) else {}


def _has_numbers(statistics: Any) -> bool:
    """Return whether a ``NumericStatistics`` counted a value that is not NaN; only its histograms know of NaN."""
    missing = max((histogram.num_nan for histogram in statistics.histograms), default=0)
    return statistics.common_stats.tot_num_values > missing
