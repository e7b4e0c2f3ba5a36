"""Audit the variables file of a SavedModel for variables that serving doesn't need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisy_gru.schema.errors import ModelError

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"
_OPTIMIZER = ("optimizer", "adam", "momentum", "velocity", "learning_rate", "iterations", "rmsprop", "adagrad")


@dataclass(frozen=True)
class Variable:
    """A variable of the file: its full name, dtype and number of values."""

    name: str
    dtype: str
    values: int


def read_variables(model: Path) -> list[Variable]:
    """Return the variables in ``<model>/variables``; empty if there is no such file.

    Raises:
        ModelError: if the file can't be read.
    """
    import tensorflow as tf

    prefix = model / "variables" / "variables"
    if not prefix.with_name("variables.index").exists():
        return []
    try:
        reader: Any = tf.train.load_checkpoint(str(prefix))
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        names = _full_names(reader.get_tensor(_GRAPH)) if _GRAPH in shapes else {}
    except tf.errors.OpError as error:
        raise ModelError(f"the variables file can't be read: {error}") from error
    found = []
    for key, shape in sorted(shapes.items()):
        if key != _GRAPH:
            count = 1
            for size in shape:
                count *= size
            found.append(Variable(names.get(key) or key, dtypes[key].name, count))
    return found


def _full_names(object_graph: bytes) -> dict[str, str]:
    """Full names of variables by their key in the file."""
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    proto: Any = trackable_object_graph_pb2
    return {
        attribute.checkpoint_key: attribute.full_name
        for node in proto.TrackableObjectGraph.FromString(object_graph).nodes
        for attribute in node.attributes
        if attribute.name == _VALUE
    }


def unwanted(variables: list[Variable], expected: int | None) -> list[str]:
    """Return the unneeded and the missing variables of the file, as messages.

    Args:
        variables: of the file.
        expected: values of the Keras model's weights, without seeds, and of Transform's own variables; None if they
            aren't known.
    """
    problems = []
    for variable in variables:
        lowered = variable.name.lower()
        if "seed" in lowered or (variable.dtype == "uint32" and variable.values == 2):
            problems.append(f"{variable.name} is a seed: randomness came along. Don't track the model in the export")
        elif any(word in lowered.split("/")[0] or f"/{word}" in lowered for word in _OPTIMIZER):
            problems.append(f"{variable.name} belongs to the optimizer. Export the model without it")
    values = sum(variable.values for variable in variables)
    if expected is not None and values != expected:
        why = "weights are there twice, or others came along" if values > expected else "weights are missing"
        problems.append(f"the file holds {values} values; the Keras model and Transform have {expected}: {why}")
    return problems
