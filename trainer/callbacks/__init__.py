"""Keras callbacks of the Trainer.

    from noisy_gru.trainer.callbacks import BestWeights, Checkpoint, HistoryFile, StddevSchedule

The names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noisy_gru.trainer.callbacks.checkpoint import BestWeights, Checkpoint
    from noisy_gru.trainer.callbacks.progress import HistoryFile
    from noisy_gru.trainer.callbacks.stddev_schedule import StddevSchedule
else:
    _HOMES = {
        "BestWeights": "checkpoint",
        "Checkpoint": "checkpoint",
        "HistoryFile": "progress",
        "StddevSchedule": "stddev_schedule",
    }

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = ["BestWeights", "Checkpoint", "HistoryFile", "StddevSchedule"]
