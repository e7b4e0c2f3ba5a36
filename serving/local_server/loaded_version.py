"""A loaded version: its model in a process of its own, its users, and its predictions.

Error messages are close to TF Serving's, so that they can be searched for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from grpc import StatusCode
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2

from noisy_gru.saved_model.c_api import NUMPY_DTYPES, STRING
from noisy_gru.saved_model.session import DeadlineExceededError, Signature
from noisy_gru.saved_model.session_process import ProcessEndedError, SessionProcess
from noisy_gru.saved_model.tensor_protos import TensorProtoError, make_ndarray, make_tensor_proto
from noisy_gru.schema.errors import ModelError
from noisy_gru.serving.local_server.errors import RequestError, failed_precondition, invalid, without_folders
from noisy_gru.serving.local_server.limits import Deadline, Limits

DEFAULT_SIGNATURE = "serving_default"
# TensorFlow's names of types in its messages.
_TF_NAMES = {"float32": "float", "float64": "double"}


class LoadedVersion:
    """A version that takes requests.

    ``on_end`` is called by each request that finds the model's process ended.

    Args:
        name: of the model.
        version: its number.
        folder: of the SavedModel.
        limits: of steps, and of requests that run at a time.

    Raises:
        ModelError: if TensorFlow can't load it.
    """

    def __init__(self, name: str, version: int, folder: Path, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.name = name
        self.version = version
        self.folder = folder
        self._users = 0
        self._idle = threading.Condition()
        self.on_end: Callable[[], None] = lambda: None
        self.model = SessionProcess(folder, most_steps=limits.steps, channels=limits.workers)
        try:
            self.signature_defs: dict[str, Any] = _signature_defs(folder)
        except ModelError:
            self.model.close()
            raise

    def acquire(self) -> None:
        """Keep the version in memory until `release`."""
        with self._idle:
            self._users += 1

    def release(self) -> None:
        """End an `acquire`."""
        with self._idle:
            self._users -= 1
            self._idle.notify_all()

    def close(self) -> None:
        """Wait for the requests that use the version, then free its memory. No new request may start."""
        with self._idle:
            self._idle.wait_for(lambda: self._users == 0)
        self.model.close()

    def signature(self, name: str) -> Signature:
        """Return the signature that a request names; by default ``serving_default``.

        Raises:
            RequestError: FAILED_PRECONDITION, as TF Serving over gRPC.
        """
        signature = self.model.signatures.get(name or DEFAULT_SIGNATURE)
        if signature is None:
            raise failed_precondition(f'Serving signature key "{name or DEFAULT_SIGNATURE}" not found.')
        return signature

    def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
        deadline: Deadline | None = None,
    ) -> dict[str, np.ndarray]:
        """Compute the outputs of a signature.

        Args:
            signature_name: empty for the default one.
            inputs: by name; of exactly the signature's types.
            output_filter: names of outputs; empty for all.
            deadline: of the response; None: no limit.

        Raises:
            RequestError: if the request doesn't fit the signature, or TensorFlow fails while it runs.
        """
        signature = self.signature(signature_name)
        _check_inputs(signature, inputs)
        _check_filter(signature, output_filter)
        try:
            seconds = None if deadline is None else max(deadline.seconds, 1e-3)
            outputs = self.model.run(signature_name or DEFAULT_SIGNATURE, inputs, seconds=seconds)
        except ProcessEndedError as error:
            self.on_end()
            raise RequestError(
                StatusCode.UNAVAILABLE, f"{error} It is being restarted. Send the request again."
            ) from error
        except DeadlineExceededError as error:
            raise RequestError(StatusCode.DEADLINE_EXCEEDED, str(error)) from error
        except ModelError as error:
            raise invalid(without_folders(str(error), self.folder, f"{self.name}/{self.version}")) from error
        return {name: outputs[name] for name in output_filter or outputs}


def answer_predict(loaded: LoadedVersion, request: Any, deadline: Deadline | None = None) -> Any:
    """Respond to a ``PredictRequest``; numbers are in the typed fields, as TF Serving writes them.

    Raises:
        RequestError: the request doesn't fit the signature, or TensorFlow fails.
    """
    if deadline is not None:
        deadline.check()
    signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    loaded.signature(signature_name)
    inputs = {}
    for name, proto in request.inputs.items():
        try:
            inputs[name] = make_ndarray(proto)
        except TensorProtoError as error:
            raise invalid(f"tensor parsing error: {name}: {error}") from error
    outputs = loaded.predict(signature_name, inputs, list(request.output_filter), deadline)
    response = predict_pb2.PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = loaded.version
    response.model_spec.signature_name = signature_name
    for name, array in outputs.items():
        response.outputs[name].CopyFrom(make_tensor_proto(array, packed=False))
    return response


def _check_inputs(signature: Signature, inputs: Mapping[str, np.ndarray]) -> None:
    sent, wanted = set(inputs), set(signature.inputs)
    if len(sent) == len(wanted) and sent != wanted:
        raise invalid(
            f"input tensor alias not found in signature: {min(sent - wanted)}. Inputs expected to be in the set "
            f"{_set(wanted)}."
        )
    if sent != wanted:
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_set(sent)}) != "
            f"len({_set(wanted)}). Sent extra: {_set(sent - wanted)}. Missing but required: {_set(wanted - sent)}."
        )
    for index, (name, spec) in enumerate(sorted(signature.inputs.items())):
        # A Session casts nothing, so this must not either: requests that pass here have to pass in production.
        expected = object if spec.code == STRING else NUMPY_DTYPES.get(spec.code)
        if expected is None:
            raise RequestError(
                StatusCode.UNIMPLEMENTED,
                f"The input {name} has the type {spec.dtype}, unsupported by this server.",
            )
        if inputs[name].dtype != np.dtype(expected):
            raise invalid(
                f"Expects arg[{index}] to be {_type_name(spec.dtype)} but {_type_name(_received(inputs[name]))} is "
                f"provided (input {name})"
            )


def _check_filter(signature: Signature, output_filter: Sequence[str]) -> None:
    for position, name in enumerate(output_filter):
        if name not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{_set(signature.outputs)}."
            )
        if name in output_filter[:position]:
            raise invalid(f"duplicate output tensor alias: {name}")


def _received(array: np.ndarray) -> str:
    return "string" if array.dtype == object else array.dtype.name


def _type_name(name: str) -> str:
    return _TF_NAMES.get(name, name)


def _set(names: Any) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _signature_defs(folder: Path) -> dict[str, Any]:
    """The ``SignatureDef`` messages, by name, as GetModelMetadata shows them."""
    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString((folder / "saved_model.pb").read_bytes())
    except (OSError, DecodeError) as error:
        raise ModelError(f"{folder / 'saved_model.pb'} can't be read as a SavedModel: {error}") from error
    for meta_graph in saved_model.meta_graphs:
        if "serve" in meta_graph.meta_info_def.tags:
            return {name: _copy(definition) for name, definition in meta_graph.signature_def.items()}
    raise ModelError(f"{folder}: no graph has the tag serve.")


def _copy(definition: Any) -> Any:
    """Copy a message, so that its SavedModel doesn't stay in memory."""
    copied = type(definition)()
    copied.CopyFrom(definition)
    return copied
