"""submit, through the real kfp.Client, against a fake of the API that records what it is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from noisy_gru.kubeflow.cluster.cluster_commands import EXIT_STILL_RUNNING
from noisy_gru.kubeflow.cluster.connection import KubeflowError
from noisy_gru.kubeflow.cluster.submission import wait
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG, EXIT_FAILED
from tests.kubeflow.cluster.cluster_calls import SPEC, call, changed, paths, started, write
from tests.kubeflow.cluster.kfp_api import KfpApi

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("away_from_home")]
VOWELS = Path(__file__).parents[3] / "examples" / "japanese_vowels" / "config.yaml"
VERSION_BYTES = 12


def test_a_submission_uploads_the_file_and_runs_that_version(api: KfpApi, pipeline: Path) -> None:
    answer = call("submit", pipeline, "--parameter", "steps=200", "--parameter", "span=7", "--name", "first", api=api)

    assert answer.exit_code == 0, answer.output
    assert answer.stdout.split() == ["run-4"]
    assert paths(api) == [
        ("GET", "/healthz"),
        ("GET", "/pipelines"),
        ("POST", "/pipelines"),
        ("GET", "/pipelines/pipeline-1/versions"),
        ("POST", "/pipelines/upload_version"),
        ("GET", "/experiments"),
        ("POST", "/experiments"),
        ("POST", "/runs"),
    ]
    assert api.sent("POST", "/pipelines")[0].body == {"display_name": "vowels"}
    upload = api.sent("POST", "/upload_version")[0]
    assert upload.body == pipeline.read_text()
    assert upload.query["pipelineid"] == "pipeline-1"
    assert upload.query["name"].startswith("vowels-") and len(upload.query["name"]) == len("vowels-") + VERSION_BYTES
    assert api.sent("POST", "/experiments")[0].body == {"display_name": "vowels", "namespace": ""}
    assert api.sent("POST", "/runs")[0].body == {
        "display_name": "first",
        "experiment_id": "experiment-3",
        "pipeline_version_reference": {"pipeline_id": "pipeline-1", "pipeline_version_id": "version-2"},
        "runtime_config": {"parameters": {"steps": 200, "span": "7"}},
    }


@pytest.mark.parametrize(
    ("release", "code", "message"),
    [
        ("2.4.1", EXIT_FAILED, "is Kubeflow Pipelines 2.4.1, expected 2.5 or later"),
        ("2.0.5", EXIT_FAILED, "is Kubeflow Pipelines 2.0.5, expected 2.5 or later"),
        ("2.5.0", 0, ""),
        ("2.15.0-rc.1", 0, ""),
        ("unknown", 0, "doesn't report its release of Kubeflow Pipelines; expected 2.5 or later"),
    ],
)
@pytest.mark.parametrize("command", ["submit", "schedule"])
def test_a_server_that_is_too_old_gets_nothing(
    pipeline: Path, command: str, release: str, code: int, message: str
) -> None:
    options = ("--cron", "0 0 3 * * *") if command == "schedule" else ()
    with KfpApi(release=release) as api:
        answer = call(command, pipeline, *options, api=api)
        assert (answer.exit_code, bool(api.sent("POST"))) == (code, code == 0), answer.output
    assert message in answer.stderr
    assert message or "warning" not in answer.stderr


def test_the_same_file_is_uploaded_once_and_a_changed_one_is_a_new_version(api: KfpApi, tmp_path: Path) -> None:
    same = write(tmp_path, SPEC)
    assert call("submit", same, api=api).exit_code == 0
    again = call("submit", same, api=api)
    assert "is there already" in again.stderr
    assert (len(api.store.pipelines), len(api.store.versions), len(api.store.runs)) == (1, 1, 2)

    other = write(tmp_path, changed(steps={"parameterType": "NUMBER_INTEGER", "defaultValue": 5}), name="other.yaml")
    assert "uploaded" in call("submit", other, api=api).stderr
    assert (len(api.store.pipelines), len(api.store.versions), len(api.store.experiments)) == (1, 2, 1)
    used = [run["pipeline_version_reference"]["pipeline_version_id"] for run in api.store.runs.values()]
    assert used[0] == used[1] != used[2]


def test_a_direct_submission_sends_both_documents_and_uploads_nothing(api: KfpApi, pipeline: Path) -> None:
    answer = call("submit", pipeline, "--direct", "--service-account", "trainer", api=api)

    assert answer.exit_code == 0, answer.output
    body = api.sent("POST", "/runs")[0].body
    assert body["service_account"] == "trainer"
    assert "pipeline_version_reference" not in body
    assert body["pipeline_spec"]["platform_spec"]["platforms"].keys() == {"kubernetes"}
    assert body["pipeline_spec"]["pipeline_spec"]["pipelineInfo"] == {"name": "vowels"}
    assert not api.store.versions and not api.store.pipelines


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("steps=3", {"steps": 3}),
        ("rate=0.25", {"rate": 0.25}),
        ("strict=true", {"strict": True}),
        ('slices=["a"]', {"slices": ["a"]}),
        ("data_root=/x=y", {"data_root": "/x=y"}),
        ("span=[[RunUUID]]", {"span": "[[RunUUID]]"}),
    ],
)
def test_parameters_arrive_with_their_types(api: KfpApi, pipeline: Path, given: str, sent: dict[str, Any]) -> None:
    assert call("submit", pipeline, "--parameter", given, api=api).exit_code == 0
    assert api.sent("POST", "/runs")[0].body["runtime_config"] == {"parameters": sent}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("steps=many", "parameter steps: expected a whole number. Received: 'many'"),
        ("rate=x", "expected a number"),
        ("strict=1", "expected true or false"),
        ("slices={}", "expected a list in JSON"),
        ("steps", "expected NAME=VALUE"),
        ("epochs=3", "vowels has no such parameter. It has: data_root, rate, slices, span, steps, strict"),
        ("span=[[Index]]", "[[Index]] is replaced in recurring runs alone"),
        ("span=[[Schedule]]", "[[Schedule]] is nothing that Kubeflow Pipelines replaces; it knows [[ScheduledTime]]"),
        ("span=[[Index.3]]", "nothing that Kubeflow Pipelines replaces"),
        ("steps=[[CurrentTime]]", "becomes text, and the parameter is a NUMBER_INTEGER"),
    ],
)
def test_a_parameter_that_cannot_be_sent_is_refused_before_anything_is(
    api: KfpApi, pipeline: Path, given: str, words: str
) -> None:
    answer = call("submit", pipeline, "--parameter", given, api=api)
    assert answer.exit_code == EXIT_CONFIG
    assert words in answer.stderr
    assert api.requests == []


def test_a_required_parameter_is_asked_for(api: KfpApi, tmp_path: Path) -> None:
    needy = write(tmp_path, changed(token={"parameterType": "STRING"}))
    answer = call("submit", needy, api=api)
    assert (answer.exit_code, api.requests) == (EXIT_CONFIG, [])
    assert "parameter token: expected a value, since there is no default" in answer.stderr


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([{**SPEC, "schemaVersion": "2.0.0"}], "expected schema version 2.1.0"),
        ([{"name": "no pipeline"}], "error:"),
    ],
)
def test_what_is_no_compiled_pipeline_is_refused(
    api: KfpApi, tmp_path: Path, documents: list[dict[str, Any]], words: str
) -> None:
    answer = call("submit", write(tmp_path, *documents), api=api)
    assert (answer.exit_code, api.requests) == (EXIT_CONFIG, [])
    assert words in answer.stderr


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def waited(api: KfpApi, pipeline: Path, timeout: float | None = None) -> tuple[Any, list[str], Time]:
    client, connection, run_id = started(api, pipeline)
    reported: list[str] = []
    time = Time()
    run = wait(client, connection, run_id, timeout=timeout, on_state=reported.append, clock=time, sleep=time.sleep)
    return run, reported, time


@pytest.mark.parametrize("last", ["SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"])
def test_waiting_ends_with_every_end_of_a_run(api: KfpApi, pipeline: Path, last: str) -> None:
    api.states = ("PENDING", "RUNNING", "RUNNING", last)
    run, reported, time = waited(api, pipeline)
    assert run.state == last
    assert reported == ["pending", "running", last.lower()]
    assert time.now == 30.0


def test_waiting_ends_at_the_timeout(api: KfpApi, pipeline: Path) -> None:
    api.states = ("RUNNING",)
    run, reported, time = waited(api, pipeline, timeout=25)
    assert (run, reported, time.now) == (None, ["running"], 20.0)


def test_a_server_that_restarts_is_asked_again(api: KfpApi, pipeline: Path) -> None:
    api.states = ("RUNNING", "SUCCEEDED")
    api.instead = [("GET", "/runs/", 503, "<html>no upstream</html>")] * 3
    run, reported, _ = waited(api, pipeline)
    assert run.state == "SUCCEEDED"
    assert sum("polling again" in line for line in reported) == 3


def test_a_server_that_stays_away_is_given_up(api: KfpApi, pipeline: Path) -> None:
    api.instead = [("GET", "/runs/", 503, "no")] * 10
    with pytest.raises(KubeflowError, match="HTTP 503"):
        waited(api, pipeline)
    assert api.instead == []


@pytest.mark.parametrize(("state", "code"), [("SUCCEEDED", 0), ("FAILED", EXIT_FAILED), ("CANCELED", EXIT_FAILED)])
def test_wait_says_with_the_exit_code_how_a_run_ended(api: KfpApi, pipeline: Path, state: str, code: int) -> None:
    api.states = (state,)
    answer = call("submit", pipeline, "--wait", api=api)
    assert answer.exit_code == code
    assert answer.stdout.split() == list(api.store.runs)


def test_wait_with_a_timeout_says_that_the_run_goes_on(api: KfpApi, pipeline: Path) -> None:
    api.states = ("RUNNING",)
    answer = call("submit", pipeline, "--wait", "--timeout", 1, api=api)
    assert answer.exit_code == EXIT_STILL_RUNNING
    assert "still going on after 1 s" in answer.stderr


@pytest.mark.filterwarnings("default")  # TFX warns of its own use of what it deprecated
def test_a_configuration_is_compiled_on_the_way(api: KfpApi) -> None:
    from noisy_gru.kubeflow.compiler.compile import compile_config
    from noisy_gru.pipeline.config.loading import load_config

    settings = ("--set", "kubeflow.service_account=trainer", "--set", "kubeflow.image=registry.example/image:1")
    answer = call("submit", VOWELS, *settings, "--parameter", "steps=7", api=api)
    assert answer.exit_code == 0, answer.output
    (run,) = api.store.runs.values()
    assert run["service_account"] == "trainer"
    assert run["runtime_config"]["parameters"] == {"steps": 7}
    (upload,) = api.sent("POST", "/upload_version")
    assert upload.body == compile_config(load_config(VOWELS, [settings[1], settings[3]]))

    rules = "kubeflow.schedule={cron: '30 2 * * 1', parameters: {data_root: '/mnt/data/[[ScheduledTime]]', steps: '9'}}"
    answer = call("schedule", VOWELS, *settings, "--set", rules, "--parameter", "steps=8", api=api)
    assert answer.exit_code == 0, answer.output
    (schedule,) = api.store.recurring_runs.values()
    assert schedule["trigger"]["cron_schedule"]["cron"] == "0 30 2 * * 1"
    assert schedule["runtime_config"]["parameters"] == {"data_root": "/mnt/data/[[ScheduledTime]]", "steps": 8}
    # What recurs asks first whether it is due; a run that a person starts does not.
    first, second = (upload.body for upload in api.sent("POST", "/upload_version"))
    assert ("RetrainPlanner" in first, "RetrainPlanner" in second) == (False, True)


@pytest.mark.filterwarnings("default")  # TFX warns of its own use of what it deprecated
def test_a_schedule_for_retraining_is_kubeflow_s_too(api: KfpApi) -> None:
    when = "retraining.schedule={cron: '0 3 * * *'}"
    answer = call("schedule", VOWELS, "--set", when, api=api)
    assert answer.exit_code == 0, answer.output
    (schedule,) = api.store.recurring_runs.values()
    assert schedule["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    before = len(api.requests)
    zone = "retraining.schedule={cron: '0 3 * * *', timezone: Europe/Berlin}"
    answer = call("schedule", VOWELS, "--set", zone, api=api)
    assert (answer.exit_code, len(api.requests)) == (EXIT_CONFIG, before)
    assert "retraining.schedule is in the zone Europe/Berlin, and Kubeflow counts in UTC" in answer.stderr
    answer = call("schedule", VOWELS, "--set", zone, "--cron", "0 1 * * *", api=api)
    assert answer.exit_code == 0, answer.output
