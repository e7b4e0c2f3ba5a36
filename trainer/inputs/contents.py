"""Counts, checks and a digest of a split's transformed sequences, and the sequences if they fit into memory."""

# TensorFlow's type hints know neither ragged tensors nor tensors as arguments.

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from noisy_gru.schema.config import ForecastingConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.task_config import has_several_targets, is_per_step
from noisy_gru.trainer import features as names
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.inputs.flat_sequences import Flat, flattened, joined
from noisy_gru.trainer.inputs.transformed_files import UNSEEN

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contents:
    """What the files of a split hold.

    `lengths` are int64 [N], in the order of the files; `labels` int64 [N], empty unless the answer is a class (of
    steps: the known ones of all); `unseen_labels` counts sequences left out, whose label train doesn't have;
    `known_targets` is the fraction of all targets, `known_number` how many; `digest` a hash of every sequence, in
    order; `sequences` None if they don't fit into memory, or there are none.
    """

    lengths: np.ndarray
    labels: np.ndarray
    unseen_labels: int
    known_targets: float
    known_number: int
    digest: str
    sequences: Flat | None


def read_contents(blocks: Iterable[dict[str, Any]], layout: Layout, split: str, cache_bytes: float) -> Contents:
    """Read the sequences of a split once.

    Args:
        blocks: of parsed sequences, as `TransformedFiles.blocks` gives them.
        layout: of the data set.
        split: its name, for messages.
        cache_bytes: most bytes to keep in memory.

    Raises:
        DataError: a target is not finite, so the loss would not be; or no target, or no label of a step, is known.
    """
    digest = hashlib.blake2b(digest_size=16)
    parts: list[Flat] | None = []
    lengths, labels = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    size = cells = known = unseen = 0
    for block in blocks:
        lengths.append(block[names.LENGTH].numpy())
        unseen += int(block.pop(UNSEEN, 0))
        if layout.is_per_step and layout.is_classification:
            of_steps = block[names.LABEL].flat_values.numpy()
            labels.append(of_steps[of_steps >= 0])
        elif layout.is_classification:
            labels.append(block[names.LABEL].numpy())
        else:
            targets = _arrays(block[names.TARGETS])[0]
            _check_targets(targets, layout, split)
            cells, known = cells + targets.size, known + int(np.isfinite(targets).sum())
        arrays = [array for key in sorted(block) for array in _arrays(block[key])]
        size += sum(array.nbytes for array in arrays)
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        if parts is not None and size <= cache_bytes:
            parts.append(flattened(block, layout))
        else:
            parts = None
    if cells and not known:
        raise DataError(
            f"No sequence of split {split} has a known target ({', '.join(layout.targets)}), so there is nothing to "
            "measure. Correct task.targets, task.horizons or the splits."
        )
    all_lengths, all_labels = np.concatenate(lengths), np.concatenate(labels)
    if layout.is_per_step and layout.is_classification and len(all_lengths) and not len(all_labels):
        raise DataError(
            f"No step of split {split} has a label of a class that train has, so there is nothing to measure. "
            "Correct task.label or the splits."
        )
    if unseen:
        logger.warning(
            "%d sequences of split %s have a label that no sequence of train has; they are left out of the loss",
            unseen,
            split,
        )
    return Contents(
        lengths=all_lengths,
        labels=all_labels,
        unseen_labels=unseen,
        known_targets=known / cells if cells else 1.0,
        known_number=known,
        digest=digest.hexdigest(),
        sequences=joined(parts, layout) if parts else None,
    )


def _check_targets(targets: np.ndarray, layout: Layout, split: str) -> None:
    task, masked = layout.dataset.task, layout.dataset.data.policies.missing_target == "mask"
    may_miss = (isinstance(task, ForecastingConfig) and masked) or has_several_targets(task) or is_per_step(task)
    allowed = np.isnan(targets) if may_miss else False
    if not (np.isfinite(targets) | allowed).all():
        raise DataError(
            f"The targets {', '.join(layout.targets)} of split {split} hold missing or infinite "
            "values. Every sequence needs a finite target: leave out the others at ingestion."
        )


def _arrays(value: Any) -> list[np.ndarray]:
    if isinstance(value, tf.RaggedTensor):
        return [value.flat_values.numpy(), value.row_splits.numpy()]
    return [value.numpy()]
