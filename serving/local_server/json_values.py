"""Convert a JSON value to an array of a signature's type, as strict as TF Serving on types, shapes and precision."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

import numpy as np
from grpc import StatusCode

from noisy_gru.saved_model.c_api import NUMPY_DTYPES, STRING
from noisy_gru.saved_model.session import TensorSpec
from noisy_gru.serving.local_server.errors import RequestError, invalid

_LONGEST_SHOWN = 200
_BLANKS = re.compile(r"[ \t\n\v\f\r]")
_TF_NAMES = {"float32": "float", "float64": "double"}
_JSON_NAMES = {type(None): "Null", bool: "Bool", dict: "Object", list: "Array", str: "String"}
_MOST_DIMENSIONS = 254
_HALF = 19  # float16: TF Serving can't read it from JSON, either


def shown(value: Any) -> str:
    """Format a JSON value for a message, shortened if it is long."""
    parts, size = [], 0
    for part in json.JSONEncoder().iterencode(value):
        parts.append(part[: _LONGEST_SHOWN + 1])
        size += len(part)
        if size > _LONGEST_SHOWN:
            return "".join(parts)[:_LONGEST_SHOWN] + "..."
    return "".join(parts)


def array_of(value: Any, name: str, spec: TensorSpec) -> np.ndarray:
    """Convert nested lists, or a single value, to an array.

    Args:
        value: a JSON value.
        name: of the input, for messages.
        spec: of the signature's input; its shape is not checked here.

    Raises:
        RequestError: INVALID_ARGUMENT, if the lists have no common shape or a value is not of the type.
    """
    shape = _shape_of(value)
    leaves: list[Any] = []
    _flatten(value, shape, 0, leaves)
    try:
        flat = _strings(leaves) if spec.code == STRING else _numbers(leaves, spec)
    except RequestError as error:
        raise RequestError(error.code, f"{error.message} (input {name})") from error
    return flat.reshape(shape)


def _shape_of(value: Any) -> tuple[int, ...]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if len(shape) > _MOST_DIMENSIONS:
            raise invalid(f"Encountered list at unexpected level: {len(shape)} expected < {_MOST_DIMENSIONS}")
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _flatten(value: Any, shape: tuple[int, ...], level: int, leaves: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at level: "
                f"{len(shape)}"
            )
        leaves.append(value)
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    if level == len(shape) - 1 and not any(isinstance(item, list) for item in value):
        leaves.extend(value)
        return
    for item in value:
        _flatten(item, shape, level + 1, leaves)


def _wrong_type(value: Any, spec_name: str) -> RequestError:
    kind = _JSON_NAMES.get(type(value), "Number")
    return invalid(f"JSON Value: {shown(value)} Type: {kind} is not of expected type: {spec_name}")


def _strings(leaves: list[Any]) -> np.ndarray:
    flat = np.empty(len(leaves), object)
    for index, leaf in enumerate(leaves):
        flat[index] = _string(leaf)
    return flat


def _string(leaf: Any) -> bytes:
    if isinstance(leaf, str):
        try:
            return leaf.encode()
        except UnicodeEncodeError as error:  # half of a surrogate pair
            raise invalid(f"JSON Value: {shown(leaf)} is not valid Unicode: {error}") from error
    if not isinstance(leaf, dict):
        raise _wrong_type(leaf, "string")
    if len(leaf) != 1 or getattr(leaf, "has_duplicates", False) or not isinstance(leaf.get("b64"), str):
        raise invalid(f"JSON Value: {shown(leaf)} not formatted correctly for base64 data")
    return _from_base64(leaf["b64"])


def _from_base64(text: str) -> bytes:
    """As absl::Base64Unescape: blanks are passed over, padding may be left out, and must be right where it is given."""
    packed = _BLANKS.sub("", text) if _BLANKS.search(text) else text
    digits = packed.rstrip("=.")
    padding = len(packed) - len(digits)
    if padding not in (0, -len(digits) % 4):
        raise invalid(f"Unable to base64 decode {shown(text)}: its padding is wrong")
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"Unable to base64 decode {shown(text)}: {error}") from error


def _numbers(leaves: list[Any], spec: TensorSpec) -> np.ndarray:
    name = _TF_NAMES.get(spec.dtype, spec.dtype)
    if spec.code == _HALF or spec.code not in NUMPY_DTYPES:
        raise RequestError(StatusCode.UNIMPLEMENTED, f"Conversion of JSON Value to type: {name}")
    dtype = np.dtype(NUMPY_DTYPES[spec.code])
    if dtype.kind == "f":
        _check_types(leaves, (int, float), name)
        return _floats(leaves, dtype, name)
    _check_types(leaves, (bool,) if dtype == np.bool_ else (int,), name)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        for leaf in leaves:
            if not limits.min <= leaf <= limits.max:
                raise _wrong_type(leaf, name)
    return np.array(leaves, dtype)


def _check_types(leaves: list[Any], allowed: tuple[type, ...], name: str) -> None:
    # Exact types: a bool is an int for Python, but not in JSON. The set makes the usual case quick.
    if not set(map(type, leaves)) <= set(allowed):
        raise _wrong_type(next(leaf for leaf in leaves if type(leaf) not in allowed), name)


def _floats(leaves: list[Any], dtype: np.dtype, name: str) -> np.ndarray:
    """By way of a double, as rapidjson::Value::GetFloat; an integer above 2**24 is rounded, there as here."""
    try:
        doubles = np.array(leaves, np.float64)
    except OverflowError as error:
        raise invalid(f"JSON Parse error: Number too big to be stored in double: {shown(leaves)}") from error
    with np.errstate(over="ignore"):
        floats = doubles.astype(dtype)
    lost = np.isfinite(doubles) & ~np.isfinite(floats)
    if lost.any():
        # TF Serving would make infinity of it, which the model takes for a missing value.
        raise invalid(f"Cannot convert JSON value: {shown(leaves[int(lost.argmax())])} to {name}: it is too large.")
    return floats
