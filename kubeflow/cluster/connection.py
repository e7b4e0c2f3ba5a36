"""Connect to the Kubeflow Pipelines API: address, credentials, and errors with a remedy.

    connection = Connection.choose(host=None, namespace=None, token_file=None, ca=None, environment=os.environ)
    client = connection.open()                      # a kfp.Client; checks the server's health once
    with connection.in_words("listing the runs"):
        client.list_runs()                          # an error of HTTP, TLS or the API is a KubeflowError

``kfp`` is imported when a connection is opened: importing this module does and sends nothing.
"""

from __future__ import annotations

import json
import ssl
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from noisy_gru.compat.kfp import Client, read_health, rest_client
from noisy_gru.schema.errors import ConfigError, UserError

# Ours first, then kfp's own.
HOST = ("NOISY_GRU_KFP_HOST", "KF_PIPELINES_ENDPOINT")
NAMESPACE = ("NOISY_GRU_KFP_NAMESPACE",)
TOKEN = ("NOISY_GRU_KFP_TOKEN",)
TOKEN_FILE = ("NOISY_GRU_KFP_TOKEN_FILE", "KF_PIPELINES_SA_TOKEN_PATH")
CA = ("NOISY_GRU_KFP_CA",)
# Seconds for a response; kfp's client has no limit.
TIMEOUT = 60.0


class KubeflowError(UserError):
    """A request that the Kubeflow Pipelines API did not answer or refused.

    Args:
        message: for a person.
        status: HTTP's; 0 where there was no answer.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Health:
    """The server's health endpoint.

    Attributes:
        multi_user: whether it has profiles; None where it isn't the API of v2.
        release: ``2.15.0``; empty if the server doesn't report it, as custom builds may not.
    """

    multi_user: bool | None
    release: str

    @classmethod
    def read(cls, body: bytes) -> Health:
        """Parse the response of ``/apis/v2beta1/healthz`` (backend/src/apiserver/main.go, 2.5.0:280, 2.15.0:364)."""
        try:
            response = json.loads(body)
        except ValueError:
            response = None
        if not isinstance(response, dict) or not isinstance(response.get("multi_user"), bool):
            return cls(None, "")
        release = response.get("tag_name")
        return cls(response["multi_user"], release if isinstance(release, str) and release != "unknown" else "")


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Address and credentials of the API.

    Attributes:
        host: URL, for example http://localhost:8080 (``kubectl port-forward svc/ml-pipeline 8080:8888``).
        namespace: the profile's, on a multi-user installation; None on a single-user one.
        token: sent as ``Authorization: Bearer``.
        token_file: file with a token; read for every request, because Kubernetes replaces it.
        ca: PEM file of the certificates to trust in place of the public authorities'.
        timeout: seconds for a response.
    """

    host: str
    namespace: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    ca: Path | None = None
    timeout: float = TIMEOUT

    @classmethod
    def choose(
        cls,
        *,
        host: str | None,
        namespace: str | None,
        token_file: Path | None,
        ca: Path | None,
        environment: Mapping[str, str],
    ) -> Connection:
        """From options, and where one is None from the environment.

        Raises:
            ConfigError: no host, one without http:// or https://, or a file that can't be used.
        """

        def first(names: tuple[str, ...]) -> str | None:
            return next((environment[name] for name in names if environment.get(name)), None)

        host = host or first(HOST)
        if host is None:
            raise ConfigError(
                f"no host of Kubeflow Pipelines: give --host, or set {' or '.join(HOST)}. In the cluster it is "
                "http://ml-pipeline.kubeflow:8888; from outside, kubectl port-forward -n kubeflow "
                "svc/ml-pipeline 8080:8888 makes it http://localhost:8080"
            )
        if not host.startswith(("http://", "https://")):
            raise ConfigError(f"host {host!r}: expected a URL that begins with http:// or https://")
        token = None if token_file else first(TOKEN)
        named = token_file or (None if token else first(TOKEN_FILE))
        authority = ca or first(CA)
        connection = cls(
            host=host.rstrip("/"),
            namespace=namespace or first(NAMESPACE),
            token=token,
            token_file=Path(named) if named else None,
            ca=Path(authority) if authority else None,
        )
        connection._check_files()
        return connection

    def _check_files(self) -> None:
        if self.token_file is not None:
            try:
                self.token_file.read_bytes()
            except OSError as error:
                raise ConfigError(f"the token's file, {self.token_file}, can't be read: {error.strerror}") from error
        if self.ca is not None:
            try:
                ssl.create_default_context(cafile=self.ca)
            except OSError as error:
                raise ConfigError(
                    f"the CA's file, {self.ca}, can't be used ({error}): expected certificates in PEM"
                ) from error

    def open(self) -> Client:
        """Return a client that knows the host and the token. Asks the server once whether it has several users.

        Raises:
            KubeflowError: the server doesn't answer, or has several users and no namespace is named.
        """
        import kfp.client

        credentials = None
        if self.token_file is not None:
            credentials = kfp.client.ServiceAccountTokenVolumeCredentials(path=str(self.token_file))
        connection, responses = self, []

        class Asking(kfp.client.Client):
            """Check once: kfp's five attempts, five seconds each, hide the error."""

            def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
                if not responses:
                    responses.append(Health.read(read_health(self, connection._limits)))
                    connection._check_health(responses[0])
                return responses[0]

        with self.in_words("asking how it is"), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            client = Asking(
                host=self.host,
                # kfp's way of saying none.
                namespace=self.namespace or "kubeflow",
                existing_token=self.token,
                credentials=credentials,
                ssl_ca_cert=None if self.ca is None else str(self.ca),
            )
            client.get_kfp_healthz()
        _limit(client, self._limits)
        return client

    @property
    def _limits(self) -> tuple[float, float]:
        # To connect and to read. One float would be passed over in silence.
        return self.timeout, self.timeout

    def _check_health(self, health: Health) -> None:
        if health.multi_user is None:
            raise KubeflowError(f"{self.host} answers, but not as the API of Kubeflow Pipelines v2 does; {WHERE}")
        if health.multi_user and self.namespace is None:
            raise KubeflowError(
                f"{self.host} has several users: name the namespace of a profile, --namespace or {NAMESPACE[0]}"
            )

    @contextmanager
    def in_words(self, doing: str) -> Iterator[None]:
        """Raise errors between client and server as KubeflowError, and keep kfp from printing.

        Args:
            doing: the request, as in "listing the runs".

        Raises:
            KubeflowError: no answer, or a refusal.
        """
        import kfp_server_api
        import urllib3.exceptions

        try:
            with redirect_stdout(StringIO()):
                yield
        except kfp_server_api.ApiException as error:
            raise KubeflowError(self._refusal(doing, error), status=error.status or 0) from error
        except urllib3.exceptions.HTTPError as error:
            raise KubeflowError(self._silence(doing, error)) from error

    def _refusal(self, doing: str, error: Any) -> str:
        message = _server_message(error.body)
        if error.status == 401:
            what = (
                "doesn't accept the token" if self.token or self.token_file else "asks for a token, and none was given"
            )
            todo = f"a valid one in {TOKEN[0]}, or in a file: --token-file or {TOKEN_FILE[0]}"
        elif error.status == 403:
            what = f"doesn't allow this in namespace {self.namespace or '(none named)'}"
            todo = f"check --namespace or {NAMESPACE[0]}, and the rights of the token's account"
        elif error.status == 404:
            what, todo = "has no such thing", f"check the id or name; {WHERE}"
        elif error.status in (400, 409):
            what, todo = "refuses it", "correct what it names"
            if "schema version" in message:
                todo = "compile it anew with: noisy-gru kubeflow compile"
        else:
            what, todo = "failed", "try again; if it fails again, see the logs of the ml-pipeline Deployment"
        return f"{self.host}, {doing}: the server {what} (HTTP {error.status}){message}\n{todo}"

    def _silence(self, doing: str, error: Exception) -> str:
        import urllib3.exceptions as http

        reason = getattr(error, "reason", None) or error
        if isinstance(reason, http.SSLError):
            what = f"the encrypted connection fails: {reason}"
            todo = f"name the CA that signed the server's certificate: --ca or {CA[0]}"
        elif isinstance(reason, http.NameResolutionError):
            what, todo = "no machine of this name", "check --host"
        elif isinstance(reason, http.TimeoutError) and not isinstance(reason, http.NewConnectionError):
            what, todo = f"no answer within {self.timeout:g} s", WHERE
        elif isinstance(reason, http.NewConnectionError):
            what, todo = f"can't be reached ({str(reason).rsplit(': ', 1)[-1]})", WHERE
        else:
            what, todo = f"the connection broke ({reason})", "try again"
        return f"{self.host}, {doing}: {what}\n{todo}"


WHERE = "is it the address of ml-pipeline, and does its port-forward still run?"


def _limit(client: Client, limits: tuple[float, float]) -> None:
    """Every request gets a time limit; kfp's methods take none."""
    rest = rest_client(client)
    request = rest.request

    def limited(method: str, url: str, **options: Any) -> Any:
        return request(method, url, **{**options, "_request_timeout": options.get("_request_timeout") or limits})

    rest.request = limited


def _server_message(body: bytes | str | None) -> str:
    """Return the server's message: the API returns JSON, a proxy in front of it HTML."""
    if not body:
        return ""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body
    try:
        response = json.loads(text)
        message = response.get("message") or response.get("error") or text
    except (ValueError, AttributeError):
        message = " ".join(text.split())
    return f": {message[:600]}"
