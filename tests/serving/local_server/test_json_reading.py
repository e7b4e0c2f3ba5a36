"""JSON by the rules of RapidJSON 1.1.0 with TF Serving's flags; expected values are read off its reader.h by hand."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisy_gru.saved_model.session import Signature, TensorSpec
from noisy_gru.serving.local_server import json_tensors
from noisy_gru.serving.local_server.errors import RequestError
from noisy_gru.serving.local_server.json_reading import read_json
from noisy_gru.serving.local_server.json_values import array_of

FLOAT = TensorSpec("x:0", "float32", None, 1)
STRING = TensorSpec("s:0", "string", None, 7)
INT64 = TensorSpec("n:0", "int64", None, 9)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"\xef\xbb\xbf[1]", [1]),
        (b" \t\r\n[1]", [1]),
        (b"[1] [2]", [1]),  # kParseStopWhenDoneFlag
        (b"[1]garbage", [1]),
        (b"[NaN, -NaN, Inf, -Inf, Infinity, -Infinity]", None),  # kParseNanAndInfFlag
        (b'["NaN, -NaN, Inf", "a\\"Inf"]', ["NaN, -NaN, Inf", 'a"Inf']),
        (b'{"a": 1, "a": 2}', {"a": 1}),  # FindMember gives the first
        (b"1e308", 1e308),
        (b"1e-400", 0.0),
        (b"-0", 0),
        (b"18446744073709551616", 1 << 64),
    ],
)
def test_what_is_read(body: bytes, value: Any) -> None:
    found = read_json(body)
    if value is None:
        assert [math.isnan(each) for each in found] == [True, True, False, False, False, False]
        assert found[2:] == [math.inf, -math.inf, math.inf, -math.inf]
    else:
        assert found == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"\xef\xbb\xbf",
        *(json.dumps([1]).encode(name) for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")),
        *(
            b"[1,]",
            b'{"a": 1,}',
            b"[1 /* one */]",
            b"// one\n[1]",
            b"[01]",
            b"[+1]",
            b"[.5]",
            b"[1.]",
            b"[1e]",
            b"[0x1]",
        ),
        *(b"[1e400]", b"[-1e309]", b"[0e400]", b"[1" + b"0" * 400 + b"]", b"[1" + b"0" * 400 + b".0]"),
        *(b"[1" + b"0" * 5000 + b"]", b"[1e" + b"0" * 5000 + b"400]", b"[1e99999999999999999999]"),
        *(b"[Infinit]", b"[nan]", b"[inf]", b"[--Inf]", b"[INF]", b"[True]", b"[None]", b"['a']", b'["a\nb"]'),
        *(b'["\x00"]', b'["a', b'["a\\', b'["\\x41"]', b"[" * 100_000, b'{"a"}', b"{a: 1}", b'[Inf, "\\"', b"\xff"),
    ],
)
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(RequestError, match=r"JSON Parse error") as caught:
        read_json(body)
    assert caught.value.http_code == 400
    assert len(caught.value.message) < 300


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda each: st.lists(each)))
def test_what_python_writes_is_read_back(value: Any) -> None:
    text = json.dumps(value)
    assert json.dumps(read_json(text.encode())) == text


def test_words_cost_no_more_than_their_length() -> None:
    """A string that does not end, full of quotes: each one could be looked at from every other."""
    body = b'[Inf, "' + b'\\"' * 500_000
    began = time.monotonic()
    with pytest.raises(RequestError):
        read_json(body)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16777217", 16777216.0),  # GetFloat is static_cast<float>(GetDouble())
        ("16777219", 16777220.0),
        ("9007199254740993", 9007199254740992.0),
        ("18446744073709551616", 18446744073709551616.0),
        ("0.1", 0.10000000149011612),
        ("3.4028234e38", 3.4028233999999998e38),
    ],
)
def test_numbers_become_float32_by_way_of_a_double(text: str, expected: float) -> None:
    (found,) = array_of(read_json(f"[{text}]".encode()), "x", FLOAT).tolist()
    assert np.float32(found) == np.float32(expected)


@pytest.mark.parametrize("text", ["1e39", "-1e300", "34028236" + "0" * 32])
def test_a_number_beyond_float32_is_no_missing_value(text: str) -> None:
    with pytest.raises(RequestError, match="too large"):
        array_of(read_json(f"[{text}]".encode()), "x", FLOAT)


@pytest.mark.parametrize("text", ["1.0", "1e0", "9223372036854775808", "true", "null", '"1"', "NaN"])
def test_what_is_no_int64(text: str) -> None:
    with pytest.raises(RequestError, match="is not of expected type: int64"):
        array_of(read_json(f"[{text}]".encode()), "n", INT64)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("QQ==", b"A"),
        ("QQ", b"A"),
        ("QQ..", b"A"),
        ("Q Q\\n=\\t=", b"A"),
        ("", b""),
        ("QUI=", b"AB"),
        ("QUI", b"AB"),
        *(("QQ=", None), ("QQ===", None), ("QUI==", None), ("=", None), ("Q", None), ("QQ=A", None), ("Q-_=", None)),
        *(("QQ\u00e9=", None), ("QUJD====", None)),
    ],
)
def test_base64_as_absl_reads_it(text: str, expected: bytes | None) -> None:
    """absl/strings/escaping.cc, Base64UnescapeInternal: blanks are skipped, padding is optional but must be right."""
    value = read_json(f'{{"b64": "{text}"}}'.encode())
    if expected is None:
        with pytest.raises(RequestError, match="base64 decode"):
            array_of(value, "s", STRING)
    else:
        assert array_of(value, "s", STRING).item() == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"instances": [{"s": "a", "s": "b"}]}', "comes twice"),
        (b'{"instances": [{"b64": "QQ==", "b64": "QQ=="}]}', "comes twice"),
        (b'{"inputs": {"b64": "QQ==", "b64": "QQ=="}}', "Missing named input: s"),
        (b'{"inputs": [{"b64": "QQ==", "b64": "QQ=="}]}', "not formatted correctly for base64"),
    ],
)
def test_keys_that_come_twice(body: bytes, message: str) -> None:
    signature = Signature({"s": STRING}, {}, "predict")
    with pytest.raises(RequestError, match=message):
        json_tensors.request_inputs(json_tensors.parse_request(body), signature)
