"""One retraining around its plan and its run, with fakes for both: what is recorded, told, gone on with, and locked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.components.retrain_planner.plan import Reason, RetrainPlan
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.retrain import retraining_job
from noisy_gru.pipeline.retrain.notifications import Delivery
from noisy_gru.pipeline.retrain.retraining import record_killed, retrain_once
from noisy_gru.pipeline.runs import check_log
from noisy_gru.pipeline.runs.check_log import read_checks
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord, timestamp
from noisy_gru.registry.retraining_attempts import Attempt, append_attempt, read_attempts
from noisy_gru.schema.errors import BusyError, ConfigError, DataError

VOWELS = Path(__file__).parents[3] / "examples" / "japanese_vowels" / "config.yaml"
NOW = datetime(2026, 4, 1, 3, tzinfo=UTC)
MODEL = "japanese-vowels"
DUE = RetrainPlan(
    pipeline=MODEL,
    retrain=True,
    reasons=(),
    spans="3,5-9",
    newest_span=9,
    new_spans=(9,),
    base_version=None,
    data="hash-of-3-to-9",
    decided_at=NOW.isoformat(),
)


class Bench:
    """Retrains under ``root`` with a planner and a runner that do as they are told."""

    def __init__(self, root: Path, config: PipelineConfig):
        self.root = root
        self.config = config
        self.plan: RetrainPlan | Exception = DUE
        self.end: dict[str, Any] | BaseException = {"status": "succeeded", "version": 17}
        self.hook_error: str | None = None
        self.planned: list[dict[str, Any]] = []
        self.ran: list[dict[str, Any]] = []
        self.reported: list[tuple[str, dict[str, Any]]] = []
        self.logged: list[str] = []
        self.during: Any = lambda: None

    def planner(self, config: PipelineConfig, **options: Any) -> RetrainPlan:
        self.planned.append(options)
        print("what a library prints")
        if isinstance(self.plan, Exception):
            raise self.plan
        return self.plan

    def runner(self, config: PipelineConfig, *, held: RunDirectory, begun: Any, **options: Any) -> RunRecord:
        self.ran.append(options)
        record = RunRecord(
            run_id=f"run-{len(held.records()):03}",
            pipeline=config.name,
            started="2026-04-01T03:00:00Z",
            config_path="c.yaml",
            config_hash="",
            config={},
            seed=0,
            root=str(held.root),
            log="log",
            fingerprint="",
            plan=options["plan"],
            pid=os.getpid(),
            host=os.uname().nodename,
        )
        held.write(record)
        begun(record)
        self.during()
        if isinstance(self.end, BaseException):
            raise self.end
        record = record.model_copy(update=self.end)
        held.write(record)
        return record

    def notifier(self, hooks: Any, event: str, content: dict[str, Any]) -> list[Delivery]:
        self.reported.append((event, content))
        return [Delivery("webhook", self.hook_error)]

    def options(self) -> dict[str, Any]:
        return {"root": self.root, "now": lambda: NOW, "notifier": self.notifier, "log": self.logged.append}

    def retrain(self, **options: Any) -> Any:
        return retrain_once(
            self.config,
            config_path=VOWELS,
            planner=self.planner,
            runner=self.runner,
            **{**self.options(), **options},
        )

    @property
    def serving(self) -> Path:
        return self.root / "serving" / MODEL

    def attempts(self) -> list[tuple[str, str, str, int | None]]:
        return [(each.event, each.run_id, each.spans, each.version) for each in read_attempts(self.serving)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "root", load_config(VOWELS))


def test_a_published_model(bench, capfd):
    done = bench.retrain(overrides=["seed=0"])
    assert (done.outcome, done.record.version, done.error, done.resumes) == ("published", 17, None, None)
    assert bench.planned == [{"serving_dir": bench.root / "serving", "now": NOW, "force": False}]
    (ran,) = bench.ran
    assert (ran["span"], ran["overrides"], ran["plan"]) == ("9", ["seed=0"], DUE.to_dict())
    assert bench.attempts() == [("started", "run-000", "3,5-9", None), ("published", "run-000", "3,5-9", 17)]
    assert {each.data for each in read_attempts(bench.serving)} == {"hash-of-3-to-9"}
    ((event, content),) = bench.reported
    assert (event, content["status"], content["run_id"], content["version"]) == ("success", "published", "run-000", 17)
    assert content["decision"] == DUE.to_dict()
    assert content["record"] == str(bench.root / "runs" / "run-000.json")
    assert Path(content["record"]).is_file()
    # What libraries print while it is planned is in a log.
    assert capfd.readouterr().out == ""
    assert "what a library prints" in (bench.root / "logs" / "plan.log").read_text()


def test_each_check_is_a_line_whatever_came_of_it(bench):
    drift = {"feature": "flow", "distance": 0.25}, {"feature": "new", "distance": None}
    measured = Reason(rule="drift", kind="trigger", met=True, text="flow", numbers={"features": drift})
    bench.plan = replace(DUE, reasons=(*DUE.reasons, measured))
    bench.retrain()
    bench.plan = replace(DUE, retrain=False)
    bench.retrain()
    bench.plan = DataError("no data")
    bench.retrain()
    # A kill in the middle of a line, and an edit by hand.
    with (bench.root / "checks.jsonl").open("a") as file:
        file.write('5\n{"at": "2026-04')
    bench.plan, bench.end = DUE, {"status": "refused", "refusals": ["worse"]}
    bench.retrain()
    checks = read_checks(bench.root)
    assert [(each.outcome, each.run_id) for each in checks] == [
        ("published", "run-000"),
        ("not due", ""),
        ("failed", ""),
        ("refused", "run-001"),
    ]
    assert {(each.pipeline, each.at) for each in checks} == {(bench.config.name, timestamp(NOW))}
    assert checks[0].drift == {"flow": 0.25}
    assert checks[0].reasons[-1] == {"rule": "drift", "kind": "trigger", "met": True, "text": "flow"}
    assert [each.error for each in checks] == ["", "", "no data", ""]
    assert checks[3].summary == DUE.summary


def test_the_log_of_checks_does_not_grow_for_ever(bench, monkeypatch):
    monkeypatch.setattr(check_log, "_LIMIT_BYTES", 500)
    bench.plan = replace(DUE, retrain=False)
    for _ in range(12):
        bench.retrain()
    assert 2 <= len(read_checks(bench.root)) < 12
    assert {path.name for path in bench.root.glob("checks*")} == {"checks.jsonl", "checks.jsonl.1"}


def test_a_check_that_can_not_be_recorded_changes_nothing(bench):
    bench.root.mkdir()
    (bench.root / "checks.jsonl").mkdir()
    assert bench.retrain().outcome == "published"
    assert any("this check can't be recorded" in line for line in bench.logged)


def test_without_spans_all_files_are_read(bench):
    bench.plan = replace(DUE, spans="", newest_span=None)
    bench.retrain()
    assert bench.ran[0]["span"] == "latest"


def test_nothing_to_do(bench):
    bench.plan = replace(DUE, retrain=False)
    done = bench.retrain()
    assert (done.outcome, done.record) == ("not due", None)
    assert bench.ran == []
    assert bench.attempts() == []
    assert [(event, content["run_id"]) for event, content in bench.reported] == [("skipped", None)]
    bench.retrain(force=True)
    assert bench.planned[-1]["force"] is True


@pytest.mark.parametrize(
    ("end", "outcome", "event", "reason"),
    [
        ({"status": "refused", "refusals": ["accuracy is 0.4", "mae"]}, "refused", "refusal", "accuracy is 0.4; mae"),
        ({"status": "failed", "error": "c03 is 99"}, "failed", "failure", "c03 is 99"),
        ({"status": "interrupted", "error": "stopped"}, "interrupted", "interruption", "stopped"),
        (DataError("the root is full"), "failed", "failure", "the root is full"),
        (KeyboardInterrupt(), "interrupted", "interruption", "interrupted before"),
    ],
)
def test_other_ends(bench, end, outcome, event, reason):
    bench.end = end
    done = bench.retrain()
    assert done.outcome == outcome
    assert [each[0] for each in bench.attempts()] == ["started", outcome]
    assert read_attempts(bench.serving)[-1].reason.startswith(reason)
    assert [each[0] for each in bench.reported] == [event]
    assert bench.reported[0][1]["run_id"] == "run-000"


@pytest.mark.parametrize(
    ("error", "wrong_config", "words"),
    [
        (DataError("span 9: no file matches day-9.csv"), False, "span 9: no file matches day-9.csv"),
        (ConfigError("data.files: nothing"), True, "data.files: nothing"),
        (ZeroDivisionError("division"), False, "ZeroDivisionError: division"),
    ],
)
def test_a_plan_that_fails_is_told_and_is_no_attempt(bench, error, wrong_config, words):
    bench.plan = error
    done = bench.retrain()
    assert (done.outcome, done.error, done.wrong_config) == ("failed", words, wrong_config)
    assert bench.attempts() == []
    assert [(event, content["error"]) for event, content in bench.reported] == [("failure", words)]


def test_a_hook_that_fails_is_told_of_and_changes_nothing(bench):
    bench.hook_error = "webhook at example: HTTP 500"
    done = bench.retrain()
    assert done.outcome == "published"
    assert done.notified == (Delivery("webhook", "webhook at example: HTTP 500"),)
    assert bench.logged[-1].startswith(
        "WARNING: retraining.notify: the success notification was not delivered: webhook"
    )


def test_a_stop_while_hooks_are_told_changes_nothing(bench):
    def stop(hooks: Any, event: str, content: dict[str, Any]) -> list[Delivery]:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal did not arrive")

    done = bench.retrain(notifier=stop)
    assert (done.outcome, done.notified) == ("published", ())
    assert [each[0] for each in bench.attempts()] == ["started", "published"]
    assert "interrupted during the notifications" in bench.logged[-1]


def test_a_sigterm_while_it_is_planned(bench):
    def stop(config: PipelineConfig, **options: Any) -> RetrainPlan:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal did not arrive")

    done = retrain_once(bench.config, config_path=VOWELS, planner=stop, runner=bench.runner, **bench.options())
    assert done.outcome == "interrupted"
    assert bench.ran == []


def test_what_was_interrupted_is_gone_on_with_before_anything_else(bench):
    bench.end = {"status": "interrupted", "error": "stopped"}
    bench.retrain()
    bench.plan = replace(DUE, spans="3-10", newest_span=10, data="hash-of-3-to-10")
    bench.end = {"status": "succeeded", "version": 18}
    done = bench.retrain()
    assert len(bench.planned) == 1
    assert (done.resumes, bench.ran[-1]["span"]) == ("run-000", "9")
    assert done.plan == {**json.loads(DUE.to_json()), "resumes": "run-000"}
    assert bench.attempts()[2:] == [("started", "run-001", "3,5-9", None), ("published", "run-001", "3,5-9", 18)]
    assert read_attempts(bench.serving)[-1].data == "hash-of-3-to-9"
    # The newer span is next.
    assert bench.retrain().resumes is None
    assert bench.ran[-1]["span"] == "10"


def test_force_and_a_later_run_by_hand_take_the_place_of_what_was_interrupted(bench):
    bench.end = {"status": "interrupted"}
    bench.retrain()
    assert bench.retrain(force=True).resumes is None
    directory = RunDirectory(bench.root)
    by_hand = directory.record("latest").model_copy(update={"run_id": "run-999", "status": "succeeded"})
    directory.write(by_hand)
    assert bench.retrain().resumes is None


def test_a_later_run_of_another_pipeline_under_the_same_root_does_not(bench):
    bench.end = {"status": "interrupted"}
    bench.retrain()
    directory = RunDirectory(bench.root)
    other = {"run_id": "run-999", "pipeline": "another", "status": "succeeded"}
    directory.write(directory.record("latest").model_copy(update=other))
    assert bench.retrain().resumes == "run-000"


# A process that retrains as the bench does, and is killed where argv[2] says.
DOOMED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import test_retraining as tests
from noisy_gru.pipeline.config.loading import load_config

bench = tests.Bench(Path(sys.argv[1]), load_config(tests.VOWELS))
die = lambda *arguments, **options: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "during":
    bench.during = die
elif sys.argv[2] == "after":
    import noisy_gru.pipeline.retrain.retraining_job as retraining_job
    append = retraining_job.append_attempt
    retraining_job.append_attempt = lambda folder, each: append(folder, each) if each.event == "started" else die()
bench.retrain()
"""


def killed(root: Path, where: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DOOMED, str(root), where, str(Path(__file__).parent)], check=False, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.slow
def test_what_was_killed_is_recorded_told_and_gone_on_with_once(bench):
    killed(bench.root, "during")
    assert [each[0] for each in bench.attempts()] == ["started"]
    bench.during = lambda: None
    done = bench.retrain()
    assert bench.attempts()[1:] == [
        ("failed", "run-000", "3,5-9", None),
        ("started", "run-001", "3,5-9", None),
        ("published", "run-001", "3,5-9", 17),
    ]
    assert (done.resumes, bench.planned) == ("run-000", [])
    assert [(event, content["run_id"]) for event, content in bench.reported] == [
        ("failure", "run-000"),
        ("success", "run-001"),
    ]
    assert "the process was killed" in bench.reported[0][1]["error"]
    assert bench.reported[0][1]["decision"] == json.loads(DUE.to_json())
    assert RunDirectory(bench.root).record("run-000").status == "killed"


@pytest.mark.slow
def test_what_is_killed_again_does_not_keep_new_data_out(bench):
    killed(bench.root, "during")
    killed(bench.root, "during")
    done = bench.retrain()
    assert done.resumes is None
    assert len(bench.planned) == 1
    assert [each[:2] for each in bench.attempts()] == [
        *(("started", "run-000"), ("failed", "run-000"), ("started", "run-001"), ("failed", "run-001")),
        *(("started", "run-002"), ("published", "run-002")),
    ]


@pytest.mark.slow
def test_the_rules_may_say_that_a_killed_run_waits(bench):
    killed(bench.root, "during")
    bench.config = load_config(VOWELS, ["retraining.rules.after_failure=wait"])
    assert bench.retrain().resumes is None
    assert len(bench.planned) == 1


@pytest.mark.slow
def test_a_kill_after_the_run_had_ended_loses_nothing(bench):
    killed(bench.root, "after")
    assert [each[0] for each in bench.attempts()] == ["started"]
    bench.plan = replace(DUE, retrain=False)
    assert bench.retrain().outcome == "not due"
    assert bench.attempts() == [("started", "run-000", "3,5-9", None), ("published", "run-000", "3,5-9", 17)]
    assert [event for event, _ in bench.reported] == ["skipped"]


def test_one_at_a_time_under_a_root(bench, tmp_path):
    def again() -> None:
        with pytest.raises(BusyError, match=f"in use by process {os.getpid()} on .*: noisy-gru retrain run, since"):
            retrain_once(bench.config, config_path=VOWELS, **bench.options())

    bench.during = again
    assert bench.retrain().outcome == "published"
    assert len(bench.attempts()) == 2


def test_one_at_a_time_for_a_model_that_two_roots_publish(bench, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "serving").symlink_to(bench.root / "serving")

    def elsewhere() -> None:
        with pytest.raises(BusyError, match=f"{MODEL}: in use by process .* noisy-gru retrain run under {bench.root}"):
            retrain_once(bench.config, config_path=VOWELS, **{**bench.options(), "root": other})

    bench.during = elsewhere
    assert bench.retrain().outcome == "published"
    # Afterwards it may, and finds nothing of its own to go on with.
    bench.during = lambda: None
    assert bench.retrain(root=other).outcome == "published"


@pytest.mark.slow
def test_a_process_that_is_gone_is_recorded_by_who_started_it(bench):
    killed(bench.root, "during")
    record_killed(bench.config, reason="was killed by SIGKILL", **bench.options())
    assert bench.attempts()[-1] == ("failed", "run-000", "3,5-9", None)
    assert [(event, content["error"]) for event, content in bench.reported] == [("failure", "was killed by SIGKILL")]
    # It died before a run had begun: nothing to record, but something to tell.
    record_killed(bench.config, reason="was killed by SIGSEGV", **bench.options())
    assert len(bench.attempts()) == 2
    assert bench.reported[-1][1]["error"] == "was killed by SIGSEGV, before a run began"


def test_an_attempt_of_another_root_is_closed_but_not_gone_on_with(bench):
    bench.serving.mkdir(parents=True)
    append_attempt(bench.serving, Attempt(at=NOW.isoformat(), event="started", run_id="elsewhere", spans="1", data="x"))
    assert bench.retrain().resumes is None
    assert [each[:2] for each in bench.attempts()][1] == ("failed", "elsewhere")


def test_the_content_for_hooks_is_json(bench):
    bench.end = {"status": "refused", "metrics": {"accuracy": 0.5}, "previous": {"accuracy": 0.9}}
    bench.retrain()
    content = json.loads(json.dumps(bench.reported[0][1]))
    assert content["metrics"] == {"accuracy": 0.5} and content["previous"] == {"accuracy": 0.9}


def test_old_runs_are_pruned_after_every_night_that_no_signal_ended(bench):
    keep = bench.config.retraining.keep.model_copy(update={"runs": 1})
    retraining = bench.config.retraining.model_copy(update={"keep": keep})
    bench.config = bench.config.model_copy(update={"retraining": retraining})
    directory = RunDirectory(bench.root)
    bench.retrain()
    log = directory.log_file("run-000")
    log.write_text("a line")
    bench.end = {**bench.end, "status": "interrupted"}
    bench.retrain(force=True)
    assert log.exists()
    bench.end = {**bench.end, "status": "failed", "error": "no"}
    bench.retrain(force=True)
    assert not log.exists()
    assert [bool(record.pruned) for record in directory.records()] == [True, True, False]
    assert any("2 old runs" in line for line in bench.logged)


def test_the_log_of_the_plans_does_not_grow_for_ever(bench, monkeypatch):
    monkeypatch.setattr(retraining_job, "_PLAN_LOG_BYTES", 100)
    log = RunDirectory(bench.root).logs / "plan.log"
    log.parent.mkdir(parents=True)
    log.write_text("a" * 100)
    bench.retrain()
    assert log.read_text().startswith("a" * 100)
    log.write_text("b" * 101)
    bench.retrain(force=True)
    assert (log.with_name("plan.log.1").read_text(), "bbb" in log.read_text()) == ("b" * 101, False)


def test_what_can_not_be_pruned_is_told_and_changes_nothing(bench):
    broken = bench.root / "serving" / MODEL / "100" / "publication.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    done = bench.retrain()
    assert done.outcome == "published"
    assert any("were not pruned" in line and str(broken) in line for line in bench.logged)
