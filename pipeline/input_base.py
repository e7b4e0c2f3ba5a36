"""The folder that all files of a data set are in, which ingestion names them relative to."""

from __future__ import annotations

import os.path

from noisy_gru.schema.config import DatasetConfig


def relative_to_base(dataset: DatasetConfig) -> tuple[str, DatasetConfig]:
    """The folder that holds all files, and the data set with patterns relative to it.

    So what TFX caches by does not change when everything is moved. Patterns with a scheme stay as they are.
    """
    files = dataset.data.files
    groups = files if isinstance(files, dict) else {"": files}
    patterns = [pattern for group in groups.values() for pattern in group]
    if any("://" in pattern for pattern in patterns):
        return "", dataset
    base = os.path.commonpath([os.path.dirname(_fixed_part(pattern)) for pattern in patterns])  # noqa: PTH120
    relative = {split: [os.path.relpath(each, base) for each in group] for split, group in groups.items()}
    data = dataset.data.model_copy(update={"files": relative if isinstance(files, dict) else relative[""]})
    return base, dataset.model_copy(update={"data": data})


def _fixed_part(pattern: str) -> str:
    """The pattern up to the first wildcard or ``{SPAN}``."""
    places = [place for place in map(pattern.find, "*?[{") if place >= 0]
    return pattern[: min(places)] if places else pattern
