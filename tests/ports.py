"""Ports for servers that are told on which one to listen, and so can't ask for a free one by 0."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000
# Not seeded: tests that run side by side choose differently.
_random = random.SystemRandom()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port on which nothing listens.

    It is none of those that the kernel gives to connections and to servers that ask for any: those could take it before
    it is used, or while its server is down.
    """
    end = _first_given_away()
    for _ in range(1000):
        with socket.socket() as found:
            try:
                found.bind((host, _random.randrange(_LOWEST, end) if end > _LOWEST else 0))
            except OSError:
                continue
            return found.getsockname()[1]
    raise AssertionError(f"no free port between {_LOWEST} and {end} on {host}")


def _first_given_away() -> int:
    try:
        return int(_RANGE.read_text().split()[0])
    except OSError:
        return 32_768
