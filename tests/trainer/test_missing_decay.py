"""`model.missing: decay` in the model: its time, its padding, and that answers don't depend on the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.trainer.export.serving_stack import serving_function
from noisy_gru.trainer.features import FEATURES, LENGTH, Layout
from noisy_gru.trainer.model import MISSING_DECAY, VocabularySizes, build_model, inference_weights
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.transform_record import Scale, TransformRecord

pytestmark = pytest.mark.slow
GAP = {"elapsed": "seconds_since_last", "name": "gap"}


def model(*features: Any, gap: Scale | None = None, for_serving: bool = False, **config: Any) -> tuple[Any, Layout]:
    named = [{"name": "a", "missing": "mask"}, "b", *features]
    dataset = DatasetConfig.model_validate(
        {
            "data": {
                "files": ["*.csv"],
                "entity": "id",
                "time": {"column": "t", "kind": "timestamp"},
                "features": named,
            },
            "task": {"kind": "classification", "label": "y"},
        }
    )
    layout = Layout(dataset)
    scale = gap or Scale(0.0, 1.0, 0.0)
    record = TransformRecord({feature.name: scale for feature in layout.numeric}, {}, [], {})
    made = ModelConfig.model_validate({"layers": [{"units": 3}, {"units": 2}], "missing": "decay", **config})
    return build_model(made, layout, VocabularySizes(3, (), record), seed=1, for_serving=for_serving), layout


def batch(layout: Layout, lengths: list[int], steps: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    values = np.full((len(lengths), steps, len(layout.channels)), np.nan, np.float32)
    for row, length in enumerate(lengths):
        values[row, :length] = random.normal(size=(length, values.shape[2]))
        values[row, :length, layout.channels.index("a is missing")] = random.random(length) < 0.5
        values[row, length:] = random.normal(size=(steps - length, values.shape[2]))
    return {FEATURES: values, LENGTH: np.array(lengths, np.int64)}


@pytest.mark.parametrize("config", [{}, {"pooling": "max", "layers": [{"units": 3, "noise": "carried"}]}])
def test_padding_and_the_batch_change_nothing(config: dict[str, Any]) -> None:
    built, layout = model(**config)
    served, _ = model(for_serving=True, **config)
    served.set_weights(inference_weights(built))
    assert serving_function(served) is None, "the loops for serving know no decay"
    whole = batch(layout, [5, 2, 0, 4], 5)
    expected = np.asarray(built(whole, training=False))
    np.testing.assert_allclose(served(whole, training=False), expected, atol=5e-6)
    longer = {**whole, FEATURES: np.concatenate([whole[FEATURES], 9 + whole[FEATURES]], axis=1)}
    np.testing.assert_allclose(built(longer, training=False), expected, atol=5e-6)
    for row in range(4):
        alone = {key: value[row : row + 1] for key, value in whole.items()}
        np.testing.assert_allclose(built(alone, training=False), expected[row : row + 1], atol=5e-6)
    # A missing value is what was seen before, not the mean: another one makes another answer.
    flag = layout.channels.index("a is missing")
    moved = {**whole, FEATURES: whole[FEATURES].copy()}
    moved[FEATURES][0, :, flag] = [0, 1, 1, 1, 1]
    before = np.asarray(built(moved, training=False))[0]
    moved[FEATURES][0, 0, 0] += 2.0
    assert np.abs(np.asarray(built(moved, training=False))[0] - before).max() > 1e-4


@pytest.mark.parametrize(
    ("feature", "scale", "values", "expected"),
    [
        # z-scored seconds, 600 on average: 300 s are half a step.
        (GAP, Scale(600.0, 200.0, 600.0), [0.0, -1.5, 3.0], [1.0, 0.5, 2.0]),
        # Regular data: the gap never varies, so its scale is 1, and each step is one step.
        (GAP, Scale(3600.0, 1.0, 3600.0), [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]),
        ({**GAP, "scale": "minmax"}, Scale(0.0, 1000.0, 250.0), [0.5, 0.25, 1.0], [2.0, 1.0, 4.0]),
        (
            {**GAP, "scale": "log1p"},
            Scale(1.0, 0.5, 1.0),
            [0.0, 2.0, -4.0],
            [1.0, np.expm1(2.0) / np.expm1(1.0), 0.0],
        ),
    ],
)
def test_the_time_is_that_of_the_feature(feature: Any, scale: Scale, values: Any, expected: Any) -> None:
    built, layout = model(feature, gap=scale)
    layer = built.get_layer(MISSING_DECAY)
    features = np.zeros((1, 3, len(layout.channels)), np.float32)
    features[0, :, layout.channels.index("gap")] = values
    found = layer._times(features, np.array([False]))
    np.testing.assert_allclose(np.asarray(found)[0, :, 0], expected, rtol=1e-6)
