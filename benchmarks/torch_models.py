"""The models of the training benchmark's cases beyond a stack, written by hand in PyTorch with fused Adam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.model_cases import KERNELS, MODEL_CASES, POOL, ModelCase, prefixes
from benchmarks.torch_contender import gru_gradients, gru_layer
from benchmarks.train_worker import LEARNING_RATE, STDDEVS, Arrays


class _Model(torch.nn.Module):
    """A case's model: the noise is times `factor`."""

    def __init__(self, case: ModelCase, problem: Arrays, prefix: str):
        super().__init__()
        self.case, self._problem, self._prefix = case, problem, prefix
        self.grus = torch.nn.ModuleList(
            gru_layer(*(self._array(f"noisy_gru_{index}/{number}") for number in range(3)))
            for index in range(len(case.units))
        )
        self.head_name = "logits" if case.name == "convolutions" else "prediction"
        self.head = self._dense(self.head_name)
        if case.name == "segments":
            self.embedding = self._dense("segment_embedding")
            self.position = torch.nn.Parameter(torch.from_numpy(self._array("positions/0")))
            self.channel = torch.nn.Parameter(torch.from_numpy(self._array("positions/1")))
        self.convolutions = torch.nn.ModuleList(map(self._convolution, range(len(case.filters))))
        self.normalizations = torch.nn.ModuleList(map(self._normalization, range(len(case.filters))))
        bins = np.arange(case.steps) * POOL // case.steps
        pooled = (bins == np.arange(POOL)[:, None]).astype(np.float32)
        self.register_buffer("pooled", torch.from_numpy(pooled / np.maximum(pooled.sum(1, keepdims=True), 1)))

    def _array(self, name: str) -> np.ndarray:
        return self._problem[self._prefix + name]

    def _dense(self, name: str) -> torch.nn.Linear:
        kernel, bias = self._array(f"{name}/0"), self._array(f"{name}/1")
        layer = torch.nn.Linear(*kernel.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(kernel.T.copy()))
            layer.bias.copy_(torch.from_numpy(bias))
        return layer

    def _convolution(self, index: int) -> torch.nn.Conv1d:
        kernel = self._array(f"convolution_{index}/0")
        layer = torch.nn.Conv1d(kernel.shape[1], kernel.shape[2], KERNELS[index], padding="same", bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(kernel.transpose(2, 1, 0).copy()))
        return layer

    def _normalization(self, index: int) -> torch.nn.BatchNorm1d:
        gamma, beta = (self._array(f"batch_normalization_{index}/{number}") for number in (0, 1))
        layer = torch.nn.BatchNorm1d(len(gamma), eps=1e-3)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(gamma))
            layer.bias.copy_(torch.from_numpy(beta))
        return layer

    def forward(self, x: Any, factor: float) -> Any:
        return self._forecast(x, factor) if self.case.name == "segments" else self._answer(x, factor)

    def _stack(self, hidden: Any, factor: float) -> tuple[Any, Any]:
        state: Any = None
        for layer, stddev in zip(self.grus, STDDEVS, strict=False):
            hidden, state = layer(hidden, factor * stddev * torch.randn(1, len(hidden), layer.hidden_size))
        return hidden, state

    def _answer(self, x: Any, factor: float) -> Any:
        if not self.case.filters:
            return self.head(self._stack(x, factor)[1][0])
        hidden = x.transpose(1, 2)
        for convolution, normalization in zip(self.convolutions, self.normalizations, strict=True):
            hidden = torch.relu(normalization(convolution(hidden)))
        state = self._stack(self.pooled @ hidden.transpose(1, 2), factor)[1]
        return self.head(torch.cat([state[0], hidden.mean(2)], dim=1))

    def _forecast(self, x: Any, factor: float) -> Any:
        case = self.case
        last = x[:, -1:, :]
        segments = (x - last).transpose(1, 2).reshape(case.batch * case.channels, -1, self.embedding.in_features)
        state = self._stack(torch.relu(self.embedding(segments)), factor)[1]
        places = torch.cat(
            [self.position.repeat(case.channels, 1), self.channel.repeat_interleave(case.positions, 0)], dim=1
        )
        decoded = self.grus[0](
            places.repeat(case.batch, 1)[:, None], state.repeat_interleave(case.positions, 1).contiguous()
        )[0]
        joined = self.head(decoded[:, 0]).reshape(case.batch, case.channels, case.horizon)
        return joined.transpose(1, 2) + last

    def gradients(self) -> Arrays:
        """Return the gradients by the names and in the shapes of the Keras layers."""
        found: Arrays = {}
        for index, layer in enumerate(self.grus):
            for number, values in enumerate(gru_gradients(layer)):
                found[f"noisy_gru_{index}/{number}"] = values
        dense = {self.head_name: self.head}
        if self.case.name == "segments":
            dense["segment_embedding"] = self.embedding
            found |= {"positions/0": _of(self.position), "positions/1": _of(self.channel)}
        for name, layer in dense.items():
            found |= {f"{name}/0": _of(layer.weight).T, f"{name}/1": _of(layer.bias)}
        for index, (convolution, normal) in enumerate(zip(self.convolutions, self.normalizations, strict=True)):
            found[f"convolution_{index}/0"] = _of(convolution.weight).transpose(2, 1, 0)
            found |= {f"batch_normalization_{index}/0": _of(normal.weight)}
            found |= {f"batch_normalization_{index}/1": _of(normal.bias)}
        return {self._prefix + name: values.copy() for name, values in found.items()}


def _of(parameter: Any) -> np.ndarray:
    return parameter.grad.numpy()


def make(problem: Arrays) -> tuple[Arrays, Callable[[], None]]:
    """Return loss and gradients in training without noise, and a function that does a step of each member with it."""
    case = MODEL_CASES[str(problem["case"])]
    x, y = torch.from_numpy(problem["x"]), torch.from_numpy(problem["y"])
    loss_of: Any = torch.nn.functional.cross_entropy if case.name == "convolutions" else torch.nn.functional.mse_loss
    models = [_Model(case, problem, prefix) for prefix in prefixes(case.name)]
    found: Arrays = {}
    losses = []
    for model in models:
        loss = loss_of(model(x, 0.0), y)
        loss.backward()
        losses.append(loss.item())
        found |= model.gradients()
    found["loss"] = np.array(losses, np.float32)
    optimizers = [torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True) for model in models]

    def step() -> None:
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model(x, 1.0), y)
            loss.backward()
            optimizer.step()
            loss.item()

    return found, step
