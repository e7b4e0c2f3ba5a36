"""Messages of TF Serving's REST API in its row form: encode requests, decode responses."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np

from noisy_gru.saved_model.c_api import DTYPE_NAMES
from noisy_gru.saved_model.session import Signature, TensorSpec
from noisy_gru.serving.client.calls import ModelChoice, ModelMetadata, PredictCall, VersionStatus

# JSON has one type for all numbers.
_INTEGERS = ("class_id", "lengths", "answers")
_NAMES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16"}
_CODES = {name: code for code, name in DTYPE_NAMES.items()}


def path_of(model: ModelChoice) -> str:
    """Return the path of a model, version or label."""
    path = f"/v1/models/{quote(model.name, safe='')}"
    if model.version is not None:
        return f"{path}/versions/{model.version}"
    return f"{path}/labels/{quote(model.label, safe='')}" if model.label is not None else path


def body_of(call: PredictCall) -> bytes:
    """Encode a prediction request: an instance for each sequence."""
    columns = {name: _json_values(values) for name, values in call.inputs.items()}
    if len(columns) == 1:
        (instances,) = columns.values()
    else:
        instances = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    content = {"signature_name": call.signature, "instances": instances}
    return json.dumps(content, separators=(",", ":")).encode()


def _json_values(values: Any) -> list[Any]:
    if isinstance(values, np.ndarray) and values.dtype != object:
        return values.tolist()
    return [_b64(value) for value in (values.tolist() if isinstance(values, np.ndarray) else values)]


def _b64(value: Any) -> Any:
    if isinstance(value, list):
        return [_b64(each) for each in value]
    return {"b64": base64.b64encode(value).decode("ascii")}


def outputs_of(predictions: list[Any]) -> dict[str, np.ndarray]:
    """Decode the rows of a response to outputs by name; a signature with one output has its values as rows."""
    if not predictions:
        return {}
    if not isinstance(predictions[0], Mapping):
        return {"predictions": _array("predictions", predictions)}
    return {name: _array(name, [row[name] for row in predictions]) for name in predictions[0]}


def _array(name: str, values: list[Any]) -> np.ndarray:
    if not name.endswith("_bytes"):
        given = np.array(values)
        if given.size and given.dtype.kind not in ("iu" if name in _INTEGERS else "fiu"):
            raise TypeError(f"{name} holds values that are not numbers ({given.dtype})")
        with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is reported as refused
            return given.astype(np.int64 if name in _INTEGERS else np.float32)
    decoded = _decoded(values)
    width = len(decoded[0]) if isinstance(decoded[0], list) else None
    array = np.empty((len(decoded),) if width is None else (len(decoded), width), object)
    array[:] = decoded
    return array


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    return base64.b64decode(value["b64"], validate=True) if isinstance(value, Mapping) else value.encode()


def error_details(body: bytes, reason: str) -> str:
    """Return the server's message in the body of an error, or the text of another server, such as a proxy."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        text = " ".join(body.decode("utf-8", "replace").split())
        return f"{reason} {text[:200]}".strip()


def statuses_of(content: Any) -> list[VersionStatus]:
    """Decode the versions of a model."""
    return [
        VersionStatus(int(each["version"]), each["state"], (each.get("status") or {}).get("error_message", ""))
        for each in content["model_version_status"]
    ]


def metadata_of(content: Any) -> ModelMetadata:
    """Decode a model's version and signatures."""
    version = content["model_spec"].get("version")
    signatures = {
        name: Signature(
            inputs={key: _spec(info) for key, info in sorted((each.get("inputs") or {}).items())},
            outputs={key: _spec(info) for key, info in sorted((each.get("outputs") or {}).items())},
            method=each.get("method_name", ""),
        )
        for name, each in sorted(content["metadata"]["signature_def"]["signature_def"].items())
        if name != "__saved_model_init_op"
    }
    return ModelMetadata(None if version in (None, "") else int(version), signatures)


def _spec(info: Any) -> TensorSpec:
    shape = info.get("tensor_shape") or {}
    dims = None
    if not shape.get("unknown_rank"):
        sizes = [int(dim["size"]) for dim in shape.get("dim") or []]
        dims = tuple(None if size < 0 else size for size in sizes)
    kind = str(info["dtype"])
    dtype = _NAMES.get(kind, kind.removeprefix("DT_").lower())
    return TensorSpec(tensor=info.get("name", ""), dtype=dtype, shape=dims, code=_CODES.get(dtype, 0))
