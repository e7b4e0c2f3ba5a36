"""The adding problem as Hochreiter and Schmidhuber (1997) pose it, and what is read of its noise report."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from benchmarks.adding_problem import CONFIG, VARIANCE, adding_rows, squared_errors
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig


def test_the_target_is_the_sum_of_two_marked_values_one_in_each_half():
    rows = adding_rows(2000, steps=20, seed=3)
    assert len(rows) == 2000 * 20
    marked = rows[rows["mark"] == 1].groupby("sequence")
    assert (marked.size() == 2).all()
    assert (marked["step"].min() < 10).all() and (marked["step"].max() >= 10).all()
    totals = rows.groupby("sequence")["total"]
    assert (totals.nunique() == 1).all()
    np.testing.assert_allclose(totals.first(), marked["value"].sum(), atol=2e-6)
    # 4 standard errors of a variance of 2000 draws.
    assert abs(totals.first().var() - VARIANCE) < 4 * VARIANCE * (2 / 2000) ** 0.5
    assert rows.equals(adding_rows(2000, steps=20, seed=3))
    assert not rows.equals(adding_rows(2000, steps=20, seed=4))


def test_its_configuration_is_valid():
    assert PipelineConfig.model_validate(yaml.safe_load(CONFIG)).task.kind == "regression"


def test_squared_errors_are_in_units_of_the_target():
    scales = [
        {"name": "x0", "measures": {"loss": {"mean": 0.06, "against_none": None}}},
        {"name": "x10", "measures": {"loss": {"mean": 0.12, "against_none": {"mean": 0.06, "low": None, "high": 0.3}}}},
    ]
    found = squared_errors({"scales": scales})
    assert found["x0"] == {"mse": pytest.approx(0.01), "against_none": None}
    assert found["x10"]["mse"] == pytest.approx(0.02)
    assert found["x10"]["against_none"] == {"mean": pytest.approx(0.01), "low": None, "high": pytest.approx(0.05)}
