"""What old runs left is deleted by policy, and TFX never takes from its cache what was deleted."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.config.retraining_config import KeepConfig
from noisy_gru.pipeline.exit_codes import EXIT_FAILED
from noisy_gru.pipeline.runs import pruning
from noisy_gru.pipeline.runs.pruning import Pruned, prune
from noisy_gru.pipeline.runs.recovery import clear_unfinished
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord
from noisy_gru.registry import rollout
from noisy_gru.registry.publish import publish
from tests.soak.disk_account import explain

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)
mlmd: Any = metadata_store_pb2


def keep(pipeline: str = "pumps", **rules: Any) -> dict[str, KeepConfig]:
    return {pipeline: KeepConfig(**rules)}


def write_record(directory: RunDirectory, run_id: str, started: datetime = NOW, **changes: Any) -> RunRecord:
    values = {
        "run_id": run_id,
        "pipeline": "pumps",
        "status": "succeeded",
        "started": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "config_path": "/config.yaml",
        "config_hash": "abc",
        "config": {},
        "seed": 1,
        "root": str(directory.root),
        "log": str(directory.log_file(run_id)),
        "fingerprint": "f",
        "pid": os.getpid(),
        "host": socket.gethostname(),
    }
    record = RunRecord.model_validate(values | changes)
    directory.write(record)
    directory.log_file(run_id).write_text("0123456789")
    return record


def connect(directory: RunDirectory) -> MetadataStore:
    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(directory.metadata)
    connection.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return MetadataStore(connection)


class Metadata:
    """ML Metadata as TFX writes it, for one step Trainer with the output `model`."""

    def __init__(self, directory: RunDirectory):
        self.store, self.directory = connect(directory), directory
        self.run_type = self.store.put_context_type(mlmd.ContextType(name="pipeline_run"))
        self.step_type = self.store.put_execution_type(mlmd.ExecutionType(name="Trainer"))
        self.model_type = self.store.put_artifact_type(mlmd.ArtifactType(name="Model"))

    def execution(self, run_id: str, state: str, outputs: list[int] | None = None) -> int:
        """An execution of a run, with artifacts of before; returns its id."""
        execution = mlmd.Execution(type_id=self.step_type, last_known_state=mlmd.Execution.State.Value(state))
        context = mlmd.Context(type_id=self.run_type, name=run_id)
        known = self.store.get_context_by_type_and_name("pipeline_run", run_id)
        (number,) = self.store.put_executions([execution])
        (context_id,) = [known.id] if known else self.store.put_contexts([context])
        self.store.put_attributions_and_associations([], [mlmd.Association(context_id=context_id, execution_id=number)])
        for artifact in outputs or []:
            self.store.put_events(
                [mlmd.Event(artifact_id=artifact, execution_id=number, type=mlmd.Event.Type.Value("OUTPUT"))]
            )
        return number

    def model(self, run_id: str, size: int = 1000) -> int:
        """A finished execution with a model on disk; returns the artifact's id."""
        number = self.execution(run_id, "COMPLETE")
        folder = self.write(number, size)
        artifact = mlmd.Artifact(type_id=self.model_type, uri=str(folder), state=mlmd.Artifact.LIVE)
        (made,) = self.store.put_artifacts([artifact])
        self.store.put_events([mlmd.Event(artifact_id=made, execution_id=number, type=mlmd.Event.Type.Value("OUTPUT"))])
        return made

    def write(self, execution: int, size: int) -> Path:
        folder = self.directory.artifacts / "Trainer" / "model" / str(execution)
        folder.mkdir(parents=True)
        (folder / "model").write_bytes(b"0" * size)
        return folder

    def there(self) -> set[str]:
        return {path.name for path in self.directory.artifacts.glob("Trainer/model/*")}

    def deleted(self) -> set[str]:
        return {
            Path(artifact.uri).name
            for artifact in self.store.get_artifacts()
            if artifact.state == mlmd.Artifact.DELETED
        }


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "root")
    directory.create()
    return directory


@pytest.fixture
def metadata(directory: RunDirectory) -> Metadata:
    return Metadata(directory)


def test_the_newest_runs_are_kept_and_what_they_share(directory, metadata):
    shared, alone = metadata.model("r1"), metadata.model("r2")
    metadata.execution("r3", "CACHED", [shared])
    metadata.model("r3")
    for name in ("r1", "r2", "r3"):
        write_record(directory, name)
    names = {number: Path(metadata.store.get_artifacts_by_id([number])[0].uri).name for number in (shared, alone)}
    before = metadata.there()

    planned = prune(directory, keep(runs=1), now=NOW, dry_run=True)
    assert (planned.runs, planned.kept, planned.dry_run) == (["r1", "r2"], {"r3": "newest run"}, True)
    assert planned.bytes == 1000 + 2 * 10  # a model and two logs
    assert (metadata.there(), metadata.deleted(), directory.record("r1").pruned) == (before, set(), None)

    done = prune(directory, keep(runs=1), now=NOW)
    assert {**done.to_dict(), "dry_run": True} == planned.to_dict()
    assert done.paths == [f"artifacts/Trainer/model/{names[alone]}", "logs/r1.log", "logs/r2.log"]
    assert done.shared == [f"artifacts/Trainer/model/{names[shared]}"]
    assert metadata.there() == before - {names[alone]}
    assert metadata.deleted() == {names[alone]}
    assert [(record.run_id, record.pruned) for record in directory.records()] == [
        ("r1", "2026-02-01T12:00:00Z"),
        ("r2", "2026-02-01T12:00:00Z"),
        ("r3", None),
    ]
    assert prune(directory, keep(runs=1), now=NOW) == Pruned([], {"r3": "newest run"})

    # What was shared goes with the last run that used it, though the run that made it was pruned before.
    write_record(directory, "r4")
    assert prune(directory, keep(runs=1), now=NOW).runs == ["r3"]
    assert metadata.there() == set()


def test_each_pipeline_of_a_root_has_rules_of_its_own(directory, metadata):
    """A weekly pipeline beside a nightly one keeps its runs, and the nightly one's rules don't prune them."""
    for number in range(1, 9):
        metadata.model(f"r{number}")
        write_record(directory, f"r{number}", pipeline="weekly" if number in (1, 2, 5) else "nightly")
    done = prune(directory, keep("nightly", runs=2), now=NOW)
    assert done.runs == ["r3", "r4", "r6"]
    assert done.kept == {
        "r1": "the rules of another pipeline don't apply to it",
        "r2": "the rules of another pipeline don't apply to it",
        "r5": "newest run",
        "r7": "one of the newest 2",
        "r8": "newest run",
    }
    assert len(metadata.there()) == 5
    both = keep("nightly", runs=1) | keep("weekly", runs=2)
    assert prune(directory, both, now=NOW).runs == ["r1", "r7"]
    assert len(metadata.there()) == 3


def test_what_another_pipeline_uses_stays(directory, metadata):
    shared = metadata.model("r1")
    metadata.execution("r2", "CACHED", [shared])
    metadata.model("r3")
    for name, pipeline in (("r1", "nightly"), ("r2", "weekly"), ("r3", "nightly")):
        write_record(directory, name, pipeline=pipeline)
    done = prune(directory, keep("nightly", runs=1), now=NOW)
    assert (done.runs, len(done.shared), len(metadata.there())) == (["r1"], 1, 2)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_left_is_what_kept_runs_and_versions_need(directory, metadata, seed):
    """Of runs of two pipelines that share artifacts by chance; each file is explained by SQL, not by this package."""
    random = Random(seed)
    models: list[int] = []
    for number in range(random.randint(6, 20)):
        name, pipeline = f"r{number:02}", random.choice(["pumps", "pumps", "weekly"])
        if models and random.random() < 0.4:
            metadata.execution(name, "CACHED", [random.choice(models)])
        else:
            models.append(metadata.model(name))
        if random.random() < 0.2:
            metadata.write(metadata.execution(name, "FAILED"), 10)
        write_record(directory, name, pipeline=pipeline, status=random.choice(["succeeded", "refused", "failed"]))
        if random.random() < 0.15:
            artifact = metadata.store.get_artifacts_by_id([random.choice(models)])[0]
            # Of what was pruned nothing is published any more.
            if Path(artifact.uri).exists():
                publish_model(directory, 100 + number, name, artifact.uri)
        if random.random() < 0.3:
            prune(directory, keep(pipeline, runs=random.randint(1, 4)), now=NOW)
        models = [each for each in models if Path(metadata.store.get_artifacts_by_id([each])[0].uri).exists()]
    rules = {"pumps": random.randint(1, 4), "weekly": random.randint(1, 4)}
    before = explain(directory.root, rules)
    assert bool(before.leaks) == bool(before.whole - before.kept), before
    prune(directory, keep("pumps", runs=rules["pumps"]) | keep("weekly", runs=rules["weekly"]), now=NOW)
    after = explain(directory.root, rules)
    assert (after.leaks, after.missing) == ([], [])
    assert after.makers <= after.whole <= after.kept


def test_the_command_prunes_each_pipeline_of_a_root_as_its_newest_run_was_configured(directory, metadata):
    from noisy_gru.pipeline.config.loading import load_config

    config = load_config(Path(__file__).parents[3] / "examples" / "japanese_vowels" / "config.yaml")
    for number in range(1, 9):
        name = "weekly" if number in (1, 2, 5) else "nightly"
        runs = {"weekly": 2, "nightly": 3}[name] if number in (5, 8) else 30
        content: dict[str, Any] = {**config.model_dump(mode="json", by_alias=True), "name": name}
        content["retraining"]["keep"]["runs"] = runs
        metadata.model(f"r{number}")
        write_record(directory, f"r{number}", pipeline=name, config=content)
    arguments = ["runs", "prune", "--root", str(directory.root), "--dry-run", "--json"]
    assert json.loads(CliRunner().invoke(app, arguments).output)["runs"] == ["r1", "r3", "r4"]
    assert json.loads(CliRunner().invoke(app, [*arguments, "--runs", "1"]).output)["runs"] == [
        "r1",
        "r2",
        "r3",
        "r4",
        "r6",
        "r7",
    ]


def test_by_age(directory, metadata):
    for number, name in enumerate(("r1", "r2", "r3")):
        metadata.model(name)
        write_record(directory, name, NOW - timedelta(days=30 - 10 * number))
    kept = prune(directory, keep(runs=None, days=20), now=NOW, dry_run=True).kept
    assert kept == {"r2": "not older than 20 days", "r3": "newest run"}
    # Of a clock that was ahead: it began before r2.
    write_record(directory, "r1", NOW + timedelta(days=2500))
    assert set(prune(directory, keep(runs=None, days=5), now=NOW, dry_run=True).kept) == {"r3"}
    write_record(directory, "r1", NOW - timedelta(days=30))
    assert prune(directory, keep(runs=2, days=None), now=NOW, dry_run=True).runs == ["r1"]
    assert prune(directory, keep(runs=1, days=60), now=NOW, dry_run=True).runs == []
    assert prune(directory, keep(runs=None, days=None), now=NOW, dry_run=True).runs == []
    assert prune(directory, keep(runs=None, days=0.5), now=NOW + timedelta(days=99), dry_run=True).runs == [
        "r1",
        "r2",
    ]


def test_leftovers_of_runs_that_were_cut_off(directory, metadata):
    number = metadata.execution("r1", "FAILED")
    metadata.write(number, 500)
    work, touched = directory.work / "training-1", NOW - timedelta(days=1)
    work.mkdir()
    (work / "state.npz").write_bytes(b"0" * 70)
    for path in (work / "state.npz", work):
        os.utime(path, (touched.timestamp(), touched.timestamp()))
    (directory.work / "training-2").mkdir()
    write_record(directory, "r1", touched, status="failed")
    write_record(directory, "r2", NOW)
    foreign = metadata.write(number + 1000, 5)  # nobody knows this one
    done = prune(directory, keep(runs=1), now=NOW)
    assert done.paths == [f"artifacts/Trainer/model/{number}", "logs/r1.log", "work/training-1"]
    assert done.bytes == 500 + 10 + 70
    assert metadata.there() == {foreign.name}
    assert [path.name for path in directory.work.iterdir()] == ["training-2"]


def publish_model(directory: RunDirectory, version: int, run_id: str, model_uri: str) -> None:
    source = directory.root / f"source-{version}"
    source.mkdir()
    (source / "saved_model.pb").write_text(str(version))
    publish(
        source,
        directory.serving,
        "pumps",
        model_uri=model_uri,
        lineage={"run": run_id},
        clock=lambda: float(version),
    )


def test_what_a_version_needs_stays_in_place_withdrawn_or_from_elsewhere(directory, metadata):
    models = [metadata.model(f"r{number}") for number in range(5)]
    for number in range(5):
        write_record(directory, f"r{number}", status="running" if number == 0 else "succeeded")
    uri = metadata.store.get_artifacts_by_id([models[3]])[0].uri
    publish_model(directory, 100, "r1", "")
    publish_model(directory, 200, "r2", "")
    # Published from an artifact of r3 by a run of another root.
    publish_model(directory, 300, "elsewhere", uri)
    rollout.rollback(directory.serving, "pumps", to=100)
    done = prune(directory, keep(runs=1), now=NOW)
    assert done.kept == {
        "r0": "still running",
        "r1": "its version 100 is published or withdrawn",
        "r2": "its version 200 is published or withdrawn",
        "r4": "newest run",
    }
    assert done.runs == ["r3"]
    assert done.shared == [Path(uri).relative_to(directory.root).as_posix()]
    assert len(metadata.there()) == 5


def test_after_the_root_was_moved(directory, metadata, tmp_path):
    shared = metadata.model("r1")
    metadata.model("r2")
    metadata.execution("r3", "CACHED", [shared])
    for name in ("r1", "r2", "r3"):
        write_record(directory, name)
    directory.root.rename(tmp_path / "moved")
    moved = RunDirectory(tmp_path / "moved")
    done = prune(moved, keep(runs=1), now=NOW)
    assert len(done.shared) == 1
    assert len(list(moved.artifacts.glob("Trainer/model/*"))) == 1


def test_an_artifact_in_the_account_of_a_kept_run(directory, metadata):
    """As when ML Metadata was begun anew, and numbers executions as before."""
    uri = metadata.store.get_artifacts_by_id([metadata.model("r1")])[0].uri
    write_record(directory, "r1")
    write_record(directory, "r2", artifacts={"Trainer": {"model": [uri]}})
    done = prune(directory, keep(runs=1), now=NOW)
    assert (done.runs, done.shared) == (["r1"], [Path(uri).relative_to(directory.root).as_posix()])
    assert (len(metadata.there()), metadata.deleted()) == (1, set())


def test_never_during_a_run(directory, metadata):
    metadata.model("r1")
    for name in ("r1", "r2"):
        write_record(directory, name)
    with directory.locked():
        done = CliRunner().invoke(app, ["runs", "prune", "--root", str(directory.root)])
        assert done.exit_code != 0
        with pytest.raises(Exception, match="in use by process"):
            prune(RunDirectory(directory.root), keep(runs=1), now=NOW)
        assert prune(directory, keep(runs=1), now=NOW, held=True).runs == ["r1"]
    assert metadata.there() == set()


def test_the_command(directory, metadata, tmp_path):
    done = CliRunner().invoke(app, ["runs", "prune"])
    assert (done.exit_code, "expected the configuration file, or the root of the runs with --root" in done.output) == (
        1,
        True,
    )
    config = Path(__file__).parents[3] / "examples" / "japanese_vowels" / "config.yaml"
    for name in ("r1", "r2"):
        metadata.model(name, 2_500_000)
        write_record(directory, name, pipeline="japanese-vowels")
    done = CliRunner().invoke(app, ["runs", "prune", "--root", str(directory.root)])
    assert done.exit_code == EXIT_FAILED
    assert "run r2 of pipeline japanese-vowels: its configuration is of another version of noisy-gru" in done.output
    arguments = ["runs", "prune", str(config), "--root", str(directory.root), "--runs", "1"]
    done = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert "1 runs, 2 files and folders, 2.5 MB would be freed" in done.output
    assert json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)["bytes"] == 2_500_010
    shown = CliRunner().invoke(app, ["runs", "show", "r1", "--root", str(directory.root)]).output
    assert "artifacts    deleted on 20" in shown


@pytest.mark.parametrize("status", ["interrupted", "killed", "failed"])
def test_a_run_that_was_cut_off_leaves_nothing(directory, metadata, status):
    """Before the next run: the execution is closed, and what it had written is gone; nobody else's is touched.

    A run that failed leaves one, too, where the disk of ML Metadata was full.
    """
    whole = metadata.model("r1")
    cut_off, others = metadata.execution("r1", "RUNNING"), metadata.execution("elsewhere", "RUNNING")
    metadata.write(cut_off, 10)
    kept = metadata.write(others, 10).name
    write_record(directory, "r1", status=status)
    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(directory.metadata)
    assert clear_unfinished(directory, connection) == [cut_off]
    assert clear_unfinished(directory, connection) == []
    assert metadata.there() == {kept, Path(metadata.store.get_artifacts_by_id([whole])[0].uri).name}
    states = [mlmd.Execution.State.Name(each.last_known_state) for each in metadata.store.get_executions()]
    assert sorted(states) == ["CANCELED", "COMPLETE", "RUNNING"]


class Observer:
    """Keeps how each step ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []

    def started(self, name: str, number: int, total: int) -> None:
        pass

    def finished(self, result: Any) -> None:
        (output,) = result.outputs["schema"]
        self.ended.append((result.status, output.uri))


@pytest.fixture
def import_schema(directory: RunDirectory, tmp_path: Path) -> Callable[[str, str], tuple[str, str]]:
    """``import_schema(run_id, text)`` runs a pipeline of one real step, and says how it ended and what it has."""

    def run(run_id: str, text: str) -> tuple[str, str]:
        from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
        from tfx.orchestration.metadata import sqlite_metadata_connection_config
        from tfx.orchestration.pipeline import Pipeline

        from noisy_gru.pipeline.runs.local_runner import LocalRunner

        file = tmp_path / f"{text}.pbtxt"
        file.write_text(f'feature {{ name: "{text}" type: FLOAT }}\n')
        observer = Observer()
        LocalRunner(run_id, observer).run(
            Pipeline(
                pipeline_name="pumps",
                pipeline_root=str(directory.artifacts),
                components=[ImportSchemaGen(schema_file=str(file))],
                metadata_connection_config=sqlite_metadata_connection_config(str(directory.metadata)),
                enable_cache=True,
            )
        )
        write_record(directory, run_id)
        return observer.ended[0]

    return run


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_tfx_runs_a_step_again_whose_artifacts_were_deleted(directory, import_schema, monkeypatch):
    status, shared = import_schema("r1", "a")
    assert status == "complete"
    status, alone = import_schema("r2", "b")
    assert import_schema("r3", "a") == ("cached", shared)

    def fail(path: Path) -> None:
        raise OSError("disk")

    # Cut off before anything was deleted: the files are there, and TFX doesn't take them any more.
    with monkeypatch.context() as patch:
        patch.setattr(pruning, "_delete", fail)
        with pytest.raises(OSError, match="disk"):
            prune(directory, keep(runs=1), now=NOW)
    assert (Path(alone) / "schema.pbtxt").is_file()
    status, again = import_schema("r4", "b")
    assert (status, again != alone) == ("complete", True)
    assert import_schema("r5", "b") == ("cached", again)
    assert import_schema("r6", "a") == ("cached", shared)

    done = prune(directory, keep(runs=2), now=NOW)
    assert done.runs == ["r1", "r2", "r3", "r4"]
    assert not Path(alone).exists()
    assert Path(shared, "schema.pbtxt").is_file() and Path(again, "schema.pbtxt").is_file()
    assert import_schema("r7", "b") == ("cached", again)
    assert import_schema("r8", "a") == ("cached", shared)
