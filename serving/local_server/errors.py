"""Error responses: a gRPC status code, its HTTP status, and a message close to TF Serving's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from grpc import StatusCode

# TF Serving cuts its messages here, too: gRPC sends them as a header, and headers have a limit.
LONGEST_MESSAGE = 1024

# As TF Serving's http_server.cc maps them.
HTTP_CODES = {
    StatusCode.CANCELLED: 499,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.DEADLINE_EXCEEDED: 504,
    StatusCode.NOT_FOUND: 404,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
}


_ABSOLUTE = re.compile(r"(?<![\w.:/])(?:/[\w.+@~-]+){2,}")


@dataclass(eq=False)
class RequestError(Exception):
    """An error response to a request.

    Attributes:
        code: gRPC status code.
        message: what was expected and received.
    """

    code: StatusCode
    message: str

    def __str__(self) -> str:
        return self.message

    @property
    def number(self) -> int:
        """The gRPC code as a number, as in a ``StatusProto``."""
        return self.code.value[0]

    @property
    def http_code(self) -> int:
        """The HTTP status."""
        return HTTP_CODES.get(self.code, 500)

    @property
    def short(self) -> str:
        """The message, shortened for a gRPC header."""
        return self.message if len(self.message) <= LONGEST_MESSAGE else self.message[: LONGEST_MESSAGE - 3] + "..."


def without_folders(message: str, folder: Path, name: str) -> str:
    """Remove absolute paths from a message for a client.

    Args:
        message: of TensorFlow or the operating system.
        folder: of the version, replaced by `name`.
        name: of the version.
    """
    for known in {str(folder), str(folder.absolute()), str(folder.resolve())}:
        message = message.replace(known, name)
    return _ABSOLUTE.sub(lambda found: PurePosixPath(found[0]).name, message)


def invalid(message: str) -> RequestError:
    """INVALID_ARGUMENT: the request is wrong in any state of the server."""
    return RequestError(StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> RequestError:
    """NOT_FOUND: no such model, version or file."""
    return RequestError(StatusCode.NOT_FOUND, message)


def failed_precondition(message: str) -> RequestError:
    """FAILED_PRECONDITION: the request is wrong in the server's current state."""
    return RequestError(StatusCode.FAILED_PRECONDITION, message)
