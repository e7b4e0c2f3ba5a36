"""Servers that answer as a test tells them, over real sockets: what a real server does seldom, or not on demand."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc


@dataclass
class ScriptedGrpc:
    """A gRPC server with TF Serving's services; ``predict(request, context)`` answers, or aborts the context."""

    predict: Callable[[Any, Any], Any] = lambda request, context: context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
    versions: dict[int, str] = field(default_factory=lambda: {1: "AVAILABLE"})
    signatures: Any = None
    address: str = ""
    requests: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_a_time: int = 0
    _now: int = 0
    _lock: Any = field(default_factory=threading.Lock)

    def Predict(self, request: Any, context: Any) -> Any:
        with self._lock:
            self.requests.append(request)
            self.headers.append(dict(context.invocation_metadata()))
            self._now += 1
            self.most_at_a_time = max(self.most_at_a_time, self._now)
        try:
            return self.predict(request, context)
        finally:
            with self._lock:
                self._now -= 1

    def GetModelStatus(self, request: Any, context: Any) -> Any:
        from tensorflow_serving.apis import get_model_status_pb2

        response = get_model_status_pb2.GetModelStatusResponse()
        states = get_model_status_pb2.ModelVersionStatus.State
        for version, state in self.versions.items():
            response.model_version_status.add(version=version, state=states.Value(state))
        return response

    def GetModelMetadata(self, request: Any, context: Any) -> Any:
        from tensorflow_serving.apis import get_model_metadata_pb2

        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = max(self.versions)
        response.metadata["signature_def"].Pack(self.signatures or get_model_metadata_pb2.SignatureDefMap())
        return response


@contextmanager
def scripted_grpc(server: ScriptedGrpc, credentials: Any = None, port: int = 0) -> Iterator[ScriptedGrpc]:
    """Runs it on 127.0.0.1; its address is then in ``server.address``."""
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    running = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Predictions(server), running)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(server), running)
    target = f"127.0.0.1:{port}"
    port = running.add_secure_port(target, credentials) if credentials else running.add_insecure_port(target)
    running.start()
    server.address = f"127.0.0.1:{port}"
    try:
        yield server
    finally:
        running.stop(None).wait()


def _Predictions(server: ScriptedGrpc) -> Any:
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    servicer = prediction_service_pb2_grpc.PredictionServiceServicer()
    servicer.Predict, servicer.GetModelMetadata = server.Predict, server.GetModelMetadata
    return servicer


def _Models(server: ScriptedGrpc) -> Any:
    from tensorflow_serving.apis import model_service_pb2_grpc

    servicer = model_service_pb2_grpc.ModelServiceServicer()
    servicer.GetModelStatus = server.GetModelStatus
    return servicer


@dataclass
class Received:
    """An HTTP request as it came: the body is uncompressed, and read as JSON if it is."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class ScriptedRest:
    """An HTTP server; ``answer(asked)`` gives the status and what JSON, or which bytes, the body holds."""

    answer: Callable[[Received], tuple[int, Any]]
    address: str = ""
    requests: list[Received] = field(default_factory=list)


@contextmanager
def scripted_rest(server: ScriptedRest, tls: Any = None) -> Iterator[ScriptedRest]:
    """Runs it on 127.0.0.1; its address is then in ``server.address``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Received(self.command, self.path, headers, json.loads(body) if body else None)
            server.requests.append(request)
            status, content = server.answer(request)
            content = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Says nothing of clients that went away."""

    running = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        running.socket = tls.wrap_socket(running.socket, server_side=True)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.address = f"127.0.0.1:{running.server_port}"
    try:
        yield server
    finally:
        running.shutdown()
        running.server_close()
        thread.join()
