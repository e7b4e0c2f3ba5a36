"""`scale: log1p`: features and targets of skewed amounts, against NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose

from noisy_gru.components.serving_gate.output_difference import TOLERANCE, largest_difference
from noisy_gru.saved_model.session import SessionModel
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.trainer import features as names
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.export.saved_model import load_for_parity
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.layers.log_units import FromLogarithms
from noisy_gru.trainer.model_checks import model_problems
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.module import run_fn
from noisy_gru.trainer.objective import compile_model
from noisy_gru.trainer.transform_record import read_record
from noisy_gru.trainer.warm_start.base_differences import differences

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]
NAN = float("nan")


def logarithm(values: Any) -> np.ndarray:
    given = np.asarray(values, np.float32).astype(np.float64)
    return np.sign(given) * np.log1p(np.abs(given))


def dataset(**task: Any) -> DatasetConfig:
    features = [
        {"name": "sold", "scale": "log1p"},
        {"name": "price"},
        {"name": "balance", "scale": "log1p", "missing": "mask"},
        {"name": "size", "scale": "log1p", "static": True},
    ]
    forecast = {"kind": "forecasting", "targets": ["sold", "price"], "input_length": 6, "horizons": [1, 2]}
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": features}
    return DatasetConfig.model_validate({"data": data, "task": {**forecast, **task}})


def rows(count: int, seed: int) -> list[dict[str, list[Any]]]:
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        sold = np.floor(np.exp(random.normal(4, 2) + random.normal(0, 0.3, 8))).astype(np.float32)
        price = random.normal(10, 1, 8).astype(np.float32)
        balance = (random.normal(0, 1, 6) ** 3 * 1000).astype(np.float32)
        balance[2] = NAN
        made.append(
            {
                "sold": sold[:6].tolist(),
                "price": price[:6].tolist(),
                "balance": balance.tolist(),
                "size": [float(np.float32(random.pareto(1) * 100))],
                "target/sold": sold[6:].tolist(),
                "target/price": price[6:].tolist(),
            }
        )
    return made


@pytest.fixture(scope="module")
def demand(datasets: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    given = {split: rows(count, count) for split, count in {"train": 64, "eval": 20, "test": 21}.items()}
    return datasets.run_transform(dataset(), given, tmp_path_factory.mktemp("demand"))


def transform_of(data: Any) -> Any:
    import tensorflow_transform as tft

    return tft.TFTransformOutput(data.graph)


def fitted(values: list[Any]) -> tuple[float, float]:
    known = np.concatenate([np.atleast_1d(each) for each in values])
    known = logarithm(known[np.isfinite(known)])
    return float(known.mean()), float(known.std())


def test_transform_and_its_record_are_as_in_numpy(demand: Any, encode: Any) -> None:
    transform, train = transform_of(demand), demand.rows["train"]
    centres = {name: fitted([row[name] for row in train]) for name in ("sold", "balance", "size")}
    examples = [encode(row) for row in demand.rows["test"]]
    outputs = transform.transform_features_layer()(tf.io.parse_example(examples, transform.raw_feature_spec()))
    channels = outputs[names.FEATURES].to_tensor().numpy().reshape(21, 6, 4)
    for place, name in ((0, "sold"), (2, "balance")):
        centre, scale = centres[name]
        raw = logarithm([row[name] for row in demand.rows["test"]])
        expected = (np.where(np.isnan(raw), centre, raw) - centre) / scale
        assert_allclose(channels[:, :, place], expected, atol=1e-5)
    assert channels[:, 2, 3].all() and not channels[:, 3, 3].any()
    centre, scale = centres["size"]
    static = (logarithm([row["size"] for row in demand.rows["test"]]) - centre) / scale
    assert_allclose(outputs[names.STATIC], static, atol=1e-5)

    record = read_record(transform, Layout(demand.dataset))
    for name, (centre, scale) in centres.items():
        found = record.numeric[name]
        assert_allclose([found.centre, found.scale, found.fill], [centre, scale, centre], rtol=1e-5)
    prices = np.concatenate([np.asarray(row["price"], np.float64) for row in train])
    assert_allclose(
        [record.numeric["price"].centre, record.numeric["price"].scale], [prices.mean(), prices.std()], rtol=1e-5
    )
    # The target itself is scaled as any other.
    sold = np.array([row["target/sold"] for row in train])
    assert_allclose(record.targets["sold"].scale, sold.std(), rtol=1e-5)


def trainer(**model: Any) -> TrainerConfig:
    return TrainerConfig.model_validate(
        {
            "model": {"layers": [{"units": 5}], **model},
            "training": {"epochs": 3, "learning_rate": 0.02, "loss": "mse"},
        }
    )


@pytest.mark.parametrize(
    "model", [{}, pytest.param({"window_normalization": "last", "linear_path": True}, marks=pytest.mark.long)], ids=str
)
def test_the_served_forecast_is_the_amount_of_a_forecast_logarithm(
    model: dict[str, Any], demand: Any, datasets: Any, encode: Any, tmp_path: Path
) -> None:
    data = demand
    if model:
        # Relative forecasts take no static features.
        features = [feature for feature in dataset().model_dump()["data"]["features"] if not feature["static"]]
        given = dataset().model_dump(mode="json")
        given["data"]["features"] = features
        without = DatasetConfig.model_validate({"data": given["data"], "task": given["task"]})
        kept = {
            split: [{key: value for key, value in row.items() if key != "size"} for row in made]
            for split, made in demand.rows.items()
        }
        data = datasets.run_transform(without, kept, tmp_path / "transform")
    arguments = data.fn_args(tmp_path, CustomConfig(data.dataset, trainer(**model)).to_dict())
    run_fn(arguments)
    examples = [encode(row) for row in data.rows["test"]]
    with SessionModel(arguments.serving_model_dir) as session:
        found = session.run("serving_default", {"examples": np.array(examples, object)})["predictions"]
    served = load_for_parity(arguments.serving_model_dir, data.graph)
    assert_allclose(served.from_examples(tf.constant(examples))["predictions"], found, rtol=2e-5, atol=1e-4)

    whole: Any = served.model
    before = keras.Model(whole.input, whole.get_layer("from_logarithms").input)
    transformed = served.transform_layer(tf.io.parse_example(examples, transform_of(data).raw_feature_spec()))
    inputs = names_of(served, transformed)
    forecast = np.asarray(before(inputs), np.float64)
    record = read_record(transform_of(data), Layout(data.dataset))
    own, price = record.numeric["sold"], record.targets["price"]
    value = forecast[:, :, 0] * own.scale + own.centre
    assert_allclose(found[:, :, 0], np.sign(value) * np.expm1(np.abs(value)), rtol=1e-4, atol=1e-3)
    assert_allclose(found[:, :, 1], forecast[:, :, 1] * price.scale + price.centre, rtol=1e-4)
    if model:
        # Relative to the last logarithm: a window ten times as large has about ten times the forecast.
        last = logarithm([row["sold"][-1] for row in data.rows["test"]])
        assert np.corrcoef(value.mean(axis=1), last)[0, 1] > 0.95


def names_of(served: Any, transformed: Any) -> dict[str, Any]:
    inputs = names.model_inputs(transformed, served.layout)
    return {key: inputs[key] for key in served.model.input}


def test_the_loss_is_of_logarithms_and_the_metric_of_amounts(demand: Any) -> None:
    from noisy_gru.trainer.model import VocabularySizes, build_model

    layout, given = Layout(demand.dataset), trainer()
    record = read_record(transform_of(demand), layout)
    keras.utils.set_random_seed(0)
    model: Any = build_model(given.model, layout, VocabularySizes(record=record), seed=0)
    scale = np.array([record.targets[name].scale for name in ("sold", "price")], np.float32)
    compile_model(model, given.training, layout, steps_per_epoch=1, epochs=1, target_scale=scale)
    random = np.random.default_rng(0)
    inputs = {
        "features": random.normal(size=(7, 6, 4)).astype(np.float32),
        "length": np.full(7, 6, np.int64),
        "static_features": random.normal(size=(7, 1)).astype(np.float32),
        "last_target": np.zeros((7, 2), np.float32),
    }
    inputs = {key: inputs[key] for key in model.input}
    amounts = np.stack([np.exp(random.normal(4, 1, (7, 2))), random.normal(10, 1, (7, 2))], axis=-1)
    centre = np.array([record.targets[name].centre for name in ("sold", "price")])
    targets = ((amounts - centre) / scale).astype(np.float32)
    logs = model.evaluate(inputs, targets, verbose=0, return_dict=True)
    predicted = np.asarray(model(inputs), np.float64) * scale + centre
    own = record.numeric["sold"]
    errors = (logarithm(predicted[..., 0]) - logarithm(amounts[..., 0])) / own.scale
    others = (predicted[..., 1] - amounts[..., 1]) / scale[1]
    assert_allclose(logs["loss"], np.mean([errors**2, others**2]), rtol=1e-3)
    assert_allclose(logs["mae"], np.abs(predicted - amounts).mean(), rtol=1e-3)


def test_amounts_and_logarithms_are_inverse_and_huge_ones_stay_finite() -> None:
    layer = FromLogarithms([True, False], [2.0, 0.0], [1.5, 1.0], [30.0, 0.0], [80.0, 1.0])
    forecast = np.random.default_rng(0).normal(scale=2, size=(3, 4, 2)).astype(np.float32)
    amounts = layer(forecast).numpy()
    value = forecast[..., 0].astype(np.float64) * 1.5 + 2
    assert_allclose(amounts[..., 0], (np.sign(value) * np.expm1(np.abs(value)) - 30) / 80, rtol=1e-4, atol=1e-5)
    assert_allclose(amounts[..., 1], forecast[..., 1])
    assert_allclose(layer.logarithms(amounts), forecast, atol=1e-4)
    # Quantiles, with the targets on the axis before the last.
    assert_allclose(layer(np.stack([forecast, forecast + 1], -1))[..., 0], amounts, rtol=1e-6)
    assert_allclose(layer.logarithms(layer(forecast[..., None]))[..., 0], forecast, atol=1e-4)
    assert np.isfinite(layer(np.full((1, 1, 2), 1e9, np.float32))).all()
    again = FromLogarithms.from_config(layer.get_config())
    assert_allclose(again(forecast), amounts)


def test_the_gate_takes_rounding_of_logarithms_for_none_of_the_models(demand: Any) -> None:
    """What differs by 4e-6 of itself is rounding of a logarithm, and far more than that of an amount."""
    relative = np.array(Layout(demand.dataset).logged_targets)
    large = {"predictions": np.full((1, 2, 2), 1e6, np.float32)}
    near = {"predictions": large["predictions"] * np.array([1 + 4e-6, 1], np.float32)}
    scale = np.array([100.0, 1.0])
    assert largest_difference(near, large, scale, relative=relative) < TOLERANCE
    assert largest_difference(near, large, scale) > 1e-2
    difference = {"predictions": large["predictions"] * np.array([1, 1 + 4e-6], np.float32)}
    assert largest_difference(difference, large, scale, relative=relative) > 1
    small = {"predictions": np.zeros((1, 2, 2), np.float32)}
    assert largest_difference({"predictions": small["predictions"] + 1}, small, scale, relative=relative) == 1


def test_what_does_not_go_together_is_refused() -> None:
    def problems(**model: Any) -> str:
        return "\n".join(model_problems(ModelConfig.model_validate(model), dataset()))

    assert "scale: log1p of sold, balance, size" in problems(onnx=True)
    assert "the logarithm of sold (scale: log1p) is forecast; use model.target: level" in problems(target="difference")
    assert not problems()


def test_a_warm_start_keeps_to_logarithms_that_are_inputs_alone(demand: Any) -> None:
    record = read_record(transform_of(demand), Layout(demand.dataset))
    both = CustomConfig(demand.dataset, trainer())
    assert differences(both, both, record, record) == [
        "the target sold has scale: log1p, whose weights are not transferred"
    ]
