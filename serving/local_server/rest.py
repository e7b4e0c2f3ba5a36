"""TF Serving's REST API over `Models`: predict, status, metadata, and the counters for Prometheus."""

# pyright: reportAttributeAccessIssue=false
# Protocol buffers' classes are made when they are imported.

from __future__ import annotations

import asyncio
import json
import re
from contextlib import ExitStack
from typing import Any

from aiohttp import web
from google.protobuf.json_format import MessageToDict, MessageToJson
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from noisy_gru.serving.local_server import json_tensors, metrics
from noisy_gru.serving.local_server.errors import RequestError, invalid
from noisy_gru.serving.local_server.grpc_services import SIGNATURE_DEF, metadata, no_such_method, status
from noisy_gru.serving.local_server.limits import Limits, Workers
from noisy_gru.serving.local_server.loaded import DEFAULT_SIGNATURE, LoadedVersion
from noisy_gru.serving.local_server.models import Models

_WHICH = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(_WHICH + r":(?P<method>classify|regress|predict)", re.IGNORECASE)
_STATUS = re.compile(_WHICH + r"(?:/(?P<part>metadata))?", re.IGNORECASE)
_KINDS = {"classify": "classification", "regress": "regression"}


def application(models: Models, workers: Workers, counts: metrics.RequestCounts, limits: Limits) -> web.Application:
    """The web application."""
    handlers = _Handlers(models, workers, counts, limits.body_seconds)
    app = web.Application(client_max_size=limits.request_bytes, middlewares=[_errors_as_json])
    app.router.add_get(metrics.PATH, handlers.metrics)
    app.router.add_get("/v1/{tail:.*}", handlers.get)
    app.router.add_post("/v1/{tail:.*}", handlers.post)
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
    spec = model_pb2.ModelSpec(name=match["name"])
    if match["version"] is not None:
        if int(match["version"]) >= 1 << 63:
            raise invalid(f"Failed to convert version: {match['version']} to numeric.")
        spec.version.value = int(match["version"])
    if match["label"] is not None:
        spec.version_label = match["label"]
    return spec


class _Handlers:
    def __init__(self, models: Models, workers: Workers, counts: metrics.RequestCounts, body_seconds: float) -> None:
        self._body_seconds = body_seconds
        self._models = models
        self._workers = workers
        self._counts = counts

    async def get(self, request: web.Request) -> web.Response:
        """Status or metadata of a model."""
        match = _STATUS.fullmatch(request.path)
        if match is None:
            raise invalid(f"Malformed request: GET {request.path}")
        spec = _spec(match)
        if match["part"] is None:
            answer = status(self._models, get_model_status_pb2.GetModelStatusRequest(model_spec=spec))
            return _json(_as_json(answer))
        asked = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=[SIGNATURE_DEF])
        answer = metadata(self._models, asked)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata[SIGNATURE_DEF].Unpack(signatures)
        parts = {"model_spec": _as_dict(answer.model_spec), "metadata": {SIGNATURE_DEF: _as_dict(signatures)}}
        return _json(json.dumps(parts, indent=1))

    async def post(self, request: web.Request) -> web.Response:
        """Predict."""
        match = _PREDICT.fullmatch(request.path)
        if match is None:
            raise invalid(f"Malformed request: POST {request.path}")
        spec = _spec(match)
        with self._counts.counted(self._models.known(spec.name)), ExitStack() as held:
            held.enter_context(self._workers.place())
            body = await _body(request, self._body_seconds)
            method = match["method"].lower()
            if method != "predict":
                no_such_method(self._models, spec, _KINDS[method], method)
            loaded = self._models.lease(spec)
            held.callback(loaded.release)
            return _json(await self._workers.run(_answer, loaded, body, held=held.pop_all()))

    async def metrics(self, _: web.Request) -> web.Response:
        """The counters."""
        return web.Response(text=self._counts.page(), content_type="text/plain")


async def _body(request: web.Request, seconds: float) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError as error:
        raise web.HTTPRequestTimeout(text=f"The request body did not arrive within {seconds:g} seconds.") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise web.HTTPRequestEntityTooLarge(
            max_size=request.client_max_size or 0,
            actual_size=request.content_length or 0,
            text=f"The request body has more than the {request.client_max_size} bytes that are allowed. Send fewer "
            "sequences at once.",
        ) from error
    except web.RequestPayloadError as error:
        # Also what says gzip and is not.
        raise invalid(f"The request body can't be read: {' '.join(str(error).split())}") from error


def _answer(loaded: LoadedVersion, body: bytes) -> bytes:
    request = json_tensors.parse_request(body)
    name = request.get("signature_name") or DEFAULT_SIGNATURE
    signature = loaded.model.signatures.get(name)
    if signature is None:
        raise invalid(f'Serving signature name: "{name}" not found in signature def')
    outputs = loaded.predict(name, json_tensors.request_inputs(request, signature))
    return json_tensors.answer(request, outputs)


def _as_json(message: Any) -> str:
    return MessageToJson(message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True, indent=1)


def _as_dict(message: Any) -> dict[str, Any]:
    return MessageToDict(message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True)
