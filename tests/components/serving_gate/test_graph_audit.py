"""The operation audit on hand-made graphs, and the comparison of answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from noisy_gru.components.serving_gate.graph_audit import audit
from noisy_gru.components.serving_gate.output_difference import TOLERANCE, identical, largest_difference
from noisy_gru.saved_model.c_api import registered_operations
from noisy_gru.saved_model.saved_model_proto import parse_meta_graph, parse_saved_model

# What TensorFlow has, and whether it keeps state.
KNOWN = {
    **dict.fromkeys(("VarHandleOp", "RandomUniform", "Barrier", "StatefulPartitionedCall", "CudnnRNNV3"), True),
    **dict.fromkeys(("MatMul", "PartitionedCall"), False),
}


def graph() -> Any:
    return parse_meta_graph(b"")


def in_function(op: str, **attributes: bool) -> Any:
    result = graph()
    function = result.graph_def.library.function.add()
    function.signature.name = "__inference_inner_7"
    node = function.node_def.add(name="layer/node", op=op)
    for name, value in attributes.items():
        node.attr[name].b = value
    return result


def test_weights_and_pure_operations_are_fine() -> None:
    good = in_function("MatMul")
    good.graph_def.node.add(name="weights", op="VarHandleOp")
    good.graph_def.node.add(name="call", op="StatefulPartitionedCall")
    good.graph_def.node.add(name="inner", op="__inference_inner_7")
    assert audit(good, KNOWN) == []


@pytest.mark.parametrize(
    ("op", "why"),
    [
        ("RandomUniform", "draws at random"),
        ("StatelessRandomNormalV2", "draws at random"),
        ("BitwiseXor", "draws at random"),
        ("StatelessTruncatedNormalV2", "draws at random"),
        ("RngReadAndSkip", "draws at random"),
        ("PyFunc", "calls into Python"),
        ("EagerPyFunc", "calls into Python"),
        ("PyFuncStateless", "calls into Python"),
        ("CudnnRNNV3", "needs an NVIDIA GPU"),
        ("XlaLaunch", "must be compiled by XLA"),
        ("WriteFile", "reads or writes files"),
        ("Barrier", "keeps state"),
        ("Farmhash>MyOwn", "is none of TensorFlow's operations"),
    ],
)
def test_a_bad_operation_is_named_with_its_place(op: str, why: str) -> None:
    (bad,) = audit(in_function(op), KNOWN)
    assert str(bad).startswith(f"{op} (node layer/node in function __inference_inner_7) {why}")


def test_must_compile_is_found_on_calls_and_functions() -> None:
    (bad,) = audit(in_function("PartitionedCall", _XlaMustCompile=True), KNOWN)
    assert "must be compiled by XLA" in str(bad)
    whole = in_function("MatMul")
    whole.graph_def.library.function[0].attr["_XlaMustCompile"].b = True
    (bad,) = audit(whole, KNOWN)
    assert bad.function == "__inference_inner_7"
    assert audit(in_function("PartitionedCall", _XlaMustCompile=False), KNOWN) == []


def test_the_main_graph_is_looked_through_as_well() -> None:
    main = graph()
    main.graph_def.node.add(name="noise", op="RandomUniform")
    (bad,) = audit(main, KNOWN)
    assert "in the main graph" in str(bad)


# Their seeds draw nothing: it only has to be that of another operation, or is a file's.
SEED_BUT_NOT_RANDOM = {"ComputeAccidentalHits", "SnapshotDataset"}


@pytest.mark.slow
def test_every_operation_that_takes_a_seed_is_refused() -> None:
    """TensorFlow's own registry says which operations can draw at random."""
    import tensorflow as tf  # noqa: F401 (registers them)
    from tensorflow.python.framework import op_def_registry

    known, registry = registered_operations(), cast(Any, op_def_registry)
    definitions = {name: registry.get(name) for name in known}
    seeded = {
        name
        for name, definition in definitions.items()
        if any("seed" in each.name or each.name == "alg" for each in (*definition.attr, *definition.input_arg))
    }
    assert {"RandomStandardNormal", "StatelessRandomUniformV2", "Multinomial", "FractionalMaxPool"} <= seeded
    assert {name for name in seeded if not audit(in_function(name), known)} == SEED_BUT_NOT_RANDOM


def test_what_the_registry_does_not_hold_is_not_guessed() -> None:
    """A model that the loader can't even be asked about is judged by the names alone."""
    assert audit(in_function("SomethingNew"), {}) == []
    assert len(audit(in_function("PyFunc"), {})) == 1


@pytest.mark.slow
def test_bodies_of_loops_and_conditions_are_looked_through(export_model: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    def spoil(p: Any) -> Any:
        def body(i: Any, value: Any) -> Any:
            noisy = tf.cond(i > 0, lambda: value + tf.random.uniform(tf.shape(value)), lambda: value)
            return i + 1, noisy

        return tf.while_loop(lambda i, _: i < 2, body, [0, p], shape_invariants=[tf.TensorShape([]), p.shape])[1]

    export_model(tmp_path / "m", spoil=spoil)
    (meta_graph,) = parse_saved_model((tmp_path / "m" / "saved_model.pb").read_bytes()).meta_graphs
    found = audit(meta_graph, registered_operations())
    assert {bad.op for bad in found} == {"RandomUniform"}
    assert all("cond_true" in bad.function for bad in found)


def numbers(*values: float) -> dict[str, np.ndarray]:
    return {"predictions": np.array(values, np.float32).reshape(-1, 1)}


def test_differences_are_in_the_targets_scale() -> None:
    assert largest_difference(numbers(1.5), numbers(1.0), 1.0) == pytest.approx(0.5, rel=1e-4)
    assert largest_difference(numbers(1.5), numbers(1.0), np.array([10.0])) == pytest.approx(0.05, rel=1e-4)
    # One unit in the last place of a large number is rounding, not a difference.
    million = np.float32(1e6)
    next_to_it = float(np.nextafter(million, np.float32(2e6)))
    assert largest_difference(numbers(next_to_it), numbers(1e6), 1.0) == TOLERANCE
    assert largest_difference(numbers(1e6 + 2), numbers(1e6), 1.0) == 2


@pytest.mark.parametrize("other", [{}, {"predictions": np.ones((1, 2), np.float32)}, numbers(np.nan)])
def test_another_shape_or_not_a_number_is_no_answer(other: dict[str, np.ndarray]) -> None:
    assert largest_difference(numbers(1.0), other, 1.0) == np.inf
    assert largest_difference(other, numbers(1.0), 1.0) == np.inf


def classes(label: bytes, first: float) -> dict[str, np.ndarray]:
    return {
        "probabilities": np.array([[first, 1 - first]], np.float32),
        "class_id": np.array([0 if label == b"a" else 1]),
        "label_bytes": np.array([label], object),
        "labels_bytes": np.array([[b"a", b"b"]], object),
    }


def test_another_class_is_a_difference_unless_they_are_tied() -> None:
    assert largest_difference(classes(b"a", 0.9), classes(b"b", 0.9), 1.0) == np.inf
    assert largest_difference(classes(b"a", 0.5), classes(b"b", 0.5), 1.0) == 0
    renamed = classes(b"a", 0.9) | {"labels_bytes": np.array([[b"b", b"a"]], object)}
    assert largest_difference(renamed, classes(b"a", 0.9), 1.0) == np.inf


def test_identical_means_every_bit() -> None:
    assert identical(numbers(np.nan), numbers(np.nan))
    assert not identical(numbers(0.0), numbers(-0.0))
    assert not identical(numbers(1.0), {})
