"""Transform against NumPy: the statistics, the imputation, the vocabularies, and the check of the lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from noisy_gru.trainer import features as names
from noisy_gru.trainer.features import Layout, model_inputs

pytestmark = pytest.mark.slow

NAN = float("nan")


def transform(transformed: Any, rows: list[Any], encode: Any, keep: set[str] | None = None) -> dict[str, Any]:
    """Outputs of the Transform graph for rows, of whose columns only `keep` are fed."""
    import tensorflow_transform as tft

    output = tft.TFTransformOutput(transformed.graph)
    spec = {key: value for key, value in output.raw_feature_spec().items() if keep is None or key in keep}
    return output.transform_features_layer()(tf.io.parse_example([encode(row) for row in rows], spec))


def finite(rows: list[Any], column: str) -> np.ndarray:
    values = np.concatenate([np.asarray(row[column], np.float32) for row in rows]).astype(np.float64)
    return values[np.isfinite(values)]


def channels(transformed: Any, outputs: dict[str, Any]) -> list[np.ndarray]:
    """Each sequence as an array of steps by channels."""
    width = len(Layout(transformed.dataset).channels)
    return [row.numpy().reshape(-1, width) for row in outputs[names.FEATURES]]


def test_scaling_is_fitted_on_the_finite_values_of_train(forecasting: Any, encode: Any) -> None:
    train, rows = forecasting.rows["train"], forecasting.rows["test"]
    outputs = transform(forecasting, rows, encode)
    temperature, wind, plan = (finite(train, name) for name in ("temp", "wind", "plan"))
    low, median, high = np.quantile(temperature, [0.25, 0.5, 0.75])
    for row, steps in zip(rows, channels(forecasting, outputs), strict=True):
        past = len(row["temp"])
        raw = {name: np.asarray(row[name], np.float32) for name in ("temp", "wind", "plan", "flat", "empty")}
        missing = ~np.isfinite(raw["wind"])
        expected = {
            "temp": (np.where(np.isfinite(raw["temp"]), raw["temp"], median) - median) / (high - low),
            "wind": (np.where(missing, wind.mean(), raw["wind"]) - wind.min()) / (wind.max() - wind.min()),
            "flat": np.zeros(past),
            "empty": np.zeros(past),
        }
        # The median is approximate: tft.quantiles promises a rank within 0.1 %.
        for index, tolerance in ((0, 0.05), (1, 1e-5), (3, 1e-6), (4, 1e-6)):
            name = Layout(forecasting.dataset).channels[index]
            assert_allclose(steps[:past, index], expected[name], atol=tolerance, err_msg=name)
            assert_array_equal(steps[past:, index], 0.0, err_msg=f"{name} is not known in the future")
        assert_allclose(steps[:, 2], (raw["plan"] - plan.mean()) / plan.std(), atol=1e-5)
        assert_array_equal(steps[:, 5], np.r_[missing, np.zeros(3)])
        assert_array_equal(steps[:, 6], np.r_[np.zeros(past), np.ones(3)])


def test_the_length_counts_past_and_horizon(forecasting: Any, encode: Any) -> None:
    rows = forecasting.rows["test"][:5]
    assert transform(forecasting, rows, encode)[names.LENGTH].numpy().tolist() == [len(row["plan"]) for row in rows]


def test_targets_are_z_scores_and_the_last_value_read_is_scaled_alike(forecasting: Any, encode: Any) -> None:
    train, rows = forecasting.rows["train"], forecasting.rows["test"]
    rows = [*rows[:6], {**rows[0], "temp": [1.0, 2.0, NAN, NAN]}, {**rows[0], "temp": [NAN] * 4}]
    outputs = transform(forecasting, rows, encode)
    mean = np.array([finite(train, f"target/{name}").mean() for name in ("temp", "wind")])
    scale = np.array([finite(train, f"target/{name}").std() for name in ("temp", "wind")])
    assert_allclose(outputs[names.TARGET_MEAN], np.tile(mean, (8, 1)), rtol=1e-5)
    assert_allclose(outputs[names.TARGET_SCALE], np.tile(scale, (8, 1)), rtol=1e-5)
    raw = np.array([np.stack([row["target/temp"], row["target/wind"]], axis=1) for row in rows])
    assert_allclose(outputs[names.TARGETS], ((raw - mean) / scale).reshape(8, -1), atol=1e-5)
    last = outputs[names.LAST_TARGET].numpy()[:, 0] * scale[0] + mean[0]
    assert_allclose(last[-2:], [2.0, mean[0]], rtol=1e-5)


def test_vocabularies_are_by_frequency_with_one_id_for_the_unknown(forecasting: Any, encode: Any) -> None:
    import tensorflow_transform as tft

    row = {**forecasting.rows["test"][0], "sky": ["clear", "fog", "", "never seen"]}
    ids = transform(forecasting, [row], encode)["ids_0"].to_list()
    known = tft.TFTransformOutput(forecasting.graph).vocabulary_by_name("vocabulary_0")
    # Two values fit; rain and fog are equally frequent, and the tie goes the same way every time.
    assert known == [b"clear", b"rain"]
    assert ids == [[0, 2, 2, 2, 2, 2, 2]]


def test_the_label_vocabulary_is_by_frequency(classification: Any, encode: Any) -> None:
    import tensorflow_transform as tft

    labels = [row["label"][0] for row in classification.rows["train"]]
    known = [
        text.decode() for text in tft.TFTransformOutput(classification.graph).vocabulary_by_name("label_vocabulary")
    ]
    counts = [labels.count(label) for label in known]
    assert sorted(counts, reverse=True) == counts and sum(counts) == len(labels)
    rows = [{"x0": [1.0], "x1": [1.0], "label": [label]} for label in [*known, "never seen"]]
    assert transform(classification, rows, encode)[names.LABEL].numpy().tolist() == [0, 1, 2, -1]


def test_serving_needs_the_features_alone(forecasting: Any, encode: Any) -> None:
    rows = forecasting.rows["test"][:4]
    whole = transform(forecasting, rows, encode)
    keep = {feature.name for feature in forecasting.dataset.data.features}
    alone = transform(forecasting, rows, encode, keep)
    assert set(whole) - set(alone) == {names.TARGETS}
    for key, value in alone.items():
        assert_array_equal(_dense(whole[key]), _dense(value))


def test_no_value_gives_nan(forecasting: Any, encode: Any) -> None:
    row = forecasting.rows["test"][0]
    odd = {**row, "temp": [NAN] * 4, "wind": [float("inf")] * 4, "flat": [5e30] * 4, "empty": [1.0] * 4}
    nothing: dict[str, list[Any]] = {}
    inputs = model_inputs(transform(forecasting, [odd, nothing], encode), Layout(forecasting.dataset))
    assert np.isfinite(inputs[names.FEATURES].numpy()).all()
    assert inputs[names.LENGTH].numpy().tolist() == [7, 0]
    only_empty = model_inputs(transform(forecasting, [nothing], encode), Layout(forecasting.dataset))
    assert only_empty[names.FEATURES].shape == (1, 1, 7)


def test_padding_is_by_length_not_by_value(classification: Any, encode: Any) -> None:
    rows = [{"x0": [0.0] * 3, "x1": [0.0] * 3}, {"x0": [0.0] * 5, "x1": [0.0] * 5}]
    outputs = transform(classification, rows, encode, {"x0", "x1"})
    inputs = model_inputs(outputs, Layout(classification.dataset))
    assert inputs[names.FEATURES].shape == (2, 5, 2)
    assert inputs[names.LENGTH].numpy().tolist() == [3, 5]
    assert_array_equal(inputs[names.FEATURES][0, 3:], 0.0)
    assert np.all(inputs[names.FEATURES][0, :3] != 0.0)


def test_a_feature_of_another_length_is_named(forecasting: Any, encode: Any) -> None:
    row = forecasting.rows["test"][0]
    for column, values in (("wind", []), ("plan", [1.0] * 4), ("sky", ["clear"])):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"Feature {column} has another number of steps"):
            transform(forecasting, [{**row, column: values}], encode)


def test_an_unknown_column_is_named(forecasting: Any) -> None:
    from noisy_gru.schema.errors import ConfigError
    from noisy_gru.trainer.preprocessing import preprocess

    with pytest.raises(ConfigError, match="no column temp, which data"):
        preprocess(dict.fromkeys({*forecasting.rows["train"][0]} - {"temp"}), forecasting.dataset)


@pytest.mark.parametrize("kind", ["sparse", "ragged", "mixed"])
@pytest.mark.parametrize("lengths", [[[2, 0, 3], [2, 0, 3]], [[0, 0], [0, 1]], [[], []], [[4], [1], [0]]])
def test_rows_of_columns_are_counted_together(kind: str, lengths: list[list[int]]) -> None:
    from noisy_gru.trainer.step_columns import values_and_lengths

    ragged: Any = tf.RaggedTensor
    columns = [
        ragged.from_row_lengths(tf.range(sum(each), dtype=tf.float32) + place, tf.constant(each, tf.int64))
        for place, each in enumerate(lengths)
    ]
    tensors = [
        column.to_sparse() if kind == "sparse" or (kind == "mixed" and place) else column
        for place, column in enumerate(columns)
    ]
    values, received = values_and_lengths(tensors)
    assert received.dtype == tf.int64
    assert_array_equal(received, np.array(lengths))
    for place, each in enumerate(lengths):
        assert_array_equal(values[place], np.arange(sum(each)) + place)


@pytest.mark.parametrize("scale", ["zscore", "minmax", "none"])
def test_the_graph_grows_by_a_handful_of_operations_a_feature(scale: str) -> None:
    from noisy_gru.schema.config import DatasetConfig
    from noisy_gru.trainer.preprocessing import preprocess

    def size(count: int) -> tuple[int, int]:
        columns = [{"name": f"x{number}", "scale": scale} for number in range(count)]
        data = {"files": ["rows.csv"], "entity": "id", "time": {"column": "t", "kind": "integer"}, "features": columns}
        task = {"kind": "regression", "label": "y"}
        dataset = DatasetConfig.model_validate({"data": data, "task": task})
        with tf.Graph().as_default() as graph:
            inputs = {
                name: tf.compat.v1.sparse_placeholder(tf.float32) for name in [*(f["name"] for f in columns), "y"]
            }
            preprocess(inputs, dataset)
        made = [each for each in graph.get_operations() if not each.name.startswith("Placeholder")]
        return len(made), sum(len(each.control_inputs) for each in graph.get_operations())

    (few, waiting), (many, also_waiting) = size(20), size(200)
    # One cuts the indices (with three constants), one makes the ones, one sums them.
    assert many - few <= 180 * 8
    assert also_waiting == waiting


@pytest.mark.parametrize("kind", ["sparse", "ragged", "dense"])
def test_any_representation_of_the_schema_is_read(kind: str) -> None:
    from noisy_gru.trainer.step_columns import to_ragged

    ragged: Any = tf.ragged.constant([[1.0, 2.0], [3.0, 4.0]])
    tensor = {"sparse": ragged.to_sparse(), "ragged": ragged, "dense": ragged.to_tensor()}[kind]
    assert to_ragged(tensor).to_list() == [[1.0, 2.0], [3.0, 4.0]]
    assert to_ragged(tf.constant([1.0, 2.0])).to_list() == [[1.0], [2.0]]


def _dense(value: Any) -> np.ndarray:
    return (value.to_tensor() if isinstance(value, tf.RaggedTensor) else value).numpy()
