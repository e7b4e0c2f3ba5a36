"""Rows to sequences, for training and for requests: reading, values, quarantine, windows, splits. No Beam.

    from noisy_gru.data import DataError, IngestionReport, PredictionInput, read_for_prediction

The names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noisy_gru.data.report.ingestion_report import IngestionReport
    from noisy_gru.data.requests.prediction_input import PredictionInput, read_for_prediction
    from noisy_gru.schema.errors import DataError
else:
    _HOMES = {
        "DataError": "schema.errors",
        "IngestionReport": "data.report.ingestion_report",
        "PredictionInput": "data.requests.prediction_input",
        "read_for_prediction": "data.requests.prediction_input",
    }

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"noisy_gru.{_HOMES[name]}"), name)


__all__ = ["DataError", "IngestionReport", "PredictionInput", "read_for_prediction"]
