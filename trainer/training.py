"""The training loop: data, model, callbacks, resuming, and the files of the result."""

# Keras' type hints give None for what a model or an operation returns.
# pyright: reportOptionalOperand=false, reportOptionalSubscript=false, reportOptionalMemberAccess=false, reportOperatorIssue=false, reportArgumentType=false

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import time
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from noisy_gru.trainer.callbacks import StddevSchedule
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.dataset import BatchConfig, SequenceData
from noisy_gru.trainer.export import ServedModel, export, keras_folder, save_keras, target_scale
from noisy_gru.trainer.features import LABEL_VOCABULARY, Layout
from noisy_gru.trainer.model import Sizes, build_model, check_model_config
from noisy_gru.trainer.objective import compile_model, metric_name
from noisy_gru.trainer.progress import FiniteLoss, HistoryFile, Progress, TensorBoardLog, report
from noisy_gru.trainer.resume import BestWeights, Checkpoint
from noisy_gru.trainer.settings import Settings
from noisy_gru.trainer.tuning import apply_hyperparameters

logger = logging.getLogger(__name__)


class EpochOrder(keras.callbacks.Callback):
    """Tells the data which epoch's order comes next."""

    def __init__(self, data: SequenceData):
        super().__init__()
        self.data = data

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.data.epoch.assign(epoch)


@dataclasses.dataclass
class Workbench:
    """What a training or a search works with: the settings, the splits, Transform's output and the sizes from it."""

    settings: Settings
    layout: Layout
    train: SequenceData
    eval: SequenceData
    transform: tft.TFTransformOutput
    sizes: Sizes


def require_keras_3() -> None:
    """Refuse to train with another Keras.

    Raises:
        RuntimeError: `import keras` gives no Keras 3 on TensorFlow.
    """
    if not keras.__version__.startswith("3.") or keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"The Trainer needs Keras 3 on TensorFlow. Received: Keras {keras.__version__} on {keras.backend.backend()}"
            ". Unset KERAS_BACKEND, and leave `import keras` to the environment of this package."
        )


def prepare(fn_args: Any, settings: Settings) -> Workbench:
    """Read the splits and Transform's output.

    Args:
        fn_args: TFX's FnArgs.
        settings: of `custom_config`.

    Raises:
        ValueError: a needed split is empty, the model does not fit the columns, or train has one class only.
    """
    layout = Layout(settings.dataset)
    training = settings.trainer.training
    check_model_config(settings.trainer.model, layout)
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    batches = BatchConfig(
        batch_size=training.batch_size,
        seed=settings.trainer.seed,
        bucket_by_length=training.bucket_by_length,
        few_shapes=training.jit_compile,
        cache_bytes=training.cache_gigabytes * 1e9,
    )
    spec = transform.transformed_feature_spec()
    train = SequenceData(fn_args.train_files, spec, layout, batches, "train")
    held_out = SequenceData(fn_args.eval_files or [], spec, layout, batches, "eval")
    if not len(train):
        raise ValueError(f"The train split holds no sequence to train on. Files: {fn_args.train_files}")
    if training.early_stopping is not None and not len(held_out):
        raise ValueError(
            "training.early_stopping needs sequences in the eval split, which is empty. "
            "Give splits.eval (or eval_from_train) a share, or set training.early_stopping: null to train all epochs."
        )
    classes = transform.vocabulary_size_by_name(LABEL_VOCABULARY) if layout.is_classification else 0
    if layout.is_classification and classes < 2:
        raise ValueError(
            f"Classification needs two classes or more in the train split; column {layout.dataset.task} has {classes}"
        )
    # The last id is that of unknown and missing values.
    vocabularies = tuple(
        transform.vocabulary_size_by_name(layout.vocabulary(index)) + 1 for index in range(len(layout.categorical))
    )
    return Workbench(settings, layout, train, held_out, transform, Sizes(classes, vocabularies))


def train(fn_args: Any, settings: Settings) -> None:
    """Train, or go on with an interrupted training, and write the SavedModel, the Keras file and the history.

    Args:
        fn_args: TFX's FnArgs.
        settings: of `custom_config`.

    Raises:
        ValueError: as `prepare`; the early stopping's monitor does not exist; or the loss is no longer finite.
        RuntimeError: no Keras 3.
    """
    require_keras_3()
    started = time.monotonic()
    trainer = apply_hyperparameters(settings.trainer, fn_args.hyperparameters)
    settings = dataclasses.replace(settings, trainer=trainer)
    bench = prepare(fn_args, settings)
    epochs, steps = _extent(trainer, bench.train, fn_args.train_steps)
    _check_monitor(trainer, bench)
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

    # Built anew: on a GPU the trained one may have chosen cuDNN's ops, which a server without it can't load.
    final = build_model(trainer.model, bench.layout, bench.sizes, seed=trainer.seed, use_cudnn=False)
    final.set_weights(model.get_weights())
    export(ServedModel(final, bench.transform, bench.layout), fn_args.serving_model_dir)
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


def _check_monitor(trainer: TrainerConfig, bench: Workbench) -> None:
    stopping = trainer.training.early_stopping
    metric = metric_name(bench.layout)
    known = ["loss", metric, "val_loss", f"val_{metric}"]
    if stopping is not None and stopping.monitor not in known:
        raise ValueError(
            f"training.early_stopping.monitor must be one of {', '.join(known)}. Received: {stopping.monitor}"
        )


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
