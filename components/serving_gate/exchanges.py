"""Sequences of which a part is taken from other ones: a feature, or all features of a part of the time.

    exchanged(tensors, donors, feature_parts(dataset)[0])  # the first feature of each sequence is that of its donor

A whole course is taken: it is stretched where two sequences differ in length, so that it stays one that occurs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from noisy_gru.components.serving_gate.probe_sequences import future_steps
from noisy_gru.components.serving_gate.signature_contract import LENGTHS
from noisy_gru.saved_model.tensor_names import STATIC_FEATURES, static_tensor_names, tensor_names
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.feature_config import FeatureConfig

_SEGMENTS = 10
Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Part:
    """What is exchanged between sequences at once.

    Attributes:
        name: of the feature; empty for a part of the time.
        kind: of the feature, in words.
        channels: of `features`.
        static_channels: of `static_features`.
        inputs: other inputs of `serving_tensors`.
        begin, end: of the time, as parts of each sequence's steps; 1 and more are the steps up to the horizon.
    """

    name: str = ""
    kind: str = ""
    channels: list[int] = field(default_factory=list)
    static_channels: list[int] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    begin: float = 0.0
    end: float = 2.0


def feature_parts(dataset: DatasetConfig) -> list[Part]:
    """Return the features; sine and cosine of a calendar are one."""
    data = dataset.data
    words, static_words = tensor_names(data), static_tensor_names(data)
    channels = {feature.name: place for place, feature in enumerate(data.numeric)}
    static_channels = {feature.name: place for place, feature in enumerate(data.static_numeric)}
    parts: dict[str, Part] = {}
    for feature in data.features:
        is_pair = feature.calendar is not None and feature.name in (
            f"{feature.calendar}_sin",
            f"{feature.calendar}_cos",
        )
        part = parts.setdefault(str(feature.calendar) if is_pair else feature.name, Part(kind=_kind(feature)))
        if feature.name in channels:
            part.channels.append(channels[feature.name])
        elif feature.name in static_channels:
            part.static_channels.append(static_channels[feature.name])
        else:
            part.inputs.append(static_words[feature.name] if feature.static else words[feature.name])
    return [Part(name, part.kind, part.channels, part.static_channels, part.inputs) for name, part in parts.items()]


def _kind(feature: FeatureConfig) -> str:
    if feature.static:
        return "static"
    if feature.calendar is not None:
        return "calendar"
    return "known in advance" if feature.known_in_advance else "elapsed" if feature.elapsed else feature.kind


def time_parts(dataset: DatasetConfig, longest: int) -> list[Part]:
    """Return the tenths of a sequence of at most ``longest`` steps, and what is known in advance up to the horizon.

    Of each all features are exchanged that aren't static.
    """
    count = min(_SEGMENTS, longest)
    ends = [place / count for place in range(count + 1)]
    every: dict[str, Any] = {
        "channels": list(range(len(dataset.data.numeric))),
        "inputs": list(tensor_names(dataset.data).values()),
    }
    parts = [Part(begin=begin, end=end, **every) for begin, end in pairwise(ends)]
    return [*parts, Part(begin=1.0, end=2.0, **every)] if future_steps(dataset) else parts


def exchanged(values: Tensors, donors: np.ndarray, part: Part) -> Tensors:
    """Return the inputs of `serving_tensors` with a part of each sequence taken from another one.

    Args:
        values: of B sequences with at least one step.
        donors: int [B], the sequence that each one takes it from.
        part: what it takes.
    """
    lengths, axis = values[LENGTHS], values["features"].shape[1]
    steps = np.arange(axis)[None, :]
    own, other = lengths[:, None], lengths[donors][:, None]
    # The middle of each step; beyond the last step both count from there.
    places = np.where(steps < own, ((2 * steps + 1) * other) // (2 * own), np.minimum(other + steps - own, axis - 1))
    last = step_of(part.end, own) if part.end <= 1 else axis
    inside = (steps >= step_of(part.begin, own)) & (steps < last)
    result = dict(values)
    rows = donors[:, None]
    if part.channels:
        taken = values["features"][rows, places][:, :, part.channels]
        result["features"] = values["features"].copy()
        result["features"][:, :, part.channels] = np.where(
            inside[:, :, None], taken, values["features"][:, :, part.channels]
        )
    if part.static_channels:
        result[STATIC_FEATURES] = values[STATIC_FEATURES].copy()
        result[STATIC_FEATURES][:, part.static_channels] = values[STATIC_FEATURES][donors][:, part.static_channels]
    for name in part.inputs:
        given = values[name]
        result[name] = given[donors] if given.ndim == 1 else np.where(inside, given[rows, places], given)
    return result


def step_of(part: float, steps: Any) -> Any:
    """Return the step at a part of a sequence's time, from 0 to 1, of so many steps."""
    return np.floor(part * steps + 1e-9).astype(int)
