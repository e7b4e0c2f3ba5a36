"""The noisy stack in PyTorch: `nn.GRU` layers and fused Adam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

Arrays = dict[str, np.ndarray]


def make(problem: Arrays, *, stddevs: Sequence[float], learning_rate: float) -> tuple[Arrays, Callable[[], None]]:
    """Return loss and gradients without noise, and a function that does a step with it."""
    x, y = torch.from_numpy(problem["x"]), torch.from_numpy(problem["y"])
    layers = torch.nn.ModuleList(
        gru_layer(*(problem[f"{name}_{index}"] for name in _NAMES)) for index in range(len(stddevs))
    )
    head = torch.nn.Linear(problem["head_kernel"].shape[0], 1)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(problem["head_kernel"].T.copy()))
        head.bias.copy_(torch.from_numpy(problem["head_bias"]))
    parameters = [*layers.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, fused=True)

    def loss_of(factor: float) -> Any:
        hidden: Any = x
        state: Any = None
        for layer, stddev in zip(layers, stddevs, strict=True):
            start = factor * stddev * torch.randn(1, len(x), layer.hidden_size)
            hidden, state = layer(hidden, start)
        return torch.mean((head(state[0]) - y) ** 2)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(1.0)
        loss.backward()
        optimizer.step()
        loss.item()

    loss = loss_of(0.0)
    loss.backward()
    found: Arrays = {"loss": loss.detach().numpy(), "head_kernel": head.weight.grad.numpy().T.copy()}
    found["head_bias"] = head.bias.grad.numpy().copy()
    for index, layer in enumerate(layers):
        values = gru_gradients(layer)
        found |= {f"{name}_{index}": each for name, each in zip(_NAMES, values, strict=True)}
    return found, step


_NAMES = ("kernel", "recurrent", "bias")
_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def gru_layer(kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> Any:
    """Return `nn.GRU` with the weights of a Keras GRU."""
    layer = torch.nn.GRU(len(kernel), len(recurrent), batch_first=True)
    order = _order(len(recurrent))
    for name, value in zip(_PARTS, (kernel.T, recurrent.T, bias[0], bias[1]), strict=True):
        with torch.no_grad():
            getattr(layer, f"{name}_l0").copy_(torch.from_numpy(np.ascontiguousarray(value[order])))
    return layer


def gru_gradients(layer: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the gradients of kernel, recurrent kernel and bias, as of a Keras GRU."""
    order = _order(layer.hidden_size)
    grads = {name: getattr(layer, f"{name}_l0").grad.numpy()[order] for name in _PARTS}
    return grads["weight_ih"].T, grads["weight_hh"].T, np.stack([grads["bias_ih"], grads["bias_hh"]])


def _order(units: int) -> np.ndarray:
    """From z, r, h to r, z, h, and back."""
    return np.concatenate([np.arange(units, 2 * units), np.arange(units), np.arange(2 * units, 3 * units)])
