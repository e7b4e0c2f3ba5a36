"""Convert TensorProto to NumPy and back, for server and client; invalid messages are errors, never crashes.

>>> import numpy as np
>>> proto = make_tensor_proto(np.array([[1.5, 2.5]], np.float32))
>>> make_ndarray(proto).tolist()
[[1.5, 2.5]]

``tf.make_ndarray`` can't be used on messages from outside: it allocates whatever shape a sender claims. Here nothing is
allocated beyond the message's size, except for a repeated value (which the protocol allows), up to ``LARGEST_FILL``.
``tf.make_tensor_proto`` can't write numbers to the typed fields, as TF Serving does, and imports TensorFlow.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from noisy_gru.saved_model.c_api import DTYPE_NAMES, NUMPY_DTYPES, STRING
from noisy_gru.schema.errors import UserError

LARGEST_FILL = 1 << 26  # bytes that a repeated value may fill
_MOST_DIMENSIONS = 254  # as in TensorFlow
_CODES = {np.dtype(dtype): code for code, dtype in NUMPY_DTYPES.items()}
_FLOAT16 = 19
_FIELDS = {
    1: "float_val",
    2: "double_val",
    3: "int_val",
    4: "int_val",
    5: "int_val",
    6: "int_val",
    9: "int64_val",
    10: "bool_val",
    17: "int_val",
    _FLOAT16: "half_val",
    22: "uint32_val",
    23: "uint64_val",
}


class TensorProtoError(UserError):
    """An invalid TensorProto, or an array that a TensorProto can't hold."""


def make_tensor_proto(array: np.ndarray, *, packed: bool = True, into: Any = None) -> Any:
    """Convert an array to a ``TensorProto``.

    Args:
        array: numbers or booleans; or strings, as an object array of ``bytes`` or ``str``, or an array of ``str``.
        packed: send numbers as ``tensor_content``, which is fast; else in the typed fields (``float_val`` ...), as TF
            Serving does.
        into: an empty ``TensorProto`` of any class to fill; None: a new one of TensorFlow's, which imports TensorFlow.

    Raises:
        TensorProtoError: the array has another type; also NumPy's bytes type, which loses trailing zero bytes.
    """
    proto: Any = into
    if into is None:
        from tensorflow.core.framework import tensor_pb2

        proto = vars(tensor_pb2)["TensorProto"]()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.dtype.kind in "OU":
        proto.dtype = STRING
        proto.string_val.extend(_bytes(value) for value in array.ravel().tolist())
        return proto
    code = _CODES.get(array.dtype.newbyteorder("="))
    if code is None:
        hint = " Pass bytes as an object array: this type loses trailing zero bytes."
        raise TensorProtoError(
            f"Expected numbers, booleans or strings (an object array of bytes or str); received an array of "
            f"{array.dtype}.{hint if array.dtype.kind == 'S' else ''}"
        )
    proto.dtype = code
    if packed:
        proto.tensor_content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    else:
        flat = array.ravel()
        flat = flat.view(np.uint16) if code == _FLOAT16 else flat
        getattr(proto, _FIELDS[code]).extend(flat.tolist())
    return proto


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise TensorProtoError(f"Expected bytes or str in an object array; received {type(value).__name__}.")


def make_ndarray(proto: Any) -> np.ndarray:
    """Convert a ``TensorProto`` to an array; strings become an object array of ``bytes``.

    As in TensorFlow, the last of too few values is repeated, and without values all are zero or empty.

    Raises:
        TensorProtoError: the type is none of NumPy's, the shape is unknown, negative or too large, or the content has
            another size than the shape.
    """
    shape = _shape(proto)
    count = math.prod(shape)
    if proto.dtype == STRING:
        values = _string_list(proto.tensor_content, count) if proto.tensor_content else proto.string_val
        return _filled(values, shape, count, np.dtype(object), b"")
    if proto.dtype not in NUMPY_DTYPES:
        name = DTYPE_NAMES.get(proto.dtype, f"number {proto.dtype}" if proto.dtype else "invalid (0)")
        raise TensorProtoError(
            f"The type {name} is not one of {', '.join(DTYPE_NAMES[code] for code in _FIELDS)}, string."
        )
    dtype = np.dtype(NUMPY_DTYPES[proto.dtype])
    if proto.tensor_content:
        if len(proto.tensor_content) != count * dtype.itemsize:
            raise TensorProtoError(
                f"The shape {list(shape)} of {dtype} takes {count * dtype.itemsize} bytes of tensor_content; received "
                f"{len(proto.tensor_content)}."
            )
        if dtype == np.bool_:
            return (np.frombuffer(proto.tensor_content, np.uint8) != 0).reshape(shape)
        return np.frombuffer(proto.tensor_content, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    values = getattr(proto, _FIELDS[proto.dtype])
    return _filled(values, shape, count, dtype, 0)


def _shape(proto: Any) -> tuple[int, ...]:
    if proto.tensor_shape.unknown_rank:
        raise TensorProtoError("The shape has no known rank; a tensor needs the size of each dimension.")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if len(shape) > _MOST_DIMENSIONS:
        raise TensorProtoError(f"The shape has {len(shape)} dimensions; at most {_MOST_DIMENSIONS} are allowed.")
    if any(size < 0 for size in shape):
        raise TensorProtoError(f"The shape {list(shape)} has a negative size.")
    return shape


def _filled(values: Any, shape: tuple[int, ...], count: int, dtype: np.dtype, empty: Any) -> np.ndarray:
    """Return the first ``count`` values, padded with the last one, or with ``empty`` if there is none."""
    if count > len(values) and count * dtype.itemsize > LARGEST_FILL:
        raise TensorProtoError(
            f"The shape {list(shape)} has {count} elements; received {len(values)} values. A value is repeated up to "
            f"{LARGEST_FILL} bytes; send the others."
        )
    if count == 0:
        return np.empty(shape, dtype)
    if dtype.kind == "O":
        given = np.empty(min(count, len(values)), dtype)
        given[:] = list(values[:count])
    else:
        given = _numbers(values[:count], dtype)
    if len(given) < count:
        filled = np.full(count, given[-1] if len(given) else empty, dtype)
        filled[: len(given)] = given
        given = filled
    return given.reshape(shape)


def _numbers(values: Any, dtype: np.dtype) -> np.ndarray:
    """Convert the values of a typed field; small integers are in wider fields, and truncated as in C++."""
    if dtype == np.float16:
        return np.array(values, np.int64).astype(np.uint16).view(np.float16)
    wide = np.int64 if dtype.kind in "iu" and dtype.itemsize < 8 else dtype
    return np.array(values, wide).astype(dtype)


def _string_list(content: bytes, count: int) -> list[bytes]:
    """Parse strings in ``tensor_content``: ``count`` lengths as varints, then the bytes of all."""
    sizes, position = [], 0
    if count > len(content):
        raise TensorProtoError(f"The tensor_content of {len(content)} bytes can't hold {count} strings.")
    for _ in range(count):
        size = shift = 0
        while True:
            if position >= len(content) or shift > 28:
                raise TensorProtoError(f"The tensor_content is no list of {count} strings.")
            byte = content[position]
            position += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        sizes.append(size)
    if position + sum(sizes) != len(content):
        raise TensorProtoError(
            f"The tensor_content has {len(content) - position} bytes of strings; their lengths add up to {sum(sizes)}."
        )
    strings = []
    for size in sizes:
        strings.append(content[position : position + size])
        position += size
    return strings
