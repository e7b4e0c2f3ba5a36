"""The trained model once more, in PyTorch, from the weights of its `.keras` file.

It takes what Transform gives: scaled, padded features float32 [B, T, F] and lengths int64 [B]. PyTorch has Keras'
equations, and its gates in the order r, z, h.
"""

# The peers are installed by benchmarks/requirements.txt alone.
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Answer = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Direction:
    """Weights of a GRU that reads one way: `kernel` [I, 3U], `recurrent` [U, 3U], `bias` [2, 3U], gates z, r, h."""

    kernel: np.ndarray
    recurrent: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Stack:
    """A stack of GRUs, each of one or two directions, and a dense head; `softmax` says whether one follows."""

    layers: list[list[Direction]]
    head_kernel: np.ndarray
    head_bias: np.ndarray
    softmax: bool


def stack_of(model: Any, *, softmax: bool) -> Stack:
    """Return the weights of a Keras model of the Trainer.

    Raises:
        ValueError: the model is more than a stack whose last state goes to a dense head.
    """
    layers, head = [], None
    for layer in model.layers:
        weights = layer.get_weights()
        kind = type(layer).__name__
        if kind in ("NoisyGRU", "Bidirectional"):
            layers.append([Direction(*weights[start : start + 3]) for start in range(0, len(weights), 3)])
        elif kind == "Dense" and head is None:
            head = weights
        elif weights or kind not in ("InputLayer", "LengthMask"):
            raise ValueError(
                f"The benchmark's peer knows no layer {kind}; use a model with pooling: last and no hidden."
            )
    if head is None:
        raise ValueError("The model has no dense head.")
    return Stack(layers, head[0], head[1], softmax)


def torch_answer(stack: Stack, threads: int) -> Answer:
    """Return the stack in PyTorch: `torch.nn.GRU` on packed sequences, in inference mode."""
    import torch

    torch.set_num_threads(threads)
    layers = [_torch_layer(directions) for directions in stack.layers]
    kernel, bias = torch.from_numpy(stack.head_kernel.copy()), torch.from_numpy(stack.head_bias.copy())

    def answer(features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            packed: Any = torch.nn.utils.rnn.pack_padded_sequence(
                torch.from_numpy(features), torch.from_numpy(lengths), batch_first=True, enforce_sorted=False
            )
            for layer in layers:
                packed, state = layer(packed)
            logits = state.transpose(0, 1).reshape(len(lengths), -1) @ kernel + bias
            return (torch.softmax(logits, -1) if stack.softmax else logits).numpy()

    return answer


def _torch_layer(directions: list[Direction]) -> Any:
    import torch

    features, units = directions[0].kernel.shape[0], directions[0].recurrent.shape[0]
    layer = torch.nn.GRU(features, units, batch_first=True, bidirectional=len(directions) == 2)
    # From z, r, h to r, z, h.
    order = np.concatenate([np.arange(units, 2 * units), np.arange(units), np.arange(2 * units, 3 * units)])
    for direction, suffix in zip(directions, ("", "_reverse"), strict=False):
        values = {
            "weight_ih_l0": direction.kernel.T, "weight_hh_l0": direction.recurrent.T,
            "bias_ih_l0": direction.bias[0], "bias_hh_l0": direction.bias[1],
        }  # fmt: skip
        for name, value in values.items():
            with torch.no_grad():
                getattr(layer, name + suffix).copy_(torch.from_numpy(np.ascontiguousarray(value[order])))
    return layer.eval()
