"""The published model is found in the same way by TFX's local launcher and by a step on Kubeflow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from noisy_gru.registry.publish import publish
from noisy_gru.registry.training_record_writer import TrainingFiles
from noisy_gru.schema.errors import PublishError

# TFX and ML Metadata warn of their own use of what they deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@dataclass(frozen=True)
class Found:
    """What LatestBlessed gave: `present`, `version` (empty if there is none), `note`, and its files."""

    present: int
    version: str
    note: str
    files: list[str]
    graph: bytes | None


Find = Callable[..., Found]


def components(candidate: str, serving: Any) -> tuple[Any, Any]:
    from tfx.dsl.components.common.importer import Importer
    from tfx.types import standard_artifacts

    from noisy_gru.components.latest_blessed.component import LatestBlessed

    model = Importer(source_uri=candidate, artifact_type=standard_artifacts.Model).with_id("candidate")
    return model, LatestBlessed(model.outputs["result"], serving, "m")


def in_folder(folder: Path, present: int, version: str, note: str) -> Found:
    graph = folder / "Format-Serving" / "saved_model.pb"
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    return Found(present, version, note, files, graph.read_bytes() if graph.exists() else None)


@pytest.fixture(params=["local", "kubeflow"])
def find(request: pytest.FixtureRequest, tmp_path: Path) -> Find:
    """``find(candidate)`` runs the component, again and again on the same back end, with a graph as the candidate."""
    serving = tmp_path / "serving"
    if request.param == "local":
        from tfx.orchestration.metadata import sqlite_metadata_connection_config
        from tfx.orchestration.pipeline import Pipeline

        from noisy_gru.pipeline.runs.local_runner import LocalRunner, StepResult

        results: list[StepResult] = []
        observer: Any = SimpleNamespace(started=lambda *_: None, finished=results.append)
        connection = sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))

        def local(candidate: bytes = b"new") -> Found:
            folder = tmp_path / f"candidate-{candidate.decode()}"
            write_graph(folder, candidate)
            pipeline = Pipeline(
                pipeline_name="tiny",
                pipeline_root=str(tmp_path / "artifacts"),
                components=[*components(str(folder), serving)],
                metadata_connection_config=connection,
                enable_cache=True,
            )
            LocalRunner(f"run-{len(results)}", observer).run(pipeline)
            (model,) = results[-1].outputs["model"]
            metadata = model.properties
            return in_folder(Path(model.uri), metadata["present"], metadata.get("version", ""), metadata["note"])

        return local

    from tfx.orchestration.data_types import RuntimeParameter

    run_here = request.getfixturevalue("run_here")
    pods = iter(range(100))

    def kubeflow(candidate: bytes = b"new") -> Found:
        pod = f"pod-{next(pods)}"
        write_graph(tmp_path / pod / "s3" / "bucket" / "candidate", candidate)
        where = RuntimeParameter(name="serving_dir", ptype=str, default="/mnt/serving")
        model, node = components("s3://bucket/candidate", where)
        answer = run_here(node, before=[model], parameters={"serving_dir": str(serving)}, pod=pod)
        assert answer.code == 0
        metadata = answer.outputs["model"]["metadata"]
        return in_folder(
            answer.folder("model"), int(metadata["present"]), metadata.get("version", ""), metadata["note"]
        )

    return kubeflow


def write_graph(artifact: Path, content: bytes) -> None:
    (artifact / "Format-Serving").mkdir(parents=True, exist_ok=True)
    (artifact / "Format-Serving" / "saved_model.pb").write_bytes(content)


def push(tmp_path: Path, content: bytes, seconds: float, lineage: dict[str, str] | None = None) -> None:
    artifact = tmp_path / "trained"
    write_graph(artifact, content)
    (artifact / "Format-Keras").mkdir(exist_ok=True)
    (artifact / "Format-Keras" / "model.keras").write_bytes(b"keras of " + content)
    training_files = TrainingFiles(artifact / "Format-Keras")
    # As on a cluster, the artifact is where no other step can read it.
    uri = "minio://bucket/run/Trainer/model"
    source, serving = artifact / "Format-Serving", tmp_path / "serving"
    publish(source, serving, "m", model_uri=uri, lineage=lineage, training_files=training_files, clock=lambda: seconds)


def test_a_first_run_finds_none(find: Find, tmp_path: Path) -> None:
    found = find()
    assert (found.present, found.version, found.files) == (0, "", [])
    assert found.note == f"no published model in {tmp_path / 'serving' / 'm'}: a first run"


def test_the_newest_is_found_and_a_newer_one_by_the_next_run(find: Find, tmp_path: Path) -> None:
    assert find().present == 0
    push(tmp_path, b"first", 100)
    found = find()
    assert (found.present, found.version, found.graph) == (1, "100", b"first")
    assert found.files == ["Format-Keras/model.keras", "Format-Serving/saved_model.pb"]
    push(tmp_path, b"second", 200)
    assert (find().version, find().graph) == ("200", b"second")
    # Taken back: the one before it is the latest again.
    (tmp_path / "serving" / "m" / "200").rename(tmp_path / "serving" / "m" / "withdrawn-200")
    assert (find().version, find().graph) == ("100", b"first")


def test_a_published_candidate_is_given_what_it_was_compared_with(find: Find, tmp_path: Path) -> None:
    push(tmp_path, b"first", 100, {"compared_with": "none"})
    found = find(b"first")
    assert (found.present, found.version, found.files) == (0, "", [])
    assert found.note == "version 100 is this very model, and was not compared with another"
    first = json.loads((tmp_path / "serving" / "m" / "100" / "publication.json").read_text())["fingerprint"]
    push(tmp_path, b"second", 200, {"compared_with": f"100 {first}"})
    assert (find(b"third").version, find(b"first").version) == ("200", "200")
    found = find(b"second")
    assert (found.version, found.graph) == ("100", b"first")
    assert found.note == "version 200 is this very model, and was compared with version 100"
    # What it was compared with is gone; or is another one by now; or was never recorded.
    (tmp_path / "serving" / "m" / "100" / "saved_model.pb").unlink()
    assert (find(b"second").version, find(b"second").graph) == ("200", b"second")
    push(tmp_path, b"third", 300, {"compared_with": f"200 {first}"})
    assert find(b"third").version == "300"
    push(tmp_path, b"fourth", 400)
    assert find(b"fourth").version == "400"


def test_a_version_of_before_is_found_without_its_keras_file(find: Find, tmp_path: Path) -> None:
    push(tmp_path, b"graph", 100)
    publish(tmp_path / "trained" / "Format-Serving", tmp_path / "other", "m", clock=lambda: 100.0)
    shutil.rmtree(tmp_path / "serving")
    (tmp_path / "other").rename(tmp_path / "serving")
    found = find()
    assert (found.present, found.files) == (1, ["Format-Serving/saved_model.pb"])
    assert found.note.endswith("version 100 can be compared with, but not trained further: it carries no Keras file")


def test_a_damaged_version_is_not_taken(find: Find, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    push(tmp_path, b"graph", 100)
    (tmp_path / "serving" / "m" / "100" / "saved_model.pb").unlink()
    # A step on Kubeflow prints it, and ends with 1.
    with pytest.raises((PublishError, AssertionError)) as error:
        find()
    printed = str(error.value) if isinstance(error.value, PublishError) else capfd.readouterr().err
    assert "100/saved_model.pb is missing" in printed
