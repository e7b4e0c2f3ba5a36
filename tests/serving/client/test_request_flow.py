"""What a client does about a refusal, an unknown version, and a server that is away; without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from noisy_gru.serving.client.calls import (
    Call,
    HealthCall,
    MetadataCall,
    ModelChoice,
    ModelMetadata,
    PredictCall,
    PredictReply,
    StatusCall,
    VersionStatus,
)
from noisy_gru.serving.client.connection import ConnectionOptions
from noisy_gru.serving.client.errors import InvalidRequest, NotFound, ServingError, Unavailable
from noisy_gru.serving.client.request_flow import is_healthy, predict_batch, send
from noisy_gru.serving.client.retrying import add_attempts, retries
from noisy_gru.serving.client.status_mapping import error_of, shorten_details

TARGET = "127.0.0.1:8500"
MODEL = ModelChoice("vowels")


def status_error(call: Call, code: str, words: str = "") -> ServingError:
    return error_of(TARGET, call, code, words, 2.0)


def predicted(call: PredictCall, ask: Callable[[Any], Any], **options: Any) -> Any:
    """What ``predict_batch`` returns, where ``ask`` answers the calls."""
    return asyncio.run(predict_batch(call, coroutine(ask), target=TARGET, **options))


def coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*arguments: Any) -> Any:
        await asyncio.sleep(0)
        return function(*arguments)

    return call


def call_for(count: int) -> PredictCall:
    names = [f"s{place}" for place in range(count)]
    return PredictCall(MODEL, "serving_default", {"examples": [name.encode() for name in names]}, names)


class Picky:
    """Answers the length of each example; refuses a call that holds one of the bad."""

    def __init__(self, *bad: int) -> None:
        self.bad = {f"s{place}".encode() for place in bad}
        self.calls = 0

    def __call__(self, call: Any) -> PredictReply:
        self.calls += 1
        found = [each for each in call.inputs["examples"] if each in self.bad]
        if found:
            raise status_error(call, "INVALID_ARGUMENT", f"{found[0].decode()} is bad\n\t [[{{{{node x}}}}]]")
        return PredictReply({"size": np.array([len(each) for each in call.inputs["examples"]])}, 7)


@pytest.mark.parametrize("bad", [(), (0,), (99,), (3, 4, 50), tuple(range(100))])
def test_the_sequences_at_fault_are_found_and_the_others_answered(bad):
    picky = Picky(*bad)
    parts, refused = predicted(call_for(100), picky, collect=True, places=range(1000, 1100))
    assert [(each.place - 1000, each.sequence_id, each.reason) for each in refused] == [
        (place, f"s{place}", f"s{place} is bad") for place in bad
    ]
    names = [name for _, part in parts for name in part.ids]
    assert names == [f"s{place}" for place in range(100) if place not in bad]
    assert [place - 1000 for place, _ in parts] == [int(part.ids[0][1:]) for _, part in parts]
    assert [value for _, part in parts for value in part.outputs["size"]] == [len(name) for name in names]
    # Each is found by halving.
    assert picky.calls <= 1 + 2 * len(bad) * 7


def test_a_refusal_names_the_first_few_and_stops_asking():
    picky = Picky(*range(100))
    with pytest.raises(InvalidRequest) as caught:
        predicted(call_for(100), picky, collect=False)
    assert [each.sequence_id for each in caught.value.refused] == ["s0", "s1", "s2", "s3", "s4"]
    assert "  sequence s4: s4 is bad\n  and perhaps others" in str(caught.value)
    assert picky.calls < 20
    with pytest.raises(InvalidRequest, match="refuses 1 sequence:\n  sequence s42: s42 is bad\nCorrect"):
        predicted(call_for(100), Picky(42), collect=False)


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED"])
def test_other_errors_are_not_looked_into(code):
    asked_for = []

    def ask(call: Any) -> Any:
        asked_for.append(call)
        raise status_error(call, code, "no")

    with pytest.raises(ServingError) as caught:
        predicted(call_for(4), ask, collect=True)
    assert caught.value.code == code
    assert len(asked_for) == 1


def test_what_is_not_found_is_told_with_what_there_is():
    def ask(call: Any) -> Any:
        if isinstance(call, StatusCall):
            assert call.model == MODEL
            return [VersionStatus(3, "AVAILABLE"), VersionStatus(4, "END", "no file")]
        raise status_error(call, "NOT_FOUND", "Servable not found for request: Specific(vowels, 9)")

    with pytest.raises(NotFound, match=r"version 9: .* Of vowels it has 3 \(AVAILABLE\), 4 \(END: no file\)$"):
        asyncio.run(send(PredictCall(MODEL.at(9), "serving_default", {}, []), coroutine(ask)))


def test_a_label_is_not_taken_for_a_bad_sequence():
    """TF Serving says INVALID_ARGUMENT."""

    def ask(call: Any) -> Any:
        if isinstance(call, StatusCall):
            return [VersionStatus(3, "AVAILABLE")]
        raise status_error(call, "INVALID_ARGUMENT", "Unrecognized servable version label: canary")

    call = PredictCall(ModelChoice("vowels", label="canary"), "serving_default", {"examples": [b"", b""]}, ["a", "b"])
    with pytest.raises(NotFound, match=r"label canary: .* Of vowels it has 3 \(AVAILABLE\). Labels stand in"):
        predicted(call, ask, collect=True)


def test_nor_is_a_signature():
    def ask(call: Any) -> Any:
        if isinstance(call, MetadataCall):
            return ModelMetadata(3, {"serving_default": None, "serving_tensors": None})  # type: ignore[dict-item]
        raise status_error(
            call, "INVALID_ARGUMENT", 'Serving signature name: "serving_step" not found in signature def'
        )

    with pytest.raises(NotFound, match=r"Its signatures are serving_default, serving_tensors$"):
        predicted(call_for(2), ask, collect=True)


def test_an_unknown_model_is_told_as_such():
    def ask(call: Any) -> Any:
        raise status_error(call, "NOT_FOUND", "Could not find any versions of model vowels")

    with pytest.raises(NotFound, match=r"has no model vowels: .* Does the server serve vowels\?"):
        asyncio.run(send(call_for(1), coroutine(ask)))


@pytest.mark.parametrize(
    ("health", "metadata", "expected"),
    [
        (True, None, True),
        (False, None, False),
        ("UNIMPLEMENTED", None, True),
        ("UNAVAILABLE", None, False),
        ("DEADLINE_EXCEEDED", None, False),
        (True, "NOT_FOUND", False),
        ("UNIMPLEMENTED", "UNAVAILABLE", False),
        ("PERMISSION_DENIED", None, "PERMISSION_DENIED"),
        (True, "PERMISSION_DENIED", "PERMISSION_DENIED"),
    ],
)
def test_health(health, metadata, expected):
    def ask(call: Call) -> Any:
        message = health if isinstance(call, HealthCall) else metadata
        if isinstance(message, str):
            raise status_error(call, message)
        return message

    if isinstance(expected, bool):
        assert asyncio.run(is_healthy(MODEL, coroutine(ask))) is expected
    else:
        with pytest.raises(ServingError) as caught:
            asyncio.run(is_healthy(MODEL, coroutine(ask)))
        assert caught.value.code == expected


class Time:
    """A clock that sleeping moves on."""

    def __init__(self) -> None:
        self.now, self.waits = 100.0, []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def outcomes(*codes: str) -> Callable[[], str]:
    left = list(codes)

    def ask() -> str:
        code = left.pop(0)
        if code != "OK":
            raise status_error(HealthCall(), code)
        return code

    return ask


def retried(ask: Callable[[], str], connection: ConnectionOptions) -> tuple[str, list[float]]:
    """The result, or the error's name and text, and the waits."""
    time = Time()
    retrying = retries(connection, time.now + connection.timeout, clock=time.clock, sleep=time.sleep)

    async def main() -> str:
        return await retrying(coroutine(ask))

    try:
        return asyncio.run(main()), time.waits
    except Unavailable as error:
        return str(add_attempts(error, retrying)), time.waits
    except ServingError as error:
        return error.code, time.waits


def test_waits_grow_and_a_part_of_them_is_random():
    connection = ConnectionOptions(target=TARGET, attempts=8, first_wait=0.2, longest_wait=3.0)
    runs = [retried(outcomes(*["UNAVAILABLE"] * 6, "OK"), connection) for _ in range(20)]
    assert {result for result, _ in runs} == {"OK"}
    for place in range(6):
        waits = [times[place] for _, times in runs]
        least = min(0.2 * 2**place, 2.0)
        assert least <= min(waits) < max(waits) <= 1.5 * least


def test_attempts_are_counted():
    connection = ConnectionOptions(target=TARGET, attempts=3)
    result, waits = retried(outcomes(*["UNAVAILABLE"] * 9), connection)
    assert result == f"{TARGET} is unavailable (after 3 attempts)"
    assert len(waits) == 2
    result, waits = retried(outcomes("UNAVAILABLE"), ConnectionOptions(target=TARGET, attempts=1))
    assert (result, waits) == (f"{TARGET} is unavailable", [])


def test_no_wait_goes_beyond_the_deadline():
    connection = ConnectionOptions(target=TARGET, attempts=100, first_wait=1.0, longest_wait=60.0, timeout=10.0)
    result, waits = retried(outcomes(*["UNAVAILABLE"] * 99), connection)
    assert "after" in result
    assert 2 <= len(waits) <= 4
    assert sum(waits) < 10


def test_by_default_a_restart_of_half_a_minute_is_waited_for():
    time = Time()
    connection = ConnectionOptions(target=TARGET)

    def ask() -> str:
        if time.now < 100.0 + 35.0:
            raise status_error(HealthCall(), "UNAVAILABLE")
        return "OK"

    async def main() -> str:
        deadline = time.now + connection.timeout
        return await retries(connection, deadline, clock=time.clock, sleep=time.sleep)(coroutine(ask))

    assert asyncio.run(main()) == "OK"
    assert max(time.waits) <= 5.0


@pytest.mark.parametrize("code", ["DEADLINE_EXCEEDED", "INVALID_ARGUMENT", "INTERNAL", "RESOURCE_EXHAUSTED", "ABORTED"])
def test_nothing_else_is_tried_again(code):
    result, waits = retried(outcomes(code, "OK"), ConnectionOptions(target=TARGET))
    assert (result, waits) == (code, [])


def test_errors_say_which_sequences_and_what_to_do():
    call = call_for(3)
    assert str(status_error(call, "DEADLINE_EXCEEDED")) == (
        f"{TARGET} has not answered 3 sequences (s0 to s2) within 2 s. Give a longer timeout, or fewer sequences in a "
        "request (batch_size)"
    )
    assert "failed on sequence s0 with RESOURCE_EXHAUSTED: too much. Send fewer" in str(
        status_error(call.part(0, 1), "RESOURCE_EXHAUSTED", "too much")
    )
    assert str(status_error(call, "UNAUTHENTICATED", "who?")).endswith("who?. Give credentials as headers")


def test_words_without_the_place_in_the_graph():
    words = (
        "Feature: x (data type: float) is required but could not be found.\n\t [[{{node ParseExample/ParseExampleV2}}]]"
        "\n\t [[StatefulPartitionedCall]]"
    )
    assert shorten_details(words) == "Feature: x (data type: float) is required but could not be found."
    assert len(shorten_details("x" * 5000)) == 1001
