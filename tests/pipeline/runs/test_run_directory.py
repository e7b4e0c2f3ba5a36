"""Accounts of runs: written whole, found by their ids, and honest about runs that were killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from io import StringIO
from pathlib import Path

import pytest

from noisy_gru.pipeline.cli import runs_view
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RowCounts, RunRecord, StepRecord, timestamp
from noisy_gru.schema.errors import UserError
from noisy_gru.storage.atomic_files import write_atomically

# Above what Linux gives.
_PID_OF_NOBODY = 2**22 + 1


def record(run_id: str, root: Path, **changes) -> RunRecord:
    values = {
        "run_id": run_id,
        "pipeline": "pumps",
        "status": "succeeded",
        "started": "2026-01-02T03:04:05Z",
        "config_path": "/config.yaml",
        "config_hash": "abc",
        "config": {},
        "seed": 1,
        "root": str(root),
        "log": "log",
        "fingerprint": "f",
        "pid": os.getpid(),
        "host": socket.gethostname(),
    }
    return RunRecord.model_validate(values | changes)


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "root")
    directory.create()
    return directory


def test_ids_are_in_the_order_in_which_the_runs_began(directory):
    noon = datetime(2026, 1, 2, 12, 0, 0, 114270, tzinfo=UTC)
    ids = []
    for now in (noon, noon, noon.astimezone(timezone(timedelta(hours=5))), noon + timedelta(microseconds=20)):
        ids.append(directory.new_run_id(now))
        directory.write(record(ids[-1], directory.root))
    seconds = ["20260102-120000"] * 4
    assert ids == [f"{each}-{end}" for each, end in zip(seconds, ("114270", "114271", "114272", "114290"), strict=True)]
    assert [each.run_id for each in directory.records()] == ids
    assert directory.record("latest").run_id == ids[-1]
    assert timestamp(noon) == "2026-01-02T12:00:00Z"


def test_an_id_whose_log_is_still_there_is_not_used_again(directory):
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    directory.log_file("20260102-120000-000000").write_text("of a run whose record was deleted\n")
    assert directory.new_run_id(noon) == "20260102-120000-000001"


def test_an_account_comes_back_as_it_was(directory):
    rows = RowCounts(read=3, kept=2, quarantined={"duplicate_step": 1})
    written = record("r1", directory.root, rows=rows, steps=[StepRecord(name="Trainer", status="complete", seconds=2)])
    directory.write(written)
    assert directory.records() == [written]
    assert [path.name for path in directory.runs.iterdir()] == ["r1.json"]


def test_a_metric_that_is_no_number_comes_back(directory):
    directory.write(record("r1", directory.root, metrics={"accuracy": 0.5, "log_loss": float("nan")}))
    assert json.loads((directory.runs / "r1.json").read_text())["metrics"] == {"accuracy": 0.5, "log_loss": None}
    (found,) = directory.records()
    assert found.metrics == pytest.approx({"accuracy": 0.5, "log_loss": float("nan")}, nan_ok=True)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_atomically(path, "old")
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_runs_are_found_by_the_beginning_of_their_id(directory):
    for name in ("20260101-aa", "20260102-bb", "20260102-cc"):
        directory.write(record(name, directory.root))
    assert directory.record("20260101").run_id == "20260101-aa"
    assert directory.record("latest").run_id == "20260102-cc"
    with pytest.raises(UserError, match="matches 2 runs: 20260102-bb, 20260102-cc"):
        directory.record("20260102")
    with pytest.raises(UserError, match=r"run 1999: not found under .* The last runs are 20260101-aa"):
        directory.record("1999")


def test_no_runs(tmp_path):
    with pytest.raises(UserError, match="no runs here"):
        RunDirectory(tmp_path).record("latest")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"run_id": "r1"}', b"\xff\xfe", b"\0" * 4096])
@pytest.mark.parametrize("torn", ["r1", "r2", "r3"])
def test_a_torn_account_is_named_and_stops_nothing(directory, caplog, content, torn):
    for name in ("r1", "r2", "r3"):
        directory.write(record(name, directory.root, status="running", pid=_PID_OF_NOBODY))
    (directory.runs / f"{torn}.json").write_bytes(content)
    whole = [name for name in ("r1", "r2", "r3") if name != torn]
    assert [each.run_id for each in directory.records()] == whole
    assert directory.record("latest").run_id == whole[-1]
    directory.close_killed()
    assert [each.status for each in directory.records()] == ["killed", "killed"]
    assert (directory.runs / f"{torn}.json").read_bytes() == content
    # Named once, however often it is passed over.
    (warning,) = caplog.messages
    assert f"{torn}.json: not a run record: " in warning
    with pytest.raises(UserError, match=rf"{torn}\.json: not a run record"):
        directory.record(torn)


def test_an_account_that_is_a_folder_stops_nothing(directory, caplog):
    (directory.runs / "r1.json").mkdir()
    assert directory.records() == []
    assert "r1.json: can't be read: Is a directory" in caplog.text


def test_a_run_after_one_from_the_future_is_the_newest(directory):
    """A clock was ahead by years, and was set back: names stay in the order in which the runs began."""
    ids = []
    for now in (datetime(2033, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)):
        ids.append(directory.new_run_id(now))
        directory.write(record(ids[-1], directory.root, started=timestamp(now)))
    assert ids == ["20330101-000000-000000", "20330101-000000-000001", "20330101-000000-000002"]
    assert [each.run_id for each in directory.records()] == ids
    assert directory.record("latest").started == "2026-01-03T00:00:00Z"


def _gone() -> int:
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    process.join()
    assert process.pid is not None
    return process.pid


def test_a_run_whose_process_is_gone_was_killed(directory):
    steps = [StepRecord(name="Trainer")]
    directory.write(record("r1", directory.root, status="running", pid=_gone(), steps=steps))
    directory.write(record("r2", directory.root, status="running"))
    directory.write(record("r3", directory.root, status="running", pid=_gone(), host="elsewhere"))
    assert [each.status for each in directory.records()] == ["killed", "running", "running"]
    assert directory.record("r1").steps[0].status == "interrupted"
    assert json.loads((directory.runs / "r1.json").read_text())["status"] == "running"
    # Who holds the lock knows: neither another host nor a process id that is taken again makes a run go on.
    directory.close_killed()
    written = [json.loads((directory.runs / f"r{number}.json").read_text()) for number in (1, 2, 3)]
    assert [each["status"] for each in written] == ["killed"] * 3
    assert written[0]["steps"][0]["status"] == "interrupted"


def test_a_process_that_ended_and_was_not_collected_is_gone(directory):
    """A zombie: its parent, or the first process of a container, never asks for its exit code."""
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b""
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        directory.write(record("r1", directory.root, status="running", pid=process.pid))
        assert directory.record("r1").status == "killed"


def test_one_run_at_a_time(directory):
    other = RunDirectory(directory.root)
    with directory.locked(), pytest.raises(UserError, match=f"in use by process {os.getpid()} on "), other.locked():
        pass
    with other.locked():
        pass


@pytest.mark.parametrize("name", ["out [v2]", "a*b", "what?", "back\\slash"])
def test_a_root_that_is_a_pattern_to_tensorflow(tmp_path, name):
    with pytest.raises(UserError, match=r"--root .* contains .*, which TensorFlow and Beam read as a pattern"):
        RunDirectory(tmp_path / name).create()
    assert not (tmp_path / name).exists()
    RunDirectory(tmp_path / "out {v2}").create()


def test_a_root_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--root .*file/root: can't create"):
        RunDirectory(tmp_path / "file" / "root").create()


def test_inputs_are_kept_by_content(directory):
    first = directory.keep_input("schema.pbtxt", "a")
    assert directory.keep_input("schema.pbtxt", "a") == first
    second = directory.keep_input("schema.pbtxt", "b")
    assert first.name.startswith("schema-")
    assert first.suffix == ".pbtxt"
    assert (first.read_text(), second.read_text()) == ("a", "b")


def test_the_views_show_what_matters(directory, monkeypatch, tmp_path):
    rows = RowCounts(read=10, kept=8, quarantined={"duplicate_step": 2})
    directory.write(
        record(
            "20260101-aa",
            directory.root,
            finished="x",
            seconds=61.2,
            rows=rows,
            metrics={"accuracy": 0.98123, "log_loss": 0.1},
            version=7,
            published_path="/serving/pumps/7",
            steps=[StepRecord(name="Trainer", status="cached", summary="3 epochs")],
        )
    )
    directory.write(record("20260102-bb", directory.root, status="refused", refusals=["accuracy is 0.1"]))
    out = StringIO()
    runs_view.table(runs_view.all_records(directory.root), out)
    assert "20260101-aa  pumps     2026-01-02T03:04:05Z  61 s  succeeded  7        accuracy 0.9812" in out.getvalue()
    assert "refused" in out.getvalue()
    out = StringIO()
    runs_view.page(runs_view.find_record("20260101", directory.root), out)
    for text in ("10 read, 8 kept; 2 quarantined: duplicate_step", "/serving/pumps/7", "Trainer", "3 epochs"):
        assert text in out.getvalue()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "root").rename(tmp_path / "runs" / "pumps")
    assert [each.run_id for each in runs_view.all_records(None)] == ["20260101-aa", "20260102-bb"]
    assert runs_view.find_record("latest", None).run_id == "20260102-bb"
    with pytest.raises(UserError, match="matches 2 runs"):
        runs_view.find_record("2026", None)
