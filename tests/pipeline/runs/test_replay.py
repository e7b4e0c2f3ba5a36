"""What has to be as it was before a run is trained again, and what is said of the metrics; trained in test_resume."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.exit_codes import EXIT_FAILED
from noisy_gru.pipeline.fingerprint import package_versions, source_fingerprint
from noisy_gru.pipeline.runs import replay as module
from noisy_gru.pipeline.runs.comparison import Difference
from noisy_gru.pipeline.runs.replay import replay
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord, StepRecord
from noisy_gru.schema.errors import ConfigError, UserError

VOWELS = Path(__file__).parents[3] / "examples" / "japanese_vowels"
METRICS = {"accuracy": 0.9, "log_loss": 0.25}


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    """Of a run on copies of real files, whose version 100 it compared with and went on from."""
    folder, directory = tmp_path / "data", RunDirectory(tmp_path / "root")
    directory.create()
    shutil.copytree(VOWELS, folder)
    schema = Path(load_config(VOWELS / "config.yaml").schema_path)
    config = load_config(folder / "config.yaml", [f"schema={schema}"])
    version = directory.serving / config.model_name / "100"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_text("model")
    names = ("train.csv.gz", "test.csv.gz")
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    record = RunRecord(
        run_id="20260101-000000-aaaaaa",
        pipeline=config.name,
        status="succeeded",
        started="2026-01-01T00:00:00Z",
        config_path=str(folder / "config.yaml"),
        config_hash="c",
        config=config.model_dump(mode="json", by_alias=True),
        seed=config.seed,
        root=str(directory.root),
        log="log",
        fingerprint=source_fingerprint(),
        packages=package_versions(),
        metrics=METRICS,
        files=[{"name": name, "bytes": 1, "sha256": digest} for name, digest in hashes.items()],
        steps=[StepRecord(name="LatestBlessed", status="complete", numbers={"version": 100})],
        warm_start={"used": True, "reasons": [], "base": {"version": "100"}, "proof": None},
        schema_copy=str(directory.keep_input(schema.name, schema.read_text())),
        pid=os.getpid(),
        host=socket.gethostname(),
    )
    directory.write(record)
    return record


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """``trained(record, metrics)`` puts a run with these metrics in place of one that takes minutes."""

    def _trained(record: RunRecord, metrics: dict[str, float], **changes: Any) -> list[Any]:
        calls: list[Any] = []

        def run_config(config: Any, *, root: Path, begun: Any, **options: Any) -> RunRecord:
            done = record.model_copy(
                update={"run_id": "again", "root": str(root), "metrics": metrics, "replay_of": None, **changes}
            )
            begun(done)
            calls.append((config, root, done, options))
            return done

        monkeypatch.setattr(module, "run_config", run_config)
        return calls

    return _trained


def test_the_same_configuration_schema_and_published_version(record, trained, tmp_path):
    calls = trained(record, METRICS)
    found = replay(record, into=tmp_path / "again")
    ((config, root, done, options),) = calls
    assert root == tmp_path / "again"
    assert config.schema_path == record.schema_copy
    assert config.model_dump(mode="json", by_alias=True) == {**record.config, "schema": record.schema_copy}
    assert (done.replay_of, options["span"]) == (record.run_id, "latest")
    assert (root / "serving" / "japanese-vowels" / "100" / "saved_model.pb").read_text() == "model"
    assert (found.verdict, found.before, found.error) == ("exact", [], None)


def test_a_metadata_server_is_not_asked_for_its_cache(record, trained, tmp_path):
    calls = trained(record, METRICS)
    server = {"host": "db", "port": 3306, "database": "d", "user": "u", "password_env": None}
    replay(record.model_copy(update={"config": {**record.config, "metadata": server}}), into=tmp_path / "again")
    assert calls[0][0].metadata.host is None


@pytest.mark.parametrize(
    ("metrics", "verdict"),
    [
        ({"accuracy": 0.9, "log_loss": 0.25}, "exact"),
        ({"accuracy": 0.9, "log_loss": 0.2500002}, "within"),
        ({"accuracy": 0.9, "log_loss": 0.250001}, "apart"),
        ({"accuracy": 0.9}, "apart"),
        ({}, "failed"),
    ],
)
def test_verdicts(record, trained, tmp_path, metrics, verdict):
    trained(record, metrics)
    assert replay(record, into=tmp_path / "again").verdict == verdict


def test_the_newest_span_of_the_run_is_asked_for(record, trained, tmp_path):
    spans = [{"span": number, "version": None, "files": []} for number in (7, 9)]
    calls = trained(record, METRICS)
    replay(record.model_copy(update={"spans": spans}), into=tmp_path / "again")
    assert calls[0][3]["span"] == "9"


def test_what_hinders_is_told_all_at_once(record, trained, tmp_path):
    calls = trained(record, METRICS)
    (tmp_path / "data" / "train.csv.gz").write_bytes(b"other")
    (tmp_path / "data" / "test.csv.gz").unlink()
    Path(record.schema_copy or "").unlink()
    shutil.rmtree(tmp_path / "root" / "serving" / "japanese-vowels")
    with pytest.raises(UserError) as refused:
        replay(record, into=tmp_path / "again")
    for text in (
        f"{tmp_path}/data/train.csv.gz: changed",
        f"{tmp_path}/data/test.csv.gz: gone",
        "the copy of the schema is gone",
        "version 100 of japanese-vowels, which training started from, is gone",
        "--anyway",
    ):
        assert text in str(refused.value)
    assert calls == []
    assert not (tmp_path / "again").exists()
    found = replay(record, into=tmp_path / "again", anyway=True)
    assert [call[0].schema_path for call in calls] == [record.config["schema"]]
    assert found.verdict == "exact"


def test_a_version_that_was_only_compared_with_is_not_needed(record, trained, tmp_path):
    trained(record, METRICS)
    shutil.rmtree(tmp_path / "root" / "serving" / "japanese-vowels")
    for warm_start in (None, {"used": False, "reasons": ["another vocabulary"], "base": {"version": "100"}}):
        cold = record.model_copy(update={"warm_start": warm_start})
        assert replay(cold, into=tmp_path / "again").verdict == "exact"


def test_a_withdrawn_version_is_brought_along(record, trained, tmp_path):
    trained(record, METRICS)
    serving = tmp_path / "root" / "serving" / "japanese-vowels"
    (serving / "100").rename(serving / "withdrawn-100")
    replay(record, into=tmp_path / "again")
    assert (tmp_path / "again" / "serving" / "japanese-vowels" / "100").is_dir()


def test_what_differed_before(record, trained, tmp_path):
    trained(record, {"accuracy": 0.5, "log_loss": 1.0}, files=[{"name": "train.csv.gz", "sha256": "new"}])
    older = record.model_copy(update={"packages": {**record.packages, "keras": "2.0"}, "fingerprint": "0" * 64})
    found = replay(older, into=tmp_path / "again")
    assert found.verdict == "apart"
    assert found.before[:2] == [
        Difference("keras", "2.0", package_versions()["keras"]),
        Difference("source", "0" * 12, source_fingerprint()[:12]),
    ]
    assert [(each.what, each.second) for each in found.before[2:]] == [("train.csv.gz", "new"), ("test.csv.gz", None)]


def test_accounts_that_cannot_be_replayed(record, trained, tmp_path):
    trained(record, METRICS)
    with pytest.raises(UserError, match="no hashes of the input files"):
        replay(record.model_copy(update={"files": []}), into=tmp_path / "again")
    with pytest.raises(ConfigError, match="Replay it with the version that it ran with"):
        replay(record.model_copy(update={"config": {"name": "x"}}), into=tmp_path / "again")
    with pytest.raises(UserError, match="expected a new or empty folder"):
        replay(record, into=tmp_path / "data")


def test_the_command(record, trained, tmp_path):
    trained(record, {"accuracy": 0.9, "log_loss": 0.5})
    arguments = ["runs", "replay", "latest", "--root", str(tmp_path / "root")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == EXIT_FAILED
    assert f"{record.run_id}, trained again as again: the metrics are NOT the same" in done.output
    assert ["log_loss", "0.25", "0.5", "+0.25"] in [line.split() for line in done.output.splitlines()]
    assert "input files, packages and source are the same" in done.output
    done = CliRunner().invoke(app, [*arguments, "--tolerance", "0.6", "--json", "--into", str(tmp_path / "again")])
    assert (done.exit_code, json.loads(done.output)["verdict"]) == (0, "within")
    (tmp_path / "data" / "test.csv.gz").unlink()
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, "test.csv.gz: gone" in done.output) == (EXIT_FAILED, True)
