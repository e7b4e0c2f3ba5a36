"""TF Serving's HTTP API in its row form, over httpx. Imports no TensorFlow."""

from __future__ import annotations

import asyncio
import json
import ssl
import weakref
import zlib
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

import httpx

from noisy_gru.schema.errors import UserError
from noisy_gru.serving.client.calls import Call, HealthCall, MetadataCall, PredictCall, PredictReply, Reply
from noisy_gru.serving.client.connection import ConnectionOptions, is_this_machine
from noisy_gru.serving.client.errors import ServingError
from noisy_gru.serving.client.event_loop_thread import EventLoopThread
from noisy_gru.serving.client.rest_messages import body_of, error_details, metadata_of, outputs_of, path_of, statuses_of
from noisy_gru.serving.client.status_mapping import CODES, error_of

_GZIP_FROM = 1024
_MOST_RATIO = 50


class _Wire:
    """Calls and replies as HTTP requests and responses."""

    def __init__(self, connection: ConnectionOptions) -> None:
        self.connection = connection
        self._limit = connection.largest_answer

    def options(self) -> dict[str, Any]:
        """Return the options of an httpx client."""
        connection = self.connection
        host = connection.target.rpartition(":")[0].strip("[]")
        options: dict[str, Any] = {
            "base_url": f"{'http' if connection.tls is None else 'https'}://{connection.target}",
            "headers": {**connection.headers},
            "trust_env": not is_this_machine(host),
        }
        if connection.tls is not None:
            options["verify"] = _ssl_context(connection)
        return options

    def request(self, call: Call, timeout: float) -> dict[str, Any]:
        """Return the arguments of ``httpx.AsyncClient.stream``.

        Raises:
            ServingError: REST has no such call.
        """
        if isinstance(call, HealthCall):
            raise error_of(self.connection.target, call, "UNIMPLEMENTED", "REST has no health service", timeout)
        arguments: dict[str, Any] = {"method": "GET", "timeout": timeout}
        if isinstance(call, PredictCall):
            body = body_of(call)
            headers = {"content-type": "application/json"}
            packed = _gzipped(body) if len(body) >= _GZIP_FROM else b""
            # Servers refuse bodies that unpack to many times their size.
            if packed and len(packed) * _MOST_RATIO >= len(body):
                body, headers["content-encoding"] = packed, "gzip"
            return {
                **arguments,
                "method": "POST",
                "url": f"{path_of(call.model)}:predict",
                "content": body,
                "headers": headers,
            }
        if isinstance(call, MetadataCall):
            return {**arguments, "url": f"{path_of(call.model)}/metadata"}
        return {**arguments, "url": path_of(call.model)}

    def reply(self, call: Call, response: httpx.Response, body: bytes) -> Reply:
        """Decode a response.

        Raises:
            ServingError: the response is an error, or of another kind.
        """
        if response.status_code != 200:
            code = CODES.get(response.status_code, f"HTTP_{response.status_code}")
            raise error_of(
                self.connection.target, call, code, error_details(body, response.reason_phrase), self.connection.timeout
            )
        try:
            content = json.loads(body)
            if isinstance(call, PredictCall):
                return PredictReply(outputs_of(content["predictions"]))
            return metadata_of(content) if isinstance(call, MetadataCall) else statuses_of(content)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
            raise ServingError(
                f"{self.connection.target}: the response can't be read ({error!r}). Is this TF Serving's REST port?",
                code="INTERNAL",
            ) from error

    @contextmanager
    def errors(self, call: Call) -> Iterator[None]:
        """Raise httpx' exceptions of the block as ServingError."""
        target, timeout = self.connection.target, self.connection.timeout
        try:
            yield
        except httpx.TimeoutException as error:
            raise error_of(target, call, "DEADLINE_EXCEEDED", "", timeout) from error
        except httpx.HTTPError as error:
            details = str(error) or type(error).__name__
            if "illegal request line" in details:
                details += ". Is this the gRPC port?"
            if _is_certificate(error):
                raise ServingError(
                    f"{target}: {details}. Give the certificate to trust (tls.ca)", details=details
                ) from error
            if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
                raise error_of(target, call, "UNAVAILABLE", details, timeout) from error
            raise ServingError(f"{target}: {details}", details=details) from error
        except ssl.SSLError as error:
            # With TLS 1.3 a server refuses a client's certificate in its first response; httpx doesn't wrap the error.
            raise ServingError(
                f"{target}: {error}. Give the client's certificate that the server asks for (tls.certificate, tls.key)",
                details=str(error),
            ) from error

    def deadline(self, call: Call) -> ServingError:
        """Return the error for a request whose timeout passed."""
        return error_of(self.connection.target, call, "DEADLINE_EXCEEDED", "", self.connection.timeout)

    def check_size(self, size: int) -> None:
        """Raise ServingError for a response that is too large."""
        if size > self._limit:
            raise ServingError(
                f"{self.connection.target}: the response is larger than {self._limit} bytes. Send fewer sequences in a "
                "request (batch_size), or allow more (largest_answer)",
                code="RESOURCE_EXHAUSTED",
            )


class RestTransport:
    """Send calls within one event loop.

    Args:
        connection: of the server.
    """

    def __init__(self, connection: ConnectionOptions) -> None:
        self._wire = _Wire(connection)
        self._client = httpx.AsyncClient(**self._wire.options())

    async def send(self, call: Call, timeout: float) -> Reply:
        """Send a call once.

        Args:
            call: the request.
            timeout: seconds for all of it: connecting, sending, and the whole response.

        Raises:
            ServingError: the request failed.
        """
        response, body = await self._exchange(call, self._wire.request(call, timeout), timeout)
        return self._wire.reply(call, response, body)

    async def _exchange(self, call: Call, request: dict[str, Any], timeout: float) -> tuple[httpx.Response, bytes]:
        parts, size = [], 0
        try:
            # httpx restarts its own timeout with every byte that arrives.
            async with asyncio.timeout(timeout):
                with self._wire.errors(call):
                    async with self._client.stream(**request) as response:
                        async for part in response.aiter_bytes():
                            parts.append(part)
                            size += len(part)
                            self._wire.check_size(size)
        except TimeoutError as error:
            raise self._wire.deadline(call) from error
        return response, b"".join(parts)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class BlockingRestTransport(RestTransport):
    """Send calls and block; for any number of threads. The exchanges run in an event loop of its own thread.

    Only an event loop bounds the time of an exchange as a whole: blocking reads are timed one by one.

    Args:
        connection: of the server.
    """

    def __init__(self, connection: ConnectionOptions) -> None:
        super().__init__(connection)
        self._thread = EventLoopThread("noisy-gru-rest")
        # A transport that nobody closed ends its thread, too.
        self._finalizer = weakref.finalize(self, self._thread.close)

    async def _exchange(self, call: Call, request: dict[str, Any], timeout: float) -> tuple[httpx.Response, bytes]:
        try:
            return self._thread.run(super()._exchange(call, request, timeout))
        except CancelledError as error:
            target = self._wire.connection.target
            raise ServingError(f"the client of {target} is closed", code="CANCELLED") from error

    async def close(self) -> None:
        """Close the connections; open calls fail."""
        if self._finalizer.alive:
            self._thread.run(super().close())
        self._finalizer()


def _gzipped(body: bytes) -> bytes:
    # Base64 repeats nothing: a search for it takes four times as long and finds a tenth.
    packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    return packer.compress(body) + packer.flush()


def _ssl_context(connection: ConnectionOptions) -> ssl.SSLContext:
    tls = connection.tls
    if tls is None:
        raise TypeError("there are no TLS options")
    tls.read()  # raises an error with the file's name
    try:
        context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
        if tls.certificate is not None and tls.key is not None:
            context.load_cert_chain(str(tls.certificate), str(tls.key))
    except ssl.SSLError as error:
        files = ", ".join(str(path) for path in (tls.ca, tls.certificate, tls.key) if path)
        raise UserError(f"TLS: expected PEM files that belong together, received {files}: {error}") from error
    return context


def _is_certificate(error: BaseException) -> bool:
    """Return whether a connection failed because the server's certificate isn't trusted, which no retry changes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
