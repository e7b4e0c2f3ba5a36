"""Map gRPC and HTTP status codes to client exceptions."""

from __future__ import annotations

import re

from noisy_gru.serving.client.calls import Call, HealthCall, PredictCall
from noisy_gru.serving.client.errors import DeadlineExceeded, InvalidRequest, NotFound, ServingError, Unavailable

# HTTP codes of TF Serving's REST API, and of gateways before it.
CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_ADVICE = {
    "RESOURCE_EXHAUSTED": "Send fewer sequences in a request (batch_size), or fewer requests at a time (concurrency)",
    "UNAUTHENTICATED": "Give credentials as headers",
    "PERMISSION_DENIED": "Give credentials as headers",
}
_SIGNATURE = re.compile(r"signature name: \"?([^\"]*)\"? not found|signature .*not found", re.IGNORECASE)
_LABEL = "unrecognized servable version label"
_LONGEST = 1000


def shorten_details(details: str) -> str:
    """Remove TensorFlow's graph location from a server's message."""
    details = re.split(r"\s*\[\[\{\{node|\n\t ?\[\[|\nStack trace|\nErrors may have originated", details, maxsplit=1)[0]
    details = " ".join(details.split())
    return details if len(details) <= _LONGEST else details[:_LONGEST] + "…"


def error_of(target: str, call: Call, code: str, details: str, timeout: float) -> ServingError:
    """Return the exception for a status.

    Args:
        target: the server's address.
        call: that failed.
        code: name of the gRPC status.
        details: the server's message.
        timeout: of the request in seconds.
    """
    details = shorten_details(details)
    what = str(call) if isinstance(call, PredictCall) else "the request"
    suffix = f": {details}" if details else ""
    if code == "UNAVAILABLE":
        hint = ". Is this the REST port?" if "http1" in details.lower() else ""
        return Unavailable(f"{target} is unavailable{suffix}{hint}", code=code, details=details)
    if code == "DEADLINE_EXCEEDED":
        advice = "Give a longer timeout" + (
            ", or fewer sequences in a request (batch_size)" if len_of(call) > 1 else ""
        )
        return DeadlineExceeded(
            f"{target} has not answered {what} within {timeout:g} s. {advice}", code=code, details=details
        )
    missing = code == "NOT_FOUND" or (code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION") and is_missing(details))
    if missing and not isinstance(call, HealthCall):
        return NotFound(f"{target} has no {call.model}{suffix}", code="NOT_FOUND", details=details)
    if code == "INVALID_ARGUMENT":
        return InvalidRequest(f"{target} refuses {what}{suffix}", code=code, details=details)
    advice = f". {_ADVICE[code]}" if code in _ADVICE else ""
    return ServingError(f"{target} failed on {what} with {code}{suffix}{advice}", code=code, details=details)


def is_missing(details: str) -> bool:
    """Return whether a message is about a missing label or signature, which TF Serving calls an invalid argument."""
    return _LABEL in details.lower() or bool(_SIGNATURE.search(details))


def names_signature(details: str) -> bool:
    """Return whether the server's message is about a missing signature."""
    return bool(_SIGNATURE.search(details))


def len_of(call: Call) -> int:
    """Return the number of sequences of a call."""
    return len(call.ids) if isinstance(call, PredictCall) else 0
