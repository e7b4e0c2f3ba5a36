"""One training: data, model, callbacks, resuming, and the output files."""

# Keras' type hints give None for what a model or an operation returns.

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from noisy_gru.schema.config import ClassificationConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.interval_config import is_calibrated
from noisy_gru.trainer.callbacks.checkpoint import BestWeights, Checkpoint
from noisy_gru.trainer.callbacks.noise_log import NoiseLog, mean_stddevs
from noisy_gru.trainer.callbacks.progress import FiniteLoss, HistoryFile, Progress, TensorBoardLog, report
from noisy_gru.trainer.callbacks.stddev_schedule import StddevSchedule
from noisy_gru.trainer.callbacks.weight_average import WeightAverage
from noisy_gru.trainer.config import TrainerConfig, shared_batch_message, whole_batch_noise
from noisy_gru.trainer.conformal import Calibration, calibrate
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.decision import Decision, decide
from noisy_gru.trainer.distributed.replicas import fit_replicas, is_chief
from noisy_gru.trainer.ensemble import Predict, combined, combined_function, members_of
from noisy_gru.trainer.eval_outputs import eval_outputs
from noisy_gru.trainer.export.onnx_export import export_onnx
from noisy_gru.trainer.export.saved_model import (
    export_saved_model,
    keras_folder,
    save_calibration,
    save_decision,
    save_keras,
    target_scale,
)
from noisy_gru.trainer.export.served_model import ServedModel
from noisy_gru.trainer.export.serving_stack import serving_function
from noisy_gru.trainer.inputs.dataset import SequenceData
from noisy_gru.trainer.layers.initial_noise import SCALES
from noisy_gru.trainer.loop import run_epochs
from noisy_gru.trainer.model import build_model, inference_weights
from noisy_gru.trainer.noise_scale import choose_scale
from noisy_gru.trainer.objective import compile_model, split_answer
from noisy_gru.trainer.training_context import EpochOrder, TrainingContext, prepare_training
from noisy_gru.trainer.transform_record import TransformRecord, read_record, save_record
from noisy_gru.trainer.tuning import apply_hyperparameters
from noisy_gru.trainer.warm_start.warm_start import Trained, WarmStart, better_on_eval, save_outcome
from noisy_gru.trainer.window_scale import window_scale

logger = logging.getLogger(__name__)


def train(fn_args: Any, custom_config: CustomConfig, strategy: tf.distribute.Strategy | None = None) -> None:
    """Train, or resume an interrupted training, and write the SavedModel, the Keras file and the history.

    Args:
        fn_args: TFX's FnArgs.
        custom_config: parsed.
        strategy: splits each batch among replicas; all workers call this alike, and only the chief writes.

    Raises:
        ConfigError, DataError, RuntimeError: as `prepare_training` and `WarmStart.find`; or the loss is not finite.
    """
    started = time.monotonic()
    trainer = apply_hyperparameters(custom_config.trainer, fn_args.hyperparameters)
    custom_config = dataclasses.replace(custom_config, trainer=trainer)
    context = dataclasses.replace(prepare_training(fn_args, custom_config), strategy=strategy)
    context = context.with_xla(_extent(trainer, context.train, fn_args.train_steps)[0])
    fitted = read_record(context.transform, context.layout)
    noise = whole_batch_noise(trainer.model)
    if strategy is not None and noise:
        devices = f"training.strategy: {trainer.training.strategy} on {strategy.num_replicas_in_sync} devices"
        raise ConfigError(shared_batch_message(noise, devices))
    chosen = None
    if trainer.model.stddev == "auto":
        chosen = choose_scale(context, _trainer_of_scales(fn_args, fitted))
        context, custom_config = chosen.context, chosen.context.custom_config
    warm = WarmStart.find(fn_args.base_model, custom_config, fitted) if fn_args.base_model else None
    starts = _starts(fn_args, context, warm)

    def trained(own: TrainingContext, place: tuple[int, int] | None, base: WarmStart | None, folder: str) -> Trained:
        if chosen is not None and base is None and own is context:
            return chosen.trained
        return train_once(fn_args, own, fitted, base, folder, member=place)

    done = [[trained(own, place, *each) for each in starts] for own, place in _members(context)]
    if not is_chief(strategy):
        return
    kept = [better_on_eval(each, trainer) for each in done]
    kept[0].history.write_as(f"{fn_args.model_run_dir}/history.csv")
    outcome = warm.outcome(done[0], kept[0], trainer) if warm is not None else None

    serving, final, predict = _exported(context, kept)
    config = context.custom_config.trainer.model
    decision = _decision(context, fitted.labels, serving, predict)
    calibration = _calibration(context, fitted, serving, predict)
    served = ServedModel(serving, context.transform, context.layout, config, predict, decision, calibration)
    export_saved_model(served, fn_args.serving_model_dir)
    if config.onnx:
        note = export_onnx(served, config, fitted, fn_args.serving_model_dir)
        report(f"ONNX file written, {note}", kind="onnx", note=note)
    beside = keras_folder(fn_args.serving_model_dir)
    save_keras(final, custom_config, beside)
    save_record(fitted, beside)
    if decision is not None:
        save_decision(decision, beside)
    if calibration is not None:
        save_calibration(calibration, beside)
    if outcome is not None:
        save_outcome(outcome, beside)
    summary = {
        "seed": trainer.seed,
        "epochs": max(each.epochs for each in kept),
        "best_epoch": max(each.best_epoch for each in kept),
        "parameters": final.count_params(),
        "seconds": round(time.monotonic() - started, 3),
        "final": {key: float(np.mean([each.kept_row[key] for each in kept])) for key in kept[0].kept_row},
        "members": [
            {"seed": own.seed, "epochs": each.epochs, "best_epoch": each.best_epoch, "final": each.kept_row}
            for own, each in zip(members_of(trainer), kept, strict=True)
        ]
        if len(kept) > 1
        else None,
        "unseen_labels": context.eval.unseen_labels,
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
        "trainer": trainer.model_dump(mode="json"),
        "warm_start": outcome,
        "xla": context.xla.as_dict(),
        "noise": _noise(trainer, kept[0].model) if chosen is None else chosen.record,
        "decision": None if decision is None else dataclasses.asdict(decision),
        "coverage_before_calibration": None if calibration is None else calibration.coverage_before,
    }
    with tf.io.gfile.GFile(f"{fn_args.model_run_dir}/training.json", "w") as file:
        file.write(json.dumps(summary, indent=1))
    for each in [training for of_member in done for training in of_member]:
        if each.checkpoint is not None:
            each.checkpoint.remove()


def _trainer_of_scales(fn_args: Any, fitted: TransformRecord) -> Callable[[TrainingContext, str], Trained]:
    """Return the function that trains from new weights, with its history in a folder of this name."""
    return lambda own, name: train_once(fn_args, own, fitted, None, f"{fn_args.model_run_dir}/{name}", member=None)


def _noise(trainer: TrainerConfig, model: keras.Model) -> dict[str, Any] | None:
    """Return the mean standard deviation of each layer's units after training, where it is not what is configured."""
    if trainer.model.stddev not in SCALES:
        return None
    return {"kind": trainer.model.stddev, "stddev": mean_stddevs(model)}


def _members(context: TrainingContext) -> Iterator[tuple[TrainingContext, tuple[int, int] | None]]:
    """Return each member's context, with its seed, and its number (from 1) of how many; None for a single model."""
    members = members_of(context.custom_config.trainer)
    yield context, (1, len(members)) if len(members) > 1 else None
    for number, trainer in enumerate(members[1:], 2):
        config = dataclasses.replace(context.custom_config, trainer=trainer)
        own = dataclasses.replace(context, custom_config=config, train=context.train.with_seed(trainer.seed))
        yield own, (number, len(members))


def _exported(context: TrainingContext, kept: Sequence[Trained]) -> tuple[keras.Model, keras.Model, Predict | None]:
    """Return the model as a server runs it, as the Keras file holds it, and the function that serves it."""
    trainer, logits = context.custom_config.trainer, context.layout.is_classification

    def copies(for_serving: bool) -> list[keras.Model]:
        # New models: the trained one holds an optimizer, and ops that a server can't load.
        found = []
        for number, each in enumerate(kept, 1):
            name = "noisy_gru" if len(kept) == 1 else f"member_{number}"
            copy = build_model(
                trainer.model, context.layout, context.sizes, seed=trainer.seed, for_serving=for_serving, name=name
            )
            copy.set_weights(inference_weights(each.model) if for_serving else each.model.get_weights())
            found.append(copy)
        return found

    serving = copies(for_serving=True)
    predict = combined_function(serving, [serving_function(each) for each in serving], logits=logits)
    return combined(serving, logits=logits), combined(copies(for_serving=False), logits=logits), predict


def _decision(context: TrainingContext, labels: list[str], model: keras.Model, predict: Any) -> Decision | None:
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


def _calibration(
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


def _starts(fn_args: Any, context: TrainingContext, warm: WarmStart | None) -> list[tuple[WarmStart | None, str]]:
    """Return the trainings to run: each its warm start, None for new weights, and the folder of its history."""
    run_dir = fn_args.model_run_dir
    if warm is None:
        return [(None, run_dir)]
    warm.log()
    if warm.reasons:
        return [(None, run_dir)]
    if not context.custom_config.warm_start.prove:
        return [(warm, run_dir)]
    if not len(context.eval):
        raise ConfigError(
            "retraining.warm_start.prove compares on the eval split, which is empty. Give splits.eval (or "
            "eval_from_train) a share, or set retraining.warm_start.prove: false."
        )
    return [(warm, f"{run_dir}/warm"), (None, f"{run_dir}/cold")]


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
    epochs, steps = _extent(trainer, context.train, fn_args.train_steps)
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
        path = f"{context.custom_config.working_dir.rstrip('/')}/training-{_key(context, warm, fitted)}/state.npz"
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
    callbacks.append(Progress(epochs=epochs, member=member))
    callbacks += [average.resume] if average is not None else []
    # Last, so that it saves the state of the other callbacks after the epoch.
    callbacks += [checkpoint] if checkpoint is not None and is_chief(context.strategy) else []
    start = epochs if best is not None and best.stopped else first
    run = run_epochs if context.strategy is None else fit_replicas
    run(model, context.train, context.eval, initial_epoch=start, epochs=epochs, callbacks=callbacks, average=average)


def _extent(trainer: TrainerConfig, data: SequenceData, train_steps: int | None) -> tuple[int, int]:
    """Return the epochs, and the steps of one; TFX's `train_args.num_steps`, if set, bounds the epochs."""
    steps = data.steps
    epochs = trainer.training.epochs
    return (min(epochs, math.ceil(train_steps / steps)) if train_steps else epochs), steps


def _key(context: TrainingContext, warm: WarmStart | None = None, fitted: TransformRecord | None = None) -> str:
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
