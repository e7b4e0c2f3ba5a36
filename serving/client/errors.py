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
    """The server can't be reached, or can't answer now: the only error that is retried."""


class DeadlineExceeded(ServingError):
    """The request was not answered within its timeout."""


class NotFound(ServingError):
    """The server has no such model, version, label or signature."""


@dataclass(frozen=True)
class Refused:
    """A sequence that the server refuses: its place in the request (from 0), its id, and the server's reason."""

    place: int
    sequence_id: str
    reason: str


class InvalidRequest(ServingError):
    """The server refuses the request; ``refused`` are the sequences at fault."""

    refused: Sequence[Refused] = ()


def refused_sequences(refused: Sequence[Refused], target: str, *, more: bool) -> InvalidRequest:
    """Return the error for refused sequences; ``more`` if there may be others."""
    lines = [f"  sequence {each.sequence_id}: {each.reason}" for each in refused[:SHOWN]]
    rest = len(refused) - len(lines)
    if more:
        lines.append("  and perhaps others")
    elif rest:
        lines.append(f"  and {rest} more")
    listed = "\n".join(lines)
    error = InvalidRequest(
        f"{target} refuses {len(refused)} sequence{'s' if len(refused) > 1 else ''}{' at least' if more else ''}:\n"
        f"{listed}\nCorrect or leave out these sequences, or set on_error='collect', which predicts the others",
        code="INVALID_ARGUMENT",
        details=refused[0].reason,
    )
    error.refused = list(refused)
    return error
