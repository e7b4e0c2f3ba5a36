"""Rows to sequences, for training and for requests: reading, values, quarantine, windows, splits. No Beam.

    from noisy_gru.data import DataError, IngestionReport, PredictionInput, read_for_prediction

The names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisy_gru.schema.lazy_names import lazy_names

if TYPE_CHECKING:
    from noisy_gru.data.report.ingestion_report import IngestionReport
    from noisy_gru.data.requests.prediction_input import PredictionInput, read_for_prediction
    from noisy_gru.schema.errors import DataError
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "DataError": "..schema.errors",
            "IngestionReport": ".report.ingestion_report",
            "PredictionInput": ".requests.prediction_input",
            "read_for_prediction": ".requests.prediction_input",
        },
    )


__all__ = ["DataError", "IngestionReport", "PredictionInput", "read_for_prediction"]
