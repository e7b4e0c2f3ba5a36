"""Coverage, width, MSIS, quantile loss and CRPS against loops over their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from noisy_gru.components.evaluation.accumulators import accumulator
from noisy_gru.components.evaluation.config import EvaluationConfig
from noisy_gru.components.evaluation.interval_metrics import crps_of, level_weights
from noisy_gru.components.evaluation.metric_catalogue import check_evaluation, is_comparable, known_metrics
from noisy_gru.components.evaluation.resampled_metrics import resampled_metric
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError

LEVELS = [0.05, 0.2, 0.5, 0.8, 0.95]
SEASON = 3
NAN = float("nan")


def dataset(**task: Any) -> DatasetConfig:
    forecast = {
        "kind": "forecasting",
        "targets": ["a", "b"],
        "input_length": 7,
        "horizons": [1, 4],
        "quantiles": LEVELS,
    }
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a", "b"]}
    return DatasetConfig.model_validate({"data": data, "task": {**forecast, "season_length": SEASON, **task}})


def windows(count: int = 30) -> list[tuple[np.ndarray, dict[str, Any], dict[str, Any]]]:
    random = np.random.default_rng(0)
    found = []
    for number in range(count):
        label = random.normal(size=(2, 2)) * [1, 20]
        label[random.random(label.shape) < 0.2] = NAN
        quantiles = np.sort(random.normal(size=(2, 2, 5)) * [[1], [20]], axis=-1).astype(np.float32)
        past = {f"past/{name}": random.normal(size=7) * size for name, size in (("a", 1), ("b", 20))}
        past["past/a"][random.random(7) < 0.2] = NAN
        if number == 0:
            past["past/b"][:] = 4.0  # nothing to scale by
        naive = {f"naive_{kind}/{name}": np.zeros(2) for kind in ("last", "seasonal") for name in "ab"}
        found.append((label, {"predictions": quantiles[..., 2], "quantiles": quantiles}, past | naive))
    return found


def oracle(rows: Any, cells: list[tuple[int, int]]) -> dict[str, float]:
    covered, widths, scores = {0.9: [], 0.6: []}, {0.9: [], 0.6: []}, {0.9: [], 0.6: []}
    by_level: list[list[float]] = [[] for _ in LEVELS]
    magnitudes = []
    for label, outputs, features in rows:
        for h, k in cells:
            y = label[h, k]
            if np.isnan(y):
                continue
            q = outputs["quantiles"][h, k].astype(float)
            magnitudes.append(abs(y))
            for place, level in enumerate(LEVELS):
                by_level[place].append(2 * (y - q[place]) * (level - (1 if y < q[place] else 0)))
            past = features[f"past/{'ab'[k]}"]
            steps = [abs(past[t] - past[t - SEASON]) for t in range(SEASON, 7)]
            scale = np.mean([step for step in steps if not np.isnan(step)])
            for share, low, high in ((0.9, q[0], q[4]), (0.6, q[1], q[3])):
                covered[share].append(low <= y <= high)
                widths[share].append(high - low)
                penalty = max(low - y, 0) + max(y - high, 0)
                if scale > 0:
                    scores[share].append((high - low + 2 / (1 - share) * penalty) / scale)
    found = {f"coverage_{share:g}": np.mean(values) for share, values in covered.items()}
    found |= {f"interval_width_{share:g}": np.mean(values) for share, values in widths.items()}
    found |= {f"msis_{share:g}": np.mean(values) for share, values in scores.items()}
    found["weighted_quantile_loss"] = np.mean([sum(each) / sum(magnitudes) for each in by_level])
    # The integral over the levels by their cells: 0 to 0.125, to 0.35, to 0.65, to 0.875, to 1.
    edges = [0, 0.125, 0.35, 0.65, 0.875, 1]
    found["crps"] = sum(np.mean(each) * (b - a) for each, a, b in zip(by_level, edges[:-1], edges[1:], strict=True))
    return {name: float(value) for name, value in found.items()}


def test_forecasts() -> None:
    data, rows = dataset(), windows()
    task = accumulator(data.task)
    parts = [task.one(*row) for row in rows]
    # In any grouping.
    merged = task.merge([task.merge(parts[:7]), parts[7], task.merge(parts[8:])])
    found = task.metrics(merged)
    names = known_metrics(data)
    assert set(names) <= set(found)
    for suffix, cells in (
        ("", [(h, k) for h in range(2) for k in range(2)]),
        ("/b", [(0, 1), (1, 1)]),
        ("/a@4", [(1, 0)]),
    ):
        for name, value in oracle(rows, cells).items():
            assert found[f"{name}{suffix}"] == pytest.approx(value, rel=1e-9), f"{name}{suffix}"
            assert (f"{name}{suffix}" in names) == ("@" not in suffix or name.startswith("coverage_"))


def test_regression() -> None:
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a"]}
    of = DatasetConfig.model_validate({"data": data, "task": {"kind": "regression", "label": "y", "intervals": [0.8]}})
    task = accumulator(of.task)
    random = np.random.default_rng(1)
    labels, quantiles = random.normal(size=50), np.sort(random.normal(size=(50, 1, 3)), axis=-1)
    parts = [
        task.one(float(y), {"predictions": q[:, 1], "quantiles": q}, {}) for y, q in zip(labels, quantiles, strict=True)
    ]
    found = task.metrics(task.merge(parts))
    inside = (labels >= quantiles[:, 0, 0]) & (labels <= quantiles[:, 0, 2])
    assert found["coverage_0.8"] == pytest.approx(inside.mean())
    assert found["interval_width_0.8"] == pytest.approx((quantiles[:, 0, 2] - quantiles[:, 0, 0]).mean())
    assert found["mae"] == pytest.approx(np.abs(labels - quantiles[:, 0, 1]).mean())
    assert set(known_metrics(of)) == {name for name in found if not name.startswith("msis")}


def test_a_model_without_quantiles_has_no_such_number() -> None:
    task = accumulator(dataset().task)
    rows = [(label, {"predictions": outputs["predictions"]}, beside) for label, outputs, beside in windows(5)]
    found = task.metrics(task.merge([task.one(*row) for row in rows]))
    assert np.isnan([found[name] for name in ("coverage_0.9", "msis_0.9", "crps", "weighted_quantile_loss")]).all()
    assert np.isfinite(found["mae"])


def test_crps_of_no_spread_is_the_absolute_error_and_of_a_law_its_integral() -> None:
    label = np.array([1.0, -2.0])
    assert_allclose(crps_of(label, np.zeros((2, 5)), LEVELS), [1, 2])
    # The standard normal at 0: 2 phi(0) - 1 / sqrt(pi) = 0.2337 (Gneiting and Raftery 2007).
    from scipy.stats import norm

    levels = (np.arange(999) + 1) / 1000
    scores = crps_of(np.zeros(1), norm.ppf(levels)[np.newaxis], levels.tolist())
    assert scores[0] == pytest.approx(0.2337, abs=2e-4)
    assert level_weights([0.1, 0.5, 0.9]).tolist() == pytest.approx([0.3, 0.4, 0.3])


def test_which_may_be_asked_for() -> None:
    thresholds = {"coverage_0.9": {"min": 0.87, "max": 0.93}, "msis_0.6/b": {"max": 9}, "crps": {"max": 1}}
    check_evaluation(
        dataset(), EvaluationConfig.model_validate({"thresholds": thresholds, "compare": {"metric": "crps"}})
    )
    for wrong in ("coverage_0.95", "coverage"):
        with pytest.raises(ConfigError, match=f"has no metric {wrong}"):
            check_evaluation(dataset(), EvaluationConfig.model_validate({"thresholds": {wrong: {"min": 0.9}}}))
    with pytest.raises(ConfigError, match=r"can't be compared by coverage_0\.9"):
        check_evaluation(dataset(), EvaluationConfig.model_validate({"compare": {"metric": "coverage_0.9"}}))
    assert is_comparable("crps/a") and not is_comparable("weighted_quantile_loss")
    # Without a past as long as a season there is nothing to scale by.
    assert not any(name.startswith("msis") for name in known_metrics(dataset(season_length=7)))
    assert "crps" not in known_metrics(dataset(quantiles=None))
    many = known_metrics(dataset(horizons=list(range(1, 50))))
    assert "coverage_0.9/a" in many and "coverage_0.9/a@1" not in many


def test_two_models_are_compared_by_crps() -> None:
    label = np.array([[0.0, 1, 2, NAN]])
    answers = {"label": label, "candidate": label, "candidate_crps": np.array([[1.0, 2, 3, NAN]])}
    found = resampled_metric("crps/b", dataset().task, [])
    assert found.columns(answers, "candidate").tolist() == [[2, 1]]
    whole = resampled_metric("crps", dataset().task, [])
    assert whole.columns(answers, "candidate").tolist() == [[6, 3]]
