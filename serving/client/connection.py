"""How to connect to a server: address, TLS, headers, deadlines, retries."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from noisy_gru.schema.errors import ConfigError, UserError

Transport = Literal["grpc", "rest"]
TRANSPORTS = ("grpc", "rest")
_PORTS = {"http": 80, "https": 443}
GRPC_NEEDED = "a client with transport grpc (transport rest needs no extra)"
MIB = 1 << 20
DEFAULT_TIMEOUT = 60.0  # seconds: a server that restarts is back within half of it


@dataclass(frozen=True, kw_only=True)
class Tls:
    """TLS options.

    Attributes:
        ca: PEM file of the certificates to trust; None: those of the system.
        certificate: PEM file of the client's own certificate, if the server requires one.
        key: PEM file of its private key.

    Raises:
        ConfigError: a certificate without a key, or a key without a certificate.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("a client certificate and its key go together; only one of them is given")

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Read the three files.

        Raises:
            UserError: one can't be read.
        """
        return _read(self.ca), _read(self.certificate), _read(self.key)


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}. Expected a PEM file") from error


@dataclass(frozen=True, kw_only=True)
class ConnectionOptions:
    """How to connect to a server.

    Attributes:
        target: HOST:PORT.
        transport: `grpc` or `rest`; a server has a port for each.
        tls: encryption. Without it only an address of this machine is allowed, or any with ``plaintext``.
        plaintext: allow sequences, predictions and headers to go over the network unencrypted.
        headers: sent with every request (gRPC: metadata), for example `authorization`.
        timeout: seconds for one request, with all its attempts.
        attempts: most attempts of one request; only an unavailable server is retried. None: as many as ``timeout``
            allows.
        first_wait: seconds before the second attempt; it doubles with each one, plus up to half of it at random.
        longest_wait: most seconds between attempts.
        largest_answer: most bytes of a response.

    Raises:
        ConfigError: a value is invalid.
    """

    target: str
    transport: Transport = "grpc"
    tls: Tls | None = None
    plaintext: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = DEFAULT_TIMEOUT
    attempts: int | None = None
    first_wait: float = 0.1
    longest_wait: float = 5.0
    largest_answer: int = 64 * MIB

    def __post_init__(self) -> None:
        if self.transport not in TRANSPORTS:
            raise ConfigError(f"transport: expected grpc or rest, received {self.transport!r}")
        host = _host(self.target)
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise ConfigError(f"timeout: expected seconds above 0, received {self.timeout}")
        if self.attempts is not None and self.attempts < 1:
            raise ConfigError(f"attempts: expected at least 1, received {self.attempts}")
        if self.tls is None and not self.plaintext and not is_this_machine(host):
            raise ConfigError(
                f"{self.target} is not this machine, so the connection must be encrypted: give TLS options "
                "(tls=Tls(ca=...), --tls, --tls-ca FILE), or allow plain text on a network that you trust "
                "(plaintext=True, --plaintext)"
            )
        for name, value in self.headers.items():
            good = name and all(sign.isascii() and (sign.isalnum() or sign in "-_.") for sign in name)
            # The value may be a secret: don't show it.
            if not good or not (value.isascii() and value.isprintable()):
                raise ConfigError(
                    f"headers: {name!r}: expected a name of ASCII letters, digits and - _ . and a value of "
                    "printable ASCII"
                )


def split_url(target: str, transport: Transport | None, tls: Tls | None) -> tuple[str, Transport, Tls | None]:
    """HOST:PORT, transport and encryption of a target that may be a URL: `http://` and `https://` mean REST.

    Raises:
        ConfigError: another scheme, or one that contradicts ``transport`` or ``tls``.
    """
    scheme, separator, rest = target.partition("://")
    if not separator:
        return target, transport or "grpc", tls
    if scheme not in _PORTS:
        raise ConfigError(f"expected HOST:PORT, http://HOST:PORT or https://HOST:PORT, received {target!r}")
    if transport == "grpc":
        raise ConfigError(f"{target} is a REST address, but the transport is grpc; give HOST:PORT for gRPC")
    if scheme == "http" and tls is not None:
        raise ConfigError(f"{target} is not encrypted, but TLS options are given; expected https://")
    address = rest.removesuffix("/")
    if not address.rpartition("]")[2].count(":"):
        address = f"{address}:{_PORTS[scheme]}"
    return address, "rest", tls if scheme == "http" else tls or Tls()


def _host(target: str) -> str:
    host, colon, port = target.rpartition(":")
    if "/" in target or not (colon and host and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigError(f"expected a server as HOST:PORT, for example 127.0.0.1:8500, received {target!r}")
    return host.removeprefix("[").removesuffix("]")


def is_this_machine(host: str) -> bool:
    """Return whether a host's name or address stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
