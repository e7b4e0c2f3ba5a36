"""Who asks the API, over what connection, and the words for what goes wrong."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from noisy_gru.kubeflow.cluster.connection import Connection, KubeflowError
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG, EXIT_FAILED
from tests.kubeflow.cluster.cluster_calls import call, nobody
from tests.kubeflow.cluster.kfp_api import KfpApi
from tests.patience import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("away_from_home")]


def test_every_request_bears_the_token(pipeline: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-a-file")
    with KfpApi(token="from-a-file") as api:
        assert call("submit", pipeline, "--token-file", file, api=api).exit_code == 0
        assert {each.authorization for each in api.requests} == {"Bearer from-a-file"}
    with KfpApi(token="from-the-environment") as api:
        env = {"NOISY_GRU_KFP_TOKEN": "from-the-environment", "NOISY_GRU_KFP_HOST": api.host}
        assert call("schedule", pipeline, "--cron", "@daily", env=env).exit_code == 0
        assert {each.authorization for each in api.requests} == {"Bearer from-the-environment"}
    with KfpApi(token="from-a-file") as api:
        env = {"KF_PIPELINES_SA_TOKEN_PATH": str(file), "KF_PIPELINES_ENDPOINT": api.host}
        assert call("status", env=env).exit_code == 0


def test_a_token_that_kubernetes_replaces_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    with KfpApi(token="old") as api:
        client = Connection(host=api.host, token_file=file).open()
        file.write_text("new")
        api.token = "new"
        client.list_runs()
        assert api.requests[-1].authorization == "Bearer new"


def test_nobody_is_named_where_there_are_no_users(api: KfpApi, pipeline: Path) -> None:
    call("submit", pipeline, api=api)
    assert {each.authorization for each in api.requests} == {None}
    assert not any(each.query.get("namespace") for each in api.requests)


def test_with_several_users_the_namespace_goes_into_every_request(pipeline: Path) -> None:
    with KfpApi(multi_user=True) as api:
        assert call("submit", pipeline, "--namespace", "team", api=api).exit_code == 0
        assert call("schedule", pipeline, "--cron", "@daily", "--namespace", "team", api=api).exit_code == 0
        assert call("status", api=api, env={"NOISY_GRU_KFP_NAMESPACE": "team"}).exit_code == 0
        assert api.sent("POST", "/pipelines")[0].body["namespace"] == "team"
        assert api.sent("POST", "/experiments")[0].body["namespace"] == "team"
        before = len(api.requests)
        unnamed = call("status", api=api)
        assert unnamed.exit_code == EXIT_FAILED
        assert "has several users: name the namespace of a profile" in unnamed.stderr
        assert len(api.requests) == before + 1


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, '{"message": "no user"}', "asks for a token, and none was given (HTTP 401): no user"),
        (403, '{"error": "not you"}', "doesn't allow this in namespace (none named) (HTTP 403): not you"),
        (404, "<html>nothing here</html>", "has no such thing (HTTP 404): <html>nothing here</html>"),
        (500, "", "failed (HTTP 500)"),
    ],
)
def test_refusals_are_told_in_words(api: KfpApi, status: int, body: str, words: str) -> None:
    api.instead = [("GET", "/runs", status, body)]
    answer = call("status", api=api)
    assert answer.exit_code == EXIT_FAILED
    assert f"{api.host}, listing the runs: the server {words}" in answer.stderr


def test_a_wrong_token_is_told_from_none(tmp_path: Path) -> None:
    with KfpApi(token="right") as api:
        answer = call("status", api=api, env={"NOISY_GRU_KFP_TOKEN": "wrong"})
    assert "doesn't accept the token (HTTP 401)" in answer.stderr
    assert "wrong" not in answer.output


def test_a_refused_schema_says_to_compile_anew(api: KfpApi, pipeline: Path) -> None:
    api.instead = [("POST", "upload_version", 400, '{"message": "KFP only supports schema version 2.1.0"}')]
    answer = call("submit", pipeline, api=api)
    assert "refuses it (HTTP 400): KFP only supports schema version 2.1.0" in answer.stderr
    assert "noisy-gru kubeflow compile" in answer.stderr


def test_no_server_is_told_in_words() -> None:
    host = nobody()
    answer = call("status", "--host", host)
    assert answer.exit_code == EXIT_FAILED
    assert f"{host}, asking how it is: can't be reached (" in answer.stderr
    assert "refused" in answer.stderr


def test_a_server_that_never_answers_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = Connection(host=f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2)
        with pytest.raises(KubeflowError, match=r"no answer within 0\.2 s"):
            connection.open()


def test_the_time_limit_holds_for_every_request(api: KfpApi) -> None:
    limits: list[Any] = []
    client = Connection(host=api.host, timeout=12.5).open()
    pool = client._run_api.api_client.rest_client.pool_manager
    request: Callable[..., Any] = pool.request

    def noted(*arguments: Any, **options: Any) -> Any:
        limits.append(options["timeout"].read_timeout)
        return request(*arguments, **options)

    pool.request = noted
    client.list_runs()
    client.create_experiment("x")
    assert limits == [12.5] * 3


def test_a_page_of_somebody_else_is_not_taken_for_the_api(api: KfpApi) -> None:
    api.instead = [("GET", "/healthz", 200, "<html>Please log in</html>")]
    answer = call("status", api=api)
    assert answer.exit_code == EXIT_FAILED
    assert "answers, but not as the API of Kubeflow Pipelines v2 does" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no host of Kubeflow Pipelines: give --host, or set NOISY_GRU_KFP_HOST or KF_PIPELINES_ENDPOINT"),
        (("--host", "localhost:8080"), "expected a URL that begins with http:// or https://"),
        (
            ("--host", "http://localhost:1", "--token-file", "/nothing/here"),
            "the token's file, /nothing/here, can't be",
        ),
        (("--host", "http://localhost:1", "--ca", __file__), "can't be used ([X509"),
    ],
)
def test_a_connection_that_cannot_be_is_told_before_it_is_tried(arguments: tuple[str, ...], words: str) -> None:
    answer = call("status", *arguments)
    assert answer.exit_code == EXIT_CONFIG
    assert words in answer.stderr


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that vouches for itself, and a server's settings with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "ca.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = tmp_path / "key.pem"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    return pem, context


def test_a_certificate_is_checked_against_the_named_authority(
    certificate: tuple[Path, ssl.SSLContext], pipeline: Path
) -> None:
    pem, context = certificate
    with KfpApi(tls=context, token="secret") as api:
        env = {"NOISY_GRU_KFP_TOKEN": "secret"}
        unknown = call("submit", pipeline, api=api, env=env)
        assert unknown.exit_code == EXIT_FAILED
        assert "the encrypted connection fails" in unknown.stderr
        assert "name the CA that signed the server's certificate: --ca or NOISY_GRU_KFP_CA" in unknown.stderr
        # The token never left.
        assert api.requests == []
        assert call("submit", pipeline, "--ca", pem, api=api, env=env).exit_code == 0
        assert call("status", api=api, env={**env, "NOISY_GRU_KFP_CA": str(pem)}).exit_code == 0


WITHOUT_SOCKETS = """
import socket, sys

def forbidden(*_, **__):
    raise AssertionError("a socket was opened")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = forbidden
import noisy_gru.kubeflow.cluster.cluster_commands, noisy_gru.kubeflow.commands
import noisy_gru.kubeflow.compiled_pipeline
import noisy_gru.kubeflow.cluster.connection, noisy_gru.kubeflow.cluster.schedules, noisy_gru.kubeflow.cluster.status
import noisy_gru.kubeflow.cluster.submission
from pathlib import Path
from noisy_gru.kubeflow.compiled_pipeline import CompiledPipeline
CompiledPipeline.read(Path(sys.argv[1])).arguments({})
print("kfp" in sys.modules)
"""


def test_importing_and_reading_send_nothing(pipeline: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", WITHOUT_SOCKETS, str(pipeline)]
    env = {**os.environ, "NOISY_GRU_KFP_HOST": nobody()}
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE, env=env)
    assert (answer.returncode, answer.stdout) == (0, "False\n"), answer.stderr
