"""Exceptions of the client: each names the server, the server's message, and a remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from noisy_gru.schema.errors import UserError

SHOWN = 5


class ServingError(UserError):
    """Base class of the client's errors.

    Args:
        message: shown to the user.
        code: name of the gRPC status, also over REST.
        details: the server's own message.
    """

    def __init__(self, message: str, *, code: str = "UNKNOWN", details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.details = details


class Unavailable(ServingError):
    """The server can't be reached, or says that it can't answer now: the one error that is worth another attempt."""


class DeadlineExceeded(ServingError):
    """No answer within the time given."""


class NotFound(ServingError):
    """The server has no such model, version, label or signature."""


@dataclass(frozen=True)
class Refused:
    """A sequence that the server won't answer: its place in the request (from 0), its id, and the server's reason."""

    place: int
    sequence_id: str
    reason: str


class InvalidRequest(ServingError):
    """The server won't answer this request, whatever the time; ``refused`` are the sequences it is about."""

    refused: Sequence[Refused] = ()


def refusal(refused: Sequence[Refused], target: str, *, more: bool) -> InvalidRequest:
    """The error about some sequences; ``more`` if there may be others."""
    lines = [f"  sequence {each.sequence_id}: {each.reason}" for each in refused[:SHOWN]]
    rest = len(refused) - len(lines)
    if more:
        lines.append("  and perhaps others")
    elif rest:
        lines.append(f"  and {rest} more")
    listed = "\n".join(lines)
    error = InvalidRequest(
        f"{target} refuses {len(refused)} sequence{'s' if len(refused) > 1 else ''}{' at least' if more else ''}:\n"
        f"{listed}\nCorrect or leave out what it names, or ask with on_error='collect', which answers the others",
        code="INVALID_ARGUMENT",
        details=refused[0].reason,
    )
    error.refused = list(refused)
    return error
