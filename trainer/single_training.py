"""One training of one model: from new or given weights, resumed where it was interrupted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from typing import Any

import keras
import tensorflow as tf

from noisy_gru.trainer.callbacks.checkpoint import BestWeights, Checkpoint
from noisy_gru.trainer.callbacks.noise_log import NoiseLog
from noisy_gru.trainer.callbacks.progress import FiniteLoss, HistoryFile, Progress, TensorBoardLog, report
from noisy_gru.trainer.callbacks.stddev_schedule import StddevSchedule
from noisy_gru.trainer.callbacks.weight_average import WeightAverage
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.distributed.replicas import fit_replicas, is_chief
from noisy_gru.trainer.export.saved_model import (
    target_scale,
)
from noisy_gru.trainer.export.served_model import ServedModel
from noisy_gru.trainer.inputs.dataset import SequenceData
from noisy_gru.trainer.layers.initial_noise import SCALES
from noisy_gru.trainer.loop import run_epochs
from noisy_gru.trainer.model import build_model
from noisy_gru.trainer.objective import compile_model
from noisy_gru.trainer.training_context import EpochOrder, TrainingContext
from noisy_gru.trainer.transform_record import TransformRecord
from noisy_gru.trainer.warm_start.warm_start import Trained, WarmStart


def train_once(
    fn_args: Any,
    context: TrainingContext,
    fitted: TransformRecord,
    warm: WarmStart | None,
    folder: str,
    member: tuple[int, int] | None,
) -> Trained:
    """Train from the base model's weights, or from new ones (None); resumes after an interruption."""
    if member is not None:
        folder = f"{folder}/member_{member[0]}"
    trainer = context.custom_config.trainer
    training = trainer.training
    epochs, steps = epochs_and_steps(trainer, context.train, fn_args.train_steps)
    keras.utils.set_random_seed(trainer.seed)
    with context.scope():
        model = build_model(trainer.model, context.layout, context.sizes, seed=trainer.seed)
    if warm is not None:
        warm.apply(model, fitted, context.layout, trainer)
        rate = training.learning_rate * context.custom_config.warm_start.learning_rate_factor
        training = training.model_copy(update={"learning_rate": rate})
    served = ServedModel(model, context.transform, context.layout)
    scale = target_scale(served)
    with context.scope():
        compile_model(
            model,
            training,
            context.layout,
            steps_per_epoch=steps,
            epochs=epochs,
            target_scale=scale,
            classes=context.classes,
            xla=context.xla.enabled,
            record=context.sizes.record,
        )
        model.optimizer.build(model.trainable_variables)
        average = WeightAverage(model, training.weight_average) if training.weight_average is not None else None
    place = f"member {member[0]} of {member[1]}: " if member else ""
    report(
        f"{place}training on {len(context.train)} sequences, {len(context.eval)} to stop early; "
        f"{model.count_params()} parameters, seed {trainer.seed}; "
        f"{'XLA' if context.xla.enabled else 'no XLA'}: {context.xla.reason}",
        kind="training",
        sequences={"train": len(context.train), "eval": len(context.eval)},
        longest=context.train.longest,
        in_memory=context.train.in_memory,
        parameters=model.count_params(),
        seed=trainer.seed,
        xla=context.xla.as_dict(),
    )

    tf.io.gfile.makedirs(folder)
    history = HistoryFile(f"{folder}/history.csv")
    best = BestWeights(training.early_stopping) if training.early_stopping else None
    checkpoint = None
    if context.custom_config.working_dir:
        key = checkpoint_key(context, warm, fitted)
        path = f"{context.custom_config.working_dir.rstrip('/')}/training-{key}/state.npz"
        own = average.variables if average is not None else []
        checkpoint = Checkpoint(path, history=history, best=best, variables=own)
    fit(
        model,
        context,
        history=history,
        best=best,
        checkpoint=checkpoint,
        epochs=epochs,
        run_dir=folder,
        average=average,
        member=member,
    )
    return Trained(model, history, best, checkpoint)


def fit(
    model: keras.Model,
    context: TrainingContext,
    *,
    history: HistoryFile,
    best: BestWeights | None,
    checkpoint: Checkpoint | None,
    epochs: int,
    run_dir: str,
    average: WeightAverage | None = None,
    member: tuple[int, int] | None = None,
) -> None:
    """Run the remaining epochs; the model then holds the best weights, or the last ones without early stopping."""
    training = context.custom_config.trainer.training
    first = checkpoint.restore(model) if checkpoint is not None else 0
    if first:
        report(f"resuming after epoch {first} of an interrupted training", kind="resumed", epoch=first)
    callbacks: list[keras.callbacks.Callback] = [EpochOrder(context.train)]
    if training.noise_schedule.kind != "constant":
        schedule = training.noise_schedule
        callbacks.append(StddevSchedule(schedule.kind, epochs=epochs, final=schedule.final_factor))
    if context.custom_config.trainer.model.stddev in SCALES:
        callbacks.append(NoiseLog())
    callbacks += [FiniteLoss(), TensorBoardLog(run_dir), history]
    callbacks += [best] if best is not None else []
    callbacks.append(Progress(epochs=epochs, member=member, best=best))
    callbacks += [average.resume] if average is not None else []
    # Last, so that it saves the state of the other callbacks after the epoch.
    callbacks += [checkpoint] if checkpoint is not None and is_chief(context.strategy) else []
    start = epochs if best is not None and best.stopped else first
    run = run_epochs if context.strategy is None else fit_replicas
    run(model, context.train, context.eval, initial_epoch=start, epochs=epochs, callbacks=callbacks, average=average)


def epochs_and_steps(trainer: TrainerConfig, data: SequenceData, train_steps: int | None) -> tuple[int, int]:
    """Return the epochs, and the steps of one; TFX's `train_args.num_steps`, if set, bounds the epochs."""
    steps = data.steps
    epochs = trainer.training.epochs
    return (min(epochs, math.ceil(train_steps / steps)) if train_steps else epochs), steps


def checkpoint_key(
    context: TrainingContext, warm: WarmStart | None = None, fitted: TransformRecord | None = None
) -> str:
    """Return a hash of configuration, data, base model and code, which names the checkpoint."""
    start = (
        [warm.base, context.custom_config.warm_start.learning_rate_factor, fitted and fitted.to_json()] if warm else []
    )
    content = json.dumps(
        [
            context.custom_config.dataset.model_dump(mode="json"),
            context.custom_config.trainer.model_dump(mode="json"),
            context.custom_config.fingerprint,
            context.train.digest,
            context.eval.digest,
            dataclasses.astuple(context.sizes),
            [tf.__version__, keras.__version__],
            context.xla.enabled,
            *start,
        ],
        sort_keys=True,
    )
    return hashlib.sha256(content.encode()).hexdigest()[:32]
