"""The ONNX form of `served_numbers`: from the head's scaled numbers to `predictions` and `quantiles`."""

# ONNX' type hints don't know protobuf's fields.

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from noisy_gru.schema.interval_config import MEDIAN, OutputConfig, levels_of
from noisy_gru.trainer import features as names
from noisy_gru.trainer.conformal import Calibration
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.layers.located_quantiles import LEAST_SCALE, law_of
from noisy_gru.trainer.layers.ordered_quantiles import START
from noisy_gru.trainer.transform_record import TransformRecord


def add_numbers(
    graph: Any, scaled: str, layout: Layout, record: TransformRecord, calibration: Calibration | None
) -> dict[str, tuple[Any, list[Any]]]:
    """Add the outputs to a graph.

    Args:
        graph: of `onnx_model`.
        scaled: name of the output layer's values, [B, H * K * Q].
        layout: of the data set.
        record: Transform's scales.
        calibration: of quantiles and intervals, in the target's units.

    Returns:
        Type and shape of each output by name.
    """
    shape, levels = layout.target_shape, levels_of(layout.dataset.task)
    bounds = getattr(layout.dataset.task, "output", OutputConfig())
    scales = [record.targets[name] for name in layout.targets]
    scale, mean = (np.array(each, np.float32) for each in ([s.scale for s in scales], [s.centre for s in scales]))
    whole = [0, *shape, layout.head_numbers] if levels else [0, *shape]
    scaled = graph.add("Reshape", scaled, graph.constant(np.array(whole)))
    outputs = {names.PREDICTIONS: (TensorProto.FLOAT, ["B", *shape])}
    if not levels:
        raw = graph.add("Mul", scaled, graph.constant(scale))
        _bounded(graph, graph.add("Add", raw, graph.constant(mean)), bounds, names.PREDICTIONS)
        return outputs
    median = levels.index(MEDIAN)
    count = len(levels)
    law = law_of(layout.dataset.task)
    if law is not None:
        found = _located(graph, scaled, law[0])
    else:
        found = _ordered(graph, scaled, count, median) if layout.quantiles else [scaled] * count
    if calibration is not None:
        offsets = np.array(calibration.offsets, np.float32)
        moved = [graph.add("Add", each, graph.constant(offsets[..., i : i + 1])) for i, each in enumerate(found)]
        for place in range(median - 1, -1, -1):
            moved[place] = graph.add("Min", moved[place], moved[place + 1])
        for place in range(median + 1, len(moved)):
            moved[place] = graph.add("Max", moved[place], moved[place - 1])
        found = moved
    quantiles = graph.add("Concat", *found, axis=-1)
    quantiles = graph.add("Mul", quantiles, graph.constant(scale[:, np.newaxis]))
    quantiles = graph.add("Add", quantiles, graph.constant(mean[:, np.newaxis]))
    _bounded(graph, quantiles, bounds, names.QUANTILES)
    middle = graph.add("Gather", names.QUANTILES, graph.constant(np.array([median])), axis=-1)
    graph.add("Squeeze", middle, graph.constant(np.array([-1])), name=names.PREDICTIONS)
    return {**outputs, names.QUANTILES: (TensorProto.FLOAT, ["B", *shape, len(levels)])}


def _ordered(graph: Any, numbers: str, count: int, median: int) -> list[str]:
    """Return the quantiles, [..., 1] each, as `OrderedQuantiles` has them."""
    axis = graph.constant(np.array([-1]))

    def part(values: str, place: int) -> str:
        ends = (graph.constant(np.array([at])) for at in (place, place + 1))
        return graph.add("Slice", values, *ends, axis)

    gaps = graph.add("Softplus", graph.add("Add", numbers, graph.constant(np.array(START, np.float32))))
    found = [part(numbers, median)] * count
    for place in range(median + 1, count):
        found[place] = graph.add("Add", found[place - 1], part(gaps, place))
    for place in range(median - 1, -1, -1):
        found[place] = graph.add("Sub", found[place + 1], part(gaps, place))
    return found


def _located(graph: Any, numbers: str, standard: list[float]) -> list[str]:
    """Return the quantiles, [..., 1] each, as `LocatedQuantiles` has them."""
    axis = graph.constant(np.array([-1]))
    location, free = (
        graph.add("Slice", numbers, *(graph.constant(np.array([end])) for end in (at, at + 1)), axis) for at in (0, 1)
    )
    scale = graph.add("Add", graph.add("Softplus", free), graph.constant(np.array(LEAST_SCALE, np.float32)))
    steps = [graph.add("Mul", scale, graph.constant(np.array(each, np.float32))) for each in standard]
    return [graph.add("Add", location, step) for step in steps]


def _bounded(graph: Any, values: str, bounds: OutputConfig, name: str) -> None:
    """Round and clip the values that are finite."""
    if bounds == OutputConfig():
        graph.add("Identity", values, name=name)
        return
    found = graph.add("Round", values) if bounds.integer else values
    for kind, bound in (("Max", bounds.min), ("Min", bounds.max)):
        if bound is not None:
            found = graph.add(kind, found, graph.constant(np.array(bound, np.float32)))
    odd = graph.add("Or", graph.add("IsNaN", values), graph.add("IsInf", values))
    graph.add("Where", odd, values, found, name=name)
