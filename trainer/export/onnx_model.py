"""Convert the served model to an ONNX file, for runtimes without TensorFlow: raw numeric features to predictions.

    onnx_bytes = onnx_model(model, layout, config, record)

Inputs `features` float32 [B, T, F] (the numeric features in the order of the configuration, NaN where missing),
`lengths` int64 [B] and, if there are static ones, `static_features` float32 [B, S]: those of `serving_tensors`.
Outputs: `probabilities` and `class_id`, or `predictions` and, with some, `quantiles`, as there.
The class names, in order, are in the file's metadata under `labels`, as JSON; so are the levels of the quantiles
(`quantiles`) and `task.units` (`units`). No converter is needed: ONNX has Keras'
gate order z, r, h and, with `linear_before_reset`, its equations.
"""

# Keras' and ONNX' type hints know neither what a model holds nor protobuf's fields.

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from noisy_gru.schema.config import FeatureConfig
from noisy_gru.schema.interval_config import levels_of
from noisy_gru.trainer import features as names
from noisy_gru.trainer.conformal import Calibration
from noisy_gru.trainer.decision import Decision
from noisy_gru.trainer.export.onnx_numbers import add_numbers
from noisy_gru.trainer.export.serving_stack import gru_layers
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
from noisy_gru.trainer.layers.pooling import LOWEST_SCORE
from noisy_gru.trainer.model import INITIAL_MEAN
from noisy_gru.trainer.model_checks import check_model_config
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.transform_record import Scale, TransformRecord

_OPSET, _IR = 17, 9
LABELS, UNITS = "labels", "units"  # of the file's metadata


def onnx_model(
    model: keras.Model,
    layout: Layout,
    config: ModelConfig,
    record: TransformRecord,
    decision: Decision | None = None,
    calibration: Calibration | None = None,
) -> bytes:
    """Return the model with its Transform as a serialized ONNX file.

    Args:
        model: of `build_model`, for serving.
        layout: of the data set.
        config: of the model, with `onnx`.
        record: Transform's scales and vocabularies.
        decision: from which probability the positive of two classes is answered; None: the likelier class is.
        calibration: of quantiles and intervals; None: as the model gives them.

    Raises:
        ConfigError: ONNX, or this writer, does not support the data set or the model.
    """
    check_model_config(config, layout.dataset)
    graph = _Graph()
    values, lengths = _transformed(graph, layout, record)
    static = _static(graph, layout, record)
    hidden = _stack(graph, values, lengths, static, model, config)
    if static:
        hidden = graph.add("Concat", hidden, static, axis=1)
    for index in range(len(config.hidden)):
        hidden = graph.add("Relu", _dense(graph, hidden, model.get_layer(f"hidden_{index}")))
    if layout.is_classification:
        logits = _dense(graph, hidden, model.get_layer("logits"))
        graph.add("Softmax", logits, name=names.PROBABILITIES, axis=-1)
        _class_id(graph, logits, decision)
        outputs = {
            names.PROBABILITIES: (TensorProto.FLOAT, ["B", len(record.labels)]),
            names.CLASS_ID: (TensorProto.INT64, ["B"]),
        }
    else:
        scaled = _dense(graph, hidden, model.get_layer("prediction"))
        outputs = add_numbers(graph, scaled, layout, record, calibration)
    onnx_file = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "noisy_gru",
            [
                helper.make_tensor_value_info(names.FEATURES, TensorProto.FLOAT, ["B", "T", len(layout.numeric)]),
                helper.make_tensor_value_info(names.LENGTHS, TensorProto.INT64, ["B"]),
                *(
                    [helper.make_tensor_value_info(names.STATIC, TensorProto.FLOAT, ["B", len(layout.static_numeric)])]
                    if static
                    else []
                ),
            ],
            [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="noisy-gru",
    )
    helper.set_model_props(onnx_file, _metadata(layout, record))
    onnx.checker.check_model(onnx_file, full_check=True)
    return onnx_file.SerializeToString(deterministic=True)


def _metadata(layout: Layout, record: TransformRecord) -> dict[str, str]:
    task = layout.dataset.task
    found = {LABELS: record.labels, names.QUANTILES: levels_of(task), UNITS: getattr(task, "units", None)}
    return {key: json.dumps(value) for key, value in found.items() if value}


def _class_id(graph: _Graph, logits: str, decision: Decision | None) -> None:
    if decision is None:
        graph.add("ArgMax", logits, name=names.CLASS_ID, axis=1, keepdims=0)
        return
    place = decision.positive_id
    score = graph.add("Squeeze", graph.add("Gather", names.PROBABILITIES, _axes(graph, place), axis=1), _axes(graph, 1))
    is_positive = graph.add("GreaterOrEqual", score, graph.constant(_row(decision.threshold, np.float32)))
    chosen = [graph.constant(np.array(each, np.int64)) for each in (place, 1 - place)]
    graph.add("Where", is_positive, *chosen, name=names.CLASS_ID)


class _Graph:
    """Builder of a graph's nodes and constants; names are numbered, so the same model gives the same bytes."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: np.ndarray) -> str:
        """Add a constant, and return its name."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, name: str = "", output: int = 0, **attributes: Any) -> str:
        """Add an operation, and return the name of its output; `output` is its index, earlier ones are unused."""
        name = name or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [""] * output + [name], **attributes))
        return name


def _row(values: Sequence[float], dtype: Any = np.float64) -> np.ndarray:
    return np.array(values, dtype)


def _transformed(graph: _Graph, layout: Layout, record: TransformRecord) -> tuple[str, str]:
    """Return the model's inputs, float32 [T + 1, B, channels], and lengths, int32 [B], as Transform computes them."""
    values = _scaled(graph, names.FEATURES, layout.numeric, record, axis=2)
    # One more step, which never counts, so that there is at least one.
    values = graph.add("Pad", values, graph.constant(np.array([0, 0, 0, 0, 1, 0])))
    values = graph.add("Transpose", values, perm=[1, 0, 2])
    return values, graph.add("Cast", names.LENGTHS, to=TensorProto.INT32)


def _static(graph: _Graph, layout: Layout, record: TransformRecord) -> str:
    """Return the scaled static features, float32 [B, static channels]; empty without any."""
    return _scaled(graph, names.STATIC, layout.static_numeric, record, axis=1) if layout.static_numeric else ""


def _scaled(graph: _Graph, read: str, numeric: Sequence[FeatureConfig], record: TransformRecord, *, axis: int) -> str:
    """Scale and impute raw columns on the last axis, followed by masks of missing values, as Transform does."""
    scales: list[Scale] = [record.numeric[feature.name] for feature in numeric]
    odd = graph.add("Or", graph.add("IsNaN", read), graph.add("IsInf", read))
    # In float64, as in Transform: a small scale around a large centre leaves float32 few digits.
    values = graph.add("Cast", read, to=TensorProto.DOUBLE)
    values = graph.add("Where", odd, graph.constant(_row([scale.fill for scale in scales])), values)
    values = graph.add("Sub", values, graph.constant(_row([scale.centre for scale in scales])))
    values = graph.add("Div", values, graph.constant(_row([scale.scale for scale in scales])))
    values = graph.add("Cast", values, to=TensorProto.FLOAT)
    masked = [index for index, feature in enumerate(numeric) if feature.missing == "mask"]
    if not masked:
        return values
    absent = graph.add("Gather", odd, graph.constant(np.array(masked)), axis=axis)
    return graph.add("Concat", values, graph.add("Cast", absent, to=TensorProto.FLOAT), axis=axis)


def _stack(graph: _Graph, values: str, lengths: str, static: str, model: keras.Model, config: ModelConfig) -> str:
    """Add the GRUs, with first states of the static features if there are any, and the top one's pooling: [B, U]."""
    stack = gru_layers(model)
    read, width = values, 0
    for index, layer in enumerate(stack):
        width = sum(gru.units for gru in layer)
        mean = graph.add("Tanh", _dense(graph, static, model.get_layer(f"{INITIAL_MEAN}{index}"))) if static else ""
        is_last = index == len(stack) - 1 and config.pooling == "last"
        # Y [T, directions, B, U] first, then the last states [directions, B, U].
        output = graph.add(
            "GRU",
            *_gru_inputs(graph, read, lengths, layer, mean),
            output=int(is_last),
            hidden_size=layer[0].units,
            linear_before_reset=1,
            direction="bidirectional" if len(layer) == 2 else "forward",
        )
        output = graph.add("Transpose", output, perm=[1, 0, 2] if is_last else [0, 2, 1, 3])
        read = graph.add("Reshape", output, graph.constant(np.array([0, width] if is_last else [0, 0, width])))
    some = graph.add("Unsqueeze", graph.add("Greater", lengths, graph.constant(_row(0, np.int32))), _axes(graph, 1))
    zero = graph.constant(_row(0, np.float32))
    if config.pooling == "last":
        return graph.add("Where", some, read, zero)
    steps = graph.add("Squeeze", graph.add("Slice", graph.add("Shape", read), _axes(graph, 0), _axes(graph, 1)))
    ends = graph.add("Cast", steps, to=TensorProto.INT32)
    places = graph.add("Range", graph.constant(_row(0, np.int32)), ends, graph.constant(_row(1, np.int32)))
    counts = graph.add("Less", graph.add("Unsqueeze", places, _axes(graph, 1)), lengths)
    counts = graph.add("Unsqueeze", counts, _axes(graph, 2))
    if config.pooling == "mean":
        total = graph.add("ReduceSum", graph.add("Where", counts, read, zero), _axes(graph, 0), keepdims=0)
        steps = graph.add("Max", graph.add("Cast", lengths, to=TensorProto.FLOAT), graph.constant(_row(1, np.float32)))
        return graph.add("Div", total, graph.add("Unsqueeze", steps, _axes(graph, 1)))
    if config.pooling == "attention":
        return _attention(graph, read, counts, model.get_layer("pooling"))
    lowest = graph.add("Where", counts, read, graph.constant(_row(-np.inf, np.float32)))
    return graph.add("Where", some, graph.add("ReduceMax", lowest, axes=[0], keepdims=0), zero)


def _attention(graph: _Graph, read: str, counts: str, layer: Any) -> str:
    """Pool [T, B, U] with learned weights over the steps that count, bool [T, B, 1]: [B, U]."""
    kernel, bias, context = (graph.constant(weight.numpy()) for weight in (layer.kernel, layer.bias, layer.context))
    scores = graph.add("Tanh", graph.add("Add", graph.add("MatMul", read, kernel), bias))
    scores = graph.add("ReduceSum", graph.add("Mul", scores, context), _axes(graph, 2), keepdims=1)
    scores = graph.add("Where", counts, scores, graph.constant(_row(LOWEST_SCORE, np.float32)))
    weights = graph.add("Mul", graph.add("Softmax", scores, axis=0), graph.add("Cast", counts, to=TensorProto.FLOAT))
    return graph.add("ReduceSum", graph.add("Mul", read, weights), _axes(graph, 0), keepdims=0)


def _axes(graph: _Graph, axis: int) -> str:
    return graph.constant(np.array([axis]))


def _gru_inputs(graph: _Graph, read: str, lengths: str, layer: Sequence[NoisyGRU], mean: str) -> list[str]:
    """Return the inputs of ONNX' GRU: x, W [D, 3U, F], R [D, 3U, U], B [D, 6U], lengths, and first states [D, B, U].

    These are the learned ones, plus the ``mean`` [B, D U] of static features; neither without both.
    """
    kernels, recurrent, biases, means = [], [], [], []
    for gru in layer:
        cell = gru.cell
        kernels.append(cell.kernel.numpy().T)
        recurrent.append(cell.recurrent_kernel.numpy().T)
        biases.append(cell.bias.numpy().reshape(-1))
        if gru.initial_mean is not None:
            means.append(gru.initial_mean.numpy()[np.newaxis])
    inputs = [read, *(graph.constant(np.stack(each)) for each in (kernels, recurrent, biases)), lengths]
    units = layer[0].units
    if mean:
        states = graph.add("Reshape", mean, graph.constant(np.array([0, len(layer), units])))
        states = graph.add("Transpose", states, perm=[1, 0, 2])
        if means:
            # [D, 1, U]
            states = graph.add("Add", states, graph.constant(np.stack(means)))
        inputs.append(states)
    elif means:
        batch = graph.add("Shape", lengths)
        shape = graph.add("Concat", _axes(graph, len(layer)), batch, _axes(graph, units), axis=0)
        inputs.append(graph.add("Expand", graph.constant(np.stack(means)), shape))
    return inputs


def _dense(graph: _Graph, read: str, layer: Any) -> str:
    return graph.add("Gemm", read, graph.constant(layer.kernel.numpy()), graph.constant(layer.bias.numpy()))
