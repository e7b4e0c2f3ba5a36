"""Accumulators of the metrics: sums over sequences, their merge, and the metrics of a sum.

Plain NumPy. The sums of a task are a dictionary of arrays; sums are merged by adding, moments by Chan's update.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from noisy_gru.components.evaluation.interval_metrics import metrics_of_sums, sums_of
from noisy_gru.components.evaluation.metric_catalogue import (
    EXAMPLE_COUNT,
    MAE_OF_NAIVE,
    NAIVE_COUNT,
    PRECISION,
    RECALL,
    WITH_NAIVE,
    cells,
    naive_baselines,
)
from noisy_gru.components.evaluation.score_counts import (
    average_precisions,
    merge_counts,
    score_codes,
    score_codes_of,
)
from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig, RegressionConfig, TaskConfig
from noisy_gru.schema.task_config import has_several_targets, is_per_step

Sums = dict[str, np.ndarray]
# Of a classification: its classes, and how often a score was given (see score_counts.py).
_CLASSES, _CODES, _CODE_COUNTS = "classes", "codes", "code_counts"
_LEAST_PROBABILITY = 1e-7  # what log_loss takes a smaller probability for, as Keras does


def ratio(value: float, by: float) -> float:
    """``value / by``; for a perfect baseline 1 if the model is perfect as well, else infinity."""
    if by == 0:
        return 1.0 if value == 0 else float("inf")
    return value / by


def answered_class(outputs: dict[str, np.ndarray]) -> int | None:
    """Return the index of the predicted class; None if its probabilities aren't finite.

    The model's ``class_id`` decides, which follows `task.threshold`.
    """
    probabilities = np.asarray(outputs["probabilities"])
    if np.isnan(probabilities).any():
        return None
    return int(np.asarray(outputs["class_id"]).reshape(-1)[0]) if "class_id" in outputs else int(probabilities.argmax())


def class_loss(label: bytes, classes: list[bytes], probabilities: np.ndarray) -> float:
    """Return the negative log probability of the true class; NaN if the probabilities aren't finite."""
    if np.isnan(probabilities).any():
        return float("nan")
    chosen = probabilities[classes.index(label)] if label in classes else 0.0
    return float(-np.log(np.clip(chosen, _LEAST_PROBABILITY, 1.0)))


class Accumulator:
    """Sums of one task."""

    def one(self, label: Any, outputs: dict[str, np.ndarray], features: dict[str, np.ndarray]) -> Sums:
        """Return the sums of one sequence.

        Args:
            label: see the subclass.
            outputs: the model's answer for it, by name of the output.
            features: the naive forecasts, by key of the tf.Example.
        """
        raise NotImplementedError

    def merge(self, sums: Iterable[Sums]) -> Sums:
        """Return the sums of all."""
        total: Sums = {}
        for part in sums:
            for key, value in part.items():
                total[key] = total[key] + value if key in total else value
        return total

    def metrics(self, sums: Sums) -> dict[str, float]:
        """Return the metrics by name."""
        raise NotImplementedError


class Classification(Accumulator):
    """Counts of true and predicted classes, and of scores; the last row is for classes unseen in training.

    Args:
        positive: `task.positive`, the class that PR-AUC is of where there are two; None: the rarer one in train.
    """

    def __init__(self, positive: str | None = None) -> None:
        self._positive = None if positive is None else positive.encode()

    def one(self, label: Any, outputs: dict[str, np.ndarray], features: dict[str, np.ndarray]) -> Sums:
        """``label`` is the class (bytes); ``outputs`` holds `probabilities` [C], `labels_bytes` [C] and `class_id`."""
        probabilities = np.asarray(outputs["probabilities"], np.float64)
        classes = [bytes(name) for name in outputs["labels_bytes"]]
        confusion = np.zeros((len(classes) + 1, len(classes)))
        true = classes.index(label) if label in classes else len(classes)
        answered = answered_class(outputs)
        if answered is not None:  # else no class is predicted, so the answer is wrong
            confusion[true, answered] = 1
        codes = score_codes(probabilities, true)
        return {
            "confusion": confusion,
            "true": np.bincount([true], minlength=len(classes) + 1).astype(float),
            "loss": np.array(class_loss(label, classes, probabilities)),
            _CLASSES: np.array(classes, object),
            _CODES: codes,
            _CODE_COUNTS: np.ones(len(codes)),
        }

    def merge(self, sums: Iterable[Sums]) -> Sums:
        parts = list(sums)
        if not parts:
            return {}
        separate = (_CLASSES, _CODES, _CODE_COUNTS)
        total = super().merge({key: value for key, value in part.items() if key not in separate} for part in parts)
        total[_CLASSES] = parts[0][_CLASSES]
        total[_CODES], total[_CODE_COUNTS] = merge_counts(*([part[key] for part in parts] for key in separate[1:]))
        return total

    def metrics(self, sums: Sums) -> dict[str, float]:
        confusion, true = sums["confusion"], sums["true"]
        count = true.sum()
        hits = np.diagonal(confusion)
        present = true > 0
        known = present[:-1]
        # A class that train never showed has a recall of 0.
        recalls = np.concatenate([hits[known] / true[:-1][known], np.zeros(int(present[-1]))])
        predicted = confusion.sum(axis=0)
        either = known | (predicted > 0)
        scores = 2 * hits[either] / (true[:-1][either] + predicted[either])
        scores = np.concatenate([scores, np.zeros(int(present[-1]))])
        accuracy = hits.sum() / count
        majority = true[0] / count
        return {
            EXAMPLE_COUNT: float(count),
            "accuracy": float(accuracy),
            "balanced_accuracy": float(recalls.mean()),
            "macro_f1": float(scores.mean()),
            "pr_auc": self._pr_auc(sums),
            "log_loss": float(sums["loss"] / count),
            "accuracy_majority": float(majority),
            "accuracy_gain_over_majority": float(accuracy - majority),
        }

    def by_class(self, sums: Sums) -> dict[str, float]:
        """Return recall of each class that occurs and precision of each predicted one; 0 if unseen in training."""
        confusion, true = sums["confusion"], sums["true"]
        hits, predicted = np.diagonal(confusion), confusion.sum(axis=0)
        found = {}
        for place, name in enumerate(sums[_CLASSES]):
            text = name.decode("utf-8", "replace")
            if true[place] > 0:
                found[f"{RECALL}{text}"] = float(hits[place] / true[place])
            if predicted[place] > 0:
                found[f"{PRECISION}{text}"] = float(hits[place] / predicted[place])
        return found

    def _pr_auc(self, sums: Sums) -> float:
        """NaN if an answer is no number, or no sequence has the class."""
        if np.isnan(sums["loss"]):
            return float("nan")
        classes = list(sums[_CLASSES])
        areas = average_precisions(sums[_CODES], sums[_CODE_COUNTS], len(classes))
        if len(classes) == 2:
            return float(areas[classes.index(self._positive) if self._positive in classes else 1])
        occurring = areas[~np.isnan(areas)].tolist() + [0.0] * bool(sums["true"][-1] > 0)
        return float(np.mean(occurring))


class StepClassification(Classification):
    """The sums of a classification over the steps of all sequences that have a label."""

    def one(self, label: Any, outputs: dict[str, np.ndarray], features: dict[str, np.ndarray]) -> Sums:
        """``label`` is the class of each step, an array of bytes [T], empty where unknown.

        ``outputs`` holds `probabilities` [T, C], `labels_bytes` [C] and `class_id` [T], maybe of more steps.
        """
        classes = [bytes(name) for name in outputs["labels_bytes"]]
        names, probabilities, answered = known_steps(label, outputs)
        place = {name: number for number, name in enumerate(classes)}
        true = np.array([place.get(name, len(classes)) for name in names], np.int64)
        whole = ~np.isnan(probabilities).any(axis=1)
        confusion = np.zeros((len(classes) + 1, len(classes)))
        np.add.at(confusion, (true[whole], answered[whole]), 1)
        # A class that train never showed has no probability.
        chosen = np.pad(probabilities, [(0, 0), (0, 1)])[np.arange(len(true)), true]
        codes, counts = np.unique(score_codes_of(probabilities[whole], true[whole]), return_counts=True)
        return {
            "confusion": confusion,
            "true": np.bincount(true, minlength=len(classes) + 1).astype(float),
            "loss": np.array(-np.log(np.clip(chosen, _LEAST_PROBABILITY, 1.0)).sum()),
            _CLASSES: np.array(classes, object),
            _CODES: codes,
            _CODE_COUNTS: counts.astype(float),
        }


def known_steps(label: Any, outputs: dict[str, np.ndarray]) -> tuple[list[bytes], np.ndarray, np.ndarray]:
    """Return the labels [N] of the steps that have one, with probabilities float64 [N, C] and answered classes [N]."""
    places = [step for step, name in enumerate(label) if name]
    probabilities = np.asarray(outputs["probabilities"], np.float64)[places]
    answered = np.asarray(outputs["class_id"])[places].astype(np.int64)
    return [bytes(label[step]) for step in places], probabilities, answered


class Regression(Accumulator):
    """Sums of errors, and the moments of the labels."""

    def __init__(self, task: RegressionConfig) -> None:
        self._task = task

    def one(self, label: Any, outputs: dict[str, np.ndarray], features: dict[str, np.ndarray]) -> Sums:
        """``label`` is the number; ``outputs`` holds `predictions` [1], and `quantiles` [1, Q] if there are some."""
        error = float(np.asarray(outputs["predictions"]).reshape(-1)[0]) - label
        return {
            "count": np.array(1.0),
            "absolute": np.array(abs(error)),
            "squared": np.array(error**2),
            "mean": np.array(label),
            "deviation": np.array(0.0),
            **sums_of(np.array([label]), outputs, features, self._task),
        }

    def merge(self, sums: Iterable[Sums]) -> Sums:
        total: Sums = {}
        for part in sums:
            total = _merge_moments(total, part) if total else part
        return total

    def metrics(self, sums: Sums) -> dict[str, float]:
        count = float(sums["count"])
        mse, variance = float(sums["squared"]) / count, float(sums["deviation"]) / count
        return {
            EXAMPLE_COUNT: count,
            "mae": float(sums["absolute"]) / count,
            "rmse": mse**0.5,
            "r2": 1.0 - ratio(mse, variance),
            "rmse_naive_mean": variance**0.5,
            "rmse_over_naive_mean": ratio(mse**0.5, variance**0.5),
            **dict(metrics_of_sums(sums, self._task)),
        }


class Regressions(Regression):
    """Sums of errors and moments by target, of several; a target that is missing counts in none."""

    def one(self, label: Any, outputs: dict[str, np.ndarray], features: dict[str, np.ndarray]) -> Sums:
        """``label`` is float [K], NaN where unknown; ``outputs`` holds `predictions` [K], and maybe `quantiles`."""
        known = ~np.isnan(label)
        error = np.where(known, np.asarray(outputs["predictions"], np.float64).reshape(label.shape) - label, 0.0)
        return {
            "sequences": np.array(1.0),
            "count": known.astype(np.float64),
            "absolute": np.abs(error),
            "squared": error**2,
            "mean": np.where(known, label, 0.0),
            "deviation": np.zeros(label.shape),
            **sums_of(label, outputs, features, self._task),
        }

    def metrics(self, sums: Sums) -> dict[str, float]:
        count, whole = sums["count"], float(sums["count"].sum())
        found = {
            EXAMPLE_COUNT: float(sums["sequences"]),
            "mae": float(sums["absolute"].sum()) / whole if whole else float("nan"),
            "rmse": (float(sums["squared"].sum()) / whole) ** 0.5 if whole else float("nan"),
            "r2": float("nan"),
            **dict(metrics_of_sums(sums, self._task)),
        }
        explained = []
        for place, target in enumerate(self._task.targets):
            number = float(count[place])
            absolute, squared, deviation = (
                float(sums[name][place]) / number if number else float("nan")
                for name in ("absolute", "squared", "deviation")
            )
            explained.append(1.0 - ratio(squared, deviation))
            found |= {
                f"mae/{target}": absolute,
                f"rmse/{target}": squared**0.5,
                f"r2/{target}": explained[-1],
                f"rmse_naive_mean/{target}": deviation**0.5,
                f"rmse_over_naive_mean/{target}": ratio(squared**0.5, deviation**0.5),
            }
            found |= {f"{name}/{target}": value for name, value in metrics_of_sums(sums, self._task, ([place],))}
        return found | {"r2": float(np.mean(explained))}


def _merge_moments(a: Sums, b: Sums) -> Sums:
    """Add sums; mean and sum of squared deviations by Chan's update, which doesn't cancel."""
    count = a["count"] + b["count"]
    delta = b["mean"] - a["mean"]
    by = np.maximum(count, 1.0)  # of several targets one may be unknown in both
    return {
        **{name: a[name] + b[name] for name in a},
        "count": count,
        "mean": a["mean"] + delta * b["count"] / by,
        "deviation": a["deviation"] + b["deviation"] + delta**2 * a["count"] * b["count"] / by,
    }


class Forecasting(Accumulator):
    """Sums of errors by horizon and target, of the model and of each naive forecast."""

    def __init__(self, task: ForecastingConfig) -> None:
        self._task = task

    def one(self, label: Any, outputs: dict[str, np.ndarray], features: dict[str, np.ndarray]) -> Sums:
        """Sum one window.

        ``label`` is float [H, K], NaN where unknown; ``outputs`` holds `predictions` [H, K], and `quantiles` [H, K, Q]
        if there are some; ``features`` the naive forecasts, and the past of each target.
        """
        there = ~np.isnan(label)
        error = np.abs(np.asarray(outputs["predictions"], np.float64).reshape(label.shape) - label)
        error = np.where(there, error, 0.0)
        sums = {"count": np.array(1.0), "known": there.astype(np.float64), "absolute": error, "squared": error**2}
        for naive in naive_baselines(self._task):
            columns = [features[f"naive_{naive}/{target}"] for target in self._task.targets]
            naive_error = np.abs(np.stack(columns, axis=-1).astype(np.float64) - label)
            known = ~np.isnan(naive_error)
            sums[f"known_{naive}"] = known.astype(np.float64)
            sums[f"naive_{naive}"] = np.where(known, naive_error, 0.0)
            sums[f"model_{naive}"] = np.where(known, error, 0.0)
        return sums | sums_of(label, outputs, features, self._task)

    def metrics(self, sums: Sums) -> dict[str, float]:
        count = float(sums["count"])
        result = {EXAMPLE_COUNT: count}
        for suffix, indices in cells(self._task):
            rows, columns = (list(axis) for axis in zip(*indices, strict=True))

            def total(name: str, rows: list[int] = rows, columns: list[int] = columns) -> float:
                return float(sums[name][rows, columns].sum())

            number = total("known")
            result[f"mae{suffix}"] = total("absolute") / number if number else float("nan")
            result[f"rmse{suffix}"] = (total("squared") / number) ** 0.5 if number else float("nan")
            for naive in naive_baselines(self._task):
                known = total(f"known_{naive}")
                # Where no sequence has the naive value there is nothing to be compared with.
                mean = total(f"naive_{naive}") / known if known else float("nan")
                of_model = total(f"model_{naive}") / known if known else float("nan")
                result[f"{MAE_OF_NAIVE}{naive}{suffix}"] = mean
                result[f"{WITH_NAIVE}{naive}{suffix}"] = of_model
                result[f"mae_over_naive_{naive}{suffix}"] = ratio(of_model, mean)
                result[f"{NAIVE_COUNT}{naive}{suffix}"] = known
            result |= {f"{name}{suffix}": value for name, value in metrics_of_sums(sums, self._task, (rows, columns))}
        return result


def accumulator(task: TaskConfig) -> Accumulator:
    """Return the accumulator of a task."""
    if is_per_step(task):
        return StepClassification(getattr(task, "positive", None))
    if isinstance(task, ClassificationConfig):
        return Classification(getattr(task, "positive", None))
    if has_several_targets(task):
        return Regressions(task)
    return Forecasting(task) if isinstance(task, ForecastingConfig) else Regression(task)
