"""TF Serving's two gRPC services over `Models`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from noisy_gru.serving.local_server.errors import RequestError, invalid
from noisy_gru.serving.local_server.limits import Deadline, Workers
from noisy_gru.serving.local_server.loaded_version import DEFAULT_SIGNATURE, LoadedVersion, answer_predict
from noisy_gru.serving.local_server.metrics import RequestCounts
from noisy_gru.serving.local_server.models import Models

SIGNATURE_DEF = "signature_def"


class RequestParser(grpc.aio.ServerInterceptor):
    """Parse messages in place of gRPC, which would log a traceback for each one that is no protobuf."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Return the handler of a method, with its own parsing."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler

        method = handler_call_details.method

        async def answer(content: bytes, context: Any) -> Any:
            try:
                request = handler.request_deserializer(content)
            except DecodeError:
                # The code is that of a server in C++.
                await context.abort(grpc.StatusCode.INTERNAL, f"The request is not a message of {method}.")
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(answer, response_serializer=handler.response_serializer)


async def _respond(context: Any, answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except RequestError as error:
        await context.abort(error.code, error.short)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the older methods refuse, and name Predict."""

    def __init__(self, models: Models, workers: Workers, counts: RequestCounts, run_seconds: float) -> None:
        self._run_seconds = run_seconds
        self._models = models
        self._workers = workers
        self._counts = counts

    async def Predict(self, request: Any, context: Any) -> Any:
        """Return the outputs of a signature."""
        with self._counts.counted(self._models.known(request.model_spec.name)):
            left = context.time_remaining()
            seconds = self._run_seconds if left is None else min(left, self._run_seconds)
            return await _respond(context, self._predict(request, Deadline.after(seconds)))

    async def _predict(self, request: Any, deadline: Deadline) -> Any:
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        with ExitStack() as held:
            held.enter_context(self._workers.slot())
            loaded = self._models.lease(request.model_spec)
            held.callback(loaded.release)
            return await self._workers.run(answer_predict, loaded, request, deadline, held=held.pop_all())

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:
        """Return the signatures of a version."""
        return await _respond(context, _call(metadata, self._models, request))

    async def Classify(self, request: Any, context: Any) -> Any:
        """Refuse: the models of this project have no such signature."""
        spec = request.model_spec
        return await _respond(context, _call(no_such_method, self._models, spec, "classification", "classify"))

    async def Regress(self, request: Any, context: Any) -> Any:
        """Refuse, as `Classify`."""
        spec = request.model_spec
        return await _respond(context, _call(no_such_method, self._models, spec, "regression", "regress"))

    async def MultiInference(self, request: Any, context: Any) -> Any:
        """Refuse, as `Classify`."""
        tasks = request.tasks
        if not tasks:
            return await _respond(context, _call(_no_tasks))
        spec = tasks[0].model_spec
        return await _respond(context, _call(no_such_method, self._models, spec, "classification", "classify"))


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """The state of versions, and a new config while the server runs."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def GetModelStatus(self, request: Any, context: Any) -> Any:
        """Return the states of a model's versions."""
        return await _respond(context, _call(status, self._models, request))

    async def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:
        """Apply a new config; responds when its new models are loaded."""

        async def reload() -> Any:
            # Loading takes seconds, and the requests' threads are not for it.
            await asyncio.to_thread(self._models.reload, request.config)
            response = model_management_pb2.ReloadConfigResponse()
            response.status.SetInParent()
            return response

        return await _respond(context, reload())


async def _call(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _no_tasks() -> None:
    raise invalid("Inference request must contain at least one task; received none.")


def status(models: Models, request: Any) -> Any:
    """Respond to a ``GetModelStatusRequest``."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return models.status(request.model_spec)


def metadata(models: Models, request: Any) -> Any:
    """Respond to a ``GetModelMetadataRequest``."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for name in request.metadata_field:
        if name != SIGNATURE_DEF:
            raise invalid(f"Metadata field {name} is not supported; expected {SIGNATURE_DEF}")
    loaded = models.lease(request.model_spec)
    try:
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = loaded.name
        response.model_spec.version.value = loaded.version
        response.metadata[SIGNATURE_DEF].Pack(signature_def_map(loaded))
        return response
    finally:
        loaded.release()


def signature_def_map(loaded: LoadedVersion) -> Any:
    """Return the ``SignatureDefMap`` of a version."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in loaded.signature_defs.items():
        signatures.signature_def[name].CopyFrom(definition)
    return signatures


def no_such_method(models: Models, spec: Any, kind: str, method: str) -> Any:
    """Refuse ``Classify`` and similar methods, after checking that model and signature exist."""
    loaded = models.lease(spec)
    try:
        name = spec.signature_name or DEFAULT_SIGNATURE
        found = loaded.signature(name).method
    finally:
        loaded.release()
    raise invalid(
        f"Expected {kind} signature method_name to be tensorflow/serving/{method}. Was: {found} (signature {name}). "
        "Use Predict for the models of this project."
    )
