"""Read JSON as TF Serving does: RapidJSON 1.1.0 with its flags, so that what is read here is read there.

Its flags are kParseIterativeFlag, kParseNanAndInfFlag and kParseStopWhenDoneFlag (TF Serving 2.20.0,
json_tensor.cc:483), its stream is UTF-8 (json_tensor.cc:481). So: UTF-8, with or without a byte-order mark, and no
UTF-16; `NaN`, `Inf`, `Infinity` and their negatives are numbers; whatever stands behind the first value is passed over;
of a key that comes twice the first counts; a number beyond a double is an error.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from noisy_gru.serving.local_server.errors import RequestError, invalid

_BOM = b"\xef\xbb\xbf"
_SPACE = " \t\n\r"
# A string, or what begins as one and does not end: each character is looked at once.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
# Numbers that Python's reader doesn't know, outside of strings.
_NON_FINITE = re.compile(rf"{_STRING}|-NaN|Inf(?:inity)?", re.DOTALL)
_HAS_NON_FINITE = re.compile(r"-NaN|Inf(?!inity)")
# Digits enough that a double could not hold the number; in text such a run only costs time.
_HAS_LARGE = re.compile(r"[eE]\+?[0-9]{3}|[0-9]{300}")
_EXPONENT = re.compile(r"[eE]\+?([0-9]+)")
_LARGEST_EXPONENT = 308


class JsonObject(dict[str, Any]):
    """An object; of a duplicate key the first value counts, and ``has_duplicates`` is set."""

    has_duplicates = False

    @classmethod
    def of(cls, pairs: list[tuple[str, Any]]) -> JsonObject:
        """The object of these members."""
        found = cls(reversed(pairs))
        found.has_duplicates = len(found) != len(pairs)
        return found


def read_json(body: bytes) -> Any:
    """Read the first JSON value in a body.

    Raises:
        RequestError: INVALID_ARGUMENT, if there is none.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty.")
    try:
        text = body.removeprefix(_BOM).decode("utf-8").lstrip(_SPACE)
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: expected UTF-8: {error}") from error
    if not text:
        raise invalid("JSON Parse error: The document is empty.")
    if _HAS_NON_FINITE.search(text):
        text = _NON_FINITE.sub(_python_number, text)
    checked: dict[str, Any] = {"parse_float": _number, "parse_int": _integer} if _HAS_LARGE.search(text) else {}
    try:
        value, _ = json.JSONDecoder(object_pairs_hook=JsonObject.of, **checked).raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from error
    return value


def _python_number(found: re.Match[str]) -> str:
    text = found[0]
    if text.startswith('"'):
        return text
    return "NaN" if text == "-NaN" else "Infinity"


def _too_big(digits: str) -> RequestError:
    shown = digits if len(digits) <= 40 else f"{digits[:40]}..."
    return invalid(f"JSON Parse error: Number too big to be stored in double: {shown}")


def _number(digits: str) -> float:
    value = float(digits)
    exponent = _EXPONENT.search(digits)
    # As in RapidJSON, where the exponent alone decides: 0e400 is too big as well.
    power = exponent[1].lstrip("0") if exponent is not None else ""
    large = len(power) > 3 or int(power or 0) > _LARGEST_EXPONENT
    if math.isinf(value) or large:
        raise _too_big(digits)
    return value


def _integer(digits: str) -> int:
    if len(digits) > _LARGEST_EXPONENT + 2 or math.isinf(float(digits)):
        raise _too_big(digits)
    return int(digits)
