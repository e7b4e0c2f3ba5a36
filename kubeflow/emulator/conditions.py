"""Evaluate a task's condition: the part of CEL that TFX and the kfp SDK write.

>>> holds("(inputs.parameter_values['n'] == 1.0)", {"parameter_values": {"n": 1.0}})
True
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from noisy_gru.kubeflow.emulator.errors import TaskError

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][-+]?\d+)?)|(?P<string>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<sign>\|\||&&|==|!=|<=|>=|[-!<>()\[\].+,]))"
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "int": int,
    "double": float,
    "string": str,
    "bool": lambda value: {"true": True, "false": False, True: True, False: False}[value],
}
_CONSTANTS = {"true": True, "false": False, "null": None}


def holds(condition: str, inputs: Mapping[str, Any]) -> bool:
    """Return whether a condition is true.

    Args:
        condition: in CEL.
        inputs: the ExecutorInput's ``inputs`` with the names of its protocol buffer.

    Raises:
        TaskError: it uses what isn't supported here, names an input that isn't there, or isn't a condition.
    """
    reader = _Reader(condition, inputs)
    try:
        value = reader.either()
        if reader.token is not None:
            raise SyntaxError(f"{reader.token!r} is unexpected")
    except (SyntaxError, KeyError, IndexError, TypeError, ValueError) as error:
        problem = f"no such key: {error}" if isinstance(error, KeyError) else str(error)
        raise TaskError(f"the condition {condition!r} can't be evaluated: {problem}") from error
    if not isinstance(value, bool):
        raise TaskError(f"the condition {condition!r} is {value!r}, neither true nor false")
    return value


class _Reader:
    """Recursive-descent parser: each method parses an operator of higher precedence than the one before it."""

    def __init__(self, text: str, inputs: Mapping[str, Any]):
        self._tokens = _tokens(text)
        self._inputs = inputs
        self._at = 0

    @property
    def token(self) -> str | None:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else None

    def _take(self, *signs: str) -> str | None:
        if self._at < len(self._tokens) and self._tokens[self._at][0] == "sign" and self.token in signs:
            self._at += 1
            return self._tokens[self._at - 1][1]
        return None

    def _expect(self, sign: str) -> None:
        if self._take(sign) is None:
            raise SyntaxError(f"expected {sign}, found {self.token!r}")

    def either(self) -> Any:
        value = self._both()
        while self._take("||"):
            right = self._both()
            value = _boolean(value) or _boolean(right)
        return value

    def _both(self) -> Any:
        value = self._comparison()
        while self._take("&&"):
            right = self._comparison()
            value = _boolean(value) and _boolean(right)
        return value

    def _comparison(self) -> Any:
        value = self._sum()
        while sign := self._take(*_COMPARE):
            value = _COMPARE[sign](value, self._sum())
        return value

    def _sum(self) -> Any:
        value = self._unary()
        while sign := self._take("+", "-"):
            right = self._unary()
            value = value + right if sign == "+" else value - right
        return value

    def _unary(self) -> Any:
        if self._take("!"):
            return not _boolean(self._unary())
        if self._take("-"):
            return -self._unary()
        return self._member()

    def _member(self) -> Any:
        value = self._primary()
        while sign := self._take(".", "["):
            if sign == ".":
                kind, name = self._next()
                if kind != "name":
                    raise SyntaxError(f"expected a name after ., found {name!r}")
                value = value[name]
            else:
                key = self.either()
                value = value[int(key) if isinstance(value, list) else key]
                self._expect("]")
        return value

    def _primary(self) -> Any:
        if self._take("("):
            value = self.either()
            self._expect(")")
            return value
        kind, text = self._next()
        if kind == "number":
            return float(text) if re.search(r"[.eE]", text) else int(text)
        if kind == "string":
            return re.sub(r"\\(.)", r"\1", text[1:-1])
        if kind != "name":
            raise SyntaxError(f"{text!r} is unexpected")
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if text == "inputs":
            return self._inputs
        if text in _FUNCTIONS and self._take("("):
            value = _FUNCTIONS[text](self.either())
            self._expect(")")
            return value
        raise SyntaxError(f"{text} is not understood here")

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise SyntaxError("it ends too early")
        self._at += 1
        return self._tokens[self._at - 1]


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise TaskError(f"the condition {text!r} can't be evaluated: {text[at:]!r} is not understood here")
        kind = match.lastgroup or ""
        tokens.append((kind, match.group(kind)))
        at = match.end()
    return tokens


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value
