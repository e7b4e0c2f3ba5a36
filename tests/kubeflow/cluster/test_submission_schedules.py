"""schedule, through the real kfp.Client, against a fake of the API: one name, one schedule, never two at work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.pipeline.exit_codes import EXIT_CONFIG, EXIT_FAILED
from tests.kubeflow.cluster.cluster_calls import SPEC, call, changed, paths, write
from tests.kubeflow.cluster.kfp_api import KfpApi

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("away_from_home")]


def enabled(api: KfpApi) -> list[dict[str, Any]]:
    return [each for each in api.store.recurring_runs.values() if each["status"] == "ENABLED"]


def test_a_schedule_is_sent_as_kubeflow_needs_it(api: KfpApi, pipeline: Path) -> None:
    answer = call(
        *("schedule", pipeline, "--cron", "30 0 3 * * 1"),
        *("--parameter", "span=[[Index]]", "--parameter", "data_root=/mnt/[[ScheduledTime.2006-01-02]]"),
        *("--parameter", 'slices=["[[RunUUID]]"]'),
        api=api,
    )
    assert answer.exit_code == 0, answer.output
    assert api.sent("POST", "/recurringruns")[0].body == {
        "display_name": "vowels",
        "experiment_id": "experiment-3",
        # Enabled last, so that there are never two.
        "mode": "DISABLE",
        "max_concurrency": 1,
        "no_catchup": True,
        "trigger": {"cron_schedule": {"cron": "30 0 3 * * 1"}},
        "pipeline_version_reference": {"pipeline_id": "pipeline-1", "pipeline_version_id": "version-2"},
        "runtime_config": {
            "parameters": {
                "span": "[[Index]]",
                "data_root": "/mnt/[[ScheduledTime.2006-01-02]]",
                "slices": ["[[RunUUID]]"],
            }
        },
    }
    assert paths(api)[-2:] == [("POST", "/recurringruns"), ("POST", "/recurringruns/recurring-4:enable")]
    assert [each["recurring_run_id"] for each in enabled(api)] == answer.stdout.split()


def test_five_fields_get_their_seconds_and_the_user_is_told(api: KfpApi, pipeline: Path) -> None:
    answer = call("schedule", pipeline, "--cron", "0 3 * * 1", api=api)
    assert enabled(api)[0]["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert "'0 3 * * 1' has five fields; Kubeflow counts seconds first, so it gets '0 0 3 * * 1'" in answer.stderr


def test_the_same_schedule_again_changes_nothing(api: KfpApi, pipeline: Path) -> None:
    command = ("schedule", pipeline, "--cron", "0 0 3 * * *", "--parameter", "steps=5")
    first = call(*command, api=api)
    before = len(api.requests)
    second = call(*command, api=api)
    assert first.stdout == second.stdout
    assert "as it was" in second.stderr
    assert {each.method for each in api.requests[before:]} == {"GET"}


@pytest.mark.parametrize(
    "change",
    [
        ("--cron", "0 0 4 * * *"),
        ("--cron", "0 0 3 * * *", "--parameter", "steps=6"),
        ("--cron", "0 0 3 * * *", "--service-account", "other"),
    ],
)
def test_a_changed_schedule_takes_the_place_of_the_old_one(
    api: KfpApi, pipeline: Path, change: tuple[str, ...]
) -> None:
    old = call("schedule", pipeline, "--cron", "0 0 3 * * *", api=api).stdout.strip()
    before = len(api.requests)
    new = call("schedule", pipeline, *change, api=api).stdout.strip()
    assert new != old
    assert list(api.store.recurring_runs) == [new]
    assert [each["recurring_run_id"] for each in enabled(api)] == [new]
    assert api.most_enabled == 1
    changes = [(each.method, each.path.rsplit("/", 1)[-1]) for each in api.requests[before:] if each.method != "GET"]
    assert changes == [
        ("POST", "recurringruns"),
        ("POST", f"{old}:disable"),
        ("POST", f"{new}:enable"),
        ("DELETE", old),
    ]


def test_a_new_version_of_the_pipeline_replaces_the_schedule(api: KfpApi, tmp_path: Path) -> None:
    call("schedule", write(tmp_path, SPEC), "--cron", "@daily", api=api)
    newer = changed(steps={"parameterType": "NUMBER_INTEGER", "defaultValue": 9})
    answer = call("schedule", write(tmp_path, newer), "--cron", "@daily", api=api)
    assert "replaced" in answer.stderr
    (left,) = api.store.recurring_runs.values()
    version = api.store.versions[left["pipeline_version_reference"]["pipeline_version_id"]]
    assert version["pipeline_spec"] == newer


def test_a_refused_schedule_leaves_the_old_one_running(api: KfpApi, pipeline: Path) -> None:
    old = call("schedule", pipeline, "--cron", "0 0 3 * * *", api=api).stdout.strip()
    api.instead = [("POST", "/recurringruns", 400, '{"message": "no such thing"}')]
    answer = call("schedule", pipeline, "--cron", "0 0 4 * * *", api=api)
    assert answer.exit_code == EXIT_FAILED
    assert "no such thing" in answer.stderr
    assert [each["recurring_run_id"] for each in enabled(api)] == [old]


@pytest.mark.parametrize("broken", [":disable", ":enable", "DELETE"])
def test_the_same_command_mends_what_a_broken_connection_left(api: KfpApi, pipeline: Path, broken: str) -> None:
    call("schedule", pipeline, "--cron", "0 0 3 * * *", api=api)
    method, part = ("DELETE", "/recurringruns/") if broken == "DELETE" else ("POST", broken)
    api.instead = [(method, part, 502, "bad gateway")]
    command = ("schedule", pipeline, "--cron", "0 0 4 * * *")
    failed = call(*command, api=api)
    assert failed.exit_code == EXIT_FAILED
    assert "run the same command" in failed.stderr
    assert len(enabled(api)) <= 1

    assert call(*command, api=api).exit_code == 0
    (left,) = api.store.recurring_runs.values()
    assert (left["status"], left["trigger"]["cron_schedule"]["cron"]) == ("ENABLED", "0 0 4 * * *")
    assert api.most_enabled == 1


def test_a_pipeline_has_no_second_schedule_under_another_name(api: KfpApi, pipeline: Path) -> None:
    call("schedule", pipeline, "--cron", "@daily", "--name", "nightly", api=api)
    answer = call("schedule", pipeline, "--cron", "@weekly", "--name", "weekly", api=api)
    assert answer.exit_code == EXIT_FAILED
    assert "noisy-gru kubeflow schedule --disable --name nightly" in answer.stderr
    assert [each["display_name"] for each in enabled(api)] == ["nightly"]

    assert call("schedule", "--disable", "--name", "nightly", api=api).exit_code == 0
    assert call("schedule", pipeline, "--cron", "@weekly", "--name", "weekly", api=api).exit_code == 0
    assert [each["display_name"] for each in enabled(api)] == ["weekly"]


def test_a_name_that_is_another_pipelines_is_left_alone(api: KfpApi, pipeline: Path, tmp_path: Path) -> None:
    call("schedule", pipeline, "--cron", "@daily", "--name", "nightly", api=api)
    other = write(tmp_path, {**SPEC, "pipelineInfo": {"name": "weather"}}, name="weather.yaml")
    answer = call("schedule", other, "--cron", "@daily", "--name", "nightly", api=api)
    assert answer.exit_code == EXIT_FAILED
    assert "of another pipeline" in answer.stderr
    assert len(api.store.recurring_runs) == 1


def test_schedules_are_disabled_and_enabled_again(api: KfpApi, pipeline: Path) -> None:
    command = ("schedule", pipeline, "--cron", "@daily")
    call(*command, api=api)
    assert "runs that have begun go on" in call("schedule", pipeline, "--disable", api=api).output
    assert enabled(api) == []
    assert "was disabled already" in call("schedule", "--disable", "--name", "vowels", api=api).output
    assert call(*command, api=api).exit_code == 0
    assert len(enabled(api)) == len(api.store.recurring_runs) == 1
    missing = call("schedule", "--disable", "--name", "vowel", api=api)
    assert missing.exit_code == EXIT_FAILED
    assert "has no schedule 'vowel'; it has: vowels" in missing.stderr


def test_schedules_are_found_on_every_page(pipeline: Path) -> None:
    with KfpApi(page=2) as api:
        call("schedule", pipeline, "--cron", "@daily", api=api)
        (first,) = api.store.recurring_runs.values()
        for number in range(5):
            other = {**first, "recurring_run_id": f"o{number}", "display_name": f"other-{number}", "status": "DISABLED"}
            api.store.recurring_runs = {f"o{number}": other, **api.store.recurring_runs}
        assert "as it was" in call("schedule", pipeline, "--cron", "@daily", api=api).stderr
        listed = call("schedule", "--list", "--json", api=api)
    assert [each["name"] for each in json.loads(listed.stdout)["schedules"]] == [
        *(f"other-{number}" for number in range(5)),
        "vowels",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--cron", "0 3 * *"), "has 4 fields: expected six"),
        (("--cron", "0 0 3 * * 7"), "'7' is not a valid day of the week; expected 0 to 6 or SUN to SAT"),
        ((), "no time is given: --cron, or in CONFIG kubeflow.schedule.cron or retraining.schedule.cron"),
        (("--cron", "@daily", "--parameter", "steps=[[Index]]"), "becomes text, and the parameter is a NUMBER_INTEGER"),
        (("--cron", "@daily", "--set", "seed=1"), "is compiled already"),
    ],
)
def test_what_cannot_be_scheduled_is_refused_before_anything_is_sent(
    api: KfpApi, pipeline: Path, arguments: tuple[str, ...], words: str
) -> None:
    answer = call("schedule", pipeline, *arguments, api=api)
    assert (answer.exit_code, api.requests) == (EXIT_CONFIG, [])
    assert words in answer.stderr
