"""Turn pydantic's validation errors into messages: the key, what was expected, what was received.

Call ``problems_of(error, content)`` with the mapping that was validated.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.schema.feature_config import entry_of_feature

Place = tuple[str | int, ...]

_BOUNDS = {"greater_than": ">", "greater_than_equal": ">=", "less_than": "<", "less_than_equal": "<="}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "dict": "a mapping",
    "model": "a mapping",
}


@dataclass(frozen=True)
class Problem:
    """A key of the configuration and the message about it."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.place))}: {self.message}" if self.place else self.message


def problems_of(error: ValidationError, content: Mapping[str, Any]) -> list[Problem]:
    """Return all problems; alternatives for the same value are joined by `or`."""
    merged: dict[Place, list[str]] = {}
    received: dict[Place, Any] = {}
    for details in _flatten(error):
        place = _place(details, content)
        for message in _messages(details, place, content):
            texts = merged.setdefault(place, [])
            if message not in texts:
                texts.append(message)
            received[place] = details.get("ctx", {}).get("tag", details["input"])
    problems = []
    for place, texts in merged.items():
        # A mapping that is wrong inside was no attempt at an alternative that isn't one.
        if any(other[: len(place)] == place != other for other in merged) and _only_alternatives(texts):
            continue
        expected = [text.removeprefix("expected ") for text in texts if text.startswith("expected ")]
        others = [text for text in texts if not text.startswith("expected ")]
        if expected:
            hint = _quotes_hint(received[place]) if any(text.startswith("text") for text in expected) else ""
            others.append(f"expected {' or '.join(expected)}, found {_shown(received[place])}{hint}")
        problems += [Problem(place, text) for text in others]
    return problems


def _only_alternatives(texts: list[str]) -> bool:
    return all(text.startswith("expected one of ") for text in texts)


def _flatten(error: ValidationError) -> Iterator[ErrorDetails]:
    for details in error.errors(include_url=False):
        inner = details.get("ctx", {}).get("error")
        # A model that is composed inside a validator brings its own errors, whose places count from the top.
        if isinstance(inner, ValidationError):
            yield from _flatten(inner)
        else:
            yield details


def _place(details: ErrorDetails, content: Mapping[str, Any]) -> Place:
    """Return the key as the user wrote it: pydantic's location also names the union members that it tried."""
    place: list[str | int] = []
    current: Any = content
    steps = details["loc"]
    for position, step in enumerate(steps):
        absent = details["type"] in ("missing", "extra_forbidden") and position == len(steps) - 1
        if isinstance(current, Mapping) and (absent or step in current):
            place.append(step)
            current = current.get(step)
        elif isinstance(current, list) and isinstance(step, int):
            # Features are validated after one entry, a calendar, became several.
            index = entry_of_feature(current, step) if place == ["data", "features"] else step
            if index < len(current):
                place.append(index)
                current = current[index]
    if details["type"] in ("union_tag_invalid", "union_tag_not_found"):
        place.append(str(details["ctx"]["discriminator"]).strip("'"))  # type: ignore[typeddict-item]
    return tuple(place)


def _messages(details: ErrorDetails, place: Place, content: Mapping[str, Any]) -> list[str]:
    kind = details["type"]
    context: dict[str, Any] = details.get("ctx", {})
    value = details["input"]
    if kind in ("missing", "union_tag_not_found"):
        field = _field(place, content)
        return [f"is missing{f': {_one_line(field.description)}' if field and field.description else ''}"]
    if kind == "extra_forbidden":
        known = sorted({name for model in _models(place[:-1], content) for name in _names(model)})
        return [f"is not a key here{_guess(str(place[-1]), known)}. Keys here: {', '.join(known)}"]
    if kind == "union_tag_invalid":
        tags = [tag.strip().strip("'") for tag in str(context["expected_tags"]).split(",")]
        return [f"expected one of {', '.join(tags)}{_guess(str(context['tag']), tags)}"]
    if kind == "literal_error":
        field = _field(place, content)
        choices = [str(choice) for choice in _literals(field.annotation)] if field else []
        if not choices:
            return [f"expected {context['expected']}"]
        return [f"expected one of {', '.join(choices)}{_guess(str(value), choices)}"]
    if kind in _BOUNDS:
        bound = next(iter(context.values()))
        return [f"expected a value {_BOUNDS[kind]} {bound:g}"]
    if kind in ("too_short", "string_too_short"):
        return [f"expected at least {context.get('min_length')} {'item' if kind == 'too_short' else 'character'}"]
    if kind == "string_pattern_mismatch":
        field = _field(place, content)
        meaning = f" ({_one_line(field.description)})" if field and field.description else ""
        return [f"expected text that matches {context['pattern']}{meaning}"]
    if kind == "finite_number":
        return ["expected a finite number"]
    if kind in ("value_error", "assertion_error"):
        return [str(context.get("error", details["msg"]))]
    stem = kind.removesuffix("_type").removesuffix("_parsing").removesuffix("_attributes").removesuffix("_from_float")
    if stem in _KINDS:
        named = stem == "model" and place[:2] == ("data", "features")
        return [f"expected {'text or ' if named else ''}{_KINDS[stem]}"]
    return [f"{details['msg']}, found {_shown(value)}"]


def _guess(given: str, known: list[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def _shown(value: Any) -> str:
    if isinstance(value, date):
        return f"{value.isoformat()} without quotes (a date in YAML; write '{value.isoformat()}')"
    text = (
        repr(value) if not isinstance(value, bool | NoneType) else {True: "true", False: "false", None: "null"}[value]
    )
    return text if len(text) <= 80 else f"{text[:77]}..."


def _quotes_hint(value: Any) -> str:
    if isinstance(value, bool):
        return " (YAML reads yes, no, on, off, true and false so; write the text in quotes)"
    return " (YAML reads it as a number; write the text in quotes)" if isinstance(value, int | float) else ""


def _one_line(text: str) -> str:
    return text.strip().rstrip(".")


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _classes(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _classes(argument)]


def _literals(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [found for argument in get_args(annotation) for found in _literals(argument)]


def _models(place: Place, content: Mapping[str, Any]) -> list[type[BaseModel]]:
    """Return the models that are possible at a key; only one where the content names the kind of a union."""
    models: list[type[BaseModel]] = [PipelineConfig]
    current: Any = content
    is_free = False
    for step in place:
        current = _inside(current, step)
        # In a list, or in a mapping of sections, whose keys are the user's.
        if isinstance(step, int) or is_free:
            is_free = False
            continue
        fields = [
            field for model in models for name, field in model.model_fields.items() if step in (name, field.alias)
        ]
        is_free = any(get_origin(field.annotation) is dict for field in fields)
        models = [found for field in fields for found in _classes(field.annotation)]
        if len(models) > 1 and isinstance(current, Mapping):
            models = [model for model in models if _chosen(model, current)] or models
    return models


def _inside(current: Any, step: str | int) -> Any:
    if isinstance(current, Mapping):
        return current.get(step)
    if isinstance(current, list) and isinstance(step, int) and step < len(current):
        return current[step]
    return None


def _chosen(model: type[BaseModel], content: Mapping[str, Any]) -> bool:
    """Return whether the content has the value of every one-valued Literal of the model (a union's tag)."""
    for name, field in model.model_fields.items():
        values = _literals(field.annotation)
        if len(values) == 1 and content.get(name, field.default) != values[0]:
            return False
    return True


def _field(place: Place, content: Mapping[str, Any]) -> FieldInfo | None:
    names = [step for step in place if isinstance(step, str)]
    if not names:
        return None
    position = max(index for index, step in enumerate(place) if isinstance(step, str))
    for model in _models(place[:position], content):
        for name, field in model.model_fields.items():
            if names[-1] in (name, field.alias):
                return field
    return None
