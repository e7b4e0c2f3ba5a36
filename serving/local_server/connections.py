"""Limits on REST connections: how many are open, and how long a request's header may take.

    guard = Connections(limits)
    server = await loop.create_server(guard.factory(runner.server), host, port)

A connection that has not sent its whole request takes no worker. There are at most ``Limits.connections``; when one
more is opened, the one that has kept the server waiting longest is closed. aiohttp itself limits the number and the
size of headers (128 of 8190 bytes), but not their time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from noisy_gru.serving.local_server.limits import Limits

_FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Connections:
    """The open connections; all methods belong to the event loop's thread.

    Args:
        limits: how many, and how long a header may take.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # The transport that has waited longest comes first.
        self._waiting: dict[asyncio.BaseTransport, None] = {}
        self._working: set[asyncio.BaseTransport] = set()
        self._reading: set[asyncio.BaseTransport] = set()
        self._timers: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}

    def factory(self, make: Callable[[], Any]) -> Callable[[], asyncio.Protocol]:
        """Return a factory of protocols that wrap those of ``make``."""
        return lambda: _Guarded(make(), self)

    def admit(self, transport: asyncio.BaseTransport) -> bool:
        """Register a new connection; False if there are too many."""
        if len(self._waiting) + len(self._working) >= self._limits.connections:
            if not self._waiting:
                return False
            longest = next(iter(self._waiting))
            self.drop(longest)
            longest.close()
        self._waiting[transport] = None
        return True

    def drop(self, transport: asyncio.BaseTransport) -> None:
        """Forget a connection."""
        self._stop_timer(transport)
        self._reading.discard(transport)
        self._waiting.pop(transport, None)
        self._working.discard(transport)

    def bytes_came(self, transport: asyncio.BaseTransport) -> None:
        """Start the timeout of a header, unless it runs, or a request is being read or processed."""
        if transport in self._waiting and transport not in self._timers and transport not in self._reading:
            loop = asyncio.get_running_loop()
            self._timers[transport] = loop.call_later(self._limits.header_seconds, transport.close)

    @contextmanager
    def request(self, transport: asyncio.BaseTransport | None) -> Iterator[None]:
        """Suspend the header's timeout from the end of the header to the response: a body has its own."""
        if transport is not None:
            self._stop_timer(transport)
            self._reading.add(transport)
        try:
            yield
        finally:
            if transport is not None:
                self._reading.discard(transport)

    def _stop_timer(self, transport: asyncio.BaseTransport) -> None:
        timer = self._timers.pop(transport, None)
        if timer is not None:
            timer.cancel()

    @contextmanager
    def working(self, transport: asyncio.BaseTransport | None) -> Iterator[None]:
        """Protect the connection of a request that is being processed from being closed for a new one."""
        if transport is not None and transport in self._waiting:
            del self._waiting[transport]
            self._working.add(transport)
        try:
            yield
        finally:
            if transport is not None and transport in self._working:
                self._working.discard(transport)
                self._waiting[transport] = None


class _Guarded(asyncio.Protocol):
    """Delegates to aiohttp's protocol, and reports the connection's events to ``Connections``."""

    def __init__(self, inner: Any, connections: Connections) -> None:
        self._inner: Any = inner
        self._connections = connections
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if not self._connections.admit(transport):
            self._inner = None
            self._transport.write(_FULL)
            self._transport.close()
            return
        self._inner.connection_made(transport)
        self._connections.bytes_came(transport)  # a silent connection has no more time either

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._connections.bytes_came(self._transport)
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.drop(self._transport)
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()
