"""A run as it lies on disk, without TFX: its record, and the artifacts that the report reads."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from noisy_gru.components.evaluation.comparisons import Comparison
from noisy_gru.data.sequences.shards import frame_record
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RowCounts, RunRecord, StepRecord
from noisy_gru.saved_model.message_classes import message_classes

CLASSES = ["<script>document.title='hacked'</script>", 'b & "c"', "日本$x_{$"]
SECRET = "secret-entity"
STEPS = [
    "ImportSchemaGen",
    "SequenceExampleGen",
    "StatisticsGen",
    "Trainer",
    "LatestBlessed",
    "ServingGate",
    "Evaluator",
    "Pusher",
]
_EXAMPLE = message_classes(
    "tests.report",
    {
        "Example": {"features": (1, "Features", False)},
        "Features": {"feature": (1, "map:Feature", True)},
        "Feature": {"bytes_list": (1, "Bytes", False), "float_list": (2, "Floats", False)},
        "Bytes": {"value": (1, "bytes", True)},
        "Floats": {"value": (1, "float", True)},
    },
    oneofs=("Feature",),
)["Example"]


def example(name: str, label: str, values: np.ndarray) -> bytes:
    message: Any = _EXAMPLE()
    feature = message.features.feature
    feature["sequence_id"].bytes_list.value.append(name.encode())
    feature["label"].bytes_list.value.append(label.encode())
    for column, row in zip(("a", "b"), values, strict=True):
        feature[column].float_list.value.extend(row.tolist())
    return message.SerializeToString(deterministic=True)


class FakeRun:
    """A classification of 60 test sequences, with its numbers."""

    def __init__(self, root: Path):
        self.directory = RunDirectory(root)
        self.directory.create()
        random = np.random.default_rng(7)
        self.ids = [f"{SECRET}-{number:02d}" for number in range(60)]
        self.label = random.integers(0, 3, 60)
        scores = random.normal(size=(60, 3)) + 1.5 * np.eye(3)[self.label]
        self.probabilities = (np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)).astype(np.float32)
        self.candidate = self.probabilities.argmax(axis=1)
        self.record = self._record()
        self._ingestion()
        self._statistics()
        self._training()
        self._evaluation()
        self._gate()
        self.directory.write(self.record)

    def folder(self, step: str, output: str) -> Path:
        folder = self.directory.artifacts / step / output / "1"
        folder.mkdir(parents=True, exist_ok=True)
        self.record.artifacts.setdefault(step, {})[output] = [str(folder)]
        return folder

    def _record(self) -> RunRecord:
        accuracy = float((self.candidate == self.label).mean())
        comparison = Comparison(
            *("accuracy", "all", "published", 60, 60, "entity", accuracy, 0.5, accuracy - 0.5, 0.05, 0.3, 0.95),
            *("not_worse", 0.02, True, True),
        )
        steps = [StepRecord(name=name, status="complete", seconds=1.5, cpu_seconds=1.25) for name in STEPS]
        steps[4].numbers = {"version": 3}
        steps[7].numbers = {"published": True, "version": 4, "stable": 4}
        config = {
            "name": "odd",
            "schema": "schema.pbtxt",
            "data": {"files": ["rows.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a", "b"]},
            "task": {"kind": "classification", "label": "label"},
        }
        return RunRecord(
            run_id="20260401-030000-114270",
            pipeline="odd",
            status="succeeded",
            started="2026-04-01T03:00:00Z",
            finished="2026-04-01T03:01:00Z",
            seconds=60.0,
            config_path="/somewhere/config.yaml",
            config_hash="0" * 64,
            config=config,
            seed=0,
            root=str(self.directory.root),
            log="/somewhere/log",
            rows=RowCounts(read=900, kept=890),
            steps=steps,
            metrics={"accuracy": accuracy, "log_loss": 0.75},
            previous={"accuracy": 0.5},
            slices={"label=<b>": {"accuracy": 0.25}},
            blessed=True,
            comparisons=[asdict(comparison)],
            version=4,
            published_path="/serving/odd/4",
            fingerprint="f" * 64,
            pid=1,
            host="here",
        )

    def _ingestion(self) -> None:
        rejected = {"file": "rows.csv", "row": 17, "sequence_id": SECRET, "problem": "<img src=http://192.0.2.1/x>"}
        content = {
            "rows": {"read": 900, "kept": 890, "quarantined": {"total": 10, "bad_number": 10}, "dropped": {"total": 0}},
            "sequences": {
                "by_split": {"train": 30, "test": 60},
                "quarantined": {"total": 0},
                "dropped": {"total": 0},
            },
            "imputed": {},
            "entities": 90,
            "labels": {"train": dict.fromkeys(CLASSES, 10)},
            "lengths": {"quantiles": {"0": 3, "0.5": 10, "1": 12}, "mean": 9.9},
            "time": {"train": [0, 11], "test": [0, 11]},
            "examples": {"bad_number": [rejected]},
        }
        folder = self.folder("SequenceExampleGen", "ingestion_report")
        (folder / "ingestion_report.json").write_text(json.dumps(content))
        examples = self.folder("SequenceExampleGen", "examples")
        random = np.random.default_rng(1)
        for split, names in (("train", [f"{SECRET}-t{number}" for number in range(5)]), ("test", self.ids)):
            (examples / f"Split-{split}").mkdir()
            records = [example(name, CLASSES[0], random.normal(size=(2, 10))) for name in names]
            records[0] = example(names[0], CLASSES[0], np.full((2, 1), np.nan))
            packed = gzip.compress(b"".join(map(frame_record, records)))
            (examples / f"Split-{split}" / "data_tfrecord-0.gz").write_bytes(packed)

    def _statistics(self) -> None:
        proto: Any = statistics_pb2
        folder = self.folder("StatisticsGen", "statistics")
        for split, centre in (("train", 0.0), ("test", 1.0)):
            content = proto.DatasetFeatureStatisticsList()
            dataset = content.datasets.add(num_examples=30)
            for name in ("a", "b"):
                feature = dataset.features.add(type=1)
                feature.path.step.append(name)
                numbers = feature.num_stats
                numbers.common_stats.tot_num_values = 300
                numbers.mean, numbers.std_dev = centre, 1.0
                numbers.min, numbers.median, numbers.max = centre - 2, centre, centre + 2
                histogram = numbers.histograms.add(num_nan=3, type=1)
                for place in range(4):
                    low = centre - 2 + place
                    histogram.buckets.add(low_value=low, high_value=low + 1, sample_count=75)
            (folder / f"Split-{split}").mkdir()
            (folder / f"Split-{split}" / "FeatureStats.pb").write_bytes(content.SerializeToString(deterministic=True))

    def _training(self) -> None:
        folder = self.folder("Trainer", "model_run")
        content = {"epochs": 3, "best_epoch": 2, "parameters": 1234, "seconds": 9.5, "seed": 0, "final": {"loss": 0.5}}
        content["trainer"] = {"model": {"layers": [{"stddev": 0.1}]}, "training": {"learning_rate": 0.003}}
        (folder / "training.json").write_text(json.dumps(content))
        (folder / "history.csv").write_text("epoch,loss,val_loss\n1,1.5,1.25\n2,0.5,0.75\n3,0.25,\n")
        model = self.folder("Trainer", "model") / "Format-Keras"
        model.mkdir()
        (model / "transform.json").write_text(json.dumps({"labels": CLASSES}))

    def _evaluation(self) -> None:
        names = [CLASSES[place].encode() for place in self.label]
        loss = -np.log(self.probabilities[np.arange(60), self.label].astype(float))
        columns = {
            "sequence_id": self.ids,
            "slices": [[] for _ in self.ids],
            "label": pa.array(names, pa.binary()),
            "candidate": pa.array([CLASSES[place].encode() for place in self.candidate], pa.binary()),
            "candidate_loss": loss,
            "candidate_probabilities": pa.array(list(self.probabilities), pa.list_(pa.float32())),
            "published": pa.nulls(60, pa.binary()),
            "published_loss": pa.nulls(60, pa.float64()),
            "majority": pa.array([CLASSES[0].encode()] * 60, pa.binary()),
        }
        folder = self.folder("Evaluator", "evaluation") / "answers"
        folder.mkdir()
        pq.write_table(pa.table(columns), folder / "answers-0.parquet")
        starts = {"metric": "accuracy", "clean": 0.625, "noisy_start": 0.5, "carried_start": None}
        starts |= {"sequences": 60, "of": 60, "stddevs": [0.1], "seed": 0}
        starts["not_measured"] = {"carried_start": "the <test> split holds one sequence"}
        (folder.parent / "first_states.json").write_text(json.dumps(starts))

    def _gate(self) -> None:
        numbers = {f"single_{name}_ms": value for name, value in (("p50", 1.25), ("p90", 2.0), ("p99", 3.5))}
        numbers |= {"single_calls": 60, "batch_size": 32}
        check = {"name": "latency", "found": "fast", "problems": [], "numbers": numbers, "passed": True}
        check["distributions"] = {"single_ms": {"edges": [1.0, 2.0, 4.0], "counts": [50, 10]}}
        interval = {"mean": 0.5, "low": 0.25, "high": 0.75}
        both = {"log_loss": interval, "accuracy": {"mean": 0.125, "low": 0.0, "high": 0.25}}
        importance = {
            "note": "",
            "measures": ["log_loss", "accuracy"],
            "whole": {"log_loss": 0.875, "accuracy": 0.625},
            "sequences": 60,
            "lengths": [1, 10],
            "repeats": 5,
            "seconds": 0.5,
            "seed": 0,
            "confidence": 0.95,
            "features": [{"name": name, "kind": "numeric", **both} for name in ("a", CLASSES[0])],
            "steps": [{"from": 0.0, "to": 0.5, **both}, {"from": 0.5, "to": 1.0, **both}],
        }
        content = {"blessed": True, "model": "m", "summary": "passed", "problems": [], "checks": [check]}
        content["importance"] = importance
        (self.folder("ServingGate", "report") / "report.json").write_text(json.dumps(content))


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[[], FakeRun]:
    return lambda: FakeRun(tmp_path / "root")
