"""The inputs of a training or a search: the splits, Transform's output, and the sizes of its vocabularies."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from noisy_gru.schema.config import ClassificationConfig
from noisy_gru.schema.errors import ConfigError, DataError
from noisy_gru.schema.interval_config import is_calibrated
from noisy_gru.schema.task_config import is_multi_label
from noisy_gru.trainer.class_balance import (
    NO_SETTINGS,
    ClassSettings,
    balance_problems,
    class_weights,
    label_weights,
    require_label,
)
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.conformal import check_targets
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.decision import check_classes
from noisy_gru.trainer.features import LABEL_VOCABULARY, Layout
from noisy_gru.trainer.inputs.dataset import BatchConfig, SequenceData
from noisy_gru.trainer.inputs.padded_lengths import choose_padded_lengths
from noisy_gru.trainer.interval_checks import interval_problems
from noisy_gru.trainer.label_decisions import check_label_truth
from noisy_gru.trainer.loss_unit_checks import loss_unit_problems
from noisy_gru.trainer.model import VocabularySizes
from noisy_gru.trainer.model_checks import check_model_config
from noisy_gru.trainer.objective import metric_names
from noisy_gru.trainer.transform_record import read_record
from noisy_gru.trainer.vocabularies import read_vocabulary
from noisy_gru.trainer.xla import XlaChoice, choose_xla

# XLA compiles each anew; a pass over eval is short, so padding costs less there.
_MOST_LENGTHS, _MOST_EVAL_LENGTHS = 8, 2


class EpochOrder(keras.callbacks.Callback):
    """Sets the epoch whose order the data has next."""

    def __init__(self, data: SequenceData):
        super().__init__()
        self.data = data

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.data.epoch.assign(epoch)


@dataclasses.dataclass
class TrainingContext:
    """The inputs of a training or a search.

    Attributes:
        custom_config: parsed.
        layout: of the data set.
        train: the train split.
        eval: the eval split; it may be empty.
        transform: Transform's output.
        sizes: of the fitted vocabularies.
        classes: weights of the classes, and which is the positive one.
        strategy: splits each batch among replicas; None for one device.
        xla: whether XLA compiles the steps.
    """

    custom_config: CustomConfig
    layout: Layout
    train: SequenceData
    eval: SequenceData
    transform: tft.TFTransformOutput
    sizes: VocabularySizes
    classes: ClassSettings = NO_SETTINGS
    strategy: tf.distribute.Strategy | None = None
    xla: XlaChoice = dataclasses.field(default_factory=lambda: XlaChoice(False, "not decided yet"))

    def with_xla(self, epochs: int) -> TrainingContext:
        """Decide whether XLA compiles the steps of this many epochs, and pad the splits for it."""
        of_batches = self.train.longest_of_batches(shuffled=True)
        lengths = choose_padded_lengths(of_batches, _MOST_LENGTHS)
        padded = np.array(lengths)[np.searchsorted(lengths, of_batches)]
        choice = choose_xla(
            self.custom_config.trainer,
            epochs=epochs,
            padded_steps=int(padded.sum()),
            shapes=len(lengths),
            has_gpu=bool(tf.config.list_logical_devices("GPU")),
            is_shared=self.strategy is not None,
        )
        if choice.enabled:
            self.train.pad_to(lengths)
            if len(self.eval):
                self.eval.pad_to(
                    choose_padded_lengths(self.eval.longest_of_batches(shuffled=False), _MOST_EVAL_LENGTHS)
                )
        return dataclasses.replace(self, xla=choice)

    def scope(self) -> AbstractContextManager[Any]:
        """Return the scope in which the trained model must be built and compiled."""
        strategy: Any = self.strategy
        return strategy.scope() if strategy is not None else nullcontext()


def require_keras_3() -> None:
    """Check that Keras is version 3 on TensorFlow.

    Raises:
        RuntimeError: it is not.
    """
    if not keras.__version__.startswith("3.") or keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"The Trainer needs Keras 3 on TensorFlow. Received: Keras {keras.__version__} on {keras.backend.backend()}"
            ". Unset KERAS_BACKEND, and leave `import keras` to the environment of this package."
        )


def prepare_training(fn_args: Any, custom_config: CustomConfig) -> TrainingContext:
    """Read the splits and Transform's output of a training.

    Args:
        fn_args: TFX's FnArgs.
        custom_config: parsed.

    Raises:
        ConfigError: the model does not fit the columns, or early stopping monitors an unknown quantity.
        DataError: train is empty, holds a target that is not finite, or one class only.
        RuntimeError: as `require_keras_3`.
    """
    require_keras_3()
    layout = Layout(custom_config.dataset)
    training = custom_config.trainer.training
    check_model_config(custom_config.trainer.model, custom_config.dataset)
    if problems := [
        *balance_problems(training, custom_config.dataset),
        *interval_problems(training, custom_config.dataset),
        *loss_unit_problems(training, custom_config.dataset),
    ]:
        raise ConfigError("\n".join(problems))
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    batches = BatchConfig(
        batch_size=training.batch_size,
        seed=custom_config.trainer.seed,
        bucket_by_length=training.bucket_by_length,
        cache_bytes=training.cache_gigabytes * 1e9,
    )
    spec = transform.transformed_feature_spec()
    drawn = dataclasses.replace(batches, balanced=training.sampling == "balanced", drawn=training.windows_per_epoch)
    train = SequenceData(fn_args.train_files, spec, layout, drawn, "train")
    # TFX's Trainer requires eval files, and passes others if there is no such split.
    eval_files = fn_args.eval_files or [] if custom_config.dataset.has_eval_split else []
    held_out = SequenceData(eval_files, spec, layout, batches, "eval")
    if not len(train):
        raise DataError(f"The train split holds no sequence to train on. Files: {fn_args.train_files}")
    if training.windows_per_epoch is not None and not train.in_memory:
        raise ConfigError(
            "training.windows_per_epoch draws sequences from memory, and the train split is larger than "
            f"training.cache_gigabytes ({training.cache_gigabytes:g}). Raise it, or leave windows_per_epoch out."
        )
    if drawn.balanced and not train.in_memory:
        raise ConfigError(
            "training.sampling: balanced draws sequences from memory, and the train split is larger than "
            f"training.cache_gigabytes ({training.cache_gigabytes:g}). Raise it, or set training.sampling: natural "
            "and training.class_weights: balanced."
        )
    if training.early_stopping is not None and not len(held_out):
        raise ConfigError(
            "training.early_stopping needs sequences in the eval split, which is empty. "
            "Give splits.eval (or eval_from_train) a share, or set training.early_stopping: null to train all epochs."
        )
    if is_calibrated(custom_config.dataset.task):
        check_targets(custom_config.dataset.task, held_out.answers().reshape(len(held_out), -1))
    _check_monitor(custom_config.trainer, layout)
    classes, settings = 0, ClassSettings()
    if isinstance(custom_config.dataset.task, ClassificationConfig):
        classes = transform.vocabulary_size_by_name(LABEL_VOCABULARY)
        if classes < 2:
            raise DataError(
                "Classification needs two classes or more in the train split; column "
                f"{custom_config.dataset.task.label} has {classes} there. Check task.label, and splits."
            )
        labels = [name.decode("utf-8", "replace") for name in read_vocabulary(transform, LABEL_VOCABULARY)]
        counts = np.bincount(train.labels, minlength=classes)
        task = custom_config.dataset.task
        positive = task.positive
        if task.threshold is not None:
            check_classes(task, labels, held_out.labels)
        settings = ClassSettings(
            class_weights(training.class_weights, labels, counts),
            1 if positive is None else require_label(positive, labels, "task.positive"),
        )
    elif is_multi_label(task := custom_config.dataset.task):
        settings = ClassSettings(label_weights(training.class_weights, task.labels, train.answers()))
        if task.has_chosen_thresholds:
            check_label_truth(task, held_out.answers().reshape(-1, len(task.labels)))
    # The last id is for unknown and missing values.
    vocabularies = tuple(
        transform.vocabulary_size_by_name(layout.vocabulary(index)) + 1 for index in range(len(layout.categorical))
    )
    static = tuple(
        transform.vocabulary_size_by_name(layout.static_vocabulary(index)) + 1
        for index in range(len(layout.static_categorical))
    )
    relative = custom_config.trainer.model.window_normalization != "none"
    decays = custom_config.trainer.model.missing == "decay"
    units = training.unit_weights
    needed = relative or decays or units is not None or any(layout.logged_targets)
    record = read_record(transform, layout) if needed else None
    sizes = VocabularySizes(classes, vocabularies, record, static)
    return TrainingContext(custom_config, layout, train, held_out, transform, sizes, settings)


def _check_monitor(trainer: TrainerConfig, layout: Layout) -> None:
    stopping = trainer.training.early_stopping
    known = [prefix + name for prefix in ("", "val_") for name in ("loss", *metric_names(layout))]
    if stopping is not None and stopping.monitor not in known:
        raise ConfigError(
            f"training.early_stopping.monitor must be one of {', '.join(known)}. Received: {stopping.monitor}"
        )
