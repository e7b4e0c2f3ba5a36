"""TF Serving's REST API over `Models`: predict, status, metadata, and Prometheus metrics."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from google.protobuf.json_format import MessageToDict, MessageToJson
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from noisy_gru.serving.local_server import json_tensors, metrics
from noisy_gru.serving.local_server.connections import Connections
from noisy_gru.serving.local_server.errors import RequestError, failed_precondition, invalid
from noisy_gru.serving.local_server.grpc_services import SIGNATURE_DEF, metadata, no_such_method, status
from noisy_gru.serving.local_server.limits import Deadline, Limits, Workers
from noisy_gru.serving.local_server.loaded_version import DEFAULT_SIGNATURE
from noisy_gru.serving.local_server.models import Models
from noisy_gru.serving.local_server.request_bodies import RequestBodies, unpack

# TF Serving's own expressions (2.20.0, http_rest_api_util.cc:30). They see the path with its query, still encoded
# (evhttp_request.cc:135), so a query is a malformed request, or a part of the model's name.
_WHICH = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(rf"/v1/models/(?P<name>[^/:]+){_WHICH}:(?P<method>classify|regress|predict)", re.IGNORECASE)
_STATUS = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_WHICH}(?:/(?P<part>metadata))?", re.IGNORECASE)
_KINDS = {"classify": "classification", "regress": "regression"}


def application(
    models: Models, workers: Workers, counts: metrics.RequestCounts, limits: Limits, connections: Connections
) -> web.Application:
    """Return the web application; its runner must not decompress bodies (``auto_decompress=False``)."""
    handlers = _Handlers(models, workers, counts, limits, connections)

    @web.middleware
    async def header_is_there(request: web.Request, handler: Any) -> web.StreamResponse:
        with connections.request(request.transport):
            return await handler(request)

    app = web.Application(middlewares=[header_is_there, _errors_as_json])
    app.router.add_get(metrics.PATH, handlers.metrics)
    app.router.add_get("/v1/{tail:.*}", handlers.get, allow_head=False)
    app.router.add_post("/v1/{tail:.*}", handlers.post)
    app.router.add_options("/v1/{tail:.*}", handlers.options)
    app.router.add_route("*", "/v1/{tail:.*}", handlers.other)
    return app


def _json(body: str | bytes, code: int = 200) -> web.Response:
    content = body.encode() if isinstance(body, str) else body
    return web.Response(body=content, status=code, content_type="application/json")


@web.middleware
async def _errors_as_json(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response = await handler(request)
    except RequestError as error:
        response = _json(json.dumps({"error": error.message}), error.http_code)
    except web.HTTPException as error:
        response = _json(json.dumps({"error": error.text or error.reason}), error.status)
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        response.enable_compression(web.ContentCoding.gzip)
    return response


def _spec(match: re.Match[str]) -> Any:
    if not match["name"]:
        raise invalid("Missing model name in request.")
    spec = model_pb2.ModelSpec(name=unquote(match["name"]))
    if match["version"] is not None:
        if int(match["version"]) >= 1 << 63:
            raise invalid(f"Failed to convert version: {match['version']} to numeric.")
        spec.version.value = int(match["version"])
    if match["label"] is not None:
        spec.version_label = unquote(match["label"])
    return spec


def _malformed(request: web.Request) -> RequestError:
    return invalid(f"Malformed request: {request.method} {request.raw_path}")


class _Handlers:
    def __init__(
        self,
        models: Models,
        workers: Workers,
        counts: metrics.RequestCounts,
        limits: Limits,
        connections: Connections,
    ) -> None:
        self._limits = limits
        self._bodies = RequestBodies(limits)
        self._connections = connections
        self._models = models
        self._workers = workers
        self._counts = counts

    async def get(self, request: web.Request) -> web.Response:
        """Respond with the status or metadata of a model."""
        match = _STATUS.fullmatch(request.raw_path)
        if match is None:
            raise _malformed(request)
        spec = _spec(match)
        if match["part"] is None:
            answer = status(self._models, get_model_status_pb2.GetModelStatusRequest(model_spec=spec))
            return _json(_as_json(answer))
        request_ = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=[SIGNATURE_DEF])
        answer = metadata(self._models, request_)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata[SIGNATURE_DEF].Unpack(signatures)
        parts = {"model_spec": _as_dict(answer.model_spec), "metadata": {SIGNATURE_DEF: _as_dict(signatures)}}
        return _json(json.dumps(parts, indent=1))

    async def post(self, request: web.Request) -> web.Response:
        """Respond to a prediction request."""
        match = _PREDICT.fullmatch(request.raw_path)
        if match is None:
            raise _malformed(request)
        spec = _spec(match)
        # TF Serving knows this one encoding, and reads the header as here (evhttp_request.cc:261).
        is_packed = "gzip" in request.headers.get("Content-Encoding", "")
        with self._counts.counted(self._models.known(spec.name)):
            async with self._bodies.read(request) as body:
                method = match["method"].lower()
                if method != "predict":
                    no_such_method(self._models, spec, _KINDS[method], method)
                # Only now: a request that has not arrived takes no slot.
                with self._connections.working(request.transport), ExitStack() as held:
                    held.enter_context(self._workers.slot())
                    most = self._limits.request_bytes if is_packed else None
                    deadline = Deadline.after(self._limits.run_seconds)
                    answer = self._workers.run(_predict, self._models, spec, body, most, deadline, held=held.pop_all())
                    return _json(await answer)

    async def options(self, request: web.Request) -> web.Response:
        """Respond to a browser's preflight request, as http_server.cc:165 does."""
        if not re.search("https?://", request.headers.get("Origin", "")):
            raise failed_precondition("Origin header is missing in CORS preflight")
        return _json("")

    async def other(self, request: web.Request) -> web.Response:
        """Refuse any other method as a malformed request."""
        raise _malformed(request)

    async def metrics(self, _: web.Request) -> web.Response:
        """Respond with the counters."""
        return web.Response(text=self._counts.page(), content_type="text/plain")


def _predict(models: Models, spec: Any, body: bytes, most: int | None, deadline: Deadline) -> bytes:
    """Return the response to a prediction request.

    Args:
        models: the served models.
        spec: of the model.
        body: of the request.
        most: bytes to which a gzip body may unpack; None: it is not compressed.
        deadline: of the response.
    """
    deadline.check()
    body = body if most is None else unpack(body, most)
    # The body is parsed before the model is looked up, as in json_tensor.cc:669.
    request = json_tensors.parse_request(body)
    name = request.get("signature_name") or DEFAULT_SIGNATURE
    loaded = models.lease(spec)
    try:
        signature = loaded.model.signatures.get(name)
        if signature is None:
            raise invalid(f'Serving signature name: "{name}" not found in signature def')
        outputs = loaded.predict(name, json_tensors.request_inputs(request, signature), deadline=deadline)
    finally:
        loaded.release()
    return json_tensors.response_body(request, outputs)


def _as_json(message: Any) -> str:
    return MessageToJson(message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True, indent=1)


def _as_dict(message: Any) -> dict[str, Any]:
    return MessageToDict(message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True)
