"""Which published model a training goes on from, and that nothing new chooses nothing new."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from noisy_gru.registry.publish import publish
from noisy_gru.registry.rollout import rollback
from noisy_gru.registry.training_record import RETRAINING, data_hash
from noisy_gru.registry.training_record_writer import TrainingFiles
from noisy_gru.registry.warm_start_version import WarmStartVersion, choose_warm_start_version, copy_warm_start_version


def report(*hashes: str) -> dict[str, Any]:
    return {"files": [{"name": name, "bytes": 1, "sha256": name} for name in hashes]}


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    return tmp_path / "serving"


def push(
    serving: Path, seconds: int, data: str, base: WarmStartVersion | None = None, keras: bool = True
) -> WarmStartVersion:
    """Publishes a model that was trained on some data, and was given a base; what it is as a base itself."""
    folder = serving.parent / "trained"
    for part in ("Format-Serving", "Format-Keras"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "Format-Serving" / "saved_model.pb").write_text(f"graph of {seconds}")
    (folder / "Format-Keras" / "model.keras").write_text(f"keras of {seconds}")
    given = {} if base is None else {"version": base.version, "fingerprint": base.fingerprint}
    (folder / "Format-Keras" / "warm_start.json").write_text(json.dumps({"used": True, "base": given}))
    (folder / "ingestion_report.json").write_text(json.dumps(report(data)))
    training_files = TrainingFiles(folder / "Format-Keras", folder / "ingestion_report.json") if keras else None
    done = publish(folder / "Format-Serving", serving, "m", training_files=training_files, clock=lambda: float(seconds))
    return WarmStartVersion(done.publication.version, done.publication.fingerprint, "")


def chosen(serving: Path, data: str) -> WarmStartVersion:
    return choose_warm_start_version(serving, "m", data_hash(report(data)))


def test_a_first_run_has_none(serving: Path) -> None:
    base = chosen(serving, "monday")
    assert (base.version, base.identity) == (None, "none")
    assert "first run" in base.note


def test_new_data_goes_on_from_the_newest(serving: Path) -> None:
    push(serving, 100, "monday")
    second = push(serving, 200, "tuesday")
    assert chosen(serving, "wednesday").identity == second.identity == f"200 {second.fingerprint}"


def test_nothing_new_chooses_what_the_run_before_chose(serving: Path) -> None:
    before = chosen(serving, "monday")
    first = push(serving, 100, "monday", before)
    again = chosen(serving, "monday")
    assert again.identity == before.identity
    assert again.note == "version 100 was trained on the same data, and started anew"
    before = chosen(serving, "tuesday")
    assert before.identity == first.identity
    push(serving, 200, "tuesday", before)
    again = chosen(serving, "tuesday")
    assert again.identity == before.identity
    assert again.note == "version 200 was trained on the same data, and was given version 100"


def test_a_withdrawn_version_is_not_gone_on_from(serving: Path) -> None:
    first = push(serving, 100, "monday")
    push(serving, 200, "tuesday")
    rollback(serving, "m")
    assert chosen(serving, "wednesday").identity == first.identity


def test_the_keras_file_is_brought(serving: Path, tmp_path: Path) -> None:
    push(serving, 100, "monday")
    base = chosen(serving, "tuesday")
    assert copy_warm_start_version(base, serving, "m", tmp_path / "target") == base
    files = [path.relative_to(tmp_path / "target").as_posix() for path in (tmp_path / "target").rglob("*.*")]
    assert files == ["Format-Keras/model.keras"]


def test_what_cannot_be_brought_is_told(serving: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    push(serving, 100, "monday", keras=False)
    base = copy_warm_start_version(chosen(serving, "tuesday"), serving, "m", target)
    assert base.note.endswith("not trained further: it carries no Keras file")
    gone = push(serving, 200, "monday")
    base = chosen(serving, "tuesday")
    (serving / "m" / "200" / RETRAINING / "model.keras").write_text("damaged")
    assert copy_warm_start_version(base, serving, "m", target).note.endswith("model.keras isn't what was published")
    # The version that the newest one was given was removed, to keep few.
    (serving / "m" / "200").rename(serving / "m" / "removed-200")
    push(serving, 300, "tuesday", gone)
    base = copy_warm_start_version(chosen(serving, "tuesday"), serving, "m", target)
    assert (base.version, base.note) == (
        200,
        "version 300 was trained on the same data, and was given version 200, which is gone",
    )
    assert not target.exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_step_writes_what_the_trainer_reads_and_is_cached_while_nothing_is_new(
    serving: Path, tmp_path: Path
) -> None:
    from tfx.dsl.components.common.importer import Importer
    from tfx.orchestration.metadata import sqlite_metadata_connection_config
    from tfx.orchestration.pipeline import Pipeline

    from noisy_gru.components.artifacts import IngestionReportArtifact
    from noisy_gru.components.warm_start_base.component import WarmStartBase
    from noisy_gru.pipeline.runs.local_runner import LocalRunner, StepResult

    results: list[StepResult] = []
    observer: Any = SimpleNamespace(started=lambda *_: None, finished=results.append)

    def run(data: str) -> tuple[str, Any, dict[str, Any]]:
        folder = tmp_path / f"report of {data}"
        folder.mkdir(exist_ok=True)
        (folder / "ingestion_report.json").write_text(json.dumps(report(data)))
        given = Importer(source_uri=str(folder), artifact_type=IngestionReportArtifact).with_id("IngestionReport")
        step = WarmStartBase(ingestion_report=given.outputs["result"], serving_dir=serving, model_name="m")
        LocalRunner(f"run-{len(results)}", observer).run(
            Pipeline(
                pipeline_name="tiny",
                pipeline_root=str(tmp_path / "artifacts"),
                components=[given, step],
                metadata_connection_config=sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite")),
                enable_cache=True,
            )
        )
        (model,) = results[-1].outputs["model"]
        return results[-1].status, model, json.loads((Path(model.uri) / "base.json").read_text())

    status, model, record = run("monday")
    assert (status, model.properties["present"], record["version"]) == ("complete", 0, None)
    assert "a first run" in record["note"]
    first = push(serving, 100, "monday", chosen(serving, "monday"))
    # The model is published now, but the data are the same, and so is what the Trainer is given.
    assert run("monday") == ("cached", model, record)
    status, model, record = run("tuesday")
    assert (status, model.properties["present"]) == ("complete", 1)
    assert (record["version"], record["fingerprint"]) == (first.version, first.fingerprint)
    assert (Path(model.uri) / "Format-Keras" / "model.keras").read_text() == "keras of 100"
    push(serving, 200, "tuesday", first)
    assert run("tuesday") == ("cached", model, record)
