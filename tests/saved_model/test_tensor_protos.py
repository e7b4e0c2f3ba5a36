"""TensorProto to NumPy and back against TensorFlow's own functions; and what is no tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.memory import allocations

pytestmark = pytest.mark.slow

NUMBERS = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16"]
SHAPES: list[tuple[int, ...]] = [(), (0,), (3,), (2, 3), (2, 0, 3)]


def numbers(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    information = np.finfo(dtype) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    values = np.array([information.max, information.min, 1, 0, 7, 3], dtype)
    return np.resize(values, shape) if 0 in shape or shape else values[0].reshape(())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", [*NUMBERS, "bool"])
def test_numbers_reach_tensorflow(dtype: str, packed: bool, shape: tuple[int, ...]) -> None:
    import tensorflow as tf

    from noisy_gru.saved_model.tensor_protos import make_tensor_proto

    array = numbers("uint8", shape).astype(bool) if dtype == "bool" else numbers(dtype, shape)
    proto = make_tensor_proto(array, packed=packed)
    assert bool(proto.tensor_content) == (packed and array.size > 0)
    received = tf.make_ndarray(proto)
    assert (received.dtype, received.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(received, array)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [*NUMBERS, "bool"])
def test_numbers_come_from_tensorflow(dtype: str, shape: tuple[int, ...]) -> None:
    import tensorflow as tf

    from noisy_gru.saved_model.tensor_protos import make_ndarray

    array = numbers("uint8", shape).astype(bool) if dtype == "bool" else numbers(dtype, shape)
    received = make_ndarray(tf.make_tensor_proto(array))
    assert (received.dtype, received.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(received, array)


def test_strings_both_ways() -> None:
    import tensorflow as tf

    from noisy_gru.saved_model.tensor_protos import make_ndarray, make_tensor_proto

    array = np.array([[b"a\x00", "é".encode()], [b"", b"\xff\x00\x00"]], object)
    assert tf.make_ndarray(make_tensor_proto(array)).tolist() == array.tolist()
    assert make_ndarray(tf.make_tensor_proto(array)).tolist() == array.tolist()
    assert make_ndarray(make_tensor_proto(np.array(["é", "b"]))).tolist() == ["é".encode(), b"b"]


def test_strings_that_tensorflow_packed() -> None:
    import tensorflow as tf

    from noisy_gru.saved_model.tensor_protos import make_ndarray

    values = [b"x" * 200, b"", b"\x00\xff"]
    tensor = tf.constant(values)
    # TensorFlow's kernels write strings this way: io.serialize_tensor keeps the fields, so pack by hand.
    proto = tf.io.serialize_tensor(tensor).numpy()
    assert make_ndarray(_parsed(proto)).tolist() == values
    packed = _parsed(proto)
    packed.ClearField("string_val")
    packed.tensor_content = bytes([200, 1, 0, 2]) + b"".join(values)
    assert tf.io.parse_tensor(packed.SerializeToString(deterministic=True), tf.string).numpy().tolist() == values
    assert make_ndarray(packed).tolist() == values


def _parsed(content: bytes) -> Any:
    from tensorflow.core.framework import tensor_pb2

    return tensor_pb2.TensorProto.FromString(content)


def proto_of(dtype: int, shape: list[int], **fields: Any) -> Any:
    from tensorflow.core.framework import tensor_pb2

    proto = tensor_pb2.TensorProto(dtype=dtype, **fields)
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize("given", [[], [1.5], [1.5, 2.5], [1.5, 2.5, 3.5, 4.5]])
def test_too_few_values_are_filled_as_tensorflow_does(given: list[float]) -> None:
    import tensorflow as tf

    from noisy_gru.saved_model.tensor_protos import make_ndarray

    proto = proto_of(1, [4], float_val=given)
    expected = tf.io.parse_tensor(proto.SerializeToString(deterministic=True), tf.float32).numpy()
    np.testing.assert_array_equal(make_ndarray(proto), expected)


def test_a_non_contiguous_array() -> None:
    from noisy_gru.saved_model.tensor_protos import make_ndarray, make_tensor_proto

    array = np.arange(12, dtype=np.int64).reshape(3, 4).T[::-1]
    np.testing.assert_array_equal(make_ndarray(make_tensor_proto(array)), array)
    np.testing.assert_array_equal(make_ndarray(make_tensor_proto(array.astype(">i8"))), array)


def test_an_array_that_is_read_can_be_changed() -> None:
    from noisy_gru.saved_model.tensor_protos import make_ndarray, make_tensor_proto

    array = make_ndarray(make_tensor_proto(np.zeros(2, np.float32)))
    array[0] = 1.0
    assert array.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([1 + 2j]), "complex128"),
        (np.array([b"a"]), "loses trailing zero bytes"),
        (np.array([1, b"a"], object), "received int"),
        (np.array(["2024-01-01"], "datetime64[D]"), "datetime64"),
    ],
)
def test_arrays_that_no_tensor_holds(array: np.ndarray, words: str) -> None:
    from noisy_gru.saved_model.tensor_protos import TensorProtoError, make_tensor_proto

    with pytest.raises(TensorProtoError, match=words):
        make_tensor_proto(array)


@pytest.mark.parametrize(
    ("dtype", "shape", "fields", "words"),
    [
        (1, [2], {"tensor_content": b"1234567"}, "takes 8 bytes of tensor_content; received 7"),
        (1, [-1], {"float_val": [1.0]}, "negative size"),
        (1, [1 << 40], {"float_val": [1.0]}, "1099511627776 elements; received 1 values"),
        (1, [1 << 62, 1 << 62], {}, "elements; received 0 values"),
        (7, [1 << 40], {"string_val": [b"a"]}, "elements; received 1 values"),
        (7, [3], {"tensor_content": b"\x01\x01\x05abc"}, "lengths add up to 7"),
        (7, [3], {"tensor_content": b"\xff\xff\xff"}, "no list of 3 strings"),
        (7, [1 << 40], {"tensor_content": b"\x01a"}, "can't hold"),
        (1, [1] * 255, {"float_val": [1.0]}, "255 dimensions"),
        (0, [1], {}, "invalid"),
        (14, [1], {"half_val": [1]}, "bfloat16"),
        (21, [1], {}, "number 21"),
        (99, [1], {}, "number 99"),
    ],
)
def test_protos_that_are_no_tensors(dtype: int, shape: list[int], fields: dict[str, Any], words: str) -> None:
    from noisy_gru.saved_model.tensor_protos import TensorProtoError, make_ndarray

    proto = proto_of(dtype, shape, **fields)
    with allocations() as peak:
        with pytest.raises(TensorProtoError, match=words):
            make_ndarray(proto)
        assert peak() < 200_000_000


def test_a_shape_of_unknown_rank() -> None:
    from noisy_gru.saved_model.tensor_protos import TensorProtoError, make_ndarray

    proto = proto_of(1, [])
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(TensorProtoError, match="no known rank"):
        make_ndarray(proto)
