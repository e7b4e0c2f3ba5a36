"""What is chosen on eval after training: thresholds of a class or of labels, the calibration of quantiles; the errors
there, for p-values."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from noisy_gru.saved_model.conformal_scores import ConformalScores
from noisy_gru.schema.config import ClassificationConfig, MultiLabelConfig
from noisy_gru.schema.interval_config import is_calibrated, is_scored, levels_of
from noisy_gru.schema.task_config import is_multi_label
from noisy_gru.trainer import features as names
from noisy_gru.trainer.callbacks.progress import report
from noisy_gru.trainer.conformal import Calibration, calibrate
from noisy_gru.trainer.decision import Decision, decide
from noisy_gru.trainer.eval_outputs import eval_outputs
from noisy_gru.trainer.export.served_model import ServedModel
from noisy_gru.trainer.label_decisions import LabelDecisions, decide_labels
from noisy_gru.trainer.loss_units import split_answer
from noisy_gru.trainer.training_context import TrainingContext
from noisy_gru.trainer.transform_record import TransformRecord
from noisy_gru.trainer.window_scale import calibration_scale

logger = logging.getLogger(__name__)


def choose_threshold(
    context: TrainingContext, labels: list[str], model: keras.Model, predict: Any
) -> Decision | LabelDecisions | None:
    """Return from which probabilities a model answers, chosen on eval unless they are configured as numbers.

    Args:
        context: of the training.
        labels: the classes, in the order of the model's outputs; not read for several labels.
        model: as it is served.
        predict: of `serving_function`; None: the model serves itself.

    Returns:
        None if no threshold is configured.
    """
    task = context.custom_config.dataset.task
    decision: Decision | LabelDecisions
    if is_multi_label(task):
        if task.threshold is None and not task.thresholds:
            return None
        decision = _of_labels(context, task, model, predict)
    elif isinstance(task, ClassificationConfig) and task.threshold is not None:
        scores, class_ids = np.zeros((0, len(labels)), np.float32), np.zeros(0, np.int64)
        if len(context.eval):
            outputs = _outputs(model, predict)
            (scores,), class_ids = eval_outputs(context.eval, lambda inputs: [tf.nn.softmax(outputs(inputs))])
        decision = decide(task, labels, scores, class_ids)
    else:
        return None
    report(str(decision), kind="decision", **dataclasses.asdict(decision))
    if decision.shortfall:
        logger.warning(decision.shortfall)
    return decision


def _of_labels(context: TrainingContext, task: MultiLabelConfig, model: keras.Model, predict: Any) -> LabelDecisions:
    scores = truth = np.zeros((0, len(task.labels)), np.float32)
    if len(context.eval):
        outputs = _outputs(model, predict)
        (scores,), answers = eval_outputs(context.eval, lambda inputs: [tf.nn.sigmoid(outputs(inputs))])
        truth, weights = split_answer(answers, scores)
        truth = truth if weights is None else np.where(weights > 0, truth, np.nan)
    return decide_labels(task, scores, truth)


def fit_calibration(
    context: TrainingContext, fitted: TransformRecord, model: keras.Model, predict: Any
) -> Calibration | None:
    """Return what brings quantiles and intervals to their coverage on eval; None if that isn't configured."""
    task, layout = context.custom_config.dataset.task, context.layout
    if not is_calibrated(task):
        return None
    outputs, windows = _outputs(model, predict), calibration_scale(model, layout, lambda: fitted)

    def compute(inputs: Any) -> list[Any]:
        return [outputs(inputs), *([] if windows is None else [windows(inputs)])]

    (predicted, *window), answers = eval_outputs(context.eval, compute)
    truth, weights = split_answer(answers, predicted)
    truth = truth if weights is None else np.where(weights > 0, truth, np.nan)
    scale = [fitted.targets[name].scale for name in layout.targets]
    calibration = calibrate(predicted, truth, task, scale, window[0] if window else None)
    report(str(calibration), kind="calibration", **calibration.coverage_before)
    return calibration


def measure_scores(
    context: TrainingContext, fitted: TransformRecord, served: ServedModel, predict: Any
) -> ConformalScores | None:
    """Return the scores of eval's targets beside the answers that will be served; None if none are wanted."""
    task, layout = context.custom_config.dataset.task, context.layout
    if not is_scored(task):
        return None
    scales = [fitted.targets[name] for name in layout.targets]
    scale, centre = (np.array([[getattr(each, key) for each in scales]], np.float32) for key in ("scale", "centre"))
    outputs = _outputs(served.model, predict)
    has_quantiles = bool(levels_of(task))

    def compute(inputs: Any) -> list[Any]:
        found = outputs(inputs)
        rows = [tf.shape(found)[0], 1]
        units = {names.TARGET_SCALE: tf.tile(scale, rows), names.TARGET_MEAN: tf.tile(centre, rows)}
        answer = served.numbers(found, inputs, units)
        # Of the quantiles the outermost, which the scores are measured from.
        ends = [tf.gather(answer[names.QUANTILES], [0, len(levels_of(task)) - 1], axis=-1)] if has_quantiles else []
        return [answer[names.PREDICTIONS], *ends]

    (predictions, *ends), answers = eval_outputs(context.eval, compute)
    truth, weights = split_answer(answers, predictions)
    truth = truth if weights is None else np.where(weights > 0, truth, np.nan)
    shape = (1,) * (truth.ndim - 2) + (-1,)
    actual = truth.astype(np.float64) * scale.reshape(shape) + centre.reshape(shape)
    found = {"predictions": predictions, **({"quantiles": ends[0]} if ends else {})}
    return ConformalScores.of(found, actual, scale[0].tolist())


def _outputs(model: keras.Model, predict: Any) -> Any:
    """Return the function from a batch's inputs to the outputs that a server computes."""
    wanted: Any = model.input

    def of_batch(inputs: Any) -> Any:
        given = {key: inputs[key] for key in wanted}
        return predict(given) if predict is not None else model(given, training=False)

    return of_batch
