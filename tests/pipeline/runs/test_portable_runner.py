"""Ingestion, statistics and Transform on workers behind a job server give what they give in one process.

The job server and the worker pool are Beam's own, each a process of its own, and so is every worker. It is how
Flink and Spark are reached, but for the network between them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisy_gru.pipeline.config.beam_config import beam_arguments
from noisy_gru.pipeline.config.loading import load_config
from tests.pipeline.vowels_part import VOWELS, write_part

# TFX and Beam warn of themselves when they are imported and when they run.
pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.filterwarnings("default")]

# Each way to scale has an analyzer of its own: sums that workers add up, extremes, and a sketch of the quantiles.
FEATURES = [
    {"name": "c01", "scale": "zscore"},
    {"name": "c02", "scale": "minmax"},
    {"name": "c03", "scale": "robust"},
]
# Every fourth utterance of 270, every eighth of 370.
SEQUENCES = {"train": 68, "test": 47}
START_SECONDS = 300
JOB_SERVER = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", "--port=0"]
# `python -m` of it, which besides says on which port.
_POOL = "import logging, apache_beam.runners.worker.worker_pool_main as pool; logging.basicConfig(); pool.main()"
WORKER_POOL = [sys.executable, "-c", _POOL, "--service_port=0"]


@dataclass(frozen=True)
class Artifacts:
    """What one run has written."""

    root: Path

    def folder(self, step: str, output: str) -> Path:
        (found,) = (self.root / step / output).iterdir()
        return found


@dataclass(frozen=True)
class Server:
    """A server that says in its log on which port it listens."""

    process: subprocess.Popen[bytes]
    log: Path
    logged: str

    def address(self) -> str:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            found = re.search(self.logged, self.log.read_text())
            if found:
                return f"localhost:{found.group(1)}"
            time.sleep(0.1)
        raise RuntimeError(f"no server within {START_SECONDS} s:\n{self.log.read_text()}")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """A job server and a worker pool."""
    folder = tmp_path_factory.mktemp("servers")
    # The worker pool starts `python`, whichever is first on the path.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    # Importing TensorFlow takes three times as long where Python may not keep bytecode.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started: list[Server] = []
    try:
        for name, command, logged in (
            ("jobs", JOB_SERVER, r"on port (\d+)"),
            ("pool", WORKER_POOL, r"localhost:(\d+)"),
        ):
            log = folder / f"{name}.log"
            with log.open("wb") as stream:
                process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
            started.append(Server(process, log, logged))
        yield started
    finally:
        for server in started:
            server.process.terminate()  # the pool ends its workers
        for server in started:
            try:
                server.process.wait(10)
            except subprocess.TimeoutExpired:  # the job server's threads outlive its main one
                server.process.kill()
                server.process.wait()


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], Artifacts]:
    """``run(beam)``: the one graph up to Transform, with the Beam arguments of this section of the configuration."""
    from tfx.orchestration import metadata
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.pipeline import RunOptions

    from noisy_gru.pipeline.build import build_pipeline

    settings = write_part(tmp_path_factory.mktemp("data"), FEATURES)

    def _run(beam: dict[str, Any]) -> Artifacts:
        config = load_config(VOWELS / "config.yaml", [*settings, f"beam={json.dumps(beam)}"])
        root = tmp_path_factory.mktemp("root")
        pipeline = build_pipeline(
            config,
            pipeline_root=str(root),
            serving_dir=str(root / "serving"),
            schema_file=config.schema_path,
            metadata_connection_config=metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite")),
            beam_pipeline_args=beam_arguments(config.beam),
        )
        LocalDagRunner().run(pipeline, run_options=RunOptions(to_nodes=["Transform"]))
        return Artifacts(root)

    return _run


@pytest.fixture(scope="session")
def both(servers: list[Server], run: Callable[[dict[str, Any]], Artifacts]) -> tuple[Artifacts, Artifacts]:
    """What a run in this process has written, and one behind the job server."""
    here = run({"workers": 1})
    jobs, pool = (server.address() for server in servers)
    environment = {"kind": "external", "address": pool}
    there = run({"runner": "portable", "job_endpoint": jobs, "environment": environment})
    # Ingestion, statistics and Transform were jobs of the server: nothing fell back to this process.
    assert servers[0].log.read_text().count("with state DONE") == 3
    return here, there


def records(folder: Path) -> dict[str, list[bytes]]:
    """The serialized records of each split, sorted."""
    import tensorflow as tf

    found: dict[str, list[bytes]] = {}
    for path in sorted(folder.glob("Split-*/*")):
        dataset = tf.data.TFRecordDataset(str(path), compression_type="GZIP")
        lines: Any = dataset.as_numpy_iterator()
        found.setdefault(path.parent.name.removeprefix("Split-"), []).extend(lines)
    return {split: sorted(lines) for split, lines in found.items()}


def test_the_same_examples(both):
    here, there = (artifacts.folder("SequenceExampleGen", "examples") for artifacts in both)
    expected = records(here)
    assert {split: len(lines) for split, lines in expected.items()} == SEQUENCES
    assert records(there) == expected
    files = [sorted(str(path.relative_to(each)) for path in each.rglob("*")) for each in (here, there)]
    assert files[0] == files[1]
    folders = [artifacts.folder("SequenceExampleGen", "ingestion_report") for artifacts in both]
    reports = [json.loads((folder / "ingestion_report.json").read_text()) for folder in folders]
    assert reports[0] == reports[1]


def statistics(artifacts: Artifacts, split: str) -> Any:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    path = artifacts.folder("StatisticsGen", "statistics") / f"Split-{split}" / "FeatureStats.pb"
    found: Any = statistics_pb2.DatasetFeatureStatisticsList()
    found.ParseFromString(path.read_bytes())
    return found.datasets[0]


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_same_statistics(both, split):
    here, there = (statistics(artifacts, split) for artifacts in both)
    assert there.num_examples == here.num_examples == SEQUENCES[split]
    mine, theirs = ({each.path.step[0]: each for each in one.features} for one in (here, there))
    assert set(mine) == set(theirs) == {"c01", "c02", "c03", "speaker", "sequence_id", "steps"}
    for name in ("speaker", "sequence_id"):
        first, second = mine[name].string_stats, theirs[name].string_stats
        assert first.common_stats.num_non_missing == second.common_stats.num_non_missing == SEQUENCES[split]
        assert (first.unique, first.avg_length) == (second.unique, second.avg_length)
    assert [(top.value, top.frequency) for top in mine["speaker"].string_stats.top_values] == [
        (top.value, top.frequency) for top in theirs["speaker"].string_stats.top_values
    ]
    for name in ("c01", "c02", "c03", "steps"):
        first, second = mine[name].num_stats, theirs[name].num_stats
        for exact in ("min", "max", "num_zeros"):
            assert getattr(first, exact) == getattr(second, exact), (name, exact)
        for exact in ("num_non_missing", "min_num_values", "max_num_values", "tot_num_values", "avg_num_values"):
            assert getattr(first.common_stats, exact) == getattr(second.common_stats, exact), (name, exact)
        # Sums are added up in another order.
        assert second.mean == pytest.approx(first.mean, rel=1e-6, abs=1e-9)
        assert second.std_dev == pytest.approx(first.std_dev, rel=1e-6)
        # The median is that of a sketch, which depends on the order, too.
        assert second.median == pytest.approx(first.median, abs=(first.max - first.min) / 100)


def test_the_same_anomalies(both):
    reports = [artifacts.folder("AnomalyGate", "report") / "report.txt" for artifacts in both]
    assert reports[0].read_text() == reports[1].read_text() == "no anomalies in train, test\n"


def transform_output(artifacts: Artifacts) -> Any:
    import tensorflow_transform as tft

    return tft.TFTransformOutput(str(artifacts.folder("Transform", "transform_graph")))


def test_the_same_vocabulary(both):
    from noisy_gru.trainer.features import LABEL_VOCABULARY

    vocabularies = [transform_output(artifacts).vocabulary_by_name(LABEL_VOCABULARY) for artifacts in both]
    assert vocabularies[0] == vocabularies[1]
    assert set(vocabularies[0]) == {str(speaker).encode() for speaker in range(1, 10)}


def test_the_same_scales(both):
    import tensorflow as tf

    from noisy_gru.trainer import features as names

    def sequences(artifacts: Artifacts) -> list[tuple[int, list[float]]]:
        """Label and scaled values of each sequence, in an order of their own."""
        lines = records(artifacts.folder("Transform", "transformed_examples"))["train"]
        found: Any = tf.io.parse_example(lines, transform_output(artifacts).transformed_feature_spec())
        return sorted(zip(found[names.LABEL].numpy().tolist(), found[names.FEATURES].to_list(), strict=True))

    here, there = (sequences(artifacts) for artifacts in both)
    assert len(here) == SEQUENCES["train"]
    assert [(label, len(values)) for label, values in here] == [(label, len(values)) for label, values in there]
    mine, theirs = (np.concatenate([values for _, values in each]).reshape(-1, 3) for each in (here, there))
    # The sketch of the quantiles, behind the third, holds so few values exactly, whatever their order.
    np.testing.assert_allclose(theirs, mine, rtol=1e-5, atol=1e-6)
    # Scaled at all, that is: the first has the mean and deviation of z-scores, the second lies between 0 and 1.
    np.testing.assert_allclose([mine[:, 0].mean(), mine[:, 0].std()], [0, 1], atol=1e-4)
    assert (mine[:, 1].min(), mine[:, 1].max()) == (0, 1)
