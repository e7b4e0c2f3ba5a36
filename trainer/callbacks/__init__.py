"""Keras callbacks of the Trainer.

    from noisy_gru.trainer.callbacks import BestWeights, Checkpoint, HistoryFile, StddevSchedule

The names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisy_gru.schema.lazy_names import lazy_names

if TYPE_CHECKING:
    from noisy_gru.trainer.callbacks.checkpoint import BestWeights, Checkpoint
    from noisy_gru.trainer.callbacks.progress import HistoryFile
    from noisy_gru.trainer.callbacks.stddev_schedule import StddevSchedule
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "BestWeights": ".checkpoint",
            "Checkpoint": ".checkpoint",
            "HistoryFile": ".progress",
            "StddevSchedule": ".stddev_schedule",
        },
    )


__all__ = ["BestWeights", "Checkpoint", "HistoryFile", "StddevSchedule"]
