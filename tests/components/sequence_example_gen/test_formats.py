"""The same rows in every format become the same examples through Beam, byte for byte."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noisy_gru.data.reading.files import format_of
from noisy_gru.data.reading.tables import Source
from noisy_gru.schema.config import DatasetConfig

# Beam and TFX warn of themselves when they are imported.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
LABELS = ["north", "south"]


def long_table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"case": f"rows-{number + 1}", "step": range(5 + number % 3), "class": LABELS[number % 2]})
        for number in range(30)
    ]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(dim_0=random.normal(size=len(table)).astype(np.float32).astype(float).round(4))


def write(table: pd.DataFrame, folder: Path, kind: str) -> Path:
    path = folder / f"rows.{kind}"
    cases = [(name, group) for name, group in table.groupby("case", sort=False)]
    if kind == "csv":
        table.to_csv(path, index=False)
    elif kind == "parquet":
        table.to_parquet(path, index=False, row_group_size=40)
    elif kind == "feather":
        table.to_feather(path)
    elif kind == "jsonl.gz":
        lines = [json.dumps(row) for row in table.to_dict("records")]
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
    elif kind == "ts":
        lines = [",".join(map(repr, group["dim_0"])) + ":" + group["class"].iloc[0] for _, group in cases]
        path.write_text("@univariate true\n@classLabel true north south\n@data\n" + "\n".join(lines))
    else:
        width = max(len(group) for _, group in cases)
        lines = [
            "\t".join([group["class"].iloc[0], *map(repr, group["dim_0"]), *[""] * (width - len(group))])
            for _, group in cases
        ]
        path.write_text("\n".join(lines))
    return path


def test_every_format_gives_the_same_examples(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    from noisy_gru.components.sequence_example_gen.in_process import ingest_in_process, read_examples

    table = long_table()
    found: dict[str, Any] = {}
    for kind in ("csv", "parquet", "feather", "jsonl.gz", "ts", "tsv"):
        wide: dict[str, Any] = {}
        if kind == "tsv":
            layout = {"kind": "wide_steps", "value": "dim_0", "entity": "row", "first_columns": ["class"]}
            wide = {"layout": layout, "csv": {"delimiter": "\t", "header": False}}
        dataset = configured(
            entity="case",
            time={"column": "step"},
            features=["dim_0"],
            task={"kind": "classification", "label": "class"},
            **wide,
        )
        path = write(table, tmp_path, kind)
        report = ingest_in_process(
            [Source(str(path), path.name, format_of(path.name, dataset.data))], dataset, tmp_path / kind
        )
        assert not report.unbalanced
        assert report.rows_kept == len(table)
        found[kind] = sorted(read_examples(tmp_path / kind))
    assert found["csv"]
    for kind, examples in found.items():
        assert examples == found["csv"], kind
