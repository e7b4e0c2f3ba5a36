"""A trained model's outputs for the eval split: what is chosen after the training (thresholds, calibration) rests on.

>>> (scores,), answers = eval_outputs(context.eval, lambda inputs: [model(inputs, training=False)])  # doctest: +SKIP
"""

# TensorFlow's type hints know no tensors as arguments.

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from noisy_gru.trainer.inputs.dataset import SequenceData

# Numbers of one output that are kept: of more sequences, every second, third … is taken.
_MOST_NUMBERS = 100_000_000


def eval_outputs(
    data: SequenceData, compute: Callable[[Mapping[str, Any]], Sequence[Any]]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Compute a model's outputs for the sequences of a split, in the order of its files.

    Args:
        data: the split, with at least one sequence.
        compute: from inputs of a batch to tensors [B, ...].

    Returns:
        The tensors, [N, ...] each, and the answers of `SequenceData`, [N, ...]. With `task.per_step` those of the steps
        that have a label, N of them, and these labels.
    """
    batches: Any = data.one_pass()
    # One graph for batches of all lengths.
    computed = tf.function(compute, input_signature=[batches.element_spec[0]], autograph=False)
    outputs: list[list[np.ndarray]] = []
    answers: list[np.ndarray] = []
    seen, stride = 0, 1
    for inputs, answer, *weights in batches:
        found = [np.asarray(each) for each in computed(inputs)]
        if not outputs:
            outputs = [[] for _ in found]
            stride = math.ceil(len(data) * max(each[0].size for each in found) / _MOST_NUMBERS)
        # Rows of weight 0 repeat others.
        rows = np.flatnonzero(weights[0].numpy() > 0) if weights else np.arange(len(found[0]))
        chosen = rows[(seen + np.arange(len(rows))) % stride == 0]
        seen += len(rows)
        if data.layout.is_per_step:
            labels, known = answer.numpy()[chosen, :, 0], answer.numpy()[chosen, :, 1] > 0
            for kept, each in zip(outputs, found, strict=True):
                kept.append(each[chosen][known])
            answers.append(labels[known].astype(np.int64))
            continue
        for kept, each in zip(outputs, found, strict=True):
            kept.append(each[chosen])
        answers.append(answer.numpy()[chosen])
    return [np.concatenate(kept) for kept in outputs], np.concatenate(answers)
