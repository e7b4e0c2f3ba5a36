"""What is chosen on eval after training: the threshold of the positive class, and the calibration of quantiles."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from noisy_gru.schema.config import ClassificationConfig
from noisy_gru.schema.interval_config import is_calibrated
from noisy_gru.trainer.callbacks.progress import report
from noisy_gru.trainer.conformal import Calibration, calibrate
from noisy_gru.trainer.decision import Decision, decide
from noisy_gru.trainer.eval_outputs import eval_outputs
from noisy_gru.trainer.loss_units import split_answer
from noisy_gru.trainer.training_context import TrainingContext
from noisy_gru.trainer.transform_record import TransformRecord
from noisy_gru.trainer.window_scale import window_scale

logger = logging.getLogger(__name__)


def choose_threshold(context: TrainingContext, labels: list[str], model: keras.Model, predict: Any) -> Decision | None:
    """Return from which probability the positive class is answered, chosen on eval; None if that isn't configured."""
    task = context.custom_config.dataset.task
    if not isinstance(task, ClassificationConfig) or task.threshold is None:
        return None
    scores, class_ids = np.zeros((0, len(labels)), np.float32), np.zeros(0, np.int64)
    if len(context.eval):
        outputs = _outputs(model, predict)
        (scores,), class_ids = eval_outputs(context.eval, lambda inputs: [tf.nn.softmax(outputs(inputs))])
    decision = decide(task, labels, scores, class_ids)
    report(str(decision), kind="decision", **dataclasses.asdict(decision))
    if decision.shortfall:
        logger.warning(decision.shortfall)
    return decision


def fit_calibration(
    context: TrainingContext, fitted: TransformRecord, model: keras.Model, predict: Any
) -> Calibration | None:
    """Return what brings quantiles and intervals to their coverage on eval; None if that isn't configured."""
    task, layout = context.custom_config.dataset.task, context.layout
    if not is_calibrated(task):
        return None
    outputs, windows = _outputs(model, predict), window_scale(model)

    def compute(inputs: Any) -> list[Any]:
        return [outputs(inputs), *([] if windows is None else [windows(inputs)])]

    (predicted, *window), answers = eval_outputs(context.eval, compute)
    truth, weights = split_answer(answers, predicted)
    truth = truth if weights is None else np.where(weights > 0, truth, np.nan)
    scale = [fitted.targets[name].scale for name in layout.targets]
    calibration = calibrate(predicted, truth, task, scale, window[0] if window else None)
    report(str(calibration), kind="calibration", **calibration.coverage_before)
    return calibration


def _outputs(model: keras.Model, predict: Any) -> Any:
    """Return the function from a batch's inputs to the outputs that a server computes."""
    names: Any = model.input

    def of_batch(inputs: Any) -> Any:
        given = {key: inputs[key] for key in names}
        return predict(given) if predict is not None else model(given, training=False)

    return of_batch
