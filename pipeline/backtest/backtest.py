"""Backtest a forecast: one table for each fold and horizon, with paired intervals against baselines.

    >>> found = backtest(config, config_path=path, root=root, folds=5)  # doctest: +SKIP
    >>> found.folds[0].comparisons[0].lower  # doctest: +SKIP

The origins after ``start`` of the time are cut into folds. Without ``refit`` one model, trained before the first
origin, forecasts all folds; with it a model is trained for each fold, before its first origin (Tashman 2000).
The runs are the product's own, under a root of the backtest, so one that was interrupted takes what is done from the
cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisy_gru.components.evaluation.config import FITTED, RIDGE
from noisy_gru.pipeline.backtest.fitted_baselines import forecast, read_windows
from noisy_gru.pipeline.backtest.folds import Fold, consecutive, equal_folds, moments
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.runs.run_record import RunRecord, text_hash
from noisy_gru.pipeline.runs.running import run_config
from noisy_gru.registry.backtest_record import BacktestRecord, Gain, backtest_key
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig
from noisy_gru.schema.errors import ConfigError, UserError
from noisy_gru.schema.split_config import TimeSplitConfig

if TYPE_CHECKING:
    from noisy_gru.components.evaluation.comparisons import Comparison
    from noisy_gru.components.evaluation.planned_comparisons import PlannedComparison

METRICS = ("mae", "rmse")
MAX_HORIZONS = 12  # compared one by one; more are spread evenly


@dataclass(frozen=True)
class FoldResult:
    """A fold's forecasts against the baselines.

    Attributes:
        number: from 1.
        first: its first origin, as in sequence ids.
        last: its last origin.
        forecasts: windows in it.
        run_id: of the run whose model made them.
        comparisons: over all horizons, then of each, by target; their metric is `<metric>/<target>[@<horizon>]`.
    """

    number: int
    first: str
    last: str
    forecasts: int
    run_id: str
    comparisons: list[Comparison]


@dataclass(frozen=True)
class BacktestResult:
    """Result of a backtest.

    Attributes:
        pipeline: name of it.
        refit: whether each fold has a model of its own.
        start: part of the time before the first origin.
        metric: `mae` or `rmse`.
        confidence: of each bound, one-sided.
        baselines: in the order of the comparisons.
        folds: in the order of time.
        root: of the runs.
        overall: over all folds and horizons, of each target; with ``refit`` without the train mean, of which each fold
            has its own.
    """

    pipeline: str
    refit: bool
    start: float
    metric: str
    confidence: float
    baselines: list[str]
    folds: list[FoldResult]
    root: str
    overall: list[Comparison]

    def to_dict(self) -> dict[str, Any]:
        """Return the object that ``backtest --json`` prints."""
        return asdict(self)


def backtest(
    config: PipelineConfig,
    *,
    config_path: Path,
    root: Path,
    folds: int = 5,
    refit: bool = False,
    start: float = 0.5,
    metric: str = "mae",
    fitted: Sequence[str] = (RIDGE,),
    overrides: Sequence[str] = (),
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> BacktestResult:
    """Train, forecast every fold, and compare; the outcome is recorded for ``evaluation.backtest``.

    Args:
        config: of a forecast with ``splits.by: time``.
        config_path: its file, for the records.
        root: the runs get one below it, ``backtest/<hash>``.
        folds: how many.
        refit: whether each fold gets a model of its own.
        start: part of the time range before the first origin.
        metric: `mae` or `rmse`.
        fitted: fitted baselines besides the naive ones.
        overrides: ``--set`` values that ``config`` holds already, for the records.
        now: clock.

    Raises:
        ConfigError: the configuration or an argument can't be backtested.
        UserError: a run failed, or a fold has no forecast.
    """
    _check(config, folds=folds, start=start, metric=metric, fitted=fitted)
    base = root / "backtest" / text_hash(config.model_dump_json(by_alias=True))[:12]
    records = []
    for number in range(folds if refit else 1):
        test = (1 - start) * (1 - number / folds)
        run_root = base / (f"fold-{number + 1}-of-{folds}-from-{start:g}" if refit else f"from-{start:g}")
        record = run_config(_before(config, test), config_path=config_path, root=run_root, overrides=overrides)
        if "Evaluator" not in record.artifacts or record.status == "interrupted":
            raise UserError(f"the run of fold {number + 1} {record.status}: {record.error}. Its log: {record.log}")
        records.append(record)
    evidence = [_Forecasts(record, config, fitted) for record in records]
    origins = evidence[0].times
    if refit:
        planned = consecutive([each.boundary for each in evidence])
    else:
        planned = equal_folds(float(origins.min()), float(origins.max()), folds)
    results = [
        _measure(fold, evidence[place if refit else 0], config, metric, fitted) for place, fold in enumerate(planned)
    ]
    overall = _overall(planned, evidence, config, metric, fitted)
    confidence = results[0].comparisons[0].confidence
    gains = [Gain(each.metric, each.against, each.difference, each.lower) for each in overall]
    key = backtest_key(config.dataset, config.trainer)
    BacktestRecord(now().isoformat(timespec="seconds"), key, confidence, gains).write(root)
    against = list(dict.fromkeys(each.against for result in results for each in result.comparisons))
    return BacktestResult(config.name, refit, start, metric, confidence, against, results, str(base), overall)


def _check(config: PipelineConfig, *, folds: int, start: float, metric: str, fitted: Sequence[str]) -> None:
    if not isinstance(config.task, ForecastingConfig) or not isinstance(config.splits, TimeSplitConfig):
        raise ConfigError(
            "a backtest needs task.kind: forecasting and splits.by: time. Received: "
            f"{config.task.kind} and {config.splits.by}"
        )
    if folds < 1 or not 0 < start < 1:
        raise ConfigError(f"expected folds >= 1 and 0 < start < 1. Received: folds {folds}, start {start:g}")
    if metric not in METRICS:
        raise ConfigError(f"metric must be one of {', '.join(METRICS)}. Received: {metric}")
    if unknown := [name for name in fitted if name not in FITTED]:
        raise ConfigError(f"baseline must be one of {', '.join(FITTED)}. Received: {', '.join(unknown)}")
    eval_part = _eval_part(config)
    if eval_part >= start:
        raise ConfigError(
            f"splits.eval takes {eval_part:g} of the time and the first origin is at {start:g} of it, so nothing is "
            "left to train on. Raise --start, or lower splits.eval"
        )


def _eval_part(config: PipelineConfig) -> float:
    """Return the eval split's part of the time; the default where the configuration has a date."""
    value = getattr(config.splits, "eval", None)
    return value if isinstance(value, float) else TimeSplitConfig.model_fields["eval"].default


def _before(config: PipelineConfig, test: float) -> PipelineConfig:
    """Return the configuration that trains before the last ``test`` of the time, and blesses whatever comes out."""
    splits = config.splits.model_copy(update={"eval": _eval_part(config), "test": test})
    evaluation = config.evaluation.model_copy(
        update={
            "thresholds": {},
            "baselines": "report",
            "reference": None,
            "backtest": None,
            "slices": [],
            "require_each": [],
        }
    )
    return config.model_copy(update={"splits": splits, "evaluation": evaluation})


class _Forecasts:
    """The forecasts of a run for its test windows, beside those of all baselines."""

    def __init__(self, record: RunRecord, config: PipelineConfig, fitted: Sequence[str]) -> None:
        from noisy_gru.components.evaluation.constant_baselines import TRAIN_STATISTICS, train_constants
        from noisy_gru.components.evaluation.recorded_answers import ANSWERS, read_answers

        self.run_id = record.run_id
        self.answers = read_answers(_artifact(record, "Evaluator", "evaluation") / ANSWERS)
        self.constants = train_constants(
            _artifact(record, "StatisticsGen", "statistics") / TRAIN_STATISTICS, config.task
        )
        self.labels = [name.rpartition("@")[2] for name in self.answers["sequence_id"]]
        if not self.labels:
            raise UserError(f"run {record.run_id}: the test split has no forecasts; see the log {record.log}")
        self.times = moments(self.labels)
        self.boundary = float(self.times.min())
        examples = _artifact(record, "SequenceExampleGen", "examples")
        if fitted:
            train, test = (read_windows(examples / f"Split-{split}", config.dataset) for split in ("train", "test"))
            place = {name: number for number, name in enumerate(test.ids)}
            order = [place[name] for name in self.answers["sequence_id"]]
            for name in fitted:
                self.answers[name] = forecast(name, train, test, config.dataset, seed=config.seed)[order]

    def of(self, fold: Fold) -> tuple[dict[str, Any], str, str]:
        """Return the answers in a fold, and the first and the last of their times as texts."""
        chosen = np.flatnonzero(fold.holds(self.times))
        if not len(chosen):
            raise UserError(
                f"fold {fold.number} has no forecast: the origins after the first are too few, or lie together. Use "
                "fewer --folds"
            )
        part: dict[str, Any] = {}
        for name, value in self.answers.items():
            part[name] = value[chosen] if isinstance(value, np.ndarray) else [value[place] for place in chosen]
        first, last = (chosen[pick(self.times[chosen])] for pick in (np.argmin, np.argmax))
        return part, self.labels[first], self.labels[last]


def _artifact(record: RunRecord, step: str, output: str) -> Path:
    (uri,) = record.artifacts[step][output]
    return Path(uri)


def _measure(
    fold: Fold, forecasts: _Forecasts, config: PipelineConfig, metric: str, fitted: Sequence[str]
) -> FoldResult:
    from noisy_gru.components.evaluation.comparisons import Evidence, run_comparison
    from noisy_gru.components.evaluation.config import CompareConfig
    from noisy_gru.components.evaluation.paired_bootstrap import Bootstrap

    answers, first, last = forecasts.of(fold)
    evidence = Evidence(answers, config.dataset, forecasts.constants)
    compare = config.evaluation.compare or CompareConfig()
    bootstrap = Bootstrap(compare.confidence, seed=config.seed)
    planned = _planned(config.dataset, metric, fitted, forecasts.constants)
    found = [run_comparison(each, evidence, bootstrap, config.dataset) for each in planned]
    return FoldResult(fold.number, first, last, len(evidence.ids), forecasts.run_id, found)


def _overall(
    folds: Sequence[Fold],
    evidence: Sequence[_Forecasts],
    config: PipelineConfig,
    metric: str,
    fitted: Sequence[str],
) -> list[Comparison]:
    """Compare over the forecasts of all folds, each of the model that made it, and over all horizons."""
    from noisy_gru.components.evaluation.comparisons import Evidence, run_comparison
    from noisy_gru.components.evaluation.config import CompareConfig
    from noisy_gru.components.evaluation.paired_bootstrap import Bootstrap

    parts = [evidence[min(place, len(evidence) - 1)].of(fold)[0] for place, fold in enumerate(folds)]
    joined: dict[str, Any] = {}
    for name, first in parts[0].items():
        values = [part[name] for part in parts]
        joined[name] = (
            np.concatenate(values) if isinstance(first, np.ndarray) else [one for each in values for one in each]
        )
    constants = evidence[0].constants if len(evidence) == 1 else {}
    compare = config.evaluation.compare or CompareConfig()
    bootstrap = Bootstrap(compare.confidence, seed=config.seed)
    found = Evidence(joined, config.dataset, constants)
    planned = [each for each in _planned(config.dataset, metric, fitted, constants) if "@" not in each.metric]
    return [run_comparison(each, found, bootstrap, config.dataset) for each in planned]


def _planned(
    dataset: DatasetConfig, metric: str, fitted: Sequence[str], constants: Mapping[str, Any]
) -> Iterator[PlannedComparison]:
    from noisy_gru.components.evaluation.metric_catalogue import naive_baselines
    from noisy_gru.components.evaluation.planned_comparisons import TRAIN_MEAN, WHOLE, PlannedComparison

    task = dataset.task
    if not isinstance(task, ForecastingConfig):
        return
    against = [*naive_baselines(task), *([TRAIN_MEAN] if constants else []), *fitted]
    spread = np.linspace(0, len(task.horizons) - 1, min(MAX_HORIZONS, len(task.horizons))).round().astype(int)
    horizons = [f"@{task.horizons[place]}" for place in spread] if len(task.horizons) > 1 else []
    for target in task.targets:
        for suffix in ("", *horizons):
            for name in against:
                yield PlannedComparison(f"{metric}/{target}{suffix}", name, WHOLE, "better", 0.0, False)
