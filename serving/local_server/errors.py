"""What a request can fail with: a code of gRPC, which also has a number in HTTP, and words near TF Serving's own."""

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
    """A request that is answered with an error.

    Attributes:
        code: of gRPC.
        message: what was expected, what was received.
    """

    code: StatusCode
    message: str

    def __str__(self) -> str:
        return self.message

    @property
    def number(self) -> int:
        """The code as a number, as in a ``StatusProto``."""
        return self.code.value[0]

    @property
    def http_code(self) -> int:
        """The status of an HTTP answer."""
        return HTTP_CODES.get(self.code, 500)

    @property
    def short(self) -> str:
        """The message as it is sent over gRPC."""
        return self.message if len(self.message) <= LONGEST_MESSAGE else self.message[: LONGEST_MESSAGE - 3] + "..."


def without_folders(message: str, folder: Path, name: str) -> str:
    """A message of TensorFlow or of this machine for somebody else: it shows no absolute path.

    Args:
        message: for the owner of the machine.
        folder: of the version; `name` stands in its place.
        name: what the version is called.
    """
    for known in {str(folder), str(folder.absolute()), str(folder.resolve())}:
        message = message.replace(known, name)
    return _ABSOLUTE.sub(lambda found: PurePosixPath(found[0]).name, message)


def invalid(message: str) -> RequestError:
    """INVALID_ARGUMENT: the request can't be right, whatever the server does."""
    return RequestError(StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> RequestError:
    """NOT_FOUND: no such model, version or file."""
    return RequestError(StatusCode.NOT_FOUND, message)


def refused(message: str) -> RequestError:
    """FAILED_PRECONDITION: the request could be right, but not in the state that the server is in."""
    return RequestError(StatusCode.FAILED_PRECONDITION, message)
