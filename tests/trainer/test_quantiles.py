"""Quantiles and intervals from the head to the served graph: order, loss, calibration, bounds, and ONNX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from noisy_gru.saved_model.session import SessionModel
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError, DataError
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.conformal import Calibration
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.interval_checks import interval_problems
from noisy_gru.trainer.layers.ordered_quantiles import OrderedQuantiles
from noisy_gru.trainer.objective import compile_model
from noisy_gru.trainer.training_config import TrainingConfig
from noisy_gru.trainer.transform_record import Scale, TransformRecord

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]
LEVELS = [0.1, 0.5, 0.8, 0.9]
NAN = float("nan")


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x))


def test_quantiles_rise_by_softplus_steps_from_the_median() -> None:
    layer = OrderedQuantiles(4, 1)
    head = np.random.default_rng(0).normal(size=(5, 3, 8)).astype(np.float32) * 4
    found = np.array(layer(head))
    free = head.astype(np.float64).reshape(5, 3, 2, 4)
    median, gap = free[..., 1], softplus(free - 1)
    expected = [median - gap[..., 0], median, median + gap[..., 2], median + gap[..., 2] + gap[..., 3]]
    assert_allclose(found, np.stack(expected, axis=-1), rtol=1e-5, atol=1e-5)
    huge = np.array(layer(np.full((1, 4), -1e4, np.float32)))
    assert (np.diff(huge) >= 0).all() and np.isfinite(huge).all()
    assert layer.compute_output_spec(keras.KerasTensor((None, 3, 8))).shape == (None, 3, 2, 4)
    assert OrderedQuantiles.from_config(layer.get_config()).get_config() == layer.get_config()


def forecast(**task: Any) -> DatasetConfig:
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a", "b"]}
    whole = {"kind": "forecasting", "targets": ["a", "b"], "input_length": 4, "horizons": [1, 2, 3], **task}
    return DatasetConfig.model_validate({"data": data, "task": whole})


def pinball(targets: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    error = targets[..., None] - predicted
    return 2 * np.where(error >= 0, np.array(LEVELS) * error, (np.array(LEVELS) - 1) * error).mean(axis=-1)


@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_is_pinball_and_the_metric_of_the_median(masked: bool) -> None:
    random = np.random.default_rng(1)
    targets = random.normal(size=(6, 3, 2)).astype(np.float32)
    predicted = np.sort(random.normal(size=(6, 3, 2, 4)), axis=-1).astype(np.float32)
    weights = random.choice([0.0, 1.25], size=targets.shape).astype(np.float32) if masked else np.ones_like(targets)
    answer = np.concatenate([targets, weights], axis=-1) if masked else targets
    model = keras.Sequential([keras.Input((3, 2, 4)), keras.layers.Activation("linear")])
    scale = np.array([10.0, 0.5], np.float32)
    layout = Layout(forecast(quantiles=LEVELS))
    compile_model(model, TrainingConfig(), layout, steps_per_epoch=1, epochs=1, target_scale=scale)
    evaluate: Any = model.evaluate
    found = evaluate(predicted, answer, verbose=0, return_dict=True)
    assert_allclose(found["loss"], (pinball(targets, predicted) * weights).mean(), rtol=1e-5)
    errors = np.abs(targets - predicted[..., 1]) * scale
    assert_allclose(found["mae"], errors[weights > 0].mean(), rtol=1e-5)


def test_quantile_losses_as_parts_of_target_and_median() -> None:
    random = np.random.default_rng(3)
    targets = random.normal(size=(5, 3, 2)).astype(np.float32)
    predicted = np.sort(random.normal(size=(5, 3, 2, 4)), axis=-1).astype(np.float32)
    model = keras.Sequential([keras.Input((3, 2, 4)), keras.layers.Activation("linear")])
    scales = {"a": Scale(20.0, 4.0, 0.0), "b": Scale(-3.0, 2.0, 0.0)}
    training = TrainingConfig.model_validate({"loss_units": {"value": 2.0}})
    layout, record = Layout(forecast(quantiles=LEVELS)), TransformRecord({}, {}, [], scales)
    compile_model(model, training, layout, steps_per_epoch=1, epochs=1, record=record)
    evaluate: Any = model.evaluate
    zero, unit = np.array([20.0, -3.0]), np.array([4.0, 2.0])
    data, guess = targets * unit + zero, predicted[..., 1] * unit + zero
    # Pinball losses in the units of the data, over the mean magnitude: sMAPE's parts for the median.
    size = (np.abs(data) + np.abs(guess)) / 2
    expected = (2.0 * pinball(data, predicted * unit[:, None] + zero[:, None]) / size).mean()
    assert_allclose(evaluate(predicted, targets, verbose=0)[0], expected, rtol=2e-2)


def test_the_loss_of_one_number() -> None:
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a"]}
    task = {"kind": "regression", "label": "y", "quantiles": LEVELS}
    layout = Layout(DatasetConfig.model_validate({"data": data, "task": task}))
    model = keras.Sequential([keras.Input((1, 4)), keras.layers.Activation("linear")])
    compile_model(model, TrainingConfig(), layout, steps_per_epoch=1, epochs=1)
    random = np.random.default_rng(2)
    targets, predicted = random.normal(size=(7, 1)).astype(np.float32), random.normal(size=(7, 1, 4)).astype(np.float32)
    evaluate: Any = model.evaluate
    loss = evaluate(predicted, targets, verbose=0)
    assert_allclose(loss[0], pinball(targets, predicted).mean(), rtol=1e-5)


def test_what_a_training_refuses() -> None:
    quantiles, intervals = forecast(quantiles=LEVELS), forecast(intervals=[0.9])
    assert (
        interval_problems(TrainingConfig(), quantiles) == interval_problems(TrainingConfig(loss="mse"), intervals) == []
    )
    (problem,) = interval_problems(TrainingConfig(loss="mae"), forecast(quantiles=LEVELS, distribution="normal"))
    assert "trained with the likelihood, and training.loss is mae" in problem
    (problem,) = interval_problems(TrainingConfig(loss="mae"), quantiles)
    assert "pinball loss, and training.loss is mae" in problem
    for task, remedy in (({"quantiles": LEVELS}, "method: none"), ({"intervals": [0.9]}, "leave task.intervals out")):
        bare = forecast(**task).model_copy(
            update={
                "splits": DatasetConfig.model_fields["splits"]
                .get_default(call_default_factory=True)
                .model_copy(update={"eval": 0.0})
            }
        )
        (problem,) = interval_problems(TrainingConfig(), bare)
        assert "calibrated on the eval split, and there is none" in problem and remedy in problem
    free = {"quantiles": LEVELS, "calibration": {"method": "none"}}
    assert interval_problems(TrainingConfig(), bare.model_copy(update={"task": forecast(**free).task})) == []


SEGMENTS = {"segment": 2, "channels": "shared", "linear_path": True}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "quantiles": ({"quantiles": LEVELS}, {"hidden": [5]}, "target"),
    "not calibrated": ({"quantiles": LEVELS, "calibration": {"method": "none"}}, {}, "none"),
    "normal": ({"quantiles": LEVELS, "distribution": "normal"}, {}, "target"),
    "heavy tails in windows": (
        {"quantiles": LEVELS, "distribution": "student_t"},
        {**SEGMENTS, "window_normalization": "mean_std"},
        "window",
    ),
    "of differences": ({"quantiles": [0.1, 0.5, 0.9]}, {"target": "difference"}, "target"),
    "in windows": ({"quantiles": LEVELS}, {**SEGMENTS, "window_normalization": "mean_abs"}, "window"),
    "joint": ({"quantiles": LEVELS}, {"segment": 2, "window_normalization": "last"}, "target"),
    "intervals": ({"intervals": [0.5, 0.8], "output": {"min": 5.2, "max": 50}}, {}, "target"),
    "of members": ({"quantiles": LEVELS}, {"window_normalization": "mean_abs", "members": 2}, "window"),
    "intervals by spread": (
        {"intervals": [0.8], "calibration": {"scale": "window"}},
        {"segment": 2, "window_normalization": "last"},
        "window",
    ),
    "quantiles by spread": ({"quantiles": LEVELS, "calibration": {"scale": "window"}}, {"members": 2}, "window"),
    "intervals in windows": ({"intervals": [0.8]}, {"window_normalization": "mean_std"}, "window"),
}

# The others take a quarter of a minute each.
ALWAYS = ("quantiles", "intervals")


@pytest.fixture(scope="module")
def forecasts(datasets: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    rows = {split: datasets.forecasting_rows(60, seed=seed) for seed, split in enumerate(("train", "eval", "test"))}
    rows["eval"][3]["target/temp"] = [NAN, rows["eval"][3]["target/temp"][1]]
    return datasets.run_transform(datasets.forecasting_dataset(), rows, tmp_path_factory.mktemp("forecasts"))


def trained(transformed: Any, folder: Path, task: dict[str, Any], members: int = 1, **model: Any) -> Any:
    from noisy_gru.trainer.module import run_fn

    kind = transformed.dataset.task
    given = kind.model_dump() | task
    dataset = transformed.dataset.model_copy(update={"task": type(kind).model_validate(given)})
    units = "window" if model.get("window_normalization") in ("mean_std", "mean_abs") else "target"
    config = TrainerConfig.model_validate(
        {
            "model": {"layers": [{"units": 6}], **model},
            "training": {"epochs": 2, "loss_units": units, "members": members},
        }
    )
    arguments = transformed.fn_args(folder, CustomConfig(dataset, config).to_dict())
    run_fn(arguments)
    return arguments


def targets_of(rows: list[Any]) -> np.ndarray:
    return np.array([np.stack([row["target/temp"], row["target/wind"]], axis=-1) for row in rows])


@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=[pytest.mark.long] * (name not in ALWAYS)) for name in CASES]
)
def test_served_quantiles_are_calibrated_and_those_of_training(
    case: str, forecasts: Any, datasets: Any, tmp_path: Path
) -> None:
    import tensorflow as tf

    from noisy_gru.components.serving_gate.output_difference import TOLERANCE, largest_difference
    from noisy_gru.components.serving_gate.training_path import TrainingPath
    from noisy_gru.trainer.export.saved_model import keras_folder, load_calibration, load_for_parity, target_scale

    task, model, units = CASES[case]
    model = dict(model)
    members = model.pop("members", 1)
    arguments = trained(forecasts, tmp_path, task, members, **model)
    calibration = load_calibration(keras_folder(arguments.serving_model_dir))
    assert (calibration.units if calibration else "none") == units
    with SessionModel(arguments.serving_model_dir) as session:
        served = {
            split: session.run(
                "serving_default",
                {"examples": np.array([datasets.example(row) for row in forecasts.rows[split]], object)},
            )
            for split in ("eval", "test")
        }
    examples = [datasets.example(row) for row in forecasts.rows["test"]]
    eager = load_for_parity(arguments.serving_model_dir, forecasts.graph)
    scale = target_scale(eager)
    assert scale is not None
    by_keras = {name: value.numpy() for name, value in eager.from_examples(tf.constant(examples)).items()}
    for other in (by_keras, TrainingPath(forecasts.graph, eager).answer(examples)):
        assert largest_difference(served["test"], other, scale) <= TOLERANCE
    quantiles = served["eval"]["quantiles"]
    count = 2 * len(task["intervals"]) + 1 if "intervals" in task else len(task["quantiles"])
    assert quantiles.shape == (60, 2, 2, count)
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    assert_array_equal(served["eval"]["predictions"], quantiles[..., 1 if "quantiles" in task else count // 2])
    if calibration is None:
        return
    truth = targets_of(forecasts.rows["eval"])
    known = np.isfinite(truth)
    low = (truth >= quantiles[..., 0]) | (truth < 5.2)
    inside = low & ((truth <= quantiles[..., -1]) | (truth > 50))
    # At each horizon and target at least the share that is promised, and a few more if it wasn't narrowed.
    share = np.where(known, inside, 0).sum(axis=0) / known.sum(axis=0)
    assert (share >= 0.8).all(), share
    assert calibration.sequences == 60
    summary = json.loads((tmp_path / "model_run" / "training.json").read_text())
    assert summary["coverage_before_calibration"] == calibration.coverage_before


@pytest.mark.long
def test_intervals_by_spread_are_as_wide_as_the_window_is_lively(forecasts: Any, datasets: Any, tmp_path: Path) -> None:
    task = {"intervals": [0.8], "calibration": {"scale": "window"}}
    arguments = trained(forecasts, tmp_path, task, segment=2)
    rows = [row for row in forecasts.rows["test"] if np.isfinite([*row["temp"], *row["wind"]]).all()]
    assert len(rows) > 10
    with SessionModel(arguments.serving_model_dir) as session:
        graph = session.run("serving_default", {"examples": np.array(list(map(datasets.example, rows)), object)})
    quantiles = graph["quantiles"]
    spread = np.array([[np.std(row["temp"]), np.std(row["wind"])] for row in rows])
    width = quantiles[:, 0, :, -1] - quantiles[:, 0, :, 0]
    for target in range(2):
        # Beside the floor of the variance.
        lively = spread[:, target] > np.median(spread[:, target]) / 2
        found = (width[:, target] / spread[:, target])[lively]
        assert_allclose(found, np.median(found), rtol=0.02)


def test_a_spread_that_is_not_at_hand() -> None:
    from noisy_gru.trainer.model_checks import model_problems
    from noisy_gru.trainer.model_config import ModelConfig

    def problems(task: DatasetConfig, **model: Any) -> str:
        return "\n".join(model_problems(ModelConfig.model_validate({"layers": [{"units": 4}], **model}), task))

    task = forecast(intervals=[0.8], calibration={"scale": "window"})
    assert not problems(task)
    assert "which model.serving_step: true has no form for" in problems(task, serving_step=True)
    assert "which model.onnx: true has no form for" in problems(task, onnx=True)
    features = [{"name": "a", "scale": "log1p"}]
    other = DatasetConfig.model_validate(
        {**task.model_dump(), "data": {**task.data.model_dump(exclude={"features"}), "features": features}}
    )
    assert "but b is not a numeric feature" in problems(other) and "a is read as logarithms" in problems(other)
    number = DatasetConfig.model_validate(
        {
            **task.model_dump(),
            "task": {"kind": "regression", "label": "y", "intervals": [0.8], "calibration": {"scale": "window"}},
        }
    )
    assert "needs task.kind: forecasting, received regression" in problems(number)


def test_a_regression_with_bounds(regression: Any, datasets: Any, tmp_path: Path) -> None:
    arguments = trained(regression, tmp_path, {"quantiles": LEVELS, "output": {"integer": True, "max": 101}})
    examples = [datasets.example(row) for row in regression.rows["eval"]]
    with SessionModel(arguments.serving_model_dir) as session:
        found = session.run("serving_default", {"examples": np.array(examples, object)})
    assert found["predictions"].shape == (len(examples), 1) and found["quantiles"].shape == (len(examples), 1, 4)
    for values in found.values():
        assert_array_equal(values, np.minimum(values.round(), 101))
    assert found["quantiles"].max() == 101
    # The serving gate compares with numbers that aren't rounded.
    from noisy_gru.components.serving_gate.keras_reference import keras_reference
    from noisy_gru.components.serving_gate.output_difference import TOLERANCE, largest_difference

    reference = keras_reference(arguments.serving_model_dir, regression.graph)
    assert reference.rounded
    for answers in (reference.from_examples(examples), reference.from_training(examples)):
        assert largest_difference(found, answers, reference.scale, None, 0.5) <= TOLERANCE
        off = {name: values + 1 for name, values in found.items()}
        assert largest_difference(off, answers, reference.scale, None, 0.5) > 0.01
    assert_array_equal(found["predictions"], found["quantiles"][..., 1])


def test_bounds_without_quantiles_move_the_prediction_alone(forecasts: Any, datasets: Any, tmp_path: Path) -> None:
    plain = trained(forecasts, tmp_path / "plain", {})
    bound = trained(forecasts, tmp_path / "bound", {"output": {"min": 5, "integer": True}})
    examples = {"examples": np.array([datasets.example(row) for row in forecasts.rows["test"]], object)}
    with SessionModel(plain.serving_model_dir) as one, SessionModel(bound.serving_model_dir) as two:
        before, after = (each.run("serving_default", examples) for each in (one, two))
        assert set(before) == set(after) == {"predictions"}
        assert (before["predictions"] < 5).any()
        assert_array_equal(after["predictions"], np.maximum(before["predictions"].round(), 5))
        # What is no number is none still.
        huge = {**forecasts.rows["test"][0], "temp": [3e38] * 4}
        broken = two.run("serving_default", {"examples": np.array([datasets.example(huge)], object)})
        if not np.isfinite(
            one.run("serving_default", {"examples": np.array([datasets.example(huge)], object)})["predictions"]
        ).all():
            assert not np.isfinite(broken["predictions"]).all()


def test_a_split_too_small_to_calibrate_ends_the_training_before_it_begins(forecasts: Any, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"covers 0\.99 is calibrated on at least 99 known targets .* has 59 of temp at"
    ):
        trained(forecasts, tmp_path, {"intervals": [0.99]})
    assert not (tmp_path / "model_run").exists()


def test_a_loss_that_is_not_theirs(forecasts: Any, tmp_path: Path) -> None:
    from noisy_gru.trainer.module import run_fn

    task = type(forecasts.dataset.task).model_validate(forecasts.dataset.task.model_dump() | {"quantiles": LEVELS})
    dataset = forecasts.dataset.model_copy(update={"task": task})
    config = TrainerConfig.model_validate({"training": {"loss": "huber"}})
    with pytest.raises(ConfigError, match="pinball"):
        run_fn(forecasts.fn_args(tmp_path, CustomConfig(dataset, config).to_dict()))


def test_nothing_finite_is_hidden_by_a_bound() -> None:
    import tensorflow as tf

    from noisy_gru.schema.interval_config import OutputConfig
    from noisy_gru.trainer.export.served_numbers import ServedNumbers

    bounds = OutputConfig(min=0, max=10, integer=True)
    numbers = ServedNumbers(Layout(forecast()), None, None, bounds)
    values = np.array([[[NAN, 3.4], [np.inf, -np.inf], [2.5, 1e30]]], np.float32)
    units = {"target_scale": tf.ones([1, 2]), "target_mean": tf.zeros([1, 2])}
    found = numbers(tf.constant(values), {}, units)["predictions"].numpy()
    assert_array_equal(found, [[[NAN, 3], [np.inf, -np.inf], [2, 10]]])


def test_narrowed_quantiles_do_not_cross() -> None:
    import tensorflow as tf

    from noisy_gru.schema.interval_config import OutputConfig
    from noisy_gru.trainer.export.served_numbers import ServedNumbers

    offsets = np.broadcast_to([2.0, 0.0, 0.5, -3.0], (3, 2, 4)).tolist()
    calibration = Calibration(LEVELS, offsets, "target", {"a": 1.0, "b": 1.0}, 50, {})
    numbers = ServedNumbers(Layout(forecast(quantiles=LEVELS)), calibration, None, OutputConfig())
    given = np.broadcast_to(np.array([-1.0, 0.0, 1.0, 2.0], np.float32), (1, 3, 2, 4))
    units = {"target_scale": tf.fill([1, 2], 2.0), "target_mean": tf.ones([1, 2])}
    found = numbers(tf.constant(given), {}, units)
    # -1 + 2 is beyond the median, and 2 - 3 below the level before.
    assert_array_equal(found["quantiles"][0, 0, 0], [1, 1, 4, 4])
    assert_array_equal(found["predictions"][0, 0, 0], 1)


@pytest.mark.parametrize(
    "task",
    [
        {"quantiles": LEVELS},
        pytest.param({"quantiles": LEVELS, "distribution": "student_t"}, marks=pytest.mark.long),
        pytest.param({"intervals": [0.8], "output": {"min": -1, "max": 1e6}}, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_onnx_runtime_gives_the_same_quantiles(task: dict[str, Any], datasets: Any, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from noisy_gru.trainer.export.onnx_export import ONNX_FILE
    from noisy_gru.trainer.export.saved_model import load_for_parity

    def rows(seed: int) -> list[Any]:
        random = np.random.default_rng(seed)
        values = 1e3 + np.cumsum(random.normal(size=(40, 7)), axis=1).astype(np.float32)
        return [
            {
                "a": row[:4].tolist(),
                "b": (-row[:4]).tolist(),
                "target/a": row[4:].tolist(),
                "target/b": (-row[4:]).tolist(),
            }
            for row in values
        ]

    transformed = datasets.run_transform(forecast(), {"train": rows(0), "eval": rows(1), "test": rows(2)}, tmp_path)
    arguments = trained(transformed, tmp_path / "model", task, onnx=True)
    session = onnxruntime.InferenceSession(Path(arguments.serving_model_dir) / ONNX_FILE)
    features = np.array([[row["a"], row["b"]] for row in transformed.rows["test"]], np.float32).transpose(0, 2, 1)
    inputs = {"features": np.ascontiguousarray(features), "lengths": np.full(40, 4, np.int64)}
    names = [each.name for each in session.get_outputs()]
    found = dict(zip(names, session.run(None, inputs), strict=True))
    served = load_for_parity(arguments.serving_model_dir, transformed.graph).from_tensors(inputs)
    assert set(found) == {"predictions", "quantiles"}
    for name, values in found.items():
        assert_allclose(values, served[name], rtol=1e-6, atol=1e-4)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["quantiles"]) == (LEVELS if "quantiles" in task else [0.1, 0.5, 0.9])
