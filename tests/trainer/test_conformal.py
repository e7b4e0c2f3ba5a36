"""Split conformal calibration against its definition, its promise, and what it needs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from noisy_gru.schema.config import ForecastingConfig, RegressionConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.trainer.conformal import Calibration, Plan, calibrate, check_targets, coverage_of, fewest, offsets_of

NAN = float("nan")


def ranked(scores: list[float], coverage: float) -> float:
    """The definition: the ceil((n + 1) c)-th smallest, by decimals as people write them."""
    known = sorted(score for score in scores if not math.isnan(score))
    return known[math.ceil(round((len(known) + 1) * coverage, 9)) - 1]


@given(st.data())
def test_offsets_of_a_prediction_are_ranked_absolute_errors(data: st.DataObject) -> None:
    count = data.draw(st.integers(19, 60))
    number = st.floats(-1e3, 1e3, width=32)
    truth = np.array(data.draw(st.lists(number | st.just(NAN), min_size=count, max_size=count)))
    # The 19 that 0.95 needs.
    truth[:19] = np.nan_to_num(truth[:19])
    predicted = np.array(data.draw(st.lists(number, min_size=count, max_size=count)))
    plan = Plan([0.025, 0.05, 0.5, 0.95, 0.975], is_trained=False)
    offsets = offsets_of(predicted[:, None], truth[:, None], plan)
    errors = [abs(y - f) for y, f in zip(truth, predicted, strict=True)]
    assert_allclose(
        offsets[0], [-ranked(errors, c) for c in (0.95, 0.9)] + [0] + [ranked(errors, c) for c in (0.9, 0.95)]
    )


def test_offsets_of_trained_quantiles_are_each_horizons_and_targets_own() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=(40, 3, 2)) * [1.0, 5.0]
    truth[random.random(truth.shape) < 0.1] = NAN
    predicted = np.sort(random.normal(size=(40, 3, 2, 4)), axis=-1)
    offsets = offsets_of(predicted, truth, Plan([0.1, 0.5, 0.8, 0.9], is_trained=True))
    assert offsets.shape == (3, 2, 4) and (offsets[..., 1] == 0).all()
    for horizon in range(3):
        for target in range(2):
            y, q = truth[:, horizon, target], predicted[:, horizon, target]
            pair = ranked([max(a - c, c - b) for a, b, c in zip(q[:, 0], q[:, 3], y, strict=True)], 0.8)
            alone = ranked((y - q[:, 2]).tolist(), 0.8)
            assert_allclose(offsets[horizon, target], [-pair, 0, alone, pair])


def test_a_scale_of_each_window_makes_offsets_parts_of_it() -> None:
    random = np.random.default_rng(1)
    scale = 10.0 ** random.integers(-3, 4, (200, 1, 1))
    truth = random.normal(size=(200, 2, 1)) * scale
    plan = Plan([0.05, 0.5, 0.95], is_trained=False)
    offsets = offsets_of(np.zeros_like(truth), truth, plan, scale)
    assert_allclose(offsets, offsets_of(np.zeros_like(truth), truth / scale, plan))
    assert 1.3 < offsets[..., 2].min() < offsets[..., 2].max() < 2.1


@pytest.mark.parametrize("trained", [False, True])
def test_new_targets_are_covered_as_often_as_promised(trained: bool) -> None:
    """Over many eval splits of 39, an interval of 0.9 covers (n + 1) c rounded up / (n + 1) = 0.9 of new targets."""
    random = np.random.default_rng(2)
    truth = random.gumbel(size=(4000, 40, 1))
    # Quantiles of another law than the truth's, which are narrower.
    predicted = np.zeros((4000, 40, 1)) if not trained else np.broadcast_to([-1.0, 0.2, 1.1], (4000, 40, 1, 3))
    plan = Plan([0.05, 0.5, 0.95], is_trained=trained)
    hits = []
    for number in range(4000):
        offset = offsets_of(predicted[number, :39], truth[number, :39], plan)
        last = predicted[number, 39] if trained else predicted[number, 39][..., None]
        lower, upper = (last + offset)[0, [0, 2]]
        hits.append(lower <= truth[number, 39, 0] <= upper)
    assert abs(np.mean(hits) - 0.9) < 4 * math.sqrt(0.09 / 4000)


def test_how_many_it_takes() -> None:
    assert [fewest(c) for c in (0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 4, 9, 19, 99]
    one = np.arange(9.0)[:, None]
    plan = Plan([0.05, 0.5, 0.95], is_trained=False)
    assert offsets_of(np.zeros_like(one), one, plan).tolist() == [[-8, 0, 8]]
    with pytest.raises(ValueError, match=r"a coverage of 0\.9 needs 9 scores, received 8"):
        offsets_of(np.zeros((8, 1)), one[:8], plan)


FORECAST = {"kind": "forecasting", "targets": ["a", "b"], "input_length": 3, "horizons": [1, 6]}


def test_too_few_known_targets_are_named_before_the_training() -> None:
    task = ForecastingConfig.model_validate({**FORECAST, "intervals": [0.9, 0.95]})
    targets = np.zeros((25, 4))
    check_targets(task, targets)
    targets[:7, 2] = NAN
    with pytest.raises(DataError, match=r"covers 0\.95 .* at least 19 known .* which has 18 of a at horizon 6"):
        check_targets(task, targets)
    number = RegressionConfig.model_validate({"kind": "regression", "label": "y", "quantiles": [0.5, 0.99]})
    with pytest.raises(DataError, match=r"covers 0\.99 .* which has 25\. Enlarge"):
        check_targets(number, np.zeros((25, 1)))


def test_what_is_written_is_read_again() -> None:
    random = np.random.default_rng(3)
    task = ForecastingConfig.model_validate({**FORECAST, "quantiles": [0.1, 0.5, 0.9]})
    truth, predicted = random.normal(size=(50, 2, 2)), np.sort(random.normal(size=(50, 2, 2, 3)), axis=-1)
    found = calibrate(predicted, truth, task, [2.0, 3.0], np.full((50, 2), 0.5))
    assert found == Calibration.from_json(found.to_json())
    assert (found.units, found.scale, found.sequences) == ("window", {"a": 2.0, "b": 3.0}, 50)
    inside = ((truth >= predicted[..., 0]) & (truth <= predicted[..., 2])).mean()
    assert found.coverage_before == {"0.8": pytest.approx(inside)}
    assert coverage_of(truth, truth, Plan([0.1, 0.5, 0.9], is_trained=False)) == {}
    with pytest.raises(ValueError, match="expected the format 1 of a calibration, received 2"):
        Calibration.from_json(found.to_json().replace('"format": 1', '"format": 2'))
