"""Write docs/config-reference.md from the configuration models.

Every key, its type, default and meaning come from the models themselves, so the page can't drift from the code.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from noisy_gru.pipeline.config.pipeline_config import PipelineConfig

HEADER = """# Configuration reference

One YAML file describes a pipeline. This page is generated from the configuration models by `make docs`; every
section is strict, so a key that is not listed here is an error. `noisy-gru validate CONFIG` checks a file, and
`noisy-gru run CONFIG --set training.epochs=5` overrides a key for one run.
"""


def _strip(annotation: Any) -> Any:
    return _strip(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """Return the configuration models in an annotation."""
    annotation = _strip(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections(argument)]


def _type(annotation: Any) -> str:
    """Return the YAML type of an annotation."""
    annotation = _strip(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " \\| ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(argument) for argument in arguments))
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping of {_type(arguments[0])} to {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null", Any: "value"}
    return names[annotation]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, BaseModel):
        return "see below"
    if isinstance(default, list) and any(isinstance(item, BaseModel) for item in default):
        items = [item.model_dump(exclude_defaults=True) if isinstance(item, BaseModel) else item for item in default]
        return f"`{json.dumps(items)}`"
    return f"`{json.dumps(default)}`"


def _table(path: str, section: type[BaseModel]) -> Iterator[str]:
    doc = (section.__doc__ or "").strip().splitlines()[0]
    yield f"\n## `{path}`\n\n{doc}\n\n| key | type | default | meaning |\n|---|---|---|---|"
    nested: list[tuple[str, type[BaseModel]]] = []
    for name, field in section.model_fields.items():
        key = field.alias or name
        sections = _sections(field.annotation)
        meaning = field.description or (
            sections[0].__doc__ or "" if len(sections) == 1 else "One of the sections below."
        )
        yield f"| `{key}` | {_type(field.annotation)} | {_default(field)} | {meaning.strip().splitlines()[0]} |"
        inner = f"{path}.{key}".removeprefix("(top level).")
        for candidate in sections:
            label = inner
            kinds = [
                get_args(_strip(candidate.model_fields[tag].annotation))
                for tag in ("kind", "by", "runner")
                if tag in candidate.model_fields and len(sections) > 1
            ]
            if kinds:
                label = f"{inner} ({kinds[0][0]})"
                if any(label == other for other, _ in nested):  # another form, named by its first key of its own
                    label = f"{inner} ({kinds[0][0]}, {list(candidate.model_fields)[1]})"
            nested.append((label, candidate))
    for label, candidate in nested:
        yield from _table(label, candidate)


def render() -> str:
    """Return the page as Markdown."""
    return HEADER + "\n".join(_table("(top level)", PipelineConfig)) + "\n"


def main() -> None:
    """Write the page to a path, by default docs/config-reference.md."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/config-reference.md")
    target.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
