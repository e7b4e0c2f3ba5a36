"""status: runs and schedules in words."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from noisy_gru.pipeline.exit_codes import EXIT_FAILED
from tests.kubeflow.cluster.cluster_calls import call, started
from tests.kubeflow.cluster.kfp_api import KfpApi

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("away_from_home")]


def test_status_tells_runs_and_schedules_in_words(api: KfpApi, pipeline: Path) -> None:
    call("submit", pipeline, "--name", "good", api=api)
    call("submit", pipeline, "--name", "bad", api=api)
    call("schedule", pipeline, "--cron", "0 0 3 * * *", api=api)
    good, bad = api.store.runs.values()
    good.update(state="SUCCEEDED", finished_at="2026-03-04T06:10:17Z")
    bad.update(
        state="FAILED",
        finished_at="2026-03-04T05:07:10Z",
        recurring_run_id="recurring-9",
        error={"code": 2, "message": "workflow failed"},
        run_details={
            "task_details": [
                {"display_name": "root-driver", "state": "SUCCEEDED"},
                {"display_name": "Trainer", "state": "FAILED", "error": {"message": "OOM\nKilled"}},
            ]
        },
    )
    table = call("status", api=api).stdout
    lines = [" ".join(line.split()) for line in table.splitlines()]
    assert lines[1:3] == [
        f"bad {bad['run_id']} failed 2026-03-04 05:06 1 min 03 s Trainer: OOM Killed",
        f"good {good['run_id']} succeeded 2026-03-04 05:06 1 h 04 min",
    ]
    schedule = next(iter(api.store.recurring_runs))
    assert lines[-1] == f"vowels {schedule} enabled 0 0 3 * * * 2026-03-04 05:06"

    found = json.loads(call("status", "--json", api=api).stdout)
    assert found["runs"][0] == {
        "run_id": bad["run_id"],
        "name": "bad",
        "state": "failed",
        "started": "2026-03-04 05:06:07+00:00",
        "seconds": 63.0,
        "error": "Trainer: OOM\nKilled",
        "recurring_run_id": "recurring-9",
    }
    assert (found["schedules"][0]["enabled"], found["schedules"][0]["cron"]) == (True, "0 0 3 * * *")
    newest = api.sent("GET", "/runs")[-1].query
    assert (newest["sort_by"], newest["page_size"]) == ("created_at desc", "10")


def test_status_of_one_experiment_and_of_one_run(api: KfpApi, pipeline: Path) -> None:
    call("submit", pipeline, "--experiment", "a", "--name", "one", api=api)
    call("submit", pipeline, "--experiment", "b", "--name", "two", api=api)
    found = json.loads(call("status", "--experiment", "a", "--json", api=api).stdout)
    assert [run["name"] for run in found["runs"]] == ["one"]
    assert json.loads(call("status", "--experiment", "c", "--json", api=api).stdout)["runs"] == []
    run_id = found["runs"][0]["run_id"]
    assert json.loads(call("status", "--run", run_id, "--json", api=api).stdout)["runs"][0]["state"] == "succeeded"
    missing = call("status", "--run", "nobody", api=api)
    assert missing.exit_code == EXIT_FAILED
    assert "asking for run nobody: the server has no such thing (HTTP 404): Run nobody not found." in missing.stderr


def test_a_run_that_goes_on_is_measured_until_now(api: KfpApi, pipeline: Path) -> None:
    from noisy_gru.kubeflow.cluster.status import run_statuses

    client, connection, _ = started(api, pipeline)
    now = datetime.datetime(2026, 3, 4, 5, 6, 37, tzinfo=datetime.UTC)
    (run,) = run_statuses(client, connection, now=now, limit=5)
    assert (run.state, run.seconds, run.error) == ("pending", 30.0, None)
