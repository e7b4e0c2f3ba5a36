"""The check of tf.Examples against a walk written from protobuf's encoding, and against TensorFlow itself."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from noisy_gru.saved_model.example_validation import ExampleInput, parse
from noisy_gru.schema.errors import ModelError

# https://protobuf.dev/programming-guides/encoding: wire types VARINT, I64, LEN, SGROUP, EGROUP, I32.
VARINT, I64, LEN, SGROUP, EGROUP, I32 = range(6)
EXAMPLE = {1: {1: {1: bytes, 2: {1: {1: bytes}, 2: {1: float}, 3: {1: int}}}}}
DEEPEST = 100

KILLS = bytes.fromhex("0a130a110a0161120c120a0affffffff0f00000000")  # claims 4 GiB of floats: SIGSEGV in ParseExampleV2
TAKES_2_GB = bytes.fromhex("0a130a110a0161120c120a0a80a8d6b90700000000")


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number: int, content: bytes, claimed: int | None = None) -> bytes:
    return varint(number << 3 | LEN) + varint(len(content) if claimed is None else claimed) + content


def serialized(features: dict[bytes, bytes]) -> bytes:
    """A tf.Example of the features' serialized values."""
    return field(1, b"".join(field(1, field(1, name) + field(2, value)) for name, value in features.items()))


FLOATS = serialized({b"a": field(2, field(1, b"\0\0\x80?" * 3)), b"b": field(2, field(1, b"\0\0\0@" * 3))})
MIXED = serialized(
    {
        b"a": field(2, (varint(1 << 3 | I32) + b"\0\0\x80?") * 2),
        b"b": field(3, field(1, varint(300) + varint((1 << 64) - 1))),
        b"c": field(1, field(1, b"one") + field(1, b"")),
    }
)
UNKNOWN = FLOATS + field(9, b"more") + varint(5 << 3 | SGROUP) + varint(2 << 3) + b"\x01" + varint(5 << 3 | EGROUP)


class Walk:
    """Reads a message of a schema byte by byte; ValueError where it breaks a rule of the encoding."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def varint(self, most: int = 10) -> int:
        number = 0
        for index in range(most):
            if self.at >= len(self.content):
                raise ValueError("ends in a varint")
            byte = self.content[self.at]
            self.at += 1
            number |= (byte & 127) << (7 * index)
            if byte < 128:
                return number
        raise ValueError("varint too long")

    def take(self, size: int) -> bytes:
        if size > len(self.content) - self.at:
            raise ValueError("claims more than there is")
        self.at += size
        return self.content[self.at - size : self.at]

    def tag(self) -> tuple[int, int]:
        tag = self.varint(5)
        if tag >= 1 << 32 or tag >> 3 == 0 or tag & 7 > I32:
            raise ValueError("no tag")
        return tag >> 3, tag & 7

    def length(self) -> int:
        return self.varint(5)

    def skip(self, number: int, wire: int, depth: int) -> None:
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
        if wire == VARINT:
            self.varint()
        elif wire in (I64, I32):
            self.take(8 if wire == I64 else 4)
        elif wire == LEN:
            self.take(self.length())
        elif wire == SGROUP:
            while (inner := self.tag()) != (number, EGROUP):
                self.skip(*inner, depth + 1)
        else:
            raise ValueError("group ends that did not begin")

    def message(self, schema: dict[int, Any], depth: int = 0) -> None:
        while self.at < len(self.content):
            number, wire = self.tag()
            kind = schema.get(number)
            if wire != LEN or kind is None:
                self.skip(number, wire, depth + 1)
                continue
            content = self.take(self.length())
            if isinstance(kind, dict):
                Walk(content).message(kind, depth + 1)
            elif kind is float and len(content) % 4:
                raise ValueError("no whole floats")
            elif kind is int:
                packed = Walk(content)
                while packed.at < len(content):
                    packed.varint()


def right(content: bytes) -> bool:
    try:
        Walk(content).message(EXAMPLE)
    except ValueError:
        return False
    return True


def accepted(content: bytes) -> bool:
    try:
        ExampleInput(frozenset(), "examples").check([content])
    except ModelError:
        return False
    return True


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An Example with some bytes replaced, put in, cut off or repeated."""
    content = bytearray(draw(st.sampled_from([FLOATS, MIXED, UNKNOWN, KILLS])))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        what = draw(st.sampled_from(["byte", "put in", "cut", "length", "repeat"]))
        if what == "byte" and content:
            content[at] = draw(st.integers(0, 255))
        elif what == "put in":
            content[at:at] = draw(st.binary(max_size=6))
        elif what == "cut":
            del content[at:]
        elif what == "length":
            content[at : at + 1] = varint(draw(st.integers(0, (1 << 33))))
        else:
            content += bytes(content)
    return bytes(content)


@settings(max_examples=1500, deadline=None)
@given(damaged() | st.binary(max_size=30))
@example(KILLS)
@example(TAKES_2_GB)
@example(UNKNOWN)
@example(b"\x0b" * 200)
@example(b"\x0b" * 90 + b"\x0c" * 90)
def test_what_is_accepted_keeps_every_rule_of_the_encoding(content: bytes) -> None:
    assert accepted(content) == right(content)


@pytest.mark.parametrize(
    ("content", "good"),
    [
        (FLOATS, True),
        (MIXED, True),
        (UNKNOWN, True),
        (KILLS, False),
        (TAKES_2_GB, False),
        (FLOATS[:-1], False),
        (serialized({b"a": field(2, field(1, b"\0\0\0\0", claimed=8))}), False),
        (serialized({b"a": field(2, field(1, b"\0\0\0"))}), False),
        (serialized({b"a": field(2, field(1, b"\0\0\0\0"), claimed=100)}), False),
        (serialized({b"a": field(1, field(1, b"x", claimed=1 << 30))}), False),
        (serialized({b"a": field(3, field(1, b"\x80" * 11 + b"\x01"))}), False),
        (serialized({b"a": field(3, field(1, b"\x80"))}), False),
        (field(7, b"x", claimed=1 << 31), False),
        (b"\x0f\x01", False),
    ],
)
def test_known_cases(content: bytes, good: bool) -> None:
    assert (right(content), accepted(content)) == (good, good)


def test_the_places_at_fault_are_named() -> None:
    checked = ExampleInput(frozenset({b"a", b"speed"}), "examples")
    misspelt = serialized({b"Speed": field(2, field(1, b"\0\0\0\0"))})
    with pytest.raises(
        ModelError, match=r"Of 4, counted from 0, 1: its 21 bytes are no tf.Example .*; 3: it has none "
    ):
        checked.check([FLOATS, KILLS, FLOATS, misspelt])
    with pytest.raises(ModelError, match=r"none of the model's features \(a, speed\); received Speed$"):
        checked.check([misspelt])
    with pytest.raises(ModelError, match="received no feature"):
        checked.check([b""])
    with pytest.raises(ModelError, match="its feature a has 3 steps; at most 2 are allowed"):
        checked.check([FLOATS], most_steps=2)
    checked.check([FLOATS], most_steps=3)
    # The honest empty sequence: a feature without values.
    checked.check([serialized({b"a": field(2, b"")})])


ASK = """

import pickle, resource, sys
from noisy_gru.schema.errors import ModelError
from noisy_gru.saved_model.session import SessionModel
contents, answered = pickle.load(open(sys.argv[2], "rb")), 0
with SessionModel(sys.argv[1]) as model:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for content in contents:
        try:
            model.run("serving_default", {"examples": [content]})
            answered += 1
        except ModelError:
            pass
    print(answered, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def mutations(count: int) -> list[bytes]:
    chance = random.Random(12)
    found = []
    for _ in range(count):
        content = bytearray(chance.choice([FLOATS, MIXED, UNKNOWN, KILLS]))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(content))
            claimed = varint(chance.choice([chance.randrange(64), chance.randrange(1 << 33), (1 << 32) - 1]))
            content[at : at + 1] = chance.choice([claimed, bytes([chance.randrange(256)]), b""])
        found.append(bytes(content))
    return found


@pytest.mark.slow
def test_nothing_that_is_accepted_harms_tensorflow(exported: tuple[Path, Any], tmp_path: Path) -> None:
    """The crash of a parser ends the process, so another one asks."""
    contents = [KILLS, TAKES_2_GB, FLOATS, MIXED, UNKNOWN, *mutations(5000)]
    (tmp_path / "contents").write_bytes(pickle.dumps(contents))
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(exported[0]), str(tmp_path / "contents")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    predicted, kilobytes = map(int, done.stdout.split())
    assert predicted > 50
    assert kilobytes < 200_000


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(damaged())
def test_protobufs_own_message_agrees(content: bytes) -> None:
    from tensorflow.core.example import example_pb2

    try:
        example_pb2.Example.FromString(content)
    except DecodeError:
        # Names of features are text for it, and any bytes for TensorFlow's parser.
        if accepted(content):
            keys = [entry.key for entry in parse(content).features.feature]
            with pytest.raises(UnicodeDecodeError):
                b"".join(keys).decode()
        return
    assert accepted(content)
