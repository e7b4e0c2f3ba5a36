"""One model of several members: the mean of their probabilities, or of their predictions."""

# Keras' type hints give None for what a layer returns.

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from noisy_gru.trainer.config import TrainerConfig

Predict = Callable[[Mapping[str, Any]], Any]

# A layer draws with the model's seed plus its index: members' seeds are further apart than a model has layers.
_SEED_STEP = 1000


@keras.saving.register_keras_serializable(package="noisy_gru")
class MeanOfMembers(keras.layers.Layer):
    """Mean of the members' outputs, all of one shape.

    Args:
        logits: whether the outputs are logits [B, C]; the result then is the logarithm of the mean probabilities.
        binary: whether each of them is a logit by itself; the result then is that of the mean probability.

    Call arguments:
        outputs: a list of tensors, one of each member.
    """

    def __init__(self, logits: bool, binary: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.logits, self.binary = logits, binary

    def call(self, outputs: Sequence[Any]) -> Any:
        stacked = ops.stack(list(outputs))
        if self.binary:
            yes, no = (ops.logsumexp(ops.log_sigmoid(sign * stacked), axis=0) for sign in (1.0, -1.0))
            return yes - no
        if not self.logits:
            return ops.mean(stacked, axis=0)
        return ops.logsumexp(ops.log_softmax(stacked, axis=-1), axis=0) - math.log(len(outputs))

    def compute_output_spec(self, outputs: Sequence[Any]) -> keras.KerasTensor:
        return keras.KerasTensor(outputs[0].shape, dtype=outputs[0].dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "logits": self.logits, "binary": self.binary}


def members_of(trainer: TrainerConfig) -> list[TrainerConfig]:
    """Return the configuration of each member: the first is that of a single model, the others have other seeds."""
    return [
        trainer.model_copy(update={"seed": (trainer.seed + _SEED_STEP * number) % 2**31})
        for number in range(trainer.training.members)
    ]


def combined(members: Sequence[keras.Model], *, logits: bool, binary: bool = False) -> keras.Model:
    """Join models of the same inputs, and of different names, to one that answers with their mean.

    A single model is returned as it is.

    Args:
        members: of `build_model`; the result shares their weights, in this order.
        logits, binary: of `MeanOfMembers`.
    """
    if len(members) == 1:
        return members[0]
    given: Any = members[0].input
    inputs = {key: keras.Input(each.shape[1:], dtype=each.dtype, name=key) for key, each in given.items()}
    outputs = [member(inputs) for member in members]
    return keras.Model(inputs, MeanOfMembers(logits, binary, dtype="float32", name="mean")(outputs), name="noisy_gru")


def combined_function(
    members: Sequence[keras.Model], functions: Sequence[Predict | None], *, logits: bool, binary: bool = False
) -> Predict | None:
    """Return the mean of the members' serving functions; None if none of them has one, and the model serves itself.

    Args:
        members: the models.
        functions: of `serving_function`, one for each.
        logits, binary: of `MeanOfMembers`.
    """
    if len(members) == 1 or not any(functions):
        return functions[0]
    mean = MeanOfMembers(logits, binary, dtype="float32", name="mean")

    def predict(inputs: Mapping[str, Any]) -> Any:
        return mean(
            [
                member(inputs, training=False) if function is None else function(inputs)
                for member, function in zip(members, functions, strict=True)
            ]
        )

    return predict
