"""The constant forecasts, from statistics that TFDV made of known numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noisy_gru.components.evaluation.constant_baselines import train_constants
from noisy_gru.schema.config import ForecastingConfig, RegressionConfig

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def statistics(folder: Path, **columns: Any) -> Path:
    import tensorflow_data_validation as tfdv

    library: Any = tfdv
    file = folder / "FeatureStats.pb"
    file.write_bytes(
        library.generate_statistics_from_dataframe(pd.DataFrame(columns), n_jobs=1).SerializeToString(
            deterministic=True
        )
    )
    return file


def test_mean_and_median_of_the_numbers(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    outcome = random.exponential(3.0, 501).astype("float32")
    gappy = np.where(random.random(501) < 0.3, np.nan, outcome)
    file = statistics(tmp_path, outcome=outcome, **{"target/load": gappy})
    mean, median = train_constants(file, RegressionConfig(kind="regression", label="outcome"))["outcome"]
    assert mean == pytest.approx(outcome.mean(dtype=float))
    # Of a quantile sketch.
    assert median == pytest.approx(np.median(outcome), rel=0.02)
    mean, median = train_constants(file, ForecastingConfig(kind="forecasting", targets=["load"], **ROOM))["load"]
    assert mean == pytest.approx(np.nanmean(gappy))
    assert median == pytest.approx(np.nanmedian(gappy), rel=0.02)


def test_a_target_without_numbers_has_no_constants(tmp_path: Path) -> None:
    file = statistics(tmp_path, **{"target/load": np.full(9, np.nan), "target/heat": np.arange(9.0)})
    assert train_constants(file, ForecastingConfig(kind="forecasting", targets=["heat", "load"], **ROOM)) == {}
    assert train_constants(file, RegressionConfig(kind="regression", label="outcome")) == {}


ROOM: Any = {"input_length": 4, "horizons": [1]}
