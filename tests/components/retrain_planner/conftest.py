"""A small data set in spans, and published versions as the Pusher leaves them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisy_gru.components.retrain_planner.config import RulesConfig
from noisy_gru.components.retrain_planner.planning import Subject
from noisy_gru.registry.published_versions import Publication
from noisy_gru.schema.config import DatasetConfig


def _rows(span: int, *, sequences: int = 30, shift: float = 0.0, city: float = 0.5) -> str:
    """A span as CSV: sequences of 6 steps."""
    random = np.random.default_rng(span)
    lines = ["id,t,x,city,label"]
    for number in range(sequences):
        label = "ab"[number % 2]
        for step in range(6):
            name = "JFK" if random.random() < city else "LGA"
            lines.append(f"{span}-{number},{step},{random.normal(shift, 1.0):.6f},{name},{label}")
    return "\n".join(lines) + "\n"


@dataclass
class Shop:
    """A pipeline's data and serving directory."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def model_dir(self) -> Path:
        return self.folder / "serving" / "shop"

    def write(self, name: str, text: str) -> None:
        (self.data / name).parent.mkdir(parents=True, exist_ok=True)
        (self.data / name).write_text(text)

    def subject(
        self, rules: dict[str, Any], files: Sequence[str] = ("{SPAN}.csv",), spans: dict[str, Any] | None = None
    ) -> Subject:
        dataset = {
            "data": {
                "files": list(files),
                "entity": "id",
                "time": {"column": "t"},
                "features": ["x", {"name": "city", "kind": "categorical"}],
                **({"spans": spans} if spans else {}),
            },
            "task": {"kind": "classification", "label": "label"},
        }
        return Subject(
            pipeline="shop",
            dataset=DatasetConfig.model_validate(dataset),
            base=str(self.data),
            model_dir=self.model_dir,
            rules=RulesConfig(**rules),
        )

    def publish(
        self,
        version: int,
        at: datetime,
        spans: dict[int, list[str]],
        values: bytes | None = None,
        versions: dict[int, int] | None = None,
    ) -> None:
        """A version that was trained on the spans as they are now; number -1 stands for files without a span."""
        folder = self.model_dir / str(version)
        record = folder / "assets.extra" / "retraining"
        record.mkdir(parents=True)
        publication = Publication(
            version=version, model_name="shop", published=at.isoformat(), files={}, fingerprint="f", model_uri=""
        )
        (folder / "publication.json").write_text(publication.to_json())
        reported = {number: [self._file(name) for name in names] for number, names in spans.items()}
        data: dict[str, Any] = {"files": reported.pop(-1, [])}
        data["spans"] = [
            {"span": number, "version": (versions or {}).get(number), "files": files}
            for number, files in reported.items()
        ]
        (record / "data.json").write_text(json.dumps(data))
        run = {"run_id": "r0", "pipeline": "shop", "seed": 0, "config_hash": "", "fingerprint": "", "packages": {}}
        (record / "run.json").write_text(json.dumps({"format": 1, **run, "warm_start": {}}))
        if values is not None:
            (record / "values.npz").write_bytes(values)

    def _file(self, name: str) -> dict[str, Any]:
        content = (self.data / name).read_bytes()
        return {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def listing(self) -> dict[str, str]:
        """All files with the hash of their content."""
        return {
            str(file.relative_to(self.folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(self.folder.rglob("*"))
            if file.is_file()
        }


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture(scope="session")
def rows() -> Callable[..., str]:
    return _rows


@pytest.fixture(scope="session")
def make_values(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """``make_values(dataset, sequences)``: the file that ingestion leaves of sequences, each a tf.Example's columns."""

    def _make(dataset: DatasetConfig, sequences: Sequence[dict[str, list[Any]]]) -> bytes:
        import tensorflow as tf

        from noisy_gru.data.sequences.value_sample import sample_values, write_values

        folder = tmp_path_factory.mktemp("values")
        shard = folder / "Split-train" / "data_tfrecord-00000-of-00001-000.gz"
        shard.parent.mkdir()
        with tf.io.TFRecordWriter(str(shard), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for columns in sequences:
                example: Any = tf.train.Example()
                for name, values in columns.items():
                    feature = example.features.feature[name]
                    if isinstance(values[0], str):
                        feature.bytes_list.value.extend(value.encode() for value in values)
                    elif isinstance(values[0], int):
                        feature.int64_list.value.extend(values)
                    else:
                        feature.float_list.value.extend(values)
                writer.write(example.SerializeToString(deterministic=True))
        write_values(str(folder), sample_values(str(folder), "train", dataset))
        return (folder / "values.npz").read_bytes()

    return _make
