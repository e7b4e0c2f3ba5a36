"""Which splits a configuration gives: train and test always, eval not necessarily."""

from __future__ import annotations

from noisy_gru.schema.config import (
    ColumnSplitConfig,
    DatasetConfig,
    EntitySplitConfig,
    FileSplitConfig,
    TimeSplitConfig,
)


def has_eval_split(dataset: DatasetConfig) -> bool:
    """Whether the configuration sets something apart to stop the training by."""
    splits = dataset.splits
    if isinstance(splits, FileSplitConfig):
        return splits.eval_from_train > 0 or (isinstance(dataset.data.files, dict) and "eval" in dataset.data.files)
    if isinstance(splits, ColumnSplitConfig):
        return splits.eval_from_train > 0 or bool(splits.values.get("eval"))
    if isinstance(splits, EntitySplitConfig):
        return splits.eval > 0
    return not isinstance(splits, TimeSplitConfig) or splits.eval != 0
