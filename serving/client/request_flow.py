"""The client's requests over any transport: explained errors, refused batches split, health, version status.

    parts, refused = await predict_batch(call, send_once, target="127.0.0.1:8500", collect=False)

Each takes a coroutine function that sends one call and returns its reply.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence

from noisy_gru.saved_model.session import nonfinite_rows
from noisy_gru.serving.client.calls import (
    Call,
    HealthCall,
    MetadataCall,
    ModelChoice,
    PredictCall,
    PredictReply,
    Reply,
    StatusCall,
    VersionStatus,
)
from noisy_gru.serving.client.errors import (
    SHOWN,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Refused,
    ServingError,
    Unavailable,
    refused_sequences,
)
from noisy_gru.serving.client.prediction_columns import Part
from noisy_gru.serving.client.status_mapping import names_signature

Send = Callable[[Call], Awaitable[Reply]]
BatchResult = tuple[list[tuple[int, Part]], list[Refused]]
_NOT_FINITE = (
    "the model's answer is NaN or infinity. Are there values far beyond those of training (such as 1e38)? Correct or "
    "leave them out"
)


async def send(call: PredictCall | MetadataCall, send_call: Send) -> Reply:
    """Send a call and return its reply; a NotFound names the versions or signatures that exist."""
    try:
        return await send_call(call)
    except NotFound as error:
        advice = await _alternatives(call.model, error, send_call)
        raise NotFound(f"{error}. {advice}", code=error.code, details=error.details) from error


async def _alternatives(model: ModelChoice, error: NotFound, send_call: Send) -> str:
    try:
        if names_signature(error.details):
            metadata = await send_call(MetadataCall(model))
            return f"Its signatures are {', '.join(metadata.signatures)}"
        statuses = await send_call(StatusCall(ModelChoice(model.name)))
    except ServingError:
        # The first error counts; this one only could have explained it.
        return f"Does the server serve {model.name}? Correct the name, or the server's model configuration"
    shown = [f"{each.version} ({each.state}{': ' + each.error if each.error else ''})" for each in statuses]
    labels = ". Labels stand in the server's model configuration" if model.label is not None else ""
    return f"Of {model.name} it has {', '.join(shown) or 'no version'}{labels}"


async def predict_batch(
    call: PredictCall, send_call: Send, *, target: str, collect: bool, places: Sequence[int] | None = None
) -> BatchResult:
    """Predict the sequences of a call. A refused call is halved until the sequences at fault are found.

    A sequence whose outputs hold NaN or infinity counts as refused.

    Args:
        call: the batch.
        send_call: sends a call.
        target: the server's address, for messages.
        collect: return the refused sequences; else the first few of them are an error.
        places: index of each of the call's sequences in the whole request; None: from 0.

    Returns:
        The outputs with the place of their first sequence, in order; and the refused sequences.

    Raises:
        InvalidRequest: sequences are refused, and ``collect`` is not set.
        ServingError: any other.
    """
    parts: list[tuple[int, Part]] = []
    refused: list[Refused] = []
    places = range(len(call.ids)) if places is None else places
    ranges = [(0, len(call.ids))]
    while ranges:
        start, stop = ranges.pop()
        part = call.part(start, stop)
        try:
            reply: PredictReply = await send(part, send_call)
        except InvalidRequest as error:
            if stop - start > 1:
                middle = (start + stop) // 2
                ranges += [(middle, stop), (start, middle)]
                continue
            refused.append(Refused(places[start], call.ids[start], error.details))
        else:
            finite, infinite = _split_finite(part, reply, places[start:stop])
            parts += finite
            refused += infinite
        if not collect and len(refused) >= SHOWN:
            break
    if refused and not collect:
        raise refused_sequences(refused, target, more=bool(ranges))
    return parts, refused


def _split_finite(part: PredictCall, reply: PredictReply, places: Sequence[int]) -> BatchResult:
    """Split a reply into its finite outputs, in runs of neighbours, and the sequences with NaN or infinity."""
    count = len(part.ids)
    whole = all(array.ndim and len(array) == count for array in reply.outputs.values())
    # Outputs of another size are an error where they are read.
    bad = [int(row) for row in nonfinite_rows(reply.outputs)] if whole else []
    if not bad:
        return [(places[0] if count else 0, Part(part.ids, reply.outputs, reply.version))], []
    refused = [Refused(places[row], part.ids[row], _NOT_FINITE) for row in bad]
    parts = []
    for before, after in itertools.pairwise([-1, *bad, count]):
        start, stop = before + 1, after
        if start < stop:
            outputs = {name: array[start:stop] for name, array in reply.outputs.items()}
            parts.append((places[start], Part(part.ids[start:stop], outputs, reply.version)))
    return parts, refused


async def is_healthy(model: ModelChoice, send_call: Send) -> bool:
    """Return whether the server is healthy and would answer for the model now."""
    try:
        if not await send_call(HealthCall()):
            return False
    except ServingError as error:
        if isinstance(error, Unavailable | DeadlineExceeded | NotFound):
            return False
        # TF Serving has the health service only where a flag asks for it.
        if error.code != "UNIMPLEMENTED":
            raise
    try:
        await send_call(MetadataCall(model))
    except (Unavailable, DeadlineExceeded, NotFound):
        return False
    return True


async def version_statuses(model: ModelChoice, send_call: Send) -> list[VersionStatus]:
    """Return the versions of a model, rising; only the chosen one, if it is chosen by number."""
    statuses: list[VersionStatus] = await send_call(StatusCall(model.at(model.version)))
    return sorted(statuses, key=lambda status: status.version)
