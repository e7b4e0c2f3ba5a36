"""The identity of a model: a hash of what it computes, equal for each export of the same weights, graph and Transform.

    >>> model_identity(Path("artifacts/Trainer/model/7/Format-Serving"))  # doctest: +SKIP
    '1:3f0c…'

Two SavedModels of one model differ in bytes: names of functions carry counters, variables are numbered in the order of
a set, and fingerprint.pb is random. So the signatures' outputs are hashed as expressions (a Merkle tree, whose leaves
are the inputs, constants, variables' values and the tables' vocabularies), in which names have no part.

Transform's means and variances, the constants of float64, differ in their last bits at each run: Beam adds them up in
whatever order. They are rounded to 1e-8 of the feature's scale; weights (float32) are taken as they are.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.registry.published_versions import files_identity, hash_file

logger = logging.getLogger(__name__)
# Of the rules below: another number makes every identity another one.
SCHEME = "1"
_SAVED_MODEL = "saved_model.pb"
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_RESOURCES = ("VarHandleOp", "HashTableV2", "MutableHashTableV2", "MutableDenseHashTableV2")
_INIT = "__saved_model_init_op"
# Names, and settings of the machine that exported; `_…` are TensorFlow's notes to itself.
_NO_PART = ("shared_name", "container", "debug_name", "config_proto", "config", "executor_type")
# TensorFlow's own in core/framework/types.proto.
_RESOURCE = 20
_FLOAT64 = 2
_ROUNDED_TO = 1e-8
# As many as resources can follow from each other at the start: a path, the table that is read from there.
_ROUNDS = 3


@dataclass(frozen=True)
class _Value:
    """A tensor as an expression; ``resource`` is the node that made it, where it is a variable or a table."""

    digest: str
    resource: str | None = None


def model_identity(saved_model: Path) -> str:
    """Return the hash of the function that a SavedModel computes.

    Args:
        saved_model: folder of the SavedModel.

    Returns:
        The scheme and a sha256, such as ``1:3f0c…``. Where it can't be read as `tf.saved_model.save` of TensorFlow 2
        writes it, the files decide (``files:…``): whether it can be served isn't asked here.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    proto: Any = saved_model_pb2
    try:
        read = proto.SavedModel.FromString((saved_model / _SAVED_MODEL).read_bytes())
        (meta,) = read.meta_graphs
        restored = _restored_values(meta, saved_model / "variables" / "variables")
        assets = {
            each.tensor_info.name: hash_file(saved_model / "assets" / each.filename) for each in meta.asset_file_def
        }
        graph = _Graph(meta, restored, assets)
        return f"{SCHEME}:{graph.identity()}"
    except (DecodeError, ValueError, KeyError, IndexError) as error:
        logger.warning("%s: no graph to tell the model by (%r); its files decide", saved_model, error)
        return files_identity(saved_model)


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _restored_values(meta: Any, prefix: Path) -> dict[str, str]:
    """Return a hash of the value of each variable in the top graph, by the name of its node.

    Which key of the checkpoint a variable is restored from, is only in the function that restores it.
    """
    import tensorflow as tf

    nodes = {node.name: node for node in meta.graph_def.node}
    if not meta.saver_def.restore_op_name:
        return {}
    restore = nodes[meta.saver_def.restore_op_name.partition(":")[0]]
    (body,) = [each for each in meta.graph_def.library.function if each.signature.name == restore.attr["f"].func.name]
    inside = {node.name: node for node in body.node_def}
    handles = {arg.name: given for arg, given in zip(body.signature.input_arg, restore.input, strict=False)}
    try:
        reader: Any = tf.train.load_checkpoint(str(prefix))
    except tf.errors.OpError as error:
        raise ValueError(f"the variables file can't be read: {error}") from error
    found = {}
    for node in body.node_def:
        if node.op != "AssignVariableOp":
            continue
        source = node.input[1]
        while inside[source.split(":")[0]].op == "Identity":
            source = inside[source.split(":")[0]].input[0]
        reading, _, place = source.split(":")
        names = inside[inside[reading].input[1].split(":")[0]].attr["value"].tensor.string_val
        try:
            value = reader.get_tensor(names[int(place)].decode())
        except tf.errors.OpError as error:
            raise ValueError(f"the variables file can't be read: {error}") from error
        content = hashlib.sha256(
            value.tobytes() if value.dtype != object else repr(value.tolist()).encode()
        ).hexdigest()
        found[handles[node.input[0]]] = _hash("variable", str(value.dtype), list(value.shape), content)
    return found


class _Graph:
    """The top graph of a SavedModel, whose calls are followed into the library's functions.

    Args:
        meta: the graph with its functions and signatures (``MetaGraphDef``).
        variables: a hash of each restored variable's value, by the name of its node.
        assets: a hash of each asset's content, by the name of the tensor that holds its path.
    """

    def __init__(self, meta: Any, variables: Mapping[str, str], assets: Mapping[str, str]) -> None:
        self._signatures = meta.signature_def
        self._nodes = {node.name: node for node in meta.graph_def.node}
        self._functions = {each.signature.name: each for each in meta.graph_def.library.function}
        self._variables = variables
        self._scales = _scales(
            [*self._nodes.values(), *(node for each in self._functions.values() for node in each.node_def)]
        )
        self._leaves = {name.partition(":")[0]: _hash("asset", digest) for name, digest in assets.items()}
        for name, signature in self._signatures.items():
            for key, tensor in signature.inputs.items():
                shape = tensor.tensor_shape.SerializeToString(deterministic=True).hex()
                self._leaves[tensor.name.partition(":")[0]] = _hash("input", name, key, tensor.dtype, shape)
        # What the start puts into a resource that isn't restored, by its node: a table's vocabulary, an asset's path.
        self._started: dict[str, set[str]] | None = None
        self._filled: dict[str, str] = {}
        self._forget()

    def identity(self) -> str:
        """Return a hash of all signatures' outputs, as expressions of inputs, constants, variables and vocabularies."""
        self._follow_start()
        outputs = {}
        for name, signature in sorted(self._signatures.items()):
            if name != _INIT:
                keys = sorted(signature.outputs)
                found = self._top(signature.outputs[key].name for key in keys)
                outputs[name] = dict(zip(keys, (value.digest for value in found), strict=True))
        return _hash(outputs)

    def _forget(self) -> None:
        self._seen: dict[str, _Result] = {}
        self._calls: dict[tuple[str, tuple[_Value, ...]], tuple[list[_Value], str]] = {}
        self._bodies: dict[str, str] = {}

    def _follow_start(self) -> None:
        if _INIT not in self._signatures:
            return
        for _ in range(_ROUNDS):
            self._started = {}
            self._forget()
            self._top(tensor.name for tensor in self._signatures[_INIT].outputs.values())
            self._filled = {name: _hash("filled", *sorted(what)) for name, what in self._started.items()}
        self._started = None
        self._forget()

    def _top(self, tensors: Iterable[str]) -> list[_Value]:
        wanted = list(tensors)
        for name in _order(self._nodes, [tensor.partition(":")[0] for tensor in wanted], set(self._seen)):
            self._seen[name] = self._top_node(self._nodes[name])
        return [_output(self._seen, tensor) for tensor in wanted]

    def _top_node(self, node: Any) -> _Result:
        if node.name in self._variables:
            return _Result(self._variables[node.name], [_Value(self._variables[node.name], None)])
        if node.op == "Placeholder":
            return _Result(self._leaves.get(node.name, _hash("placeholder")))
        result = self._node(node, self._seen)
        makes_resource = node.op in _RESOURCES or (node.op in _CALLS and _RESOURCE in node.attr["Tout"].list.type)
        if not node.input and makes_resource:
            digest = _hash("resource", result.digest, self._filled.get(node.name, ""))
            return _Result(digest, [_Value(digest, node.name)])
        return result

    def _node(self, node: Any, seen: Mapping[str, _Result]) -> _Result:
        inputs = [_output(seen, name) for name in node.input if not name.startswith("^")]
        after = sorted({seen[name[1:]].digest for name in node.input if name.startswith("^")})
        if node.op in _CALLS:
            outputs, effects = self._called(node.attr["f"].func.name, tuple(inputs))
            return _Result(_hash("call", [value.digest for value in outputs], effects, after), outputs)
        attributes = {key: self._attribute(value) for key, value in node.attr.items() if _has_part(key)}
        if _is_statistic(node):
            attributes["value"] = _rounded(_array(node), self._scales)
        digest = _hash(node.op, sorted(attributes.items()), [value.digest for value in inputs], after)
        if self._started is not None:
            for resource in {value.resource for value in inputs if value.resource is not None}:
                # Without the resource's own hash, which this decides on.
                others = ["it" if value.resource == resource else value.digest for value in inputs]
                self._started.setdefault(resource, set()).add(_hash(node.op, sorted(attributes.items()), others))
        passed_on = [_Value(digest, inputs[0].resource)] if node.op == "Identity" else None
        return _Result(digest, passed_on)

    def _attribute(self, value: Any) -> str:
        kind = value.WhichOneof("value")
        if kind == "func":
            return self._body(value.func.name)
        if kind == "list" and value.list.func:
            return _hash([self._body(each.name) for each in value.list.func])
        return value.SerializeToString(deterministic=True).hex()

    def _body(self, name: str) -> str:
        """Return a hash of a function whatever its arguments are: the branches of a condition, the body of a loop."""
        if name not in self._bodies:
            arguments = tuple(_Value(_hash("argument", place)) for place in range(self._width(name)))
            outputs, effects = self._called(name, arguments)
            self._bodies[name] = _hash("function", len(arguments), [value.digest for value in outputs], effects)
        return self._bodies[name]

    def _width(self, name: str) -> int:
        return len(self._functions[name].signature.input_arg)

    def _called(self, name: str, arguments: tuple[_Value, ...]) -> tuple[list[_Value], str]:
        """Return a function's results for these arguments, and a hash of its side effects."""
        if (name, arguments) not in self._calls:
            function = self._functions[name]
            given = zip(function.signature.input_arg, arguments, strict=True)
            seen = {argument.name: _Result(value.digest, [value]) for argument, value in given}
            nodes = {node.name: node for node in function.node_def}
            returned = [function.ret[argument.name] for argument in function.signature.output_arg]
            done = sorted(function.control_ret.values())
            for node in _order(nodes, [*(tensor.partition(":")[0] for tensor in returned), *done], set(seen)):
                seen[node] = self._node(nodes[node], seen)
            effects = _hash(sorted({seen[node].digest for node in done}))
            self._calls[name, arguments] = [_output(seen, tensor) for tensor in returned], effects
        return self._calls[name, arguments]


@dataclass(frozen=True)
class _Result:
    """A node as an expression; ``outputs`` where they aren't the node's own."""

    digest: str
    outputs: list[_Value] | None = None


def _output(seen: Mapping[str, _Result], tensor: str) -> _Value:
    """Return a tensor by its name: ``node``, ``node:1`` in the top graph, ``node:output:1`` in a function."""
    name, _, place = tensor.partition(":")
    result = seen[name]
    if result.outputs is None:
        # The first output has two names.
        return _Value(_hash(result.digest, place or "0"))
    return result.outputs[int(place.rpartition(":")[2] or 0)]


def _order(nodes: Mapping[str, Any], wanted: Iterable[str], known: set[str]) -> list[str]:
    """Return nodes in topological order, iteratively: a graph may be deeper than Python's stack."""
    order: list[str] = []
    waiting = [(name, False) for name in wanted]
    while waiting:
        name, is_ready = waiting.pop()
        if is_ready:
            order.append(name)
        elif name not in known:
            known.add(name)
            waiting.append((name, True))
            waiting += [(each.removeprefix("^").partition(":")[0], False) for each in nodes[name].input]
    return order


def _is_statistic(node: Any) -> bool:
    return node.op == "Const" and node.attr["dtype"].type == _FLOAT64


def _array(node: Any) -> np.ndarray:
    import tensorflow as tf

    return np.asarray(tf.make_ndarray(node.attr["value"].tensor))


def _scales(nodes: Iterable[Any]) -> dict[tuple[int, ...], np.ndarray]:
    """Return the order of magnitude of each statistic of one shape; of a mean near 0, from its variance."""
    found: dict[tuple[int, ...], np.ndarray] = {}
    for node in nodes:
        if _is_statistic(node):
            array = np.nan_to_num(_array(node), posinf=0.0, neginf=0.0)
            found[array.shape] = np.maximum(np.sqrt(np.abs(array)), found.get(array.shape, 0.0))
    return found


def _rounded(array: np.ndarray, scales: Mapping[tuple[int, ...], np.ndarray]) -> str:
    """Return a hash of float64 values that doesn't see their last bits."""
    if not np.isfinite(array).all():
        return _hash("exact", array.tobytes().hex())
    size = np.maximum(np.abs(array), scales[array.shape])
    # Steps change at 0.77 times a power of two, where a variance of 1 and its like are not.
    exponent = np.floor(np.log2(np.where(size > 0, size, 1.0)) + 0.37)
    steps = np.rint(array / (_ROUNDED_TO * np.exp2(exponent))) + 0.0
    return _hash("rounded", list(array.shape), steps.ravel().tolist(), exponent.ravel().tolist())


def _has_part(attribute: str) -> bool:
    return not attribute.startswith("_") and attribute not in _NO_PART
