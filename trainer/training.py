"""The training loop: data, model, callbacks, resuming, and the files of the result."""

# Keras' type hints give None for what a model or an operation returns.
# pyright: reportOptionalOperand=false, reportOptionalSubscript=false, reportOptionalMemberAccess=false, reportOperatorIssue=false, reportArgumentType=false

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from typing import Any

import keras
import tensorflow as tf

from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.callbacks import StddevSchedule
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.dataset import SequenceData
from noisy_gru.trainer.export import export, keras_folder, save_keras, target_scale
from noisy_gru.trainer.model import build_model
from noisy_gru.trainer.objective import compile_model
from noisy_gru.trainer.progress import FiniteLoss, HistoryFile, Progress, TensorBoardLog, report
from noisy_gru.trainer.resume import BestWeights, Checkpoint
from noisy_gru.trainer.served_model import ServedModel
from noisy_gru.trainer.settings import Settings
from noisy_gru.trainer.tuning import apply_hyperparameters
from noisy_gru.trainer.workbench import EpochOrder, Workbench, prepare


def train(fn_args: Any, settings: Settings) -> None:
    """Train, or go on with an interrupted training, and write the SavedModel, the Keras file and the history.

    Args:
        fn_args: TFX's FnArgs.
        settings: of `custom_config`.

    Raises:
        ConfigError, DataError, RuntimeError: as `prepare`; the loss is no longer finite; or there is a
            base model.
    """
    if fn_args.base_model:
        # Vocabularies fitted anew would shift the rows of embeddings and classes under old weights.
        raise ConfigError(
            f"The Trainer does not start from a base model yet. Received: {fn_args.base_model}. Leave base_model out."
        )
    started = time.monotonic()
    trainer = apply_hyperparameters(settings.trainer, fn_args.hyperparameters)
    settings = dataclasses.replace(settings, trainer=trainer)
    bench = prepare(fn_args, settings)
    epochs, steps = _extent(trainer, bench.train, fn_args.train_steps)
    keras.utils.set_random_seed(trainer.seed)
    model = build_model(trainer.model, bench.layout, bench.sizes, seed=trainer.seed)
    served = ServedModel(model, bench.transform, bench.layout)
    scale = target_scale(served)
    compile_model(model, trainer.training, bench.layout, steps_per_epoch=steps, epochs=epochs, target_scale=scale)
    report(
        f"training on {len(bench.train)} sequences, {len(bench.eval)} to stop early; {model.count_params()} parameters"
        f", seed {trainer.seed}",
        kind="training",
        sequences={"train": len(bench.train), "eval": len(bench.eval)},
        longest=bench.train.longest,
        in_memory=bench.train.in_memory,
        parameters=model.count_params(),
        seed=trainer.seed,
    )

    history = HistoryFile(f"{fn_args.model_run_dir}/history.csv")
    best = BestWeights(trainer.training.early_stopping) if trainer.training.early_stopping else None
    checkpoint = None
    if settings.working_dir:
        path = f"{settings.working_dir.rstrip('/')}/training-{_key(bench)}/state.npz"
        checkpoint = Checkpoint(path, history=history, best=best)
    fit(model, bench, history=history, best=best, checkpoint=checkpoint, epochs=epochs, run_dir=fn_args.model_run_dir)

    # Built anew, because the trained one holds what a server can't load, and an optimizer.
    serving, final = (
        build_model(trainer.model, bench.layout, bench.sizes, seed=trainer.seed, for_serving=value)
        for value in (True, False)
    )
    for copy in (serving, final):
        copy.set_weights(model.get_weights())
    export(ServedModel(serving, bench.transform, bench.layout, settings.trainer.model), fn_args.serving_model_dir)
    save_keras(final, settings, keras_folder(fn_args.serving_model_dir))
    summary = {
        "seed": trainer.seed,
        "epochs": len(history.rows),
        "best_epoch": best.best_epoch if best else len(history.rows),
        "parameters": final.count_params(),
        "seconds": round(time.monotonic() - started, 3),
        "final": history.rows[(best.best_epoch if best else len(history.rows)) - 1],
        "unseen_labels": bench.eval.unseen_labels,
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
        "trainer": trainer.model_dump(mode="json"),
    }
    with tf.io.gfile.GFile(f"{fn_args.model_run_dir}/training.json", "w") as file:
        file.write(json.dumps(summary, indent=1))
    if checkpoint is not None:
        checkpoint.remove()


def fit(
    model: keras.Model,
    bench: Workbench,
    *,
    history: HistoryFile,
    best: BestWeights | None,
    checkpoint: Checkpoint | None,
    epochs: int,
    run_dir: str,
) -> None:
    """Run the epochs that are left; afterwards the model holds the best weights, or the last without early stopping."""
    training = bench.settings.trainer.training
    first = checkpoint.restore(model) if checkpoint is not None else 0
    if first:
        report(f"going on after epoch {first} of an interrupted training", kind="resumed", epoch=first)
    callbacks: list[keras.callbacks.Callback] = [EpochOrder(bench.train)]
    if training.noise_schedule.kind != "constant":
        schedule = training.noise_schedule
        callbacks.append(StddevSchedule(schedule.kind, epochs=epochs, final=schedule.final_factor))
    callbacks += [FiniteLoss(), TensorBoardLog(run_dir), history]
    callbacks += [best] if best is not None else []
    callbacks.append(Progress(epochs=epochs))
    # Last, so that what it saves holds what the others made of the epoch.
    callbacks += [checkpoint] if checkpoint is not None else []
    model.fit(
        bench.train.shuffled(),
        validation_data=bench.eval.one_pass() if len(bench.eval) else None,
        initial_epoch=epochs if best is not None and best.stopped else first,
        epochs=epochs,
        callbacks=callbacks,
        shuffle=False,  # the data set has shuffled already
        verbose=0,
    )


def _extent(trainer: TrainerConfig, data: SequenceData, train_steps: int | None) -> tuple[int, int]:
    """Epochs, and steps in one; TFX's `train_args.num_steps`, where given, bounds the epochs."""
    steps = data.steps
    epochs = trainer.training.epochs
    return (min(epochs, math.ceil(train_steps / steps)) if train_steps else epochs), steps


def _key(bench: Workbench) -> str:
    """A name that another configuration, other data or another version of the code does not have."""
    content = json.dumps(
        [
            bench.settings.dataset.model_dump(mode="json"),
            bench.settings.trainer.model_dump(mode="json"),
            bench.settings.fingerprint,
            bench.train.digest,
            bench.eval.digest,
            dataclasses.astuple(bench.sizes),
            [tf.__version__, keras.__version__],
        ],
        sort_keys=True,
    )
    return hashlib.sha256(content.encode()).hexdigest()[:32]
