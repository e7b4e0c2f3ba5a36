"""Validate serialized tf.Examples before TensorFlow's parser, which trusts the lengths that they claim.

    ExampleInput(frozenset({b"speed"}), "examples").check([serialized])

A packed list that claims more bytes than there are crashes `ParseExampleV2` (21 bytes are enough) or makes it allocate
gigabytes, here and in TF Serving. protobuf's parser bounds each claimed length by the rest of the message, at any
depth. Feature names are bytes, as TensorFlow reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from noisy_gru.saved_model.message_classes import Fields, message_classes
from noisy_gru.schema.errors import ModelError

_SHOWN = 5

# tensorflow/core/example/{example,feature}.proto; a map is a list of entries on the wire.
_MESSAGES: dict[str, Fields] = {
    "Example": {"features": (1, "Features", False)},
    "Features": {"feature": (1, "Entry", True)},
    "Entry": {"key": (1, "bytes", False), "value": (2, "Feature", False)},
    "Feature": {
        "bytes_list": (1, "BytesList", False),
        "float_list": (2, "FloatList", False),
        "int64_list": (3, "Int64List", False),
    },
    "BytesList": {"value": (1, "bytes", True)},
    "FloatList": {"value": (1, "float", True)},
    "Int64List": {"value": (1, "int64", True)},
}
_Example = message_classes("noisy_gru.example", _MESSAGES)["Example"]


def parse(serialized: bytes) -> Any:
    """Parse a tf.Example: `features.feature` is a list of `key` (bytes) and `value`.

    Raises:
        google.protobuf.message.DecodeError: a length is wrong, or the bytes are no tf.Example.
    """
    return _Example.FromString(serialized)


def empty_example(feature: str) -> bytes:
    """Return a serialized tf.Example without a step: one feature of the model, without values."""
    message = _Example()
    message.features.feature.add(key=feature.encode(), value={})
    return message.SerializeToString()


@dataclass(frozen=True)
class ExampleInput:
    """An input of a signature that is parsed as tf.Example.

    Attributes:
        features: names of the model's features; empty if unknown.
        name: the input's, for messages.
    """

    features: frozenset[bytes]
    name: str

    def check(self, values: Sequence[bytes], *, most_steps: int | None = None) -> None:
        """Raise an error unless TensorFlow can safely parse all of these.

        Args:
            values: serialized tf.Examples.
            most_steps: most values of a feature; None: any number.

        Raises:
            ModelError: some are no tf.Example, have no feature of the model, or too many steps; names their positions.
        """
        problems = self.problems(values, most_steps=most_steps)
        if problems:
            shown = "; ".join(f"{place}: {problem}" for place, problem in list(problems.items())[:_SHOWN])
            rest = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            raise ModelError(
                f"The input {self.name} takes serialized tf.Examples. Of {len(values)}, counted from 0, {shown}{rest}"
            )

    def problems(self, values: Iterable[bytes], *, most_steps: int | None = None) -> dict[int, str]:
        """Return the problems of invalid values by position; see ``check``."""
        found = ((place, self._problem(value, most_steps)) for place, value in enumerate(values))
        return {place: problem for place, problem in found if problem}

    def _problem(self, value: bytes, most_steps: int | None) -> str:
        try:
            entries = parse(value).features.feature
        except DecodeError:
            return f"its {len(value)} bytes are no tf.Example (a field or a claimed length is damaged)"
        keys = {entry.key for entry in entries}
        if self.features and keys.isdisjoint(self.features):
            return (
                f"it has none of the model's features ({_names(self.features)}); received "
                f"{_names(keys) or 'no feature'}"
            )
        if most_steps is not None and len(value) > most_steps:  # a value takes a byte at least
            for entry in entries:
                steps = max(len(kind.value) for kind in _lists(entry.value))
                if steps > most_steps:
                    return f"its feature {_names([entry.key])} has {steps} steps; at most {most_steps} are allowed"
        return ""


def _lists(feature: Any) -> tuple[Any, Any, Any]:
    return feature.bytes_list, feature.float_list, feature.int64_list


def _names(names: Iterable[bytes]) -> str:
    ordered = sorted(names)
    shown = ", ".join(name[:100].decode("utf-8", "replace") for name in ordered[:_SHOWN])
    return f"{shown} and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else shown


def example_inputs(meta_graph: Any) -> dict[str, dict[str, ExampleInput]]:
    """Return the inputs that are parsed as tf.Example, by name, for each signature of a ``MetaGraphDef``.

    They are the inputs that reach a ParseExample operation, and any string input named `examples`.
    """
    functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    found: dict[str, dict[str, ExampleInput]] = {}
    for name, signature in meta_graph.signature_def.items():
        for key, info in signature.inputs.items():
            if info.dtype != 7:  # DT_STRING
                continue
            parsed, features = _parsed_features(info.name.partition(":")[0], meta_graph.graph_def.node, functions)
            if parsed or key == "examples":
                found.setdefault(name, {})[key] = ExampleInput(frozenset(features), key)
    return found


def _parsed_features(placeholder: str, nodes: Any, functions: dict[str, Any]) -> tuple[bool, set[bytes]]:
    """Return whether a placeholder's consumers parse tf.Examples, and the feature names that they read."""
    readers = [node for node in nodes if any(_source(name) == placeholder for name in node.input)]
    parsed, features = _keys(readers, {node.name: node for node in nodes})
    waiting = [func for node in readers for func in _called(node)]
    seen: set[str] = set()
    while waiting:
        called = waiting.pop()
        if called in seen or called not in functions:
            continue
        seen.add(called)
        body = functions[called].node_def
        inside, names = _keys(body, {node.name: node for node in body})
        parsed, features = parsed or inside, features | names
        waiting += [func for node in body for func in _called(node)]
    return parsed, features


def _called(node: Any) -> list[str]:
    return [value.func.name for value in node.attr.values() if value.func.name]


def _source(name: str) -> str:
    """Return the node in an input's name: `node`, `node:0`, `node:output:0` or `^node`."""
    return name.removeprefix("^").partition(":")[0]


def _keys(nodes: Iterable[Any], by_name: dict[str, Any]) -> tuple[bool, set[bytes]]:
    parsers = [node for node in nodes if node.op in ("ParseExample", "ParseExampleV2", "ParseSingleExample")]
    features: set[bytes] = set()
    for node in parsers:
        if node.op != "ParseExampleV2":
            continue
        # serialized, names, sparse_keys, dense_keys, ragged_keys, dense_defaults...
        for name in node.input[2:5]:
            source = by_name.get(_source(name))
            if source is not None and source.op == "Const":
                features.update(source.attr["value"].tensor.string_val)
    return bool(parsers), features
