"""The local server: gRPC and REST in one event loop, in a thread, beside a thread that watches folders."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from noisy_gru.schema.errors import ConfigError, UserError
from noisy_gru.serving.local_server.configuration import config_of, read_config_file
from noisy_gru.serving.local_server.connections import Connections
from noisy_gru.serving.local_server.errors import RequestError
from noisy_gru.serving.local_server.grpc_services import ModelService, PredictionService, RequestParser
from noisy_gru.serving.local_server.limits import Limits, Workers
from noisy_gru.serving.local_server.metrics import RequestCounts
from noisy_gru.serving.local_server.models import Models
from noisy_gru.serving.local_server.rest import application

LOOPBACK = "127.0.0.1"
_GRACE_SECONDS = 30.0
_UNFINISHED_CALLS = 1024  # and health, status and refusals, which need no worker
_CONNECTION_AGE_MS = 300_000
_CONNECTION_GRACE_MS = 60_000
_KEEPALIVE_SECONDS = 75.0  # of an idle REST connection


# The services of TF Serving's health service (2.20.0, server.cc:420); "" is the whole server.
_SERVICES = ("", "ModelService", "PredictionService")


def _discard(_: str) -> None:
    pass


class LocalServer:
    """Serve models until the end of a ``with`` block. For development and tests: one process, no TLS, no batching.

    When the block begins, every version found in the folders is loaded or has failed to load.

    Args:
        models: model name to base path, the folder that holds the versions; serves the latest one of each.
        config_file: a ``models.config`` in the place of ``models``; reloaded when it changes.
        host: address to listen on.
        grpc_port: 0 for any free port.
        rest_port: 0 for any free port.
        poll_seconds: interval of the checks for new versions.
        limits: bounds of size and concurrency.
        log: receives a line at each change.
        read_config: how to read ``config_file``.

    Raises:
        UserError: when the block begins, if a port is taken or the address can't be used.
        ConfigError: if ``config_file`` can't be used.
    """

    def __init__(
        self,
        models: Mapping[str, str | Path] | None = None,
        *,
        config_file: Path | None = None,
        host: str = LOOPBACK,
        grpc_port: int = 0,
        rest_port: int = 0,
        poll_seconds: float = 1.0,
        limits: Limits | None = None,
        log: Callable[[str], None] = _discard,
        read_config: Callable[[Path], Any] = read_config_file,
    ) -> None:
        if (models is None) == (config_file is None):
            raise ConfigError("LocalServer takes either models or config_file.")
        self._config_file = config_file
        self._read_config = read_config
        self._host = host
        self._ports = (grpc_port, rest_port)
        self._poll_seconds = poll_seconds
        self._limits = limits or Limits()
        self._stamp = self._config_stamp()
        config = config_of(models) if models is not None else read_config(config_file or Path())
        try:
            self.models = Models(config, log=log, limits=self._limits)
        except RequestError as error:
            raise ConfigError(f"{config_file or 'models'}: {error.message}") from error
        self._stop_watching = threading.Event()
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.grpc_address = ""
        self.rest_address = ""

    def __enter__(self) -> LocalServer:
        started: Future[tuple[str, str]] = Future()
        serving = threading.Thread(target=self._serve, args=(started,), name="local-server", daemon=True)
        serving.start()
        try:
            self.grpc_address, self.rest_address = started.result()
        except UserError:
            serving.join()
            self.models.close()
            raise
        self.models.sync()
        self._set_health()
        watching = threading.Thread(target=self._watch, name="watch-versions", daemon=True)
        watching.start()
        self._threads = [watching, serving]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop_watching.set()
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        for thread in self._threads:
            thread.join()
        self.models.close()

    def _serve(self, started: Future[tuple[str, str]]) -> None:
        try:
            asyncio.run(self._run(started))
        except UserError as error:
            started.set_exception(error)

    async def _run(self, started: Future[tuple[str, str]]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        workers, counts = Workers(self._limits), RequestCounts()
        self._health = health.HealthServicer()
        for service in _SERVICES:
            await self._health.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
        server = grpc.aio.server(
            interceptors=[RequestParser()],
            # Many, since a message that never ends takes one; a place of a worker is taken by whole messages.
            maximum_concurrent_rpcs=self._limits.most_requests + _UNFINISHED_CALLS,
            options=[
                # Ends calls that their client does not; other clients reconnect without an error.
                ("grpc.max_connection_age_ms", _CONNECTION_AGE_MS),
                ("grpc.max_connection_age_grace_ms", _CONNECTION_GRACE_MS),
                ("grpc.max_concurrent_streams", _UNFINISHED_CALLS),
                ("grpc.max_receive_message_length", self._limits.request_bytes),
                ("grpc.max_send_message_length", -1),
                # Else a second server would take half of the first one's calls, without an error.
                ("grpc.so_reuseport", 0),
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(self.models, workers, counts, self._limits.run_seconds), server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(self.models), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        connections = Connections(self._limits)
        app = application(self.models, workers, counts, self._limits, connections)
        runner = web.AppRunner(
            app, access_log=None, auto_decompress=False, keepalive_timeout=_KEEPALIVE_SECONDS, tcp_keepalive=True
        )
        await runner.setup()
        listening = None
        try:
            grpc_port = self._bind(server, self._ports[0])
            await server.start()
            listening = await self._bind_rest(runner, connections, self._ports[1])
            rest_port = listening.sockets[0].getsockname()[1]
            started.set_result((_address(self._host, grpc_port), _address(self._host, rest_port)))
            await self._stop.wait()
        finally:
            # Running requests finish; new ones are refused.
            if listening is not None:
                listening.close()
            await asyncio.gather(server.stop(_GRACE_SECONDS), runner.cleanup())
            await asyncio.to_thread(workers.close)

    def _bind(self, server: Any, port: int) -> int:
        try:
            return server.add_insecure_port(_address(self._host, port))
        except RuntimeError as error:
            raise _no_port("gRPC", self._host, port, "--grpc-port", error) from error

    async def _bind_rest(self, runner: web.AppRunner, connections: Connections, port: int) -> asyncio.Server:
        if runner.server is None:
            raise RuntimeError("the runner is not set up")
        try:
            factory = connections.factory(runner.server)
            return await asyncio.get_running_loop().create_server(factory, self._host, port, backlog=128)
        except OSError as error:
            raise _no_port("REST", self._host, port, "--rest-port", error) from error

    def _watch(self) -> None:
        while not self._stop_watching.wait(self._poll_seconds):
            stamp = self._config_stamp()
            if self._config_file is not None and stamp != self._stamp:
                self._stamp = stamp
                self.models.take_over(self._config_file, self._read_config)
            else:
                self.models.sync()
            self._set_health()

    def _config_stamp(self) -> Any:
        if self._config_file is None:
            return None
        try:
            status = self._config_file.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _set_health(self) -> None:
        serving = health_pb2.HealthCheckResponse.SERVING
        state = serving if self.models.ready else health_pb2.HealthCheckResponse.NOT_SERVING
        if self._loop is not None and not self._loop.is_closed():
            for service in _SERVICES:
                asyncio.run_coroutine_threadsafe(self._health.set(service, state), self._loop).result()


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _no_port(kind: str, host: str, port: int, option: str, error: Exception) -> UserError:
    return UserError(
        f"The {kind} API can't listen on {_address(host, port)}: {error}. Is another server running there? Stop it, or "
        f"choose another port with {option} (0 takes a free one)."
    )
