"""Compare two runs: configuration, data, packages, metrics and durations.

>>> compare(first, second).config  # doctest: +SKIP
[Difference(what='training.epochs', first=60, second=80)]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from noisy_gru.pipeline.runs.run_record import RunRecord


@dataclass(frozen=True)
class Difference:
    """A value that differs between two runs; None where a run has none."""

    what: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Number:
    """A number of both runs, and the second minus the first; None where a run doesn't have it."""

    name: str
    first: float | None
    second: float | None
    change: float | None


@dataclass(frozen=True)
class RunComparison:
    """The differences between two runs, and their metrics and durations.

    Attributes:
        runs: ids of the runs.
        outcome: differences in status, steps' status, published version and refusals.
        config: configuration keys whose values differ; dots between keys, a number for an item of a list.
        data: rows, sequences and spans that differ.
        files: input files, by name, whose sha256 differ.
        packages: package versions that differ, and `source` if our own code does.
        metrics: every metric of either run.
        slices: every metric of either run, by slice.
        seconds: duration of every step of either run, and of the runs (`all`).
    """

    runs: tuple[str, str]
    outcome: list[Difference]
    config: list[Difference]
    data: list[Difference]
    files: list[Difference]
    packages: list[Difference]
    metrics: list[Number]
    slices: dict[str, list[Number]]
    seconds: list[Number]

    def to_dict(self) -> dict[str, Any]:
        """Return the object that ``runs compare --json`` prints."""
        return asdict(self)


def compare(first: RunRecord, second: RunRecord) -> RunComparison:
    """Compare two runs, which may be under different roots."""
    outcomes = [
        record.model_dump(include={"pipeline", "status", "version", "refusals", "error", "warm_start"})
        | {f"steps.{step.name}": step.status for step in record.steps}
        for record in (first, second)
    ]
    durations = [
        {step.name: step.seconds for step in record.steps} | {"all": record.seconds} for record in (first, second)
    ]
    slices = [*second.slices, *(name for name in first.slices if name not in second.slices)]
    return RunComparison(
        runs=(first.run_id, second.run_id),
        outcome=differences(*outcomes),
        config=differences(flat(first.config), flat(second.config)),
        data=differences(_data(first), _data(second)),
        files=differences(file_hashes(first), file_hashes(second)),
        packages=environment_differences(first, second),
        metrics=numbers(first.metrics, second.metrics),
        slices={name: numbers(first.slices.get(name, {}), second.slices.get(name, {})) for name in slices},
        seconds=numbers(*durations),
    )


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Return the keys whose values differ, in the order of the second mapping, then of the first."""
    keys = [*second, *(key for key in first if key not in second)]
    found = [Difference(key, first.get(key), second.get(key)) for key in keys]
    return [each for each in found if each.first != each.second]


def flat(value: Any, key: str = "") -> dict[str, Any]:
    """Flatten a nested value to a mapping with dotted keys; lists of plain values stay whole."""
    children: dict[str, Any] = {}
    if isinstance(value, Mapping):
        children = {str(name): child for name, child in value.items()}
    elif isinstance(value, list) and any(isinstance(child, Mapping | list) for child in value):
        children = {str(index): child for index, child in enumerate(value)}
    if not children:
        return {key: value}
    return {k: v for name, child in children.items() for k, v in flat(child, f"{key}.{name}".lstrip(".")).items()}


def numbers(first: Mapping[str, float], second: Mapping[str, float]) -> list[Number]:
    """Pair the numbers of two runs, in the order of the second, then of the first."""
    names = [*second, *(name for name in first if name not in second)]
    return [_number(name, first.get(name), second.get(name)) for name in names]


def file_hashes(record: RunRecord) -> dict[str, str]:
    """Return the sha256 of each input file, by name."""
    return {name: str(file.get("sha256")) for name, file in record.inputs.items()}


def environment_differences(first: RunRecord, second: RunRecord) -> list[Difference]:
    """Return the packages whose versions differ, and `source` if our own code does."""
    own = [{**record.packages, "source": record.fingerprint[:12]} for record in (first, second)]
    return differences(*own)


def _number(name: str, first: float | None, second: float | None) -> Number:
    if first is None or second is None:
        return Number(name, first, second, None)
    # Two NaN, or twice the same infinity, are no change.
    same = first == second or (math.isnan(first) and math.isnan(second))
    return Number(name, first, second, 0.0 if same else second - first)


def _data(record: RunRecord) -> dict[str, Any]:
    rows = {} if record.rows is None else flat(record.rows.model_dump(), "rows")
    sequences = {f"sequences.{split}": count for split, count in record.sequences.items()}
    spans = [span["span"] for span in record.spans]
    return {**rows, **sequences, "spans": spans or None, "seed": record.seed}
