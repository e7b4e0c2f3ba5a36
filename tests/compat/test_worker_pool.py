"""The worker pool starts a process for each worker, and ends it when nobody listens to it, not with another's."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE, until
from tests.ports import free_port

# Beam warns of what its own libraries have deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

# A worker that says so, and stays.
_WORKER = "import pathlib, sys, time; pathlib.Path(sys.argv[1], sys.argv[2].replace(':', '_')).touch(); time.sleep(600)"


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[tuple[Any, Any, Callable[[str], bool]]]:
    """The pool, a stub that asks it, and ``started(endpoint)``."""
    import grpc
    from apache_beam.portability.api import beam_fn_api_pb2_grpc

    from noisy_gru.compat.worker_pool import WorkerPool, serve

    made = WorkerPool((sys.executable, "-c", _WORKER, str(tmp_path)))
    server, port = serve(made, "localhost", 0)
    with grpc.insecure_channel(f"localhost:{port}") as channel:

        def started(endpoint: str) -> bool:
            until((tmp_path / endpoint.replace(":", "_")).exists)
            return True

        yield made, beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel), started
    server.stop(0)
    made.end()


def start(stub: Any, endpoint: str, name: str = "1-1") -> Any:
    from apache_beam.portability.api import beam_fn_api_pb2, endpoints_pb2

    control = endpoints_pb2.ApiServiceDescriptor(url=endpoint)
    return stub.StartWorker(beam_fn_api_pb2.StartWorkerRequest(worker_id=name, control_endpoint=control))


def test_two_task_managers_name_their_workers_alike(pool):
    from apache_beam.portability.api import beam_fn_api_pb2

    made, stub, started = pool
    with socket.create_server(("localhost", 0)) as first:
        second = socket.create_server(("localhost", 0))
        endpoints = [f"localhost:{each.getsockname()[1]}" for each in (first, second)]
        for endpoint in endpoints:
            assert start(stub, endpoint).error == ""
            assert started(endpoint)
        processes = [made._workers[endpoint, "1-1"] for endpoint in endpoints]
        second.close()  # its job has ended
        stub.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="1-1"))
        for _ in range(2):
            made.sweep()
        processes[1].wait(PATIENCE)
        made.sweep()
        assert processes[0].poll() is None
        assert list(made._workers) == [(endpoints[0], "1-1")]


def test_a_worker_whose_server_is_silent_once_is_kept(pool):
    made, stub, started = pool
    address = "localhost", free_port()
    server = socket.create_server(address)
    endpoint = f"localhost:{address[1]}"
    start(stub, endpoint)
    assert started(endpoint)
    server.close()
    made.sweep()
    with socket.create_server(address):
        for _ in range(3):
            made.sweep()
        assert made._workers[endpoint, "1-1"].poll() is None


def test_a_command_that_cannot_be_started_is_said_to_the_cluster(tmp_path):
    from noisy_gru.compat.worker_pool import WorkerPool

    class Request:
        worker_id = "1-1"

        class control_endpoint:
            url = "localhost:1"

    answer = WorkerPool((str(tmp_path / "nothing"),)).StartWorker(Request, None)
    assert "the worker pool can't start a worker" in answer.error and "nothing" in answer.error
