"""One training: data, model, callbacks, resuming, and the output files."""

# Keras' type hints give None for what a model or an operation returns.

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.callbacks.noise_log import mean_stddevs
from noisy_gru.trainer.callbacks.progress import report
from noisy_gru.trainer.config import TrainerConfig, shared_batch_message, whole_batch_noise
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.distributed.replicas import is_chief
from noisy_gru.trainer.ensemble import Predict, combined, combined_function, members_of
from noisy_gru.trainer.eval_decisions import choose_threshold, fit_calibration, measure_scores
from noisy_gru.trainer.export.onnx_export import export_onnx
from noisy_gru.trainer.export.saved_model import (
    export_saved_model,
    keras_folder,
    save_calibration,
    save_decision,
    save_keras,
    save_scores,
)
from noisy_gru.trainer.export.served_model import ServedModel
from noisy_gru.trainer.export.serving_stack import serving_function
from noisy_gru.trainer.layers.initial_noise import SCALES
from noisy_gru.trainer.model import build_model, inference_weights
from noisy_gru.trainer.noise_scale import choose_scale
from noisy_gru.trainer.single_training import epochs_and_steps, train_once
from noisy_gru.trainer.training_context import TrainingContext, prepare_training
from noisy_gru.trainer.transform_record import TransformRecord, read_record, save_record
from noisy_gru.trainer.tuning import apply_hyperparameters
from noisy_gru.trainer.warm_start.warm_start import Trained, WarmStart, better_on_eval, save_outcome


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
    context = context.with_xla(epochs_and_steps(trainer, context.train, fn_args.train_steps)[0])
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
    decision = choose_threshold(context, fitted.labels, serving, predict)
    calibration = fit_calibration(context, fitted, serving, predict)
    served = ServedModel(serving, context.transform, context.layout, config, predict, decision, calibration)
    scores = measure_scores(context, fitted, served, predict)
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
    if scores is not None:
        save_scores(scores, beside)
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
    trainer = context.custom_config.trainer
    kind = {"logits": context.layout.is_classification, "binary": context.layout.is_multi_label}

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
    predict = combined_function(serving, [serving_function(each) for each in serving], **kind)
    return combined(serving, **kind), combined(copies(for_serving=False), **kind), predict


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
