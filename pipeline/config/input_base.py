"""The folder that all files of a data set are in, which ingestion names them relative to."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from itertools import takewhile

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.file_patterns import escape, is_literal, unescape


def relative_to_base(dataset: DatasetConfig) -> tuple[str, DatasetConfig]:
    """The folder that holds all files, a path and no pattern; and the data set with patterns relative to it.

    So what TFX caches by does not change when everything is moved. Patterns with a scheme stay as they are.
    """
    files = dataset.data.files
    groups = files if isinstance(files, dict) else {"": files}
    patterns = [pattern for group in groups.values() for pattern in group]
    if any("://" in pattern for pattern in patterns):
        return "", dataset
    folders = [list(takewhile(is_literal, pattern.split("/")[:-1])) for pattern in patterns]
    common = [same[0] for same in takewhile(lambda names: len(set(names)) == 1, zip(*folders, strict=False))]
    base = unescape("/".join(common)) or "/"
    relative = {split: ["/".join(each.split("/")[len(common) :]) for each in group] for split, group in groups.items()}
    data = dataset.data.model_copy(update={"files": relative if isinstance(files, dict) else relative[""]})
    return base, dataset.model_copy(update={"data": data})


def relative_to(base: str, patterns: Sequence[str]) -> list[str]:
    """Other patterns relative to the same folder; those with a scheme, or all without a folder, stay as they are."""
    return [each if "://" in each or not base else os.path.relpath(each, escape(base)) for each in patterns]
