"""The client's steps, apart from how it waits: generators that yield calls and are sent their replies.

    reply = run(answered(call, target="127.0.0.1:8500", collect=False), ask)

``run`` drives one with a function that answers a call, ``run_async`` with a coroutine function. A ``ServingError`` of a
call is thrown into the generator.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import TypeVar

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
)
from noisy_gru.serving.client.errors import (
    SHOWN,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Refused,
    ServingError,
    Unavailable,
    refusal,
)
from noisy_gru.serving.client.predictions import Part
from noisy_gru.serving.client.status_mapping import names_signature

T = TypeVar("T")
Flow = Generator[Call, Reply, T]
_NOT_FINITE = (
    "the model's answer is NaN or infinity. Are there values far beyond those of training (such as 1e38)? Correct or "
    "leave them out"
)


def run(flow: Flow[T], ask: Callable[[Call], Reply]) -> T:
    """What a flow returns, its calls answered by ``ask``."""
    try:
        call = next(flow)
        while True:
            try:
                reply = ask(call)
            except ServingError as error:
                call = flow.throw(error)
            else:
                call = flow.send(reply)
    except StopIteration as done:
        return done.value


async def run_async(flow: Flow[T], ask: Callable[[Call], Awaitable[Reply]]) -> T:
    """What a flow returns, its calls answered by the coroutine function ``ask``."""
    try:
        call = next(flow)
        while True:
            try:
                reply = await ask(call)
            except ServingError as error:
                call = flow.throw(error)
            else:
                call = flow.send(reply)
    except StopIteration as done:
        return done.value


def asked(call: PredictCall | MetadataCall) -> Flow[Reply]:
    """The reply to one call; what isn't found is told with what there is."""
    try:
        return (yield call)
    except NotFound as error:
        advice = yield from _what_there_is(call.model, error)
        raise NotFound(f"{error}. {advice}", code=error.code, details=error.details) from error


def _what_there_is(model: ModelChoice, error: NotFound) -> Flow[str]:
    try:
        if names_signature(error.details):
            metadata = yield MetadataCall(model)
            return f"Its signatures are {', '.join(metadata.signatures)}"
        statuses = yield StatusCall(ModelChoice(model.name))
    except ServingError:
        # The first error counts; this only was to say more.
        return f"Does the server serve {model.name}? Correct the name, or the server's model configuration"
    shown = [f"{each.version} ({each.state}{': ' + each.error if each.error else ''})" for each in statuses]
    labels = ". Labels stand in the server's model configuration" if model.label is not None else ""
    return f"Of {model.name} it has {', '.join(shown) or 'no version'}{labels}"


Answered = tuple[list[tuple[int, Part]], list[Refused]]


def answered(call: PredictCall, *, target: str, collect: bool, places: Sequence[int] | None = None) -> Flow[Answered]:
    """The answers to the sequences of a call. If it is refused, it is halved until the sequences at fault are found.

    A sequence whose answer holds NaN or infinity counts as refused: that is no answer.

    Args:
        call: the question.
        target: the server's address, for messages.
        collect: refused sequences are returned; else the first few of them are an error.
        places: of the call's sequences in the whole request; None: from 0.

    Returns:
        The answers with the place of their first sequence, in order; and the refused sequences.

    Raises:
        InvalidRequest: sequences are refused, and ``collect`` is not set.
        ServingError: any other.
    """
    parts: list[tuple[int, Part]] = []
    refused: list[Refused] = []
    places = range(len(call.ids)) if places is None else places
    spans = [(0, len(call.ids))]
    while spans:
        start, stop = spans.pop()
        part = call.part(start, stop)
        try:
            reply: PredictReply = yield from asked(part)
        except InvalidRequest as error:
            if stop - start > 1:
                middle = (start + stop) // 2
                spans += [(middle, stop), (start, middle)]
                continue
            refused.append(Refused(places[start], call.ids[start], error.details))
        else:
            found, out = _finite(part, reply, places[start:stop])
            parts += found
            refused += out
        if not collect and len(refused) >= SHOWN:
            break
    if refused and not collect:
        raise refusal(refused, target, more=bool(spans))
    return parts, refused


def _finite(part: PredictCall, reply: PredictReply, places: Sequence[int]) -> Answered:
    """The finite answers of a reply, in runs of neighbours, and the sequences that got another one."""
    count = len(part.ids)
    whole = all(array.ndim and len(array) == count for array in reply.outputs.values())
    # An answer of other sizes is an error where it is read.
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


def healthy(model: ModelChoice) -> Flow[bool]:
    """Whether the server is well and would answer for the model now."""
    try:
        if not (yield HealthCall()):
            return False
    except ServingError as error:
        if isinstance(error, Unavailable | DeadlineExceeded | NotFound):
            return False
        # TF Serving has the health service only where a flag asks for it.
        if error.code != "UNIMPLEMENTED":
            raise
    try:
        yield MetadataCall(model)
    except (Unavailable, DeadlineExceeded, NotFound):
        return False
    return True


def statuses(model: ModelChoice) -> Flow[Reply]:
    """The versions of a model, rising; of the chosen one alone, if it is chosen by number."""
    found = yield StatusCall(model.at(model.version))
    return sorted(found, key=lambda each: each.version)
