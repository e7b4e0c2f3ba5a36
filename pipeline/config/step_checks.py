"""What steps refuse before they look at data, as far as it follows from the configuration alone.

>>> problems, notes = step_findings(config)  # doctest: +SKIP

Imports neither TensorFlow nor TFX.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

from noisy_gru.components.evaluation.config import FITTED
from noisy_gru.data.columns import Columns
from noisy_gru.data.sequences.alignment import check_alignment
from noisy_gru.data.sequences.holiday_dates import check_holidays
from noisy_gru.data.sequences.splits import embargo_of, split_boundaries
from noisy_gru.data.sequences.steps import parse_steps
from noisy_gru.pipeline.config.beam_config import DataflowBeam
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig, MultiLabelConfig, TimeSplitConfig
from noisy_gru.schema.errors import UserError
from noisy_gru.schema.interval_config import is_scored
from noisy_gru.schema.task_config import ThresholdTarget
from noisy_gru.trainer.class_balance import balance_problems
from noisy_gru.trainer.interval_checks import interval_problems
from noisy_gru.trainer.loss_unit_checks import loss_unit_problems

_EVAL = "give splits.eval (or eval_from_train) a share"


def step_findings(config: PipelineConfig) -> tuple[list[str], list[str]]:
    """Return the problems that would end a run at one of its steps, and notes on what depends on the machine."""
    problems = [*_ingestion(config), *_training(config), *_scoring(config), *_backtest(config)]
    return problems, list(_notes(config))


def _ingestion(config: PipelineConfig) -> Iterator[str]:
    """What SequenceExampleGen refuses: names of columns, times of splits, the distance between steps."""
    dataset = config.dataset
    try:
        Columns.of(dataset)
    except UserError as error:
        yield str(error)
    for feature in dataset.data.features:
        if feature.country is not None:
            try:
                check_holidays(feature.country, feature.subdivision)
            except UserError as error:
                yield str(error)
    time, splits = dataset.data.time, dataset.splits
    steps = None
    whole = isinstance(splits, TimeSplitConfig) and not isinstance(dataset.task, ForecastingConfig)
    if time is not None and (time.gaps != "ignore" or whole or dataset.data.has_steps_of_its_own):
        try:
            check_alignment(time)
            steps = parse_steps(time)
        except UserError as error:
            yield str(error)
            return
    if not isinstance(splits, TimeSplitConfig) or time is None:
        return
    if whole and embargo_of(dataset) and steps is None:
        yield "splits.embargo counts steps, so for whole sequences it needs data.time.frequency"
    for key, value in (("eval", splits.eval), ("test", splits.test)):
        if isinstance(value, str):
            # The other boundary as a part says nothing without data.
            alone = splits.model_copy(update={"eval": 0.0, "test": value} if key == "test" else {"test": value})
            try:
                split_boundaries(dataset.model_copy(update={"splits": alone}), 0, 0)
            except UserError as error:
                yield str(error).replace("splits.test", f"splits.{key}", 1)
                return
    if isinstance(splits.eval, str) and isinstance(splits.test, str):
        try:
            split_boundaries(dataset, 0, 0)
        except UserError as error:
            yield str(error)


def _training(config: PipelineConfig) -> Iterator[str]:
    """What Tuner and Trainer refuse: what needs an eval split, or a quantity that training doesn't log."""
    held_out = config.dataset.has_eval_split
    if config.tuner.enabled and not held_out:
        yield f"tuner compares models on the eval split, and there is none: {_EVAL}, or set tuner.enabled: false"
    if config.model.stddev == "auto" and not held_out:
        yield (
            "model.stddev: auto compares scales of the noise on the eval split, and there is none: "
            f"{_EVAL}, or set model.stddev: layers"
        )
    warm_start = config.retraining.warm_start
    if warm_start.enabled and warm_start.prove and not held_out:
        yield (
            "retraining.warm_start.prove compares two trainings on the eval split, and there is none: "
            f"{_EVAL}, or set retraining.warm_start.prove: false"
        )
    task = config.task
    if isinstance(task, ClassificationConfig) and isinstance(task.threshold, ThresholdTarget) and not held_out:
        yield f"task.threshold is chosen on the eval split, and there is none: {_EVAL}, or set task.threshold: 0.5"
    if isinstance(task, MultiLabelConfig) and task.has_chosen_thresholds and not held_out:
        yield (
            f"task.threshold and thresholds are chosen on the eval split, and there is none: {_EVAL}, or set numbers, "
            "as task.threshold: 0.5"
        )
    yield from balance_problems(config.training, config.dataset)
    yield from interval_problems(config.training, config.dataset)
    yield from loss_unit_problems(config.training, config.dataset)
    stopping = config.training.early_stopping
    if stopping is not None and stopping.monitor not in (known := _monitors(config)):
        yield f"training.early_stopping.monitor: expected one of {', '.join(known)}; received {stopping.monitor}"


def _scoring(config: PipelineConfig) -> Iterator[str]:
    """What `noisy-gru score` refuses."""
    if config.score is None or not config.score.anomalies:
        return
    if not isinstance(config.task, ForecastingConfig):
        yield f"score.anomalies compares forecasts with what came, and task.kind is {config.task.kind}: leave it out"
    elif not is_scored(config.task):
        yield "score.anomalies needs errors of eval in the model: set task.calibration: {anomaly_scores: true}"


def _backtest(config: PipelineConfig) -> Iterator[str]:
    """What no backtest can show."""
    asked, task = config.evaluation.backtest, config.task
    if asked is None:
        return
    if not isinstance(task, ForecastingConfig) or not isinstance(config.splits, TimeSplitConfig):
        yield (
            "evaluation.backtest needs task.kind: forecasting and splits.by: time, as noisy-gru backtest does; "
            f"received {task.kind} and {config.splits.by}"
        )
        return
    seasonal = ["seasonal"] if task.season_length is not None else []
    known = ["last", *seasonal, "train_mean", *FITTED]
    if unknown := [name for name in asked.must_beat if name not in known]:
        hint = "; seasonal needs task.season_length" if "seasonal" in unknown else ""
        yield f"evaluation.backtest.must_beat: expected of {', '.join(known)}; received {', '.join(unknown)}{hint}"


def _monitors(config: PipelineConfig) -> list[str]:
    metrics: tuple[str, ...] = ("mae",)
    if isinstance(config.task, ClassificationConfig):
        metrics = ("accuracy", "balanced_accuracy", "pr_auc")
    elif isinstance(config.task, MultiLabelConfig):
        metrics = ("accuracy", "pr_auc")
    return [prefix + name for prefix in ("", "val_") for name in ("loss", *metrics)]


def _notes(config: PipelineConfig) -> Iterator[str]:
    stopping = config.training.early_stopping
    if stopping is not None and stopping.monitor in _monitors(config):
        best = "max" if stopping.monitor.endswith(("accuracy", "pr_auc")) else "min"
        if stopping.mode != best:
            yield (
                f"training.early_stopping: mode: {stopping.mode} keeps the epoch with the worst {stopping.monitor}; "
                f"set mode: {best}"
            )
    if config.training.sampling == "balanced" and stopping is not None and stopping.monitor == "val_loss":
        yield (
            "training.sampling: balanced trains on as many sequences of each class, and eval has as many as the data: "
            "its val_loss prefers models of the majority. Consider training.early_stopping: {monitor: "
            "val_balanced_accuracy, mode: max}"
        )
    if isinstance(config.beam, DataflowBeam):
        yield "beam.runner: dataflow can't be used by `noisy-gru run` and on Kubeflow, see docs/scale.md"
    if config.model.onnx and importlib.util.find_spec("onnx") is None:
        yield "model.onnx: true needs the extra onnx, which is not installed here"
    if config.training.strategy == "multi_worker" and "TF_CONFIG" not in os.environ:
        yield "training.strategy: multi_worker needs TF_CONFIG with two workers or more, which is not set here"
    variable = config.metadata.password_env
    if config.metadata.host is not None and variable is not None and variable not in os.environ:
        yield f"metadata.password_env: the environment variable {variable} is not set here"
