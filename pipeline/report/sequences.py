"""Sequences out of the `examples` artifact, as numbers to draw; looked for as long as a time budget lasts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from noisy_gru.data.columns import SEQUENCE_ID, STEPS, TARGET
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.reading.tfrecords import example_lists, read_frames
from noisy_gru.data.sequences.example_files import example_files, read_examples
from noisy_gru.data.sequences.series_tables import ENDING
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.task_config import has_step_labels, has_step_targets, targets_of

SEARCH_SECONDS = 5.0
COLUMNS_SHOWN = 6
STEPS_SHOWN = 500


def first_sequences(folder: Path, split: str, dataset: DatasetConfig, count: int) -> list[dict[str, Any]]:
    """Return the first sequences of a split: `id`, `steps`, `label` and `columns`, by name the values of each step."""
    return [_shown(lists, dataset) for lists in islice(_lists(folder, split), count)]


def sequences_by_id(
    folder: Path, split: str, dataset: DatasetConfig, ids: Collection[str]
) -> dict[str, dict[str, Any]]:
    """Return those of the sequences that are found within ``SEARCH_SECONDS``, by id."""
    wanted, found = set(ids), {}
    deadline = time.monotonic() + SEARCH_SECONDS
    for lists in _lists(folder, split):
        name = _text(lists.get(SEQUENCE_ID, [b""])[0])
        if name in wanted:
            found[name] = _shown(lists, dataset)
        if len(found) == len(wanted) or time.monotonic() > deadline:
            break
    return found


def _lists(folder: Path, split: str) -> Iterator[dict[str, Any]]:
    for file in example_files(folder / f"Split-{split}"):
        # Of shards without TensorFlow, which a page need not wait for.
        is_table = file.endswith(ENDING)
        for record in read_examples(file) if is_table else read_frames(Source(file, Path(file).name, "example")):
            yield example_lists(record)


def _shown(lists: Mapping[str, Any], dataset: DatasetConfig) -> dict[str, Any]:
    names = targets_of(dataset.task) if has_step_targets(dataset.task) else []
    names += [feature.name for feature in [*dataset.data.numeric, *dataset.data.categorical]]
    columns = {
        name: [_text(each) if isinstance(each, bytes) else each for each in lists[name][:STEPS_SHOWN]]
        for name in names
        if name in lists
    }
    numeric = [name for name, values in columns.items() if not any(isinstance(each, str) for each in values)]
    shown = [*numeric, *(name for name in columns if name not in numeric)][:COLUMNS_SHOWN]
    given = lists.get(getattr(dataset.task, "label", None) or "", [None])
    label = _counted(given) if has_step_labels(dataset.task) else given[0]
    if has_step_targets(dataset.task):  # shown among the columns
        label = None
    return {
        "id": _text(lists.get(SEQUENCE_ID, [b""])[0]),
        "steps": int(lists.get(STEPS, [0])[0]),
        "label": _text(label) if isinstance(label, bytes) else label,
        "columns": {name: columns[name] for name in shown},
        "columns_left_out": len(columns) - len(shown),
        "targets": {
            name.removeprefix(TARGET): list(values) for name, values in lists.items() if name.startswith(TARGET)
        },
    }


def _counted(labels: Sequence[bytes]) -> str:
    """Return how many steps have which label, the most frequent first."""
    counts = Counter(_text(each) or "none" for each in labels)
    return ", ".join(f"{name} at {count:,} steps" for name, count in counts.most_common())


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
