"""Statistics of each feature by split, as StatisticsGen counted them, and how far the splits lie apart.

The distances are those of TensorFlow Data Validation's comparators: of numbers the Jensen-Shannon divergence (base 2)
of their histograms, of categories the largest difference of a share (L-infinity).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorflow_metadata.proto.v0 import statistics_pb2

from noisy_gru.data.columns import HORIZON_PREFIXES, SEQUENCE_ID, STEPS
from noisy_gru.pipeline.report.artifacts import AbsentError, Artifacts

# Generated code, of which type checkers see nothing.
_proto: Any = statistics_pb2
STATISTICS = "FeatureStats.pb"
_STANDARD = 0  # the histogram of equal widths
_CATEGORIES_SHOWN = 10
_BINS = 20


def feature_account(artifacts: Artifacts, examples: bool) -> dict[str, Any]:
    """Return `splits`, and `features`: of each its numbers by split, and its distance from train.

    Raises:
        AbsentError: the run ended before StatisticsGen did, or its artifact is gone.
    """
    folder = artifacts.folder("StatisticsGen", "statistics")
    splits = {path.parent.name.removeprefix("Split-"): path for path in sorted(folder.glob(f"Split-*/{STATISTICS}"))}
    order = [name for name in ("train", "eval", "test") if name in splits]
    if not order:
        raise AbsentError(f"Nothing to show: {folder} holds no {STATISTICS}.")
    found = {split: _read(splits[split]) for split in order}
    names = [name for name in found[order[0]] if name not in (SEQUENCE_ID, STEPS)]
    names = [name for name in names if not name.startswith(HORIZON_PREFIXES[1:])]
    if not names:
        raise AbsentError(f"Nothing to show: {splits[order[0]]} holds no feature.")
    features = [_feature(name, {split: found[split].get(name) for split in order}, examples) for name in names]
    return {"splits": order, "features": features, "drift": drift_account(artifacts.record.plan or {})}


def drift_account(plan: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a plan's drift tests of the new data; None where none were made."""
    for reason in plan.get("reasons", []):
        numbers = reason.get("numbers") or {}
        if reason.get("rule") == "drift" and numbers.get("features"):
            return {"text": reason.get("text", ""), "met": bool(reason.get("met")), **numbers}
    return None


def _read(file: Path) -> dict[str, Any]:
    statistics = _proto.DatasetFeatureStatisticsList.FromString(file.read_bytes())
    return {".".join(feature.path.step): feature for part in statistics.datasets for feature in part.features}


def _feature(name: str, by_split: dict[str, Any], examples: bool) -> dict[str, Any]:
    splits = {split: _numbers(feature) for split, feature in by_split.items() if feature is not None}
    train = by_split.get("train")
    distances = {
        split: _distance(train, feature)
        for split, feature in by_split.items()
        if split != "train" and train is not None and feature is not None
    }
    numeric = [feature for feature in by_split.values() if feature is not None and feature.HasField("num_stats")]
    content: dict[str, Any] = {"name": name, "kind": "number" if numeric else "category", "splits": splits}
    content["distance"] = {split: value for split, value in distances.items() if value is not None}
    if numeric:
        edges = _edges(numeric)
        content["edges"] = edges
        content["shares"] = {
            split: _shares(feature, edges)
            for split, feature in by_split.items()
            if feature is not None and feature.HasField("num_stats")
        }
    elif examples:
        content["shares"] = {split: _top(feature) for split, feature in by_split.items() if feature is not None}
    return content


def _numbers(feature: Any) -> dict[str, Any]:
    if not feature.HasField("num_stats"):
        statistics = feature.string_stats
        values = statistics.common_stats.tot_num_values
        empty = sum(bucket.sample_count for bucket in statistics.rank_histogram.buckets if bucket.label == "")
        return {"values": values, "missing": empty / values if values else None, "distinct": statistics.unique}
    statistics = feature.num_stats
    missing = max((histogram.num_nan for histogram in statistics.histograms), default=0)
    values = statistics.common_stats.tot_num_values
    found = {"values": values, "missing": missing / values if values else None}
    if values <= missing:
        return found
    names = {"mean": "mean", "std": "std_dev", "min": "min", "median": "median", "max": "max"}
    return found | {name: getattr(statistics, field) for name, field in names.items()}


def _histogram(feature: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the low and high ends and the counts of the finest histogram, the quantiles'."""
    histograms = sorted(feature.num_stats.histograms, key=lambda each: each.type == _STANDARD)
    buckets = [each for each in histograms[0].buckets if np.isfinite([each.low_value, each.high_value]).all()]
    rows = np.array([(each.low_value, each.high_value, each.sample_count) for each in buckets], float).reshape(-1, 3)
    return rows[:, 0], rows[:, 1], rows[:, 2]


def _edges(features: list[Any]) -> np.ndarray:
    ends = np.concatenate(
        [np.concatenate(_histogram(feature)[:2]) for feature in features if _has_buckets(feature)] or [[]]
    )
    if not len(ends):
        return np.zeros(0)
    low, high = float(ends.min()), float(ends.max())
    return np.linspace(low, high if high > low else low + 1.0, _BINS + 1)


def _has_buckets(feature: Any) -> bool:
    return bool(feature.num_stats.histograms) and len(_histogram(feature)[0]) > 0


def _shares(feature: Any, edges: np.ndarray) -> np.ndarray:
    """Return the part of the values in each bin, spread evenly within each bucket of the quantiles."""
    if len(edges) < 2 or not _has_buckets(feature):
        return np.zeros(max(len(edges) - 1, 0))
    low, high, counts = _histogram(feature)
    width = np.maximum(high - low, (edges[1] - edges[0]) * 1e-6)
    below = np.clip((edges[:, None] - low) / width, 0, 1) @ counts
    below[-1] = counts.sum()
    return np.diff(below) / max(counts.sum(), 1e-12)


def _categories(feature: Any) -> dict[str, float]:
    buckets = feature.string_stats.rank_histogram.buckets
    total = sum(bucket.sample_count for bucket in buckets)
    return {bucket.label: bucket.sample_count / total for bucket in buckets} if total else {}


def _top(feature: Any) -> dict[str, float]:
    return dict(sorted(_categories(feature).items(), key=lambda each: -each[1])[:_CATEGORIES_SHOWN])


def _distance(train: Any, other: Any) -> float | None:
    if train.HasField("num_stats") != other.HasField("num_stats"):
        return None
    if not train.HasField("num_stats"):
        one, two = _categories(train), _categories(other)
        return max((abs(one.get(key, 0.0) - two.get(key, 0.0)) for key in {*one, *two}), default=None)
    edges = _edges([train, other])
    if not len(edges) or not (_has_buckets(train) and _has_buckets(other)):
        return None
    return jensen_shannon(_shares(train, edges), _shares(other, edges))


def jensen_shannon(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Jensen-Shannon divergence of two arrays of shares, base 2, in [0, 1]."""
    middle = (one + other) / 2

    def part(shares: np.ndarray) -> float:
        there = shares > 0
        return float((shares[there] * np.log2(shares[there] / middle[there])).sum())

    return max((part(one) + part(other)) / 2, 0.0)
