"""The base folder of a data set, which ingestion names its files relative to."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from itertools import takewhile

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.file_patterns import escape, is_literal, unescape


def relative_to_base(dataset: DatasetConfig) -> tuple[str, DatasetConfig]:
    """Return the folder of all files (a path, not a pattern), and the data set with patterns relative to it.

    So the keys of TFX's cache don't change if everything is moved. Patterns with a scheme are not changed.
    The files of a query are its results.
    """
    if (sql := dataset.data.sql) is not None:
        here = dataset.data.model_copy(update={"sql": sql.model_copy(update={"results": "."})})
        return sql.results, dataset.model_copy(update={"data": here})
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
    """Return patterns relative to a base folder; those with a scheme, or all if it is empty, are not changed."""
    return [each if "://" in each or not base else os.path.relpath(each, escape(base)) for each in patterns]
