"""The models of the training benchmark beyond a stack: segments, convolutions, members; shapes, weights and data.

`make_problem` is what all contenders read: arrays named `layer/number`, in the order of the Keras layer's trainable
weights, beside `x`, `y` and `case`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Shapes = dict[str, tuple[int, ...]]
POOL, CLASSES, MEMBERS, SEGMENT = 32, 10, 3, 24
KERNELS = (8, 5, 3)


@dataclass(frozen=True)
class ModelCase:
    """Shapes of a step, and how often it is timed: rounds, and steps in one.

    Attributes:
        name: segments, convolutions or members.
        channels: of the data; of segments also the targets, each of which is a sequence of its own.
        units: of the GRUs.
        filters: of the convolutions.
        horizon: steps ahead, with segments.
    """

    name: str
    batch: int
    steps: int
    channels: int
    units: tuple[int, ...]
    rounds: int
    calls: int
    filters: tuple[int, ...] = ()
    horizon: int = 0

    @property
    def positions(self) -> int:
        """Segments of the forecast."""
        return self.horizon // SEGMENT

    def shapes(self) -> Shapes:
        """Return the shapes of the trained weights, by layer and number."""
        found: Shapes = {}
        width = self.channels
        if self.name == "segments":
            width = self.units[0]
            found |= {"segment_embedding/0": (SEGMENT, width), "segment_embedding/1": (width,)}
        for index, (filters, kernel) in enumerate(zip(self.filters, KERNELS, strict=False)):
            found[f"convolution_{index}/0"] = (kernel, width, filters)
            found |= {f"batch_normalization_{index}/{number}": (filters,) for number in (0, 1)}
            width = filters
        mean = width if self.filters else 0
        for index, units in enumerate(self.units):
            found[f"noisy_gru_{index}/0"] = (width, 3 * units)
            found[f"noisy_gru_{index}/1"] = (units, 3 * units)
            found[f"noisy_gru_{index}/2"] = (2, 3 * units)
            width = units
        if self.name == "segments":
            found |= {"positions/0": (self.positions, width // 2), "positions/1": (self.channels, width // 2)}
        outputs = {"segments": SEGMENT, "convolutions": CLASSES, "members": 1}[self.name]
        head = "logits" if self.name == "convolutions" else "prediction"
        return {**found, f"{head}/0": (width + mean, outputs), f"{head}/1": (outputs,)}

    @property
    def operations(self) -> int:
        """Floating-point operations of the matrix products and convolutions of a step, the backward ones included."""
        rows = self.batch * (self.channels if self.name == "segments" else 1)
        read = {"segments": self.steps // SEGMENT, "convolutions": POOL, "members": self.steps}[self.name]
        steps = {"convolution": self.steps, "noisy_gru": read + self.positions, "segment": read}
        total = 0
        for name, shape in self.shapes().items():
            kind = next((each for each in steps if name.startswith(each)), "head")
            if len(shape) > 1 and not name.startswith("positions") and (kind != "noisy_gru" or name[-1] != "2"):
                total += 3 * 2 * rows * steps.get(kind, max(self.positions, 1)) * int(np.prod(shape))
        return total * (MEMBERS if self.name == "members" else 1)


MODEL_CASES = {
    each.name: each
    for each in (
        ModelCase("segments", 32, 96, 7, (128,), rounds=20, calls=5, horizon=96),
        ModelCase("convolutions", 16, 150, 3, (64, 32), rounds=20, calls=5, filters=(64, 128, 64)),
        ModelCase("members", 32, 20, 10, (64, 32, 16), rounds=20, calls=5),
    )
}


def make_problem(case: ModelCase, path: Path) -> None:
    """Write data and weights that all contenders start from; those of members differ by `member/`."""
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {"x": random.normal(size=(case.batch, case.steps, case.channels)).astype(np.float32)}
    if case.name == "convolutions":
        arrays["y"] = random.integers(0, CLASSES, case.batch)
    else:
        shape = (case.batch, case.horizon, case.channels) if case.name == "segments" else (case.batch, 1)
        arrays["y"] = random.normal(size=shape).astype(np.float32)
    for prefix in prefixes(case.name):
        for name, shape in case.shapes().items():
            scale = 0.5 / np.sqrt(int(np.prod(shape[:-1])))
            values = random.normal(scale=scale, size=shape) + (1.0 if name.startswith("batch_normalization") else 0.0)
            arrays[prefix + name] = values.astype(np.float32)
    np.savez(path, case=np.array(case.name), **arrays)


def prefixes(name: str) -> list[str]:
    """Return the beginning of the names of each member's weights."""
    return [f"{number}/" for number in range(MEMBERS)] if name == "members" else [""]
