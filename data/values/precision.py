"""Loss of precision in float32, which models read: columns whose values are far from zero and close together.

>>> kept = sample(1.7e9 + np.arange(40.0))
>>> finding("seen", kept).lost
39

Seconds since 1970 are an example: near 1.7e9, float32 has every 128th integer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from noisy_gru.schema.config import ClassificationConfig, DatasetConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.task_config import targets_of

ROWS_LOOKED_AT = 4096
KEPT = 64
# Values that differ by less than 2 ** -40 of them differ by the rounding of float64 arithmetic.
_BITS = 40
# With fewer float32 numbers between the lowest and the highest value, an offset is required.
_FEWEST_STEPS = 1024
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class PrecisionLoss:
    """The loss of a column in float32: of ``values`` distinct sample values, ``lost`` become equal to another.

    ``step`` is the distance of float32 numbers there, ``steps`` the range of the values in it, ``offset`` a remedy.
    """

    column: str
    values: int
    lost: int
    step: float
    steps: float
    offset: float

    @property
    def is_severe(self) -> bool:
        """Whether the column is nearly constant in float32, and an offset would prevent it."""
        return self.steps < _FEWEST_STEPS

    def __str__(self) -> str:
        return (
            f"{self.column}: float32, in which models read numbers, makes {self.values - self.lost} of {self.values} "
            f"different values (near {self.offset:.10g} its numbers are {self.step:g} apart)"
        )


def sample_distinct(values: np.ndarray) -> list[float]:
    """Return some distinct values of a column float64 [N]; ``merge_samples`` makes one fair sample of several."""
    some = values[:ROWS_LOOKED_AT]
    some = some[np.abs(some) <= np.finfo(np.float32).max]  # beyond it, values are infinite
    mantissa, exponent = np.frexp(some)
    some = np.unique(np.ldexp(np.round(np.ldexp(mantissa, _BITS)), exponent - _BITS)) + 0.0
    return merge_samples(some.tolist())


def merge_samples(values: list[float]) -> list[float]:
    """Sample distinct values by the hash of their bits, independent of their order."""
    array = np.array(sorted(set(values)))
    bits = array.view(np.uint64)
    bits = (bits ^ (bits >> np.uint64(33))) * _MIX
    order = np.argsort((bits ^ (bits >> np.uint64(29))) * _MIX, kind="stable")
    return np.sort(array[order[:KEPT]]).tolist()


def precision_loss(column: str, values: list[float]) -> PrecisionLoss | None:
    """Return the loss of a column if it is at least half of the sample's values."""
    array = np.array(values)
    if len(array) < 2:
        return None
    single = array.astype(np.float32)
    distinct = len(np.unique(single))
    lost = len(array) - distinct
    if lost * 2 < len(array):
        return None
    step = float(np.spacing(np.abs(single).max()))
    return PrecisionLoss(column, len(array), lost, step, float(np.ptp(array)) / step, suggest_offset(array))


def suggest_offset(values: np.ndarray) -> float:
    """Return a round number below all values, on the scale of their range."""
    low, spread = float(values.min()), float(np.ptp(values)) or 1.0
    unit = 10.0 ** np.ceil(np.log10(spread))
    return float(np.floor(low / unit) * unit)


def precision_losses(samples: Mapping[str, list[float]]) -> list[PrecisionLoss]:
    """Return the losses of all columns, in alphabetical order."""
    found = [precision_loss(name, values) for name, values in sorted(samples.items())]
    return [each for each in found if each is not None]


def check_precision(samples: Mapping[str, list[float]], dataset: DatasetConfig) -> None:
    """Reject columns that are nearly constant in float32.

    Args:
        samples: for each column the result of ``merge_samples`` for all its values.
        dataset: the configuration.

    Raises:
        DataError: names the columns and the remedy.
    """
    severe = [each for each in precision_losses(samples) if each.is_severe]
    if not severe:
        return
    task = dataset.task
    predicted = [task.label] if isinstance(task, ClassificationConfig) else targets_of(task)
    lines = []
    for each in severe:
        remedy = (
            "it is predicted, so subtract a constant from it in the data, or predict its differences"
            if each.column in predicted
            else f"give the feature an offset: {{name: {each.column}, offset: {each.offset:.17g}}}"
        )
        lines.append(f"{each}: {remedy}")
    raise DataError("\n".join(lines))
