"""TF Serving's PredictionService and ModelService, and the health service, over gRPC.

Imports no TensorFlow: see ``grpc_messages``.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc

from noisy_gru.saved_model.session import signatures_of
from noisy_gru.saved_model.tensor_protos import TensorProtoError, make_ndarray, make_tensor_proto
from noisy_gru.serving.client.calls import (
    Call,
    HealthCall,
    MetadataCall,
    ModelChoice,
    ModelMetadata,
    PredictCall,
    PredictReply,
    Reply,
    StatusCall,
    VersionStatus,
)
from noisy_gru.serving.client.connection import ConnectionOptions, is_this_machine
from noisy_gru.serving.client.errors import ServingError
from noisy_gru.serving.client.grpc_messages import MESSAGES, STATES, method, signature_defs
from noisy_gru.serving.client.status_mapping import error_of

# Generated code, of which type checkers see nothing.
_health: Any = health_pb2
_health_grpc: Any = health_pb2_grpc


class _Wire:
    """Calls and replies as protobuf messages."""

    def __init__(self, connection: ConnectionOptions) -> None:
        self.connection = connection
        self.metadata = tuple((name.lower(), value) for name, value in connection.headers.items())

    def options(self) -> list[tuple[str, int]]:
        """Return the channel's options."""
        host = self.connection.target.rpartition(":")[0].strip("[]")
        return [
            ("grpc.max_receive_message_length", self.connection.largest_answer),
            ("grpc.max_send_message_length", -1),
            # Without these the channel itself waits up to two minutes before it tries a dead address again.
            ("grpc.initial_reconnect_backoff_ms", max(int(self.connection.first_wait * 1000), 100)),
            ("grpc.max_reconnect_backoff_ms", max(int(self.connection.longest_wait * 1000), 100)),
            ("grpc.enable_http_proxy", int(not is_this_machine(host))),
        ]

    def credentials(self) -> Any:
        """Return the channel's credentials; None for plain text."""
        if self.connection.tls is None:
            return None
        ca, certificate, key = self.connection.tls.read()
        return grpc.ssl_channel_credentials(ca, key, certificate)

    def methods(self, channel: Any) -> dict[type, Any]:
        """Return the channel's method for each kind of call."""
        return {
            PredictCall: method(channel, "PredictionService", "Predict", "Predict"),
            MetadataCall: method(channel, "PredictionService", "GetModelMetadata", "GetModelMetadata"),
            StatusCall: method(channel, "ModelService", "GetModelStatus", "GetModelStatus"),
            HealthCall: _health_grpc.HealthStub(channel).Check,
        }

    def request(self, call: Call) -> Any:
        """Encode a call."""
        if isinstance(call, HealthCall):
            return _health.HealthCheckRequest()
        if isinstance(call, PredictCall):
            request = MESSAGES["PredictRequest"]()
            request.model_spec.signature_name = call.signature
            _write_inputs(request, call)
        elif isinstance(call, MetadataCall):
            request = MESSAGES["GetModelMetadataRequest"](metadata_field=["signature_def"])
        else:
            request = MESSAGES["GetModelStatusRequest"]()
        _write_choice(request.model_spec, call.model)
        return request

    def reply(self, call: Call, response: Any) -> Reply:
        """Decode a reply.

        Raises:
            ServingError: the reply is of another kind.
        """
        if isinstance(call, PredictCall):
            version = response.model_spec.version.value if response.model_spec.HasField("version") else None
            return PredictReply(_read_outputs(response, self.connection.target), version)
        if isinstance(call, MetadataCall):
            return _metadata(response, self.connection.target)
        if isinstance(call, StatusCall):
            return [_status(each) for each in response.model_version_status]
        return response.status == _health.HealthCheckResponse.SERVING

    def error(self, call: Call, error: Any) -> ServingError:
        """Return the error for a gRPC exception."""
        details = error.details() or error.code().value[1]
        return error_of(self.connection.target, call, error.code().name, details, self.connection.timeout)


class GrpcTransport:
    """Send calls from an event loop.

    The channel is gRPC's own with threads, not `grpc.aio`, whose poller belongs to a process and logs errors where
    several event loops use it (grpc/grpc#25364): a program may have many clients, and a local server.

    Args:
        connection: of the server.
    """

    def __init__(self, connection: ConnectionOptions) -> None:
        self._wire = _Wire(connection)
        credentials, options = self._wire.credentials(), self._wire.options()
        if credentials is None:
            self._channel = grpc.insecure_channel(connection.target, options)
        else:
            self._channel = grpc.secure_channel(connection.target, credentials, options)
        self._methods = self._wire.methods(self._channel)

    async def send(self, call: Call, timeout: float) -> Reply:
        """Send a call once.

        Args:
            call: the request.
            timeout: seconds.

        Raises:
            ServingError: the request failed.
        """
        method, request = self._methods[type(call)], self._wire.request(call)
        try:
            response = await self._call(method, request, timeout)
        except grpc.RpcError as error:
            raise self._wire.error(call, error) from error
        return self._wire.reply(call, response)

    async def _call(self, method: Any, request: Any, timeout: float) -> Any:
        return await _result(method.future(request, timeout=timeout, metadata=self._wire.metadata))

    async def close(self) -> None:
        """Close the channel; open calls fail."""
        self._channel.close()


class BlockingGrpcTransport(GrpcTransport):
    """Send calls and block; for any number of threads."""

    async def _call(self, method: Any, request: Any, timeout: float) -> Any:
        return method(request, timeout=timeout, metadata=self._wire.metadata)


async def _result(rpc: Any) -> Any:
    """Wait for a call of gRPC's threads; the call ends with the waiting task, if that is cancelled."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def wake(_: Any) -> None:
        # The loop may be closed when a cancelled call ends.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(done.set)

    rpc.add_done_callback(wake)
    try:
        await done.wait()
    finally:
        rpc.cancel()
    return rpc.result()


def _write_choice(spec: Any, model: ModelChoice) -> None:
    spec.name = model.name
    if model.version is not None:
        spec.version.value = model.version
    if model.label is not None:
        spec.version_label = model.label


def _write_inputs(request: Any, call: PredictCall) -> None:
    for name, values in call.inputs.items():
        if isinstance(values, np.ndarray):
            make_tensor_proto(values, into=request.inputs[name])
            continue
        tensor = request.inputs[name]
        tensor.dtype = 7  # DT_STRING
        tensor.tensor_shape.dim.add(size=len(values))
        tensor.string_val.extend(values)


def _read_outputs(response: Any, target: str) -> dict[str, np.ndarray]:
    try:
        return {name: make_ndarray(proto) for name, proto in response.outputs.items()}
    except TensorProtoError as error:
        raise ServingError(f"{target}: an output can't be read: {error}", code="INTERNAL") from error


def _metadata(response: Any, target: str) -> ModelMetadata:
    try:
        signatures = signature_defs(response)
    except DecodeError as error:
        raise ServingError(f"{target}: the metadata signature_def can't be read: {error}", code="INTERNAL") from error
    if signatures is None:
        raise ServingError(f"{target} answered without the metadata signature_def", code="INTERNAL")
    version = response.model_spec.version.value if response.model_spec.HasField("version") else None
    return ModelMetadata(version, signatures_of(signatures))


def _status(each: Any) -> VersionStatus:
    return VersionStatus(each.version, STATES.get(each.state, f"UNKNOWN ({each.state})"), each.status.error_message)
