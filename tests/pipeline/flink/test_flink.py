"""A whole run on a real Flink cluster, of which a TaskManager is killed, gives what a run in one process gives.

JobManager, two TaskManagers, Beam's job server and a worker pool are processes of their own on loopback:
benchmarks/flink_cluster.py. `make test-flink` fetches them and runs this.
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.flink_cluster import FlinkCluster, flink_cluster, missing
from noisy_gru.pipeline.config.beam_config import beam_arguments
from noisy_gru.pipeline.config.loading import load_config
from tests.pipeline.vowels_part import VOWELS, write_part

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(missing() is not None, reason=f"no Flink here: {missing()}"),
]

COLUMNS = {"c01": "zscore", "c02": "minmax", "c03": "robust"}
SEQUENCES = {"train": 68, "test": 47}
RUN_SECONDS = 1500


@dataclass(frozen=True)
class Run:
    """What was written under one root."""

    root: Path

    def folder(self, step: str, output: str) -> Path:
        """The last artifact of a step."""
        return max((self.root / step / output).iterdir(), key=lambda path: int(path.name))


def run_steps(root: Path, settings: list[str], *, last: str, first: str | None = None) -> Run:
    """Run the steps of the graph from ``first`` to ``last``."""
    from tfx.orchestration import metadata
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.pipeline import RunOptions

    from noisy_gru.pipeline.build import build_pipeline

    config = load_config(VOWELS / "config.yaml", settings)
    pipeline = build_pipeline(
        config,
        pipeline_root=str(root),
        serving_dir=str(root / "serving"),
        schema_file=config.schema_path,
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite")),
        beam_pipeline_args=beam_arguments(config.beam),
    )
    LocalDagRunner().run(pipeline, run_options=RunOptions(from_nodes=[first] if first else None, to_nodes=[last]))
    return Run(root)


def kill_in_the_middle(cluster: FlinkCluster, before: int) -> None:
    """Kill a TaskManager while it runs tasks of the next job, and start another in its place."""
    until = time.monotonic() + RUN_SECONDS
    while time.monotonic() < until:
        jobs = cluster.jobs()[before:]
        if jobs and jobs[0]["tasks"]["running"] and cluster.resident()["sdk_worker"]:
            break
        time.sleep(0.05)
    victim = next(each for each in cluster.task_managers if each.poll() is None)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    cluster.start_task_managers(1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with flink_cluster(folder=tmp_path_factory.mktemp("flink")) as started:
        yield started


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [
        *write_part(
            tmp_path_factory.mktemp("data"), [{"name": name, "scale": scale} for name, scale in COLUMNS.items()]
        ),
        "model={layers: [{units: 4}]}",
        "training={epochs: 1, early_stopping: null}",
        "evaluation.thresholds={accuracy: {min: 0.0}}",
    ]


@pytest.fixture(scope="module")
def here(settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_steps(tmp_path_factory.mktemp("here"), [*settings, "beam={workers: 1}"], last="Evaluator")


@pytest.fixture(scope="module")
def there(cluster: FlinkCluster, settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same up to Transform on Flink, of which a TaskManager is killed during ingestion."""
    before = len(cluster.jobs())
    killing = threading.Thread(target=kill_in_the_middle, args=(cluster, before))
    killing.start()
    beam = f"beam={json.dumps(cluster.beam(parallelism=2))}"
    run = run_steps(tmp_path_factory.mktemp("there"), [*settings, beam], last="Transform")
    killing.join()
    jobs = cluster.jobs()[before:]
    assert [job["state"] for job in jobs] == ["FINISHED"] * 3
    assert _attempts(cluster, jobs[0]["jid"]) > 1, "no task was lost with the TaskManager"
    return run


def _attempts(cluster: FlinkCluster, job: str) -> int:
    """The most attempts that a task of a job took."""
    vertices = cluster.get(f"jobs/{job}")["vertices"]
    tasks = [task for each in vertices for task in cluster.get(f"jobs/{job}/vertices/{each['id']}")["subtasks"]]
    return max(task["attempt"] for task in tasks) + 1


def test_the_same_examples_to_the_byte(here, there):
    def hashes(run: Run) -> dict[str, str]:
        folder = run.folder("SequenceExampleGen", "examples")
        files = sorted(folder.rglob("*.gz"))
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert hashes(there) == hashes(here)
    assert {name.split("/")[0] for name in hashes(here)} == {"Split-train", "Split-test"}
    folders = [run.folder("SequenceExampleGen", "ingestion_report") for run in (here, there)]
    reports = [json.loads((folder / "ingestion_report.json").read_text()) for folder in folders]
    assert reports[0] == reports[1]
    assert reports[0]["sequences"]["by_split"] == SEQUENCES


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_same_statistics_to_the_last_digit(here, there, split):
    from google.protobuf.text_format import MessageToString
    from tensorflow_metadata.proto.v0 import statistics_pb2

    def statistics(run: Run) -> dict[str, str]:
        file = run.folder("StatisticsGen", "statistics") / f"Split-{split}" / "FeatureStats.pb"
        found: Any = statistics_pb2.DatasetFeatureStatisticsList()
        found.ParseFromString(file.read_bytes())
        # The features come in the order in which the workers finish.
        return {each.path.step[0]: MessageToString(each) for each in found.datasets[0].features}

    assert statistics(there) == statistics(here)
    assert set(statistics(here)) == {*COLUMNS, "speaker", "sequence_id", "steps"}


def test_the_same_transformed_examples(here, there):
    import tensorflow as tf
    import tensorflow_transform as tft

    from noisy_gru.trainer import features as names

    def sequences(run: Run) -> list[tuple[int, list[float]]]:
        graph: Any = tft.TFTransformOutput(str(run.folder("Transform", "transform_graph")))
        files = [str(each) for each in run.folder("Transform", "transformed_examples").glob("Split-train/*")]
        lines: Any = list(tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator())
        found: Any = tf.io.parse_example(lines, graph.transformed_feature_spec())
        labels = graph.vocabulary_by_name(names.LABEL_VOCABULARY)
        assert sorted(labels) == [str(speaker).encode() for speaker in range(1, 10)]
        return sorted(zip(found[names.LABEL].numpy().tolist(), found[names.FEATURES].to_list(), strict=True))

    mine, theirs = sequences(here), sequences(there)
    assert len(mine) == SEQUENCES["train"]
    assert [label for label, _ in mine] == [label for label, _ in theirs]
    for (_, first), (_, second) in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(second, first, rtol=1e-6, atol=1e-6)


def test_the_same_metrics_of_one_model(here, cluster, settings):
    from noisy_gru.components.evaluation.evaluation_summary import read_evaluation

    expected = read_evaluation(str(here.folder("Evaluator", "evaluation")))
    before = len(cluster.jobs())
    beam = f"beam={json.dumps(cluster.beam(parallelism=2))}"
    run_steps(here.root, [*settings, beam], first="Evaluator", last="Evaluator")
    assert [job["state"] for job in cluster.jobs()[before:]] == ["FINISHED"]
    found = read_evaluation(str(here.folder("Evaluator", "evaluation")))
    assert len(list((here.root / "Evaluator" / "evaluation").iterdir())) == 2
    assert found == expected


# Two seconds for each of a hundred elements: nobody waits for its end.
_SLOW = """
import signal, sys, time
import apache_beam as beam
from noisy_gru.pipeline.config.beam_config import beam_arguments
from noisy_gru.pipeline.config.beam_config import beam_arguments
from noisy_gru.pipeline.config.loading import load_config

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background

def wait(element):
    import time
    time.sleep(2)
    return element

options = beam.options.pipeline_options.PipelineOptions(beam_arguments(load_config(sys.argv[1], [sys.argv[2]]).beam))
with beam.Pipeline(options=options) as pipeline:
    pipeline | beam.Create(range(100)) | beam.Map(wait)
"""


def test_an_interrupted_run_asks_the_job_server_to_cancel(cluster):
    """Beam 2.62 doesn't tell Flink of it, so that the job is still to be cancelled here."""
    before = len(cluster.jobs())
    beam = f"beam={json.dumps(cluster.beam(parallelism=1))}"
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW, str(VOWELS / "config.yaml"), beam], stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + RUN_SECONDS
    while time.monotonic() < until and process.poll() is None:
        if any(job["tasks"]["running"] for job in cluster.jobs()[before:]):
            break
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=RUN_SECONDS)
    assert "KeyboardInterrupt" in errors
    assert "Canceling job invocation" in cluster.log("jobserver")
    cluster.cancel(cluster.jobs()[-1]["jid"])
