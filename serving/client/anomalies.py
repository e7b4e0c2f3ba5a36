"""P-values of what came after a forecast, beside the model's answers: anomaly scores.

    scores = read_scores("serving/shop/1795625257")        # a published version, or its conformal_scores.json
    answers = client.predict(rows_until_now)
    …                                                       # later, when the values have come
    p = answers.p_values(scores, actual)                    # [B, H, K]

`noisy_gru.saved_model.conformal_scores` says what they are.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from noisy_gru.registry.training_record import RETRAINING, SCORES_FILE
from noisy_gru.saved_model.conformal_scores import ConformalScores
from noisy_gru.schema.config import ForecastingConfig, TaskConfig
from noisy_gru.schema.errors import ConfigError, ModelError
from noisy_gru.serving.client.prediction_columns import ACTUAL, P_VALUES


def read_scores(path: str | os.PathLike[str]) -> ConformalScores:
    """Read the scores that a published version brought along.

    Args:
        path: the version's folder, or a copy of its file `assets.extra/retraining/conformal_scores.json`.

    Raises:
        ModelError: there are none, or they can't be read.
    """
    file = Path(path)
    if file.is_dir():
        file = file / RETRAINING / SCORES_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ModelError(
            f"{file}: there is no such file, so this model has no p-values. Set task.calibration: {{anomaly_scores: "
            "true}, or task.intervals, train and publish it again"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{file}: can't be read: {error}") from error
    return ConformalScores.from_json(text)


def check_anomalies(task: TaskConfig) -> None:
    """Check that a task's answers can be compared with later rows.

    Raises:
        ConfigError: they can't.
    """
    if not isinstance(task, ForecastingConfig):
        raise ConfigError(
            f"--anomalies compares a forecast with the rows that came after it, and task.kind is {task.kind}. Of other "
            "numbers use ConformalScores.p_values (noisy_gru.saved_model.conformal_scores)"
        )


def with_p_values(
    outputs: dict[str, np.ndarray], actual: np.ndarray | None, scores: ConformalScores | None
) -> dict[str, np.ndarray]:
    """Return a forecast's outputs with `actual` and `p_values`; as they are without ``scores``.

    Raises:
        ModelError: the scores are of another model.
    """
    if scores is None or actual is None:
        return outputs
    p_values = scores.p_values(outputs, actual).astype(np.float32)
    return {**outputs, ACTUAL: actual, P_VALUES: p_values}
