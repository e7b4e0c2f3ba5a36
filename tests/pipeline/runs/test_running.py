"""A run around its steps: what becomes of errors, of the verdicts of the gates, and of the record."""

from __future__ import annotations

import contextlib
import errno
import json
import signal
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from noisy_gru.pipeline import fingerprint
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.runs import running
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord
from noisy_gru.pipeline.runs.step_errors import error_message, is_expected
from noisy_gru.schema.errors import AnomalyError, DataError

VOWELS = Path(__file__).parents[3] / "examples" / "japanese_vowels" / "config.yaml"


def output(uri: Path, **properties: Any) -> SimpleNamespace:
    return SimpleNamespace(uri=str(uri), properties=properties)


def result(name: str, outputs: dict[str, list[Any]], status: str = "complete") -> SimpleNamespace:
    return SimpleNamespace(name=name, status=status, seconds=1.23456, outputs=outputs)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """``run(steps)``: a run in whose place of TFX's runner ``steps(observer)`` is called."""

    def _run(steps: Any) -> RunRecord:
        class Runner:
            def __init__(self, run_id: str, observer: Any):
                self.observer = observer

            def run(self, pipeline: Any) -> None:
                steps(self.observer)

        build, local, recovering = ModuleType("build"), ModuleType("local"), ModuleType("recovering")
        build.build_pipeline = lambda config, **options: options  # type: ignore[attr-defined]
        local.LocalRunner = Runner  # type: ignore[attr-defined]
        local.connection_config = lambda config, sqlite: None  # type: ignore[attr-defined]
        recovering.clear_unfinished = lambda directory, connection: []  # type: ignore[attr-defined]
        # Tests of the report are in tests/pipeline/report.
        monkeypatch.setattr(running, "write_report", lambda directory, record: directory.report_file(record.run_id))
        monkeypatch.setitem(sys.modules, "noisy_gru.pipeline.runs.recovery", recovering)
        monkeypatch.setitem(sys.modules, "noisy_gru.pipeline.build", build)
        monkeypatch.setitem(sys.modules, "noisy_gru.pipeline.runs.local_runner", local)
        return running.run_config(load_config(VOWELS), config_path=VOWELS, root=tmp_path / "root")

    return _run


def test_a_published_model(run, tmp_path, capfd):
    def steps(observer: Any) -> None:
        observer.started("SequenceExampleGen", 1, 3)
        content = {
            "rows": {"read": 10, "kept": 7, "quarantined": {"total": 1, "late": 1}, "dropped": {"total": 2, "copy": 2}},
            "sequences": {"by_split": {"train": 3, "test": 1}},
        }
        (tmp_path / "ingestion_report.json").write_text(json.dumps(content))
        observer.finished(result("SequenceExampleGen", {"ingestion_report": [output(tmp_path)]}))
        observer.started("Trainer", 2, 3)
        content = {"epochs": 5, "best_epoch": 4, "parameters": 1234, "seed": 1, "final": {"epoch": 4, "loss": 0.5}}
        (tmp_path / "training.json").write_text(json.dumps(content))
        observer.finished(result("Trainer", {"model_run": [output(tmp_path)], "model": [output(tmp_path)]}, "cached"))
        observer.started("Pusher", 3, 3)
        pushed = output(tmp_path, pushed=1, pushed_version="17", pushed_destination="/serving/m/17")
        observer.finished(result("Pusher", {"pushed_model": [pushed]}))

    record = run(steps)
    assert (record.status, record.blessed, record.version, record.published_path) == (
        "succeeded",
        True,
        17,
        "/serving/m/17",
    )
    assert record.rows is not None
    assert record.rows.model_dump() == {"read": 10, "kept": 7, "dropped": {"copy": 2}, "quarantined": {"late": 1}}
    assert record.sequences == {"train": 3, "test": 1}
    assert [(step.name, step.status, step.seconds) for step in record.steps][1] == ("Trainer", "cached", 1.235)
    assert record.artifacts["Trainer"]["model"] == [str(tmp_path)]
    assert RunDirectory(Path(record.root)).records() == [record]
    out, err = capfd.readouterr()
    assert out == ""
    assert "10 rows, 1 quarantined, 2 dropped; sequences: train 3, test 1" in err
    assert "5 epochs, best 4: loss 0.5; 1,234 parameters" in err
    assert "/serving/m/17" in err
    # Whoever reads the last line has the page.
    assert err.rstrip().endswith(f"report     {tmp_path}/root/runs/{record.run_id}.html")
    assert all(step.cpu_seconds is not None and step.peak_mb for step in record.steps)


def test_a_refused_model(run, tmp_path):
    def steps(observer: Any) -> None:
        observer.started("ServingGate", 1, 2)
        content = {"blessed": False, "problems": ["holds PyFunc"], "checks": []}
        (tmp_path / "report.json").write_text(json.dumps(content))
        observer.finished(result("ServingGate", {"report": [output(tmp_path)]}))
        observer.started("Pusher", 2, 2)
        observer.finished(result("Pusher", {"pushed_model": [output(tmp_path, pushed=0, reason="not published: …")]}))

    record = run(steps)
    assert (record.status, record.blessed, record.published_path) == ("refused", False, None)
    assert record.refusals == ["ServingGate: holds PyFunc"]


def fail(error: BaseException):
    def steps(observer: Any) -> None:
        observer.started("AnomalyGate", 1, 2)
        raise error

    return steps


def _caused(cause: Exception) -> Exception:
    error = RuntimeError("around it")
    error.__cause__ = cause
    return error


BEAM = (
    "Traceback (most recent call last):\n  File …\nnoisy_gru.schema.errors.DataError: c03 is 99; correct it "
    "[while running 'Read/Parse']"
)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (AnomalyError("c03 is 99"), "c03 is 99"),
        (_caused(DataError("row 7")), "row 7"),
        (RuntimeError(BEAM), "c03 is 99; correct it"),
        (ZeroDivisionError("division"), "ZeroDivisionError: division\n(unexpected error; the log has the traceback)"),
    ],
)
def test_errors_in_a_step_are_told(run, capfd, error, message):
    record = run(fail(error))
    assert (record.status, record.error) == ("failed", message)
    assert [(step.name, step.status) for step in record.steps] == [("AnomalyGate", "failed")]
    err = capfd.readouterr().err
    assert message.split("\n")[0] in err
    assert "Traceback" not in err
    assert "Traceback" in Path(record.log).read_text()


def test_an_interrupt_leaves_an_account(run):
    record = run(fail(KeyboardInterrupt()))
    assert record.status == "interrupted"
    assert record.steps[0].status == "interrupted"
    assert record.finished is not None


def test_a_signal_of_which_a_library_makes_another_exception_is_an_interrupt(run):
    def steps(observer: Any) -> None:
        observer.started("Transform", 1, 1)
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as stopped:
            raise RuntimeError("Python callback failed") from stopped

    record = run(steps)
    assert (record.status, record.steps[0].status) == ("interrupted", "interrupted")


def test_a_signal_that_a_step_swallows_ends_the_run_before_the_next_step(run):
    def steps(observer: Any) -> None:
        observer.started("Transform", 1, 2)
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        observer.started("Trainer", 2, 2)
        raise AssertionError("it went on")

    record = run(steps)
    assert record.status == "interrupted"
    assert [step.name for step in record.steps] == ["Transform"]


def test_a_full_disk_is_the_reason_and_not_a_traceback(run, monkeypatch, capfd):
    def steps(observer: Any) -> None:
        observer.started("Transform", 1, 1)
        monkeypatch.setattr(RunDirectory, "write", full)
        raise OSError(errno.ENOSPC, "No space left on device", "examples.gz")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "ingestion_report.json")

    record = run(steps)
    assert record.status == "failed"
    assert (record.error or "").startswith("the disk is full: free some space, then run it again")
    assert "No space left on device: 'examples.gz'" in (record.error or "")
    assert "unexpected" not in (record.error or "")
    err = capfd.readouterr().err
    assert "WARNING: the run record can't be written: No space left on device" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # As ML Metadata, and Beam with TensorFlow in it, said on a small tmpfs.
        ("Error when executing query: database or disk is full query: COMMIT;", "the disk is full"),
        (
            "tensorflow.python.framework.errors_impl.ResourceExhaustedError: /r/saved_model.pb; No space left on device"
            " [while running 'WriteTransformFn/WriteTransformFnToTemp']",
            "the disk is full",
        ),
        ("Error when executing query: attempt to write a readonly database", "the disk is read-only"),
    ],
)
def test_what_libraries_say_of_a_disk(text, words):
    error = RuntimeError(text)
    assert error_message(error).startswith(words)
    assert text in error_message(error)
    assert is_expected(error)
    assert not is_expected(RuntimeError("no such table"))


def test_the_fingerprint_follows_the_code_of_its_rooms(tmp_path, monkeypatch):
    for room in fingerprint.ALL_ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "module.py").write_text(room)
    monkeypatch.setattr(fingerprint, "_folder", lambda room: tmp_path / room)
    fingerprint.source_fingerprint.cache_clear()

    def both() -> tuple[str, str]:
        fingerprint.source_fingerprint.cache_clear()
        rooms = (fingerprint.MODEL_ROOMS, fingerprint.ALL_ROOMS)
        model, everything = map(fingerprint.source_fingerprint, rooms)
        return model, everything

    try:
        before = both()
        (tmp_path / "components" / "module.py").write_text("changed")
        components = both()
        assert components[0] == before[0] and components[1] != before[1]
        (tmp_path / "trainer" / "new.py").write_text("")
        trainer = both()
        assert trainer[0] != components[0] and trainer[1] != components[1]
        (tmp_path / "trainer" / "notes.txt").write_text("not code")
        assert both() == trainer
        monkeypatch.setattr(fingerprint, "package_versions", lambda: {"tensorflow": "9"})
        assert both() != trainer
    finally:
        monkeypatch.undo()
        fingerprint.source_fingerprint.cache_clear()
