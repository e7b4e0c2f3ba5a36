"""Who may ask: names of this host against DNS rebinding, and tokens for changes against forged forms."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from noisy_gru.pipeline.dashboard.models import ModelState


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


class HostCheck:
    """Check of the header `Host`: a name that an attacker's DNS leads here is not one of this server's.

    Args:
        host: address that the server listens on.
    """

    def __init__(self, host: str):
        self._loopback = is_loopback(host)
        self._names = {"localhost"}
        if not self._loopback:
            self._names |= {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()} - {""}

    def allows(self, header: str | None) -> bool:
        """Whether a request with this header is for this server; any port is, for tunnels."""
        name = _host_name(header)
        if name is None:
            return False
        address = _address(name)
        # No name was resolved for an address.
        if address is not None:
            return address.is_loopback or not self._loopback
        return name in self._names


class ChangeTokens:
    """Tokens of confirmations: of this process, for one change of a model as it is now."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def token(self, root: str, model: ModelState, action: str) -> str:
        """Return the token of a change; another one once the model's versions have changed."""
        present = [each.version for each in model.versions if each.state == "published"]
        text = repr((root, model.name, action, model.stable, model.canary, present))
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def accepts(self, token: object, root: str, model: ModelState, action: str) -> bool:
        """Whether a token is that of this change."""
        expected = self.token(root, model, action)
        return isinstance(token, str) and hmac.compare_digest(token.encode(), expected.encode())


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a form was sent by a page of this server, as far as the browser says."""
    if headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return False
    origin = headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == headers.get("Host")


def _host_name(header: str | None) -> str | None:
    if not header or any(character in header for character in "/@?#\\ "):
        return None
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
