"""Encrypted connections over both transports, with certificates that fit, or don't."""

from __future__ import annotations

import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import UserError
from noisy_gru.serving.client.client import Client
from noisy_gru.serving.client.connection import Tls
from noisy_gru.serving.client.errors import ServingError, Unavailable
from tests.serving.client.certificates import identity
from tests.serving.client.scripted import ScriptedGrpc, ScriptedRest, scripted_grpc, scripted_rest

DATASET = DatasetConfig.model_validate(
    {
        "data": {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]},
        "task": {"kind": "regression", "label": "y"},
    }
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("tls")
    authority, stranger = identity(folder, "authority"), identity(folder, "stranger")
    return SimpleNamespace(
        authority=authority,
        server=identity(folder, "server", authority),
        client=identity(folder, "client", authority),
        foreign=identity(folder, "foreign", stranger),
        ca=authority.certificate,
        other_ca=stranger.certificate,
    )


def client(address: str, transport: Any, tls: Tls | None, **options: Any) -> Client:
    return Client(
        address, dataset=DATASET, model_name="m", transport=transport, tls=tls, sleep=lambda _: None, **options
    )


def server_for(transport: str, made: SimpleNamespace, *, ask_client: bool) -> Any:
    if transport == "rest":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.server.certificate, made.server.key)
        if ask_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(made.ca)
        return scripted_rest(ScriptedRest(lambda request: (200, {"model_version_status": []})), context)
    ca = made.ca.read_bytes() if ask_client else None
    return scripted_grpc(ScriptedGrpc(versions={}), grpc.ssl_server_credentials([made.server.pem()], ca, ask_client))


TRANSPORTS = ["rest", pytest.param("grpc", marks=pytest.mark.slow)]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_servers_certificate_is_checked(transport, made):
    with server_for(transport, made, ask_client=False) as server:
        with client(server.address, transport, Tls(ca=made.ca)) as trusting:
            assert trusting.status() == []
        for tls in (Tls(ca=made.other_ca), Tls()):
            doubting = client(server.address, transport, tls, attempts=2)
            with doubting, pytest.raises(ServingError, match=r"(?i)certificate"):
                doubting.status()
        with client(server.address, transport, None, attempts=2) as plain, pytest.raises(Unavailable):
            plain.status()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_that_asks_for_a_certificate(transport, made):
    with server_for(transport, made, ask_client=True) as server:
        known = Tls(ca=made.ca, certificate=made.client.certificate, key=made.client.key)
        with client(server.address, transport, known) as welcome:
            assert welcome.status() == []
        foreign = Tls(ca=made.ca, certificate=made.foreign.certificate, key=made.foreign.key)
        for tls in (Tls(ca=made.ca), foreign):
            with client(server.address, transport, tls, attempts=2) as refused, pytest.raises(ServingError):
                refused.status()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_file_that_is_not_there(transport, tmp_path: Path):
    with pytest.raises(UserError, match=r"none\.pem: can't be read: No such file"):
        client("127.0.0.1:1", transport, Tls(ca=tmp_path / "none.pem"))


def test_a_file_that_is_no_certificate(tmp_path: Path):
    (tmp_path / "ca.pem").write_text("hello")
    with pytest.raises(UserError, match=r"TLS: expected PEM files that belong together, received .*ca\.pem"):
        client("127.0.0.1:1", "rest", Tls(ca=tmp_path / "ca.pem"))


def test_a_certificate_that_is_not_trusted_is_not_asked_again(made):
    waits: list[float] = []
    with (
        server_for("rest", made, ask_client=False) as server,
        Client(
            server.address, dataset=DATASET, model_name="m", transport="rest", tls=True, sleep=waits.append
        ) as asking,
        pytest.raises(ServingError, match=r"Give the certificate to trust \(tls\.ca\)"),
    ):
        asking.status()
    assert waits == []
