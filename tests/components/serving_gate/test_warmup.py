"""The warm-up file, read with TensorFlow Serving's own messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisy_gru.components.serving_gate.probe import ProbeRequest
from noisy_gru.components.serving_gate.warmup import MOST_RECORDS, WARMUP_FILE, read_requests, stamp
from noisy_gru.schema.errors import ModelError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

EXAMPLES = ProbeRequest("serving_default", {"examples": np.array([b"\x00\xff", b""], object)})
TENSORS = ProbeRequest(
    "serving_tensors",
    {
        "features": np.array([[[np.nan, -1.5]]], np.float32),
        "lengths": np.array([1], np.int64),
        "sky": np.array([[b"rain"]], object),
    },
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"weights")
    return folder


def test_requests_are_what_a_server_reads(model: Path, tmp_path: Path) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    stamp(model, tmp_path / "copy", {"a": EXAMPLES, "b": TENSORS}, "weather")
    assert (tmp_path / "copy" / "saved_model.pb").read_bytes() == b"graph"
    assert (tmp_path / "copy" / "variables" / "variables.index").read_bytes() == b"weights"
    file = tmp_path / "copy" / "assets.extra" / "tf_serving_warmup_requests"
    proto: Any = prediction_log_pb2
    logs = [proto.PredictionLog.FromString(each) for each in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()]
    first, second = (log.predict_log.request for log in logs)
    assert (first.model_spec.name, first.model_spec.signature_name) == ("weather", "serving_default")
    assert list(first.inputs["examples"].string_val) == [b"\x00\xff", b""]
    assert second.model_spec.signature_name == "serving_tensors"
    np.testing.assert_array_equal(tf.make_ndarray(second.inputs["features"]), TENSORS.inputs["features"])
    assert second.inputs["lengths"].dtype == tf.int64.as_datatype_enum
    assert [dim.size for dim in second.inputs["sky"].tensor_shape.dim] == [1, 1]
    assert read_requests(tmp_path / "copy")["warm-up request 1 (serving_default, batch of 2)"].inputs.keys() == {
        "examples"
    }


def test_the_same_requests_give_the_same_bytes(model: Path, tmp_path: Path) -> None:
    turned = ProbeRequest(TENSORS.signature, dict(reversed(TENSORS.inputs.items())))
    for name, question in (("one", TENSORS), ("two", turned)):
        stamp(model, tmp_path / name, {"a": question}, "weather")
    one, two = ((tmp_path / name / WARMUP_FILE).read_bytes() for name in ("one", "two"))
    assert one == two


def test_more_records_than_a_server_takes_are_refused(model: Path, tmp_path: Path) -> None:
    many = {str(number): EXAMPLES for number in range(MOST_RECORDS + 1)}
    stamp(model, tmp_path / "copy", many, "weather")
    with pytest.raises(ModelError, match="holds 1001 records; TF Serving takes 1000 at the most"):
        read_requests(tmp_path / "copy")


@pytest.mark.parametrize(
    ("record", "message"),
    [(b"\xff\xff\xff", "holds a record that is no PredictionLog"), (b"", "record 1 of .* is no predict request")],
)
def test_a_record_of_another_kind_is_refused(record: bytes, message: str, model: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    stamp(model, tmp_path / "copy", {}, "weather")
    with tf.io.TFRecordWriter(str(tmp_path / "copy" / WARMUP_FILE)) as writer:
        writer.write(record)
    with pytest.raises(ModelError, match=message):
        read_requests(tmp_path / "copy")


def test_a_model_without_requests_is_refused(model: Path) -> None:
    with pytest.raises(ModelError, match="tf_serving_warmup_requests is missing"):
        read_requests(model)
