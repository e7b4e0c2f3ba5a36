"""Worker pool of the environment `external`: starts a Python process for each worker that a cluster asks for.

    python -m noisy_gru.compat.worker_pool --port 50000

It takes the place of Beam's (apache_beam/runners/worker/worker_pool_main.py, as read in Beam 2.77), which knows workers
by their id alone: each job of a Java runner counts its own from `1-1`, so of two TaskManagers on a machine, or two jobs
at a time, one ends the other's worker. Here a worker lives as long as the control server that it was started for.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

# How often workers are looked after, and how long one may take to end by itself once nobody listens to it.
SWEEP_SECONDS = 5.0
_CONNECT_SECONDS = 5.0
_HARNESS = (
    "import sys; from apache_beam.runners.worker.sdk_worker import SdkHarness; "
    "SdkHarness(sys.argv[1], worker_id=sys.argv[2], state_cache_size=0, data_buffer_time_limit_ms=-1).run()"
)
_messages: Any = beam_fn_api_pb2
logger = logging.getLogger("noisy_gru.worker_pool")


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """The service. ``command`` starts a worker, given its control endpoint and its id."""

    def __init__(self, command: tuple[str, ...] = (sys.executable, "-c", _HARNESS)) -> None:
        self._command = command
        self._workers: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        self._silent: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def StartWorker(self, request: Any, _: Any) -> Any:
        """Start a process."""
        endpoint, name = request.control_endpoint.url, request.worker_id
        # Importing TensorFlow takes three times as long where Python may not keep bytecode.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        try:
            process = subprocess.Popen([*self._command, endpoint, name], stdin=subprocess.DEVNULL, env=environment)
        except OSError as error:
            return _messages.StartWorkerResponse(error=f"the worker pool can't start a worker: {error}")
        logger.info("worker %s of %s: process %d", name, endpoint, process.pid)
        with self._lock:
            self._workers[endpoint, name] = process
        return _messages.StartWorkerResponse()

    def StopWorker(self, _: Any, __: Any) -> Any:
        """Do nothing: the id doesn't say whose worker it is, which ends with its control server."""
        return _messages.StopWorkerResponse()

    def sweep(self) -> None:
        """Forget workers that have ended, and end those whose control server was gone at the last sweep, too."""
        with self._lock:
            workers = dict(self._workers)
        for key, process in workers.items():
            if process.poll() is not None:
                logger.info("worker %s of %s has ended (%d)", key[1], key[0], process.returncode)
                with self._lock:
                    del self._workers[key]
                self._silent.discard(key)
            elif _answers(key[0]):
                self._silent.discard(key)
            elif key in self._silent:
                process.kill()
            else:
                self._silent.add(key)

    def end(self) -> None:
        """End all workers."""
        with self._lock:
            workers = list(self._workers.values())
        for process in workers:
            process.kill()
        for process in workers:
            process.wait()


def _answers(endpoint: str) -> bool:
    """Return whether a server listens; a machine that can't be asked may only be slow."""
    host, port = endpoint.rsplit(":", 1)
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


def serve(pool: WorkerPool, host: str, port: int) -> tuple[grpc.Server, int]:
    """Start the service; return the server and its port.

    Raises:
        OSError: the port is taken.
    """
    server = grpc.server(ThreadPoolExecutor(16))
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise OSError(f"no server can listen on {host}:{port}: {error}") from error
    server.start()
    return server, bound


def main() -> None:
    """Serve until SIGTERM or Ctrl-C, then end all workers."""
    parser = argparse.ArgumentParser(description="Start Python workers of Beam for a cluster on this machine.")
    parser.add_argument("--host", default="localhost", help="interface; it has no password (default: localhost)")
    parser.add_argument("--port", type=int, default=50000)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    pool = WorkerPool()
    server, port = serve(pool, options.host, options.port)
    logger.info("worker pool on %s:%d", options.host, port)
    while not stopped.wait(SWEEP_SECONDS):
        pool.sweep()
    server.stop(0)
    pool.end()


if __name__ == "__main__":
    main()
