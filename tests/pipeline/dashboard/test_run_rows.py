"""Rows of run records: what is torn is a row that says so, what is unchanged is not read again."""

from __future__ import annotations

import json
import os
import time

import pytest

from noisy_gru.pipeline.dashboard.run_rows import RunRows

TORN = {
    "": "the file is empty",
    "{": "Invalid JSON",
    "[]": "not a run record",
    '"\\ud800"': "not a run record",
    "null": "not a run record",
    '{"run_id": 5}': "run_id",
    "\0\0\0": "Invalid JSON",
}


@pytest.mark.parametrize("text", TORN)
def test_a_torn_record_is_a_row_that_says_so(make_root, text):
    root = make_root()
    root.run()
    root.tear("20300101-000000-000000", text)
    good, bad = RunRows(root.directory).read()
    assert (good.status, good.problem) == ("succeeded", "")
    assert (bad.run_id, bad.status, bad.failed) == ("20300101-000000-000000", "unreadable", True)
    assert TORN[text] in bad.problem


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"retraining": [1], "serving": None}},
        {"plan": {"reasons": [{"rule": "drift", "numbers": None}]}},
        {"spans": [{"files": []}]},
        {"started": "yesterday"},
        {"metrics": {}, "steps": []},
    ],
)
def test_records_of_other_releases(make_root, change):
    root = make_root()
    root.run(**change)
    (row,) = RunRows(root.directory).read()
    assert row.problem == ""
    assert row.when is None if "started" in change else row.when is not None


def test_a_plan_of_another_shape_is_a_problem_and_stops_nothing(make_root):
    root = make_root()
    root.run(plan={"reasons": [7]})
    root.run()
    bad, good = RunRows(root.directory).read()
    assert "not a run record" in bad.problem
    assert good.problem == ""


def test_a_copied_record_is_of_another_run(make_root):
    root = make_root()
    record = root.run()
    root.tear("20300101-000000-000000", record.model_dump_json())
    assert record.run_id in RunRows(root.directory).read()[1].problem


def test_only_changed_files_are_read_again(make_root, monkeypatch):
    root = make_root()
    first, second = root.run(), root.run()
    rows = RunRows(root.directory)
    rows.read()
    read: list[str] = []
    import noisy_gru.pipeline.dashboard.run_rows as module

    original = module.read_record
    monkeypatch.setattr(module, "read_record", lambda file: read.append(file.stem) or original(file))
    rows.read()
    assert read == []
    root.directory.write(first.model_copy(update={"status": "refused"}))
    assert [row.status for row in rows.read()] == ["refused", "succeeded"]
    assert read == [first.run_id]
    (root.directory.runs / f"{second.run_id}.json").unlink()
    assert [row.run_id for row in rows.read()] == [first.run_id]


def test_a_run_whose_process_is_gone_was_killed(make_root):
    root = make_root()
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    root.run("running", pid=child)
    root.run("running")
    rows = RunRows(root.directory)
    for _ in range(2):
        assert [row.status for row in rows.read()] == ["killed", "running"]


def test_numbers_are_the_records(make_root):
    root = make_root()
    steps = [
        {"name": "A", "status": "complete", "cpu_seconds": 1.5, "peak_mb": 100.0, "disk_bytes": 10},
        {"name": "B", "status": "cached", "peak_mb": 300.0, "disk_bytes": 1000},
        {"name": "C", "status": "complete", "cpu_seconds": 2.0, "disk_bytes": 30},
    ]
    root.run(steps=steps)
    root.run(steps=steps, pruned="2026-04-01T00:00:00Z")
    kept, pruned = RunRows(root.directory).read()
    assert (kept.cpu_seconds, kept.peak_mb, kept.disk_bytes, pruned.disk_bytes) == (3.5, 300.0, 40, None)
    assert kept.metrics == {"accuracy": 0.9}


@pytest.mark.slow
def test_a_thousand_runs_are_read_once(make_root):
    """In seconds of this thread, whatever others in the process do; it takes a tenth here, and then a hundredth."""
    root = make_root()
    content = json.loads(root.run(config={f"key {number}": "value" * 20 for number in range(100)}).model_dump_json())
    for number in range(1000):
        name = f"20300101-000000-{number:06d}"
        root.tear(name, json.dumps({**content, "run_id": name}, indent=1))
    rows = RunRows(root.directory)
    began = time.thread_time()
    assert len(rows.read()) == 1001
    read = time.thread_time()
    rows.read()
    again = time.thread_time()
    assert read - began < 10
    assert again - read < 1
