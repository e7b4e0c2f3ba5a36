"""Baselines that are fitted or extrapolated on the windows of a forecast: drift, ridge regression, gradient boosting.

    >>> windows = read_windows(folder / "Split-train", dataset)  # doctest: +SKIP
    >>> forecast("ridge", windows, read_windows(folder / "Split-test", dataset), dataset, seed=0)  # doctest: +SKIP

They read what the model reads, as numbers: all numeric columns of a window, flattened.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.components.evaluation.config import BOOSTING, DRIFT, LOCAL
from noisy_gru.data.columns import HORIZON_PREFIXES, SEQUENCE_ID, TARGET
from noisy_gru.data.sequences.example_files import example_files, read_examples
from noisy_gru.pipeline.backtest.local_baselines import forecast_locally
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig
from noisy_gru.schema.errors import UserError

MAX_TRAIN_WINDOWS = 50_000  # more change a linear model's errors little, and cost minutes
MAX_BOOSTED_OUTPUTS = 48  # one model is boosted for each target and horizon
_ALPHAS = np.logspace(-2, 4, 7)
_BATCH = 1024


@dataclass(frozen=True)
class Windows:
    """Windows of a split.

    Attributes:
        ids: sequence ids [N].
        inputs: numeric columns side by side, each from its first step to its last, float64 [N, D]; NaN where missing.
        past: the targets' own steps, float64 [N, input_length, K]; NaN where missing or where a target is no feature.
        targets: float64 [N, H, K]; NaN where missing.
    """

    ids: list[str]
    inputs: np.ndarray
    past: np.ndarray
    targets: np.ndarray


def read_windows(folder: Path, dataset: DatasetConfig) -> Windows:
    """Read the windows of a split as ingestion writes them."""
    import tensorflow as tf

    task = _task(dataset)
    library: Any = tf
    files = example_files(folder)
    first = next((record for file in files for record in read_examples(file)), None)
    columns = [] if first is None else _numeric_columns(first)
    nan = float("nan")
    spec = {
        name: library.io.FixedLenSequenceFeature([], library.float32, allow_missing=True, default_value=nan)
        for name in [*columns, *(TARGET + target for target in task.targets)]
    }
    spec[SEQUENCE_ID] = library.io.FixedLenFeature([], library.string)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in spec}
    records = (record for file in files for record in read_examples(file))
    while batch := list(itertools.islice(records, _BATCH)):
        for name, values in library.io.parse_example(batch, spec).items():
            parts[name].append(values.numpy())
    read = {name: _joined(each) for name, each in parts.items()}
    ids = [name.decode() for name in read[SEQUENCE_ID]]
    count, steps = len(ids), task.input_length
    missing = np.full((count, steps), np.nan)
    return Windows(
        ids,
        np.concatenate([read[name] for name in columns], axis=1) if columns else np.empty((count, 0)),
        np.stack([read[target][:, :steps] if target in columns else missing for target in task.targets], axis=-1),
        np.stack([read[TARGET + target] for target in task.targets], axis=-1),
    )


def forecast(name: str, train: Windows, test: Windows, dataset: DatasetConfig, *, seed: int) -> np.ndarray:
    """Return a baseline's forecasts for the test windows, float64 [N, H * K]: all targets of the first horizon first.

    Args:
        name: ``drift`` (the line through the first and the last known value of the window, Hyndman and
            Athanasopoulos, Forecasting: Principles and Practice, 5.2), ``ridge`` (scikit-learn's RidgeCV),
            ``gradient_boosting`` (its HistGradientBoostingRegressor, one for each target and horizon), or one of
            `local_baselines`.
        train: windows to fit on.
        test: windows to forecast.
        dataset: of both.
        seed: of the train windows' sample and the boosting.

    Raises:
        UserError: too many outputs for gradient boosting, or windows for a local model.
        MissingExtraError: the extra of a local model is not installed.
    """
    horizons = np.array(_task(dataset).horizons, float)
    if name == DRIFT:
        return _drift(test.past, horizons).reshape(len(test.ids), -1)
    if name in LOCAL:
        task = _task(dataset)
        found = forecast_locally(name, test.past, horizons=task.horizons, season=task.season_length)
        return found.reshape(len(test.ids), -1)
    outputs = train.targets.reshape(len(train.ids), -1)
    if name == BOOSTING and outputs.shape[1] > MAX_BOOSTED_OUTPUTS:
        raise UserError(
            f"gradient_boosting fits a model for each target and horizon: {outputs.shape[1]} of them, at most "
            f"{MAX_BOOSTED_OUTPUTS}. Use ridge, or fewer horizons"
        )
    chosen = np.arange(len(outputs))
    if len(chosen) > MAX_TRAIN_WINDOWS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(chosen), MAX_TRAIN_WINDOWS, replace=False))
    fit = _boosting if name == BOOSTING else _ridge
    return fit(train.inputs[chosen], outputs[chosen], test.inputs, seed)


def _drift(past: np.ndarray, horizons: np.ndarray) -> np.ndarray:
    """Extrapolate [N, L, K] to [N, H, K]; NaN where fewer than two values are known."""
    known = ~np.isnan(past)
    steps = past.shape[1]
    first = known.argmax(axis=1)
    last = steps - 1 - known[:, ::-1].argmax(axis=1)
    start, end = (np.take_along_axis(past, place[:, None], axis=1)[:, 0] for place in (first, last))
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (end - start) / (last - first)
    ahead = horizons[None, :, None] + (steps - 1 - last)[:, None]
    return np.where((last > first)[:, None], end[:, None] + slope[:, None] * ahead, np.nan)


def _ridge(inputs: np.ndarray, outputs: np.ndarray, new: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    result = np.full((len(new), outputs.shape[1]), np.nan)
    # Outputs that miss the same rows share a fit, whose cost is that of the inputs.
    for missing in np.unique(np.isnan(outputs), axis=1).T:
        same = (np.isnan(outputs) == missing[:, None]).all(axis=0)
        if (~missing).sum() >= 2 and len(new):
            model = make_pipeline(
                SimpleImputer(keep_empty_features=True), StandardScaler(), RidgeCV(_ALPHAS, alpha_per_target=True)
            )
            fitted = model.fit(inputs[~missing], outputs[~missing][:, same]).predict(new)
            result[:, same] = fitted.reshape(len(new), -1)
    return result


def _boosting(inputs: np.ndarray, outputs: np.ndarray, new: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingRegressor

    result = np.full((len(new), outputs.shape[1]), np.nan)
    for place, column in enumerate(outputs.T):
        known = ~np.isnan(column)
        if known.sum() >= 2 and len(new):
            model = HistGradientBoostingRegressor(random_state=seed)
            result[:, place] = model.fit(inputs[known], column[known]).predict(new)
    return result


def _task(dataset: DatasetConfig) -> ForecastingConfig:
    if not isinstance(dataset.task, ForecastingConfig):
        raise TypeError(f"expected a forecast. Received: {dataset.task.kind}")
    return dataset.task


def _numeric_columns(example: bytes) -> list[str]:
    import tensorflow as tf

    features = tf.train.Example.FromString(example).features.feature
    return sorted(
        name
        for name, feature in features.items()
        if feature.WhichOneof("kind") == "float_list" and not name.startswith(HORIZON_PREFIXES)
    )


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Concatenate batches; windows have equal lengths but for those of an empty list."""
    if not parts:
        return np.empty((0,))
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    padded = [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=np.nan) for part in parts]
    return np.concatenate(padded).astype(np.float64)
