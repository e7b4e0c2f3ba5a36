"""Names, dtypes and shapes of Transform's outputs, the model's inputs, and the served outputs.

Transform writes each sequence flat, which is cheap to parse; `model_inputs` makes a padded batch of it for evaluation
and serving, and `flat_sequences` the same one for training, from sequences that are kept in memory.
"""

# TensorFlow's type hints know neither ragged tensors nor tensors as arguments.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from noisy_gru.schema.config import ClassificationConfig, DatasetConfig, FeatureConfig, ForecastingConfig
from noisy_gru.schema.interval_config import MEDIAN
from noisy_gru.schema.task_config import is_multi_label, is_per_step, targets_of

# Transform's outputs for each sequence. T is its steps and, if a feature is known in advance, the horizon's.
FEATURES = "features"  # float32, ragged [B, T * channels]: steps by channels, scaled
LENGTH = "length"  # int64 [B]: T
LABEL = "label"  # int64 [B]: the class, -1 where it was never seen in train; with `task.per_step` ragged [B, T]
TARGETS = "targets"  # float32 [B, H * K]: scaled; [B, K] for regression, with `task.per_step` ragged [B, T * K]
LAST_TARGET = "last_target"  # float32 [B, K]: the last value read of each target, scaled as the target is
TARGET_MEAN = (
    "target_mean"  # float32 [B, K]: the same in every row; predictions are scaled * target_scale + target_mean
)
TARGET_SCALE = "target_scale"  # float32 [B, K]
STATIC = "static_features"  # float32 [B, static channels]: scaled

LABEL_VOCABULARY = "label_vocabulary"

# Names of the exported model's signatures and of their inputs and outputs (docs/architecture.md).
SERVING_DEFAULT = "serving_default"
SERVING_TENSORS = "serving_tensors"
SERVING_STEP = "serving_step"  # only with `model.serving_step`
EVALUATION_LABELS = "evaluation_labels"
EXAMPLES = "examples"
LENGTHS = "lengths"
STATE = "state"  # float32 [B, S]: the model's state of a stream, opaque to clients; zeros for a new stream
PROBABILITIES = "probabilities"
CLASS_ID = "class_id"
LABEL_BYTES = "label_bytes"
LABELS_BYTES = "labels_bytes"
PREDICTIONS = "predictions"
ANSWERS = "answers"  # int64 [B, K]: 1 where a label is answered; only with `task.labels`
QUANTILES = "quantiles"  # float32 [B, H, K, Q], or [B, 1, Q]: rising; only with `task.quantiles` or `task.intervals`


_STATIC_IDS = "static_ids_"


def is_static(key: str) -> bool:
    """Return whether a model input is of static features."""
    return key == STATIC or key.startswith(_STATIC_IDS)


@dataclass(frozen=True)
class Layout:
    """The layout of a data set's columns in tensors, as its configuration determines it."""

    dataset: DatasetConfig

    @property
    def numeric(self) -> list[FeatureConfig]:
        """Numeric features, in the order of the raw channels of `serving_tensors`."""
        return self.dataset.data.numeric

    @property
    def categorical(self) -> list[FeatureConfig]:
        """Categorical features, in the order of the configuration."""
        return self.dataset.data.categorical

    @property
    def static_numeric(self) -> list[FeatureConfig]:
        """Static numeric features, in the order of the raw `static_features`."""
        return self.dataset.data.static_numeric

    @property
    def static_categorical(self) -> list[FeatureConfig]:
        """Static categorical features, in the order of the configuration."""
        return self.dataset.data.static_categorical

    @property
    def static_channels(self) -> list[str]:
        """Names of the channels of `static_features` after Transform: values, then missing masks."""
        names = [feature.name for feature in self.static_numeric]
        return names + [f"{feature.name} is missing" for feature in self.static_numeric if feature.missing == "mask"]

    @property
    def static_inputs(self) -> list[str]:
        """Transformed keys and model inputs of the static features."""
        ids = [self.static_ids(index) for index in range(len(self.static_categorical))]
        return [*([STATIC] if self.static_channels else []), *ids]

    @property
    def has_future(self) -> bool:
        """Whether the time axis runs past the last input step, up to the furthest horizon."""
        return any(feature.known_in_advance for feature in self.dataset.data.features)

    @property
    def horizons(self) -> list[int]:
        """Steps ahead that are predicted; empty unless the task is forecasting."""
        task = self.dataset.task
        return task.horizons if isinstance(task, ForecastingConfig) else []

    @property
    def future_steps(self) -> int:
        """Steps of the time axis after the past: the furthest horizon, or 0."""
        task = self.dataset.task
        return task.max_horizon if self.has_future and isinstance(task, ForecastingConfig) else 0

    @property
    def channels(self) -> list[str]:
        """Names of the channels of `features` after Transform: values, then missing masks, then `is_future`."""
        names = [feature.name for feature in self.numeric]
        names += [f"{feature.name} is missing" for feature in self.numeric if feature.missing == "mask"]
        return [*names, "is future"] if self.has_future else names

    @property
    def known_channels(self) -> list[str]:
        """Names of those channels of `features` whose values are known in advance, and of their missing masks."""
        known = [feature for feature in self.numeric if feature.known_in_advance]
        names = [feature.name for feature in known]
        return names + [f"{feature.name} is missing" for feature in known if feature.missing == "mask"]

    def ids(self, index: int) -> str:
        """Transformed key and model input of the categorical feature at this index: int64, ragged [B, T]."""
        return f"ids_{index}"

    def vocabulary(self, index: int) -> str:
        """Name of the vocabulary of the categorical feature at this index."""
        return f"vocabulary_{index}"

    def static_ids(self, index: int) -> str:
        """Transformed key and model input of the static categorical feature at this index: int64 [B]."""
        return f"{_STATIC_IDS}{index}"

    def static_vocabulary(self, index: int) -> str:
        """Name of the vocabulary of the static categorical feature at this index."""
        return f"static_vocabulary_{index}"

    @property
    def is_classification(self) -> bool:
        """Whether a class is predicted: one of several that exclude each other."""
        return isinstance(self.dataset.task, ClassificationConfig)

    @property
    def is_multi_label(self) -> bool:
        """Whether the targets are labels of true or false, and the outputs their logits."""
        return is_multi_label(self.dataset.task)

    @property
    def is_per_step(self) -> bool:
        """Whether each step has a label, and an answer."""
        return is_per_step(self.dataset.task)

    @property
    def logged_targets(self) -> list[bool]:
        """Whether the logarithm of each target is forecast: it also is a feature with `scale: log1p`."""
        logged = {feature.name for feature in self.numeric if feature.scale == "log1p"}
        return [name in logged for name in self.targets] if self.horizons else []

    @property
    def targets(self) -> list[str]:
        """The predicted columns, or several labels; empty for a class."""
        return targets_of(self.dataset.task)

    @property
    def raw_targets(self) -> list[str]:
        """Keys of the raw tf.Example that hold the label or targets."""
        task = self.dataset.task
        if isinstance(task, ForecastingConfig):
            return [f"target/{name}" for name in task.targets]
        return [task.label] if isinstance(task, ClassificationConfig) else targets_of(task)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of a target and prediction: (H, K); (K,) of numbers and labels, with `per_step` of each step; or ()."""
        task = self.dataset.task
        if isinstance(task, ForecastingConfig):
            return (len(task.horizons), len(task.targets))
        return () if isinstance(task, ClassificationConfig) else (len(self.targets),)

    @property
    def quantiles(self) -> list[float]:
        """Levels of the quantiles that the model is trained for, Q of them; empty if it predicts a number alone."""
        return list(getattr(self.dataset.task, "quantiles", None) or [])

    @property
    def head_numbers(self) -> int:
        """Numbers that a head has for each target and horizon."""
        return 2 if getattr(self.dataset.task, "distribution", None) is not None else max(len(self.quantiles), 1)

    @property
    def median(self) -> int:
        """Place of the median among `quantiles`, 0 without any."""
        return self.quantiles.index(MEDIAN) if self.quantiles else 0

    @property
    def observed_targets(self) -> bool:
        """Whether every target is also an input, so that its last value is known."""
        names = {feature.name for feature in self.numeric}
        return isinstance(self.dataset.task, ForecastingConfig) and names.issuperset(self.dataset.task.targets)


def model_inputs(transformed: Mapping[str, Any], layout: Layout) -> dict[str, tf.Tensor]:
    """Pad a batch of transformed sequences to the model's inputs.

    Args:
        transformed: Transform's outputs, as named above.
        layout: the data set's layout.

    Returns:
        `features` float32 [B, T, channels], `length` int64 [B], `ids_<i>` int64 [B, T], of static features
        `static_features` float32 [B, static channels] and `static_ids_<i>` int64 [B], and for forecasting of observed
        targets `last_target` float32 [B, K]. T is at least 1, so an empty sequence is one step that the mask hides.
    """
    lengths = transformed[LENGTH]
    steps = tf.maximum(tf.reduce_max(lengths), 1)
    channels = len(layout.channels)
    flat = transformed[FEATURES].to_tensor(shape=[None, None])
    # The flat rows are padded anew: with zero channels their width says nothing about the steps.
    flat = tf.pad(flat, [[0, 0], [0, tf.maximum(steps * channels - tf.shape(flat, tf.int64)[1], 0)]])
    batch = tf.shape(lengths, tf.int64)[0]
    features = tf.reshape(flat, tf.stack([batch, steps, tf.constant(channels, tf.int64)]))
    inputs = {FEATURES: tf.ensure_shape(features, [None, None, channels]), LENGTH: lengths}
    for index in range(len(layout.categorical)):
        ids = transformed[layout.ids(index)].to_tensor()
        ids = tf.pad(ids, [[0, 0], [0, steps - tf.shape(ids, tf.int64)[1]]])
        inputs[layout.ids(index)] = tf.ensure_shape(ids, [None, None])
    for key in [*layout.static_inputs, *([LAST_TARGET] if layout.observed_targets else [])]:
        inputs[key] = transformed[key]
    return inputs
