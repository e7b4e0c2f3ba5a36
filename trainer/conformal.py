"""Split conformal calibration: what widens or narrows a model's quantiles to their nominal coverage on the eval split.

>>> offsets_of(np.zeros((9, 1)), np.arange(1.0, 10)[:, None], Plan([0.05, 0.5, 0.95], is_trained=False))
array([[-9.,  0.,  9.]])

With n known targets of a horizon and target on eval, an interval of coverage c gets the k-th smallest of the n scores,
k = ceil((n + 1) c), as its offset. Scores are, of a target y,

    |y - prediction|                        around a prediction (task.intervals; Lei et al. 2018)
    max(q_lower - y, y - q_upper)           of two trained quantiles (conformalized quantile regression, Romano et al.
                                            2019); negative where y is inside, so that an interval may become narrower
    y - q, or q - y                         of a quantile above or below the median that has no counterpart

in the target's scaled units, or divided by the window's own scale (`model.window_normalization: mean_std` or
`mean_abs`), so that series of any size share one offset. A new target like those of eval then is inside with a
probability of c or more.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from noisy_gru.schema.config import ForecastingConfig, TaskConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.interval_config import MEDIAN, levels_of, pairs_of
from noisy_gru.schema.task_config import has_several_targets, targets_of

_FORMAT = 1
# Of (n + 1) c, so that 9 sequences do for 0.9.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Plan:
    """What is calibrated.

    Attributes:
        levels: of the quantiles, rising, Q of them.
        is_trained: whether the model has Q outputs; else one, the prediction.
    """

    levels: list[float]
    is_trained: bool

    @classmethod
    def of(cls, task: TaskConfig) -> Plan:
        """Return the plan of a task with quantiles or intervals."""
        return cls(levels_of(task), getattr(task, "quantiles", None) is not None)

    @property
    def sides(self) -> list[tuple[float, int | None, int | None]]:
        """Coverage, and the places of the lower and upper quantile, of each interval; None for a side without one."""
        pairs = [(each.coverage, each.lower, each.upper) for each in pairs_of(self.levels)]
        paired = {place for _, *places in pairs for place in places}
        alone = [
            (1 - level, place, None) if level < MEDIAN else (level, None, place)
            for place, level in enumerate(self.levels)
            if level != MEDIAN and place not in paired
        ]
        return [*pairs, *alone]


@dataclass(frozen=True)
class Calibration:
    """The offsets of a model's quantiles, as the served graph adds them.

    Attributes:
        levels: of the quantiles.
        offsets: [H][K][Q], or [1][Q] of a regression; in units of `units`.
        units: `target`: the target's scale; `window`: that of each window.
        scale: of each target in the units of the data.
        sequences: of eval that were used.
        coverage_before: share of eval's targets in each interval before the calibration, by its nominal coverage.
    """

    levels: list[float]
    offsets: Any
    units: Literal["target", "window"]
    scale: dict[str, float]
    sequences: int
    coverage_before: dict[str, float]

    def to_json(self) -> str:
        """Return the content of `calibration.json`."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Parse what `to_json` returned.

        Raises:
            ValueError: another version of the package wrote it.
        """
        content = json.loads(text)
        if (found := content.pop("format")) != _FORMAT:
            raise ValueError(f"expected the format {_FORMAT} of a calibration, received {found}")
        return cls(**content)

    def __str__(self) -> str:
        shares = ", ".join(f"{name} covered {share:.3f}" for name, share in self.coverage_before.items())
        return f"calibrated on {self.sequences} sequences of eval: {shares or 'quantiles'} before"


def fewest(coverage: float) -> int:
    """Return how many known targets a calibration to a coverage needs: ceil(c / (1 - c))."""
    return math.ceil(coverage / (1 - coverage) - _ROUNDING)


def check_targets(task: TaskConfig, targets: np.ndarray) -> None:
    """Check that eval has enough known targets of each horizon.

    Args:
        task: with quantiles or intervals.
        targets: of eval, float [N, H * K] or [N, 1]; NaN where missing.

    Raises:
        DataError: it hasn't.
    """
    coverage = max(share for share, *_ in Plan.of(task).sides)
    needed = fewest(coverage)
    counts = np.isfinite(targets).sum(axis=0)
    place = int(counts.argmin())
    if counts[place] >= needed:
        return
    where = ""
    if isinstance(task, ForecastingConfig):
        horizon, target = divmod(place, len(task.targets))
        where = f" of {task.targets[target]} at horizon {task.horizons[horizon]}"
    elif has_several_targets(task):
        where = f" of {task.targets[place]}"
    raise DataError(
        f"An interval that covers {coverage:g} is calibrated on at least {needed} known targets of the eval split, "
        f"which has {counts[place]}{where}. Enlarge splits.eval (or eval_from_train), ask for less coverage, or train "
        "quantiles with task.calibration: {method: none}."
    )


def offsets_of(predicted: np.ndarray, truth: np.ndarray, plan: Plan, scale: np.ndarray | float = 1.0) -> np.ndarray:
    """Return the offsets of the quantiles, float64 [..., Q].

    Args:
        predicted: of eval, [N, ...], or [N, ..., Q] of trained quantiles.
        truth: the targets, [N, ...]; NaN where missing.
        plan: what to calibrate.
        scale: to divide scores by, as `truth`.
    """
    offsets = np.zeros((*truth.shape[1:], len(plan.levels)))
    for coverage, lower, upper in plan.sides:
        if plan.is_trained:
            outside = [predicted[..., lower] - truth] if lower is not None else []
            outside += [truth - predicted[..., upper]] if upper is not None else []
            scores = np.maximum.reduce(outside)
        else:
            scores = np.abs(truth - predicted)
        offset = _conformal_quantile(scores / scale, coverage)
        if lower is not None:
            offsets[..., lower] = -offset
        if upper is not None:
            offsets[..., upper] = offset
    return offsets


def _conformal_quantile(scores: np.ndarray, coverage: float) -> np.ndarray:
    """Return the ceil((n + 1) c)-th smallest of the n scores along the first axis that are no NaN."""
    known = (~np.isnan(scores)).sum(axis=0)
    rank = np.ceil((known + 1) * coverage - _ROUNDING).astype(np.int64)
    if (rank > known).any():
        raise ValueError(f"a coverage of {coverage:g} needs {fewest(coverage)} scores, received {known.min()}")
    return np.take_along_axis(np.sort(scores, axis=0), rank[np.newaxis] - 1, axis=0)[0]


def coverage_of(predicted: np.ndarray, truth: np.ndarray, plan: Plan) -> dict[str, float]:
    """Return the share of known targets in each interval between trained quantiles, by its nominal coverage."""
    if not plan.is_trained:
        return {}
    known = ~np.isnan(truth)
    found = {}
    for interval in pairs_of(plan.levels):
        inside = (truth >= predicted[..., interval.lower]) & (truth <= predicted[..., interval.upper])
        found[f"{interval.coverage:g}"] = float(inside[known].mean())
    return found


def calibrate(
    predicted: np.ndarray, truth: np.ndarray, task: TaskConfig, scale: Sequence[float], window: np.ndarray | None
) -> Calibration:
    """Calibrate a model's quantiles or intervals.

    Args:
        predicted: the model's outputs for eval, in scaled units: float [N, *shape] or [N, *shape, Q].
        truth: the scaled targets, [N, *shape]; NaN where missing.
        task: with quantiles or intervals.
        scale: of each target in the units of the data.
        window: scale of each window in those scaled units, [N, K]; None: all have the target's.
    """
    plan = Plan.of(task)
    divisor = 1.0 if window is None else window[:, np.newaxis, :].astype(np.float64)
    offsets = offsets_of(predicted.astype(np.float64), truth.astype(np.float64), plan, divisor)
    targets = targets_of(task)
    return Calibration(
        levels=plan.levels,
        offsets=offsets.astype(np.float32).astype(float).tolist(),
        units="target" if window is None else "window",
        scale=dict(zip(targets, map(float, scale), strict=True)),
        sequences=len(truth),
        coverage_before=coverage_of(predicted, truth, plan),
    )
