"""TF Serving's JSON: requests in row form (``instances``) or column form (``inputs``), and their responses.

The rules are those of its json_tensor.cc, and the error messages are close to it: a single input may come without its
name, bytes come as ``{"b64": ...}``, keys of ``inputs`` that the signature lacks are ignored. docs/serving.md lists
where this reader is stricter.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from noisy_gru.saved_model.session import Signature, TensorSpec
from noisy_gru.serving.local_server.errors import RequestError, invalid
from noisy_gru.serving.local_server.json_reading import JsonObject, read_json
from noisy_gru.serving.local_server.json_values import array_of, shown

INSTANCES = "instances"
INPUTS = "inputs"
_BYTES_SUFFIX = "_bytes"


def parse_request(body: bytes) -> dict[str, Any]:
    """Parse the JSON object in a request's body.

    Raises:
        RequestError: if it isn't one, or says both or neither of ``instances`` and ``inputs``.
    """
    request = read_json(body)
    if not isinstance(request, dict):
        raise invalid(f"JSON Value: {shown(request)} Is not object")
    if not isinstance(request.get("signature_name", ""), str):
        raise invalid(
            f"JSON Value: {shown(request)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return request


def request_inputs(request: Mapping[str, Any], signature: Signature) -> dict[str, np.ndarray]:
    """Convert a parsed request to input arrays, by name.

    Raises:
        RequestError: INVALID_ARGUMENT, if it doesn't fit the signature.
    """
    if (INSTANCES in request) == (INPUTS in request):
        if INPUTS not in request:
            raise invalid("Missing 'inputs' or 'instances' key")
        raise invalid(
            f"JSON Value: {shown(request)} Not formatted correctly expecting only one of '{INPUTS}' or '{INSTANCES}' "
            "keys to exist "
        )
    try:
        if INPUTS in request:
            return _columns(request[INPUTS], signature.inputs)
        return _rows(request[INSTANCES], signature.inputs)
    except RecursionError as error:
        raise invalid("JSON Value: lists are nested too deeply for a tensor") from error


def _is_base64(value: Any) -> bool:
    is_single = isinstance(value, JsonObject) and len(value) == 1 and not value.has_duplicates
    return is_single and isinstance(value.get("b64"), str)


def _columns(values: Any, specs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    if not isinstance(values, dict) or _is_base64(values):
        if len(specs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                f"tensorinfo_map; expected the keys {','.join(sorted(specs))}"
            )
        name, spec = next(iter(specs.items()))
        return {name: array_of(values, name, spec)}
    for name in specs:
        if name not in values:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: array_of(values[name], name, spec) for name, spec in specs.items()}


def _rows(rows: Any, specs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {shown(rows)} Expecting '{INSTANCES}' to be an list/array")
    if not rows:
        raise invalid(f"No values in '{INSTANCES}' array")
    if not isinstance(rows[0], dict) and len(specs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            f"tensorinfo_map; expected the keys {','.join(sorted(specs))}"
        )
    objects = isinstance(rows[0], dict) and not _is_base64(rows[0])
    columns: dict[str, list[np.ndarray]] = {name: [] for name in specs}
    for number, row in enumerate(rows):
        is_object = isinstance(row, dict) and not _is_base64(row)
        if objects and not is_object:
            raise invalid(f"Expecting object but got list at item {number} of input list")
        if is_object and not objects:
            raise invalid(f"Expecting value/list but got object at item {number} of input list")
        if isinstance(row, JsonObject) and row.has_duplicates:
            # TF Serving would put both values into the tensor, one after the other.
            raise invalid(f"Failed to process element: {number} of 'instances' list. A key of it comes twice.")
        if objects and set(row) != set(specs):
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. JSON object: {shown(row)} keys must be "
                f"equal to: {','.join(sorted(specs))}"
            )
        for name, value in row.items() if objects else [(next(iter(specs)), row)]:
            columns[name].append(_item(value, name, specs[name], columns[name], number, objects))
    return {name: np.stack(arrays) for name, arrays in columns.items()}


def _item(value: Any, name: str, spec: TensorSpec, before: list[np.ndarray], number: int, with_key: bool) -> np.ndarray:
    """The tensor of one instance; all of them need the same shape to become one."""
    try:
        array = array_of(value, name, spec)
        if before and before[0].shape != array.shape:
            raise invalid(f"Expecting shape {_shape(before[0])} but got: {_shape(array)}")
    except RequestError as error:
        key = f" key: {name}" if with_key else ""
        raise invalid(
            f"Failed to process element: {number}{key} of 'instances' list. Error: INVALID_ARGUMENT: {error.message}"
        ) from error
    return array


def _shape(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def response_body(request: Mapping[str, Any], outputs: Mapping[str, np.ndarray]) -> bytes:
    """Encode the response: ``predictions`` for row form, ``outputs`` for column form; a single output without its name.

    Raises:
        RequestError: the request has row form, and the outputs have no common batch dimension.
    """
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    values = {name: _values(name, array) for name, array in sorted(outputs.items())}
    single = next(iter(values)) if len(values) == 1 else None
    if INPUTS in request:
        return _encoded({"outputs": values if single is None else values[single]})
    sizes = {}
    for name, array in sorted(outputs.items()):
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        sizes[name] = array.shape[0]
        first = next(iter(sizes.values()))
        if sizes[name] != first:
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {sizes[name]} expecting: {first}")
    if single is not None:
        return _encoded({"predictions": values[single]})
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return _encoded({"predictions": rows})


def _encoded(content: Any) -> bytes:
    return json.dumps(content).encode()


def _values(name: str, array: np.ndarray) -> Any:
    if array.dtype == object:
        as_base64 = name.endswith(_BYTES_SUFFIX)
        flat = np.empty(array.size, object)
        flat[:] = [_string(value, as_base64) for value in array.ravel()]
        return flat.reshape(array.shape).tolist()
    if array.dtype in (np.float32, np.float16):
        # The shortest digits that give the same number: of 0.2 in float32, tolist() would make 0.20000000298.
        return array.astype("U32").astype(np.float64).tolist()
    return array.tolist()


def _string(value: bytes, as_base64: bool) -> Any:
    return {"b64": base64.b64encode(value).decode()} if as_base64 else value.decode("utf-8", "replace")
