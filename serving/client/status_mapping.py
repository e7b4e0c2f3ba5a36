"""A server's status becomes the error that it is, the same for gRPC and REST."""

from __future__ import annotations

import re

from noisy_gru.serving.client.calls import Call, HealthCall, PredictCall
from noisy_gru.serving.client.errors import DeadlineExceeded, InvalidRequest, NotFound, ServingError, Unavailable

# How TF Serving's REST API shows a status, and what gateways before it say.
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
    """A server's details without TensorFlow's report of where in the graph it was."""
    details = re.split(r"\s*\[\[\{\{node|\n\t ?\[\[|\nStack trace|\nErrors may have originated", details, maxsplit=1)[0]
    details = " ".join(details.split())
    return details if len(details) <= _LONGEST else details[:_LONGEST] + "…"


def error_of(target: str, call: Call, code: str, details: str, timeout: float) -> ServingError:
    """The error for a status.

    Args:
        target: the server's address.
        call: what was asked.
        code: gRPC's name of the status.
        details: the server's.
        timeout: seconds that the request had.
    """
    details = shorten_details(details)
    what = str(call) if isinstance(call, PredictCall) else "the request"
    said = f": {details}" if details else ""
    if code == "UNAVAILABLE":
        hint = ". Is this the REST port?" if "http1" in details.lower() else ""
        return Unavailable(f"{target} is unavailable{said}{hint}", code=code, details=details)
    if code == "DEADLINE_EXCEEDED":
        advice = "Give a longer timeout" + (
            ", or fewer sequences in a request (batch_size)" if len_of(call) > 1 else ""
        )
        return DeadlineExceeded(
            f"{target} has not answered {what} within {timeout:g} s. {advice}", code=code, details=details
        )
    missing = code == "NOT_FOUND" or (code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION") and is_missing(details))
    if missing and not isinstance(call, HealthCall):
        return NotFound(f"{target} has no {call.model}{said}", code="NOT_FOUND", details=details)
    if code == "INVALID_ARGUMENT":
        return InvalidRequest(f"{target} refuses {what}{said}", code=code, details=details)
    advice = f". {_ADVICE[code]}" if code in _ADVICE else ""
    return ServingError(f"{target} failed on {what} with {code}{said}{advice}", code=code, details=details)


def is_missing(details: str) -> bool:
    """Whether a refusal is about the model's label or signature, which TF Serving calls an invalid argument."""
    return _LABEL in details.lower() or bool(_SIGNATURE.search(details))


def names_signature(details: str) -> bool:
    """Whether the server's details are about a signature that isn't there."""
    return bool(_SIGNATURE.search(details))


def len_of(call: Call) -> int:
    """How many sequences a call is about."""
    return len(call.ids) if isinstance(call, PredictCall) else 0
