"""Starting and stopping, addresses, the counters."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from noisy_gru.schema.errors import ConfigError, UserError
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.serving.local_server.conftest import NEVER, Asking, Serving

if TYPE_CHECKING:
    from noisy_gru.serving.local_server import LocalServer

pytestmark = pytest.mark.slow


def test_listens_on_loopback_alone(server: LocalServer) -> None:
    for address in (server.grpc_address, server.rest_address):
        host, port = address.rsplit(":", 1)
        assert host == "127.0.0.1"
        # Bound to 127.0.0.1, and not to every address: another one of this machine is free.
        with socket.socket() as other:
            other.bind(("127.0.0.2", int(port)))


@pytest.mark.parametrize(("option", "kind"), [("grpc_port", "gRPC"), ("rest_port", "REST")])
def test_a_taken_port_is_told_and_leaves_nothing_behind(
    serving: Serving, server: LocalServer, option: str, kind: str
) -> None:
    taken = int((server.grpc_address if kind == "gRPC" else server.rest_address).rsplit(":", 1)[1])
    with pytest.raises(UserError, match=f"The {kind} API can't listen on 127.0.0.1:{taken}.*--{option[:4]}-port"):
        serving(**{option: taken})
    assert httpx.get(f"http://{server.rest_address}/v1/models/small", timeout=PATIENCE).status_code == 200


def test_an_address_that_is_not_this_machines(serving: Serving) -> None:
    with pytest.raises(UserError, match=r"can't listen on 192\.0\.2\.1:0"):
        serving(host="192.0.2.1")


def test_either_models_or_a_file(base_path: Path, tmp_path: Path) -> None:
    from noisy_gru.serving.local_server import LocalServer

    with pytest.raises(ConfigError, match="either models or config_file"):
        LocalServer()
    with pytest.raises(ConfigError, match=r"nothing\.config"):
        LocalServer(config_file=tmp_path / "nothing.config")
    (tmp_path / "models.config").write_text(f'model_config_list {{ config {{ name: "a" base_path: "{base_path}" }} }}')
    with pytest.raises(ConfigError, match=r"models\.config: Model a: Illegal setting neither"):
        LocalServer(config_file=tmp_path / "models.config")


def test_two_servers_and_one_after_the_other(serving: Serving) -> None:
    first, asking, _ = serving()
    second, other, _ = serving()
    assert first.grpc_address != second.grpc_address
    assert (asking.version(), other.version()) == (1, 1)


def test_a_server_can_be_started_again_on_its_ports(published: Path) -> None:
    from noisy_gru.serving.local_server import LocalServer

    ports: Any = {"grpc_port": free_port(), "rest_port": free_port()}
    for _ in range(2):
        with LocalServer({published.name: published}, **ports, poll_seconds=NEVER) as server:
            assert server.grpc_address.endswith(f":{ports['grpc_port']}")
            asking = Asking(server, published.name)
            assert asking.version() == 1
            asking.channel.close()


def test_requests_are_counted(serving: Serving) -> None:
    server, asking, _ = serving()
    asking.predict()
    asking.predict()
    url = f"http://{server.rest_address}/v1/models"
    httpx.post(f"{url}/small:predict", content=b"{", timeout=PATIENCE)
    httpx.post(f"{url}/nobody:predict", content=b"{}", timeout=PATIENCE)
    page = httpx.get(f"http://{server.rest_address}/monitoring/prometheus/metrics", timeout=PATIENCE).text
    assert page.splitlines() == [
        "# TYPE :tensorflow:serving:request_count counter",
        ':tensorflow:serving:request_count{model_name="",status="ERROR"} 1',
        ':tensorflow:serving:request_count{model_name="small",status="ERROR"} 1',
        ':tensorflow:serving:request_count{model_name="small",status="OK"} 2',
    ]
