"""Read REST request bodies within a time and a size, and unpack them within a size and a ratio."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from grpc import StatusCode

from noisy_gru.serving.local_server.errors import RequestError, invalid
from noisy_gru.serving.local_server.limits import Limits

_SMALL = 1 << 20  # bytes that any body may unpack to
_MOST_RATIO = 100


class RequestBodies:
    """Read request bodies; all bodies that are in memory at a time are bounded together.

    Args:
        limits: of one body, of all, and of the time.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    @asynccontextmanager
    async def read(self, request: web.Request) -> AsyncIterator[bytes]:
        """Read the body as it came, which may be compressed; it counts as held until the block ends.

        Raises:
            RequestError: UNAVAILABLE, if all requests hold too many bytes.
            HTTPRequestEntityTooLarge: it is too large.
            HTTPRequestTimeout: it did not come in time.
        """
        most = self._limits.request_bytes
        if (request.content_length or 0) > most:
            raise too_large(request.content_length or 0, most)
        parts: list[bytes] = []
        size = 0
        try:
            try:
                async with asyncio.timeout(self._limits.body_seconds):
                    async for part in request.content.iter_any():
                        parts.append(part)
                        size += len(part)
                        self._held += len(part)
                        if size > most:
                            raise too_large(size, most)
                        if self._held > self._limits.held_bytes:
                            raise RequestError(
                                StatusCode.UNAVAILABLE,
                                "The server holds too many request bodies. Send it again.",
                            )
            except TimeoutError as error:
                raise web.HTTPRequestTimeout(
                    text=f"The request body did not arrive within {self._limits.body_seconds:g} seconds."
                ) from error
            except web.RequestPayloadError as error:
                raise invalid(f"The request body can't be read: {' '.join(str(error).split())}") from error
            body = b"".join(parts)
            parts.clear()
            yield body
        finally:
            self._held -= size


def too_large(size: int, most: int) -> web.HTTPRequestEntityTooLarge:
    """Return the error for a body that is too large."""
    return web.HTTPRequestEntityTooLarge(
        max_size=most,
        actual_size=size,
        text=f"The request body has more than the {most} bytes that are allowed. Send fewer sequences at once.",
    )


def unpack(body: bytes, most: int) -> bytes:
    """Decompress a gzip body.

    Raises:
        RequestError: INVALID_ARGUMENT, if it isn't one.
        HTTPRequestEntityTooLarge: it has more than ``most`` bytes, or a suspicious ratio.
    """
    allowed = min(most, max(_SMALL, _MOST_RATIO * len(body)))
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        content = unpacker.decompress(body, allowed + 1)
    except zlib.error as error:
        raise invalid(f"The request body is not gzip, which its Content-Encoding announces: {error}") from error
    if len(content) > most:
        raise too_large(len(content), most)
    if len(content) > allowed:
        raise web.HTTPRequestEntityTooLarge(
            max_size=allowed,
            actual_size=len(content),
            text=f"The request body of {len(body)} bytes of gzip unpacks to more than {_MOST_RATIO} times as many. "
            "Send it unpacked.",
        )
    if not unpacker.eof or unpacker.unused_data:
        raise invalid("The request body is not a complete gzip stream, which its Content-Encoding announces.")
    return content
