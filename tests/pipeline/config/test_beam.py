"""Where Beam's steps run: the section of the configuration, the arguments made of it, and what is wrong in words."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.config.beam_config import WORKERS_PAY_FROM, beam_arguments
from noisy_gru.pipeline.config.beam_options import check_can_run_here, check_can_run_in_pods, option_problems
from noisy_gru.pipeline.config.loading import ConfigFileError, load_config
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG
from noisy_gru.pipeline.runs.step_errors import error_message, is_expected
from noisy_gru.schema.errors import ConfigError

VOWELS = Path(__file__).parents[3] / "examples" / "japanese_vowels" / "config.yaml"
EXTERNAL = {"kind": "external", "address": "localhost:50000"}
PORTABLE = {"runner": "portable", "job_endpoint": "jobs:8099", "environment": EXTERNAL}
DATAFLOW = {
    "runner": "dataflow",
    "project": "my-project",
    "region": "europe-west4",
    "temp_location": "gs://my-bucket/temp",
    "setup_file": "setup.py",
}


def loaded(beam: dict[str, Any] | str) -> PipelineConfig:
    """The example's configuration with this section."""
    return load_config(
        VOWELS, [f"beam={beam if isinstance(beam, str) else yaml.safe_dump(beam, width=9999, sort_keys=False)}"]
    )


def arguments(beam: dict[str, Any], input_bytes: int | None = None) -> list[str]:
    return beam_arguments(loaded(beam).beam, input_bytes)


def problem(beam: dict[str, Any] | str) -> str:
    with pytest.raises(ConfigFileError) as error:
        loaded(beam)
    return str(error.value)


def test_in_this_process_unless_workers_pay():
    def mode(workers: int, size: int | None) -> list[str]:
        found = arguments({"workers": workers}, size)
        # By its full name: bare DirectRunner would try to download Prism.
        assert found[0] == "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
        return [argument for argument in found if "direct_" in argument]

    assert mode(0, 1000) == ["--direct_running_mode=in_memory", "--direct_num_workers=1"]
    assert mode(0, None) == ["--direct_running_mode=in_memory", "--direct_num_workers=1"]
    assert mode(1, WORKERS_PAY_FROM) == ["--direct_running_mode=in_memory", "--direct_num_workers=1"]
    assert mode(3, 1000) == ["--direct_running_mode=multi_processing", "--direct_num_workers=3"]
    assert "multi_processing" in mode(0, WORKERS_PAY_FROM)[0] or "=1" in mode(0, WORKERS_PAY_FROM)[1]


def test_a_section_without_a_runner_is_as_it_was():
    assert loaded({"workers": 2}).beam == loaded({"runner": "in_process", "workers": 2}).beam
    assert load_config(VOWELS, ["beam.workers=2"]).beam == loaded({"workers": 2}).beam
    assert load_config(VOWELS).beam == loaded("{}").beam
    # A record of a run keeps the configuration as JSON.
    again = PipelineConfig.model_validate_json(loaded(PORTABLE).model_dump_json(by_alias=True))
    assert again == loaded(PORTABLE)


@pytest.mark.parametrize(
    ("name", "expected_message"),
    [
        ("DaskRunner", "beam.runner: expected one of in_process"),
        ("DirectRunner", "beam.runner: expected one of in_process"),
        ("sparc", "beam.runner: expected one of in_process, portable, flink, spark, dataflow (did you mean spark?)"),
    ],
)
def test_runners_that_cannot_be_chosen(name, expected_message):
    message = problem({"runner": name})
    assert expected_message in message
    assert "one of in_process, portable, flink, spark, dataflow" in message


@pytest.mark.parametrize(
    ("beam", "message"),
    [
        (
            {"wokers": 2},
            "beam.wokers: is not a key here (did you mean workers?). Keys here: options, runner, workers",
        ),
        ({"workers": 2, "job_endpoint": "jobs:8099"}, "beam.job_endpoint: is not a key here"),
        ({**PORTABLE, "workers": 2}, "beam.workers: is not a key here"),
        (
            {"runner": "portable", "environment": EXTERNAL},
            "beam.job_endpoint: is missing: `host:port`",
        ),
        ({**PORTABLE, "job_endpoint": "jobs"}, "beam.job_endpoint: expected text that matches"),
        ({"runner": "portable", "job_endpoint": "jobs:8099"}, "beam.environment: is missing"),
        ({**PORTABLE, "environment": {"kind": "external"}}, "beam.environment.address: is missing"),
        ({**PORTABLE, "environment": {"kind": "extern"}}, "(did you mean external?)"),
        ({"runner": "flink", "environment": EXTERNAL}, "expected either job_endpoint"),
        ({**PORTABLE, "runner": "spark", "master": "local[2]"}, "expected either job_endpoint"),
        ({"runner": "dataflow"}, "beam.project: is missing: Id of the Google Cloud project"),
        ({**DATAFLOW, "temp_location": "/tmp"}, "beam.temp_location: expected text that matches"),
        ({**DATAFLOW, "setup_file": None}, "the workers need this package: set sdk_container_image"),
        ({**DATAFLOW, "setup_file": "install.py"}, "expected the path of a setup.py, such as ./setup.py"),
        ({"options": {"runner": "DaskRunner"}}, "beam.options: runner is set by the key runner"),
        ({"options": {"direct_num_workers": 3}}, "direct_num_workers is set by the key workers"),
        ({**PORTABLE, "options": {"environment_type": "DOCKER"}}, "environment_type is set by the key environment"),
        ({**DATAFLOW, "options": {"project": "x"}}, "project is set by the key project"),
        ({"options": {"--streaming": True}}, "expected names without dashes"),
    ],
)
def test_problems_in_words(beam, message):
    assert message in problem(beam)


def test_options_of_a_job_server_and_its_workers():
    assert arguments(PORTABLE) == [
        "--runner=noisy_gru.compat.beam_runners.PortableRunner",
        "--job_endpoint=jobs:8099",
        "--sdk_worker_parallelism=1",
        "--environment_cache_millis=60000",
        "--environment_type=EXTERNAL",
        "--environment_config=localhost:50000",
        "--sdk_container_image=none",
    ]
    flink = {
        "runner": "flink",
        "master": "flink:8081",
        "parallelism": 4,
        "environment": {"kind": "docker", "image": "registry/noisy-gru:1"},
        "job_server_options": {"checkpointing_interval": 1000},
        "options": {"flink_version": "1.20", "flink_submit_uber_jar": True, "experiments": ["a", "b"]},
    }
    assert arguments(flink) == [
        "--runner=noisy_gru.compat.beam_runners.FlinkRunner",
        "--sdk_worker_parallelism=1",
        "--flink_master=flink:8081",
        "--parallelism=4",
        "--environment_cache_millis=60000",
        "--environment_type=DOCKER",
        "--environment_config=registry/noisy-gru:1",
        "--sdk_container_image=registry/noisy-gru:1",
        "--checkpointing_interval=1000",
        "--flink_version=1.20",
        "--flink_submit_uber_jar",
        "--experiments=a",
        "--experiments=b",
    ]


def test_a_bare_setup_file_gets_its_folder():
    assert "--setup_file=./setup.py" in arguments(DATAFLOW)
    assert "--setup_file=/opt/code/setup.py" in arguments({**DATAFLOW, "setup_file": "/opt/code/setup.py"})


def test_a_run_here_needs_a_job_server_that_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "{}:{}".format(*server.getsockname())
        check_can_run_here(loaded({**PORTABLE, "job_endpoint": address}).beam)
    with pytest.raises(ConfigError, match=f"expected a job server at {address}, found none"):
        check_can_run_here(loaded({**PORTABLE, "job_endpoint": address}).beam)


def test_a_run_that_cannot_begin_says_why_and_leaves_nothing(tmp_path):
    setting = f"beam={yaml.safe_dump({**DATAFLOW, 'setup_file': None, 'sdk_container_image': 'x'}, width=9999)}"
    from noisy_gru.pipeline.runs.running import run_config

    with pytest.raises(ConfigError, match="workers of dataflow read and write gs:// alone"):
        run_config(load_config(VOWELS, [setting]), config_path=VOWELS, root=tmp_path / "root")
    assert not (tmp_path / "root").exists()


JOB_FAILED = """Pipeline job-4f3f failed in state FAILED: Error running pipeline.
Traceback (most recent call last):
  File "local_job_service.py", line 293, in _run_job
    self.result = self._invoke_runner()
{}
"""
UNREACHABLE = """grpc._channel._InactiveRpcError: <_InactiveRpcError of RPC that terminated with:
\tstatus = StatusCode.UNAVAILABLE
\tdetails = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:5: refused"
\tdebug_error_string = "UNAVAILABLE:failed to connect"
>"""


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        (
            UNREACHABLE,
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:5: refused",
        ),
        ("java.lang.RuntimeException: no slot\n\tat org.apache.Flink", "java.lang.RuntimeException: no slot"),
        ("ValueError: a\n\nDuring handling …\nOSError: disk full", "OSError: disk full"),
    ],
)
def test_a_job_that_failed_is_told_by_its_cause(printed, message):
    error = RuntimeError(JOB_FAILED.format(printed))
    assert error_message(error) == f"the job failed on the job server: {message}"
    assert not is_expected(error)


# As Flink 1.19 said it, without most of the stack.
NO_BUFFERS = """Pipeline BeamApp-root-1129150017-68cdc7ec failed in state FAILED: java.io.IOException: Insufficient \
number of network buffers: required 512, but only 477 available.
\tat org.apache.pekko.actor.AbstractActor.aroundReceive(AbstractActor.scala:229)
\tat java.base/java.util.concurrent.ForkJoinWorkerThread.run(ForkJoinWorkerThread.java:165)
Caused by: java.io.IOException: Insufficient number of network buffers: required 512, but only 477 available.
\tat java.base/java.lang.Thread.run(Thread.java:840)"""


def test_a_limit_of_flinks_is_told_with_its_remedy():
    assert error_message(RuntimeError(NO_BUFFERS)) == (
        "the job failed on the job server: java.io.IOException: Insufficient number of network buffers: required 512, "
        "but only 477 available. (the TaskManagers have too little memory for exchanges: in Flink's "
        "configuration, lower taskmanager.network.sort-shuffle.min-buffers (512) to 64, or raise "
        "taskmanager.memory.network.min and .max)"
    )


def test_an_error_of_ours_on_a_worker_is_told_in_its_own_words():
    printed = "noisy_gru.schema.errors.DataError: c03 is 99; correct it [while running 'Read']"
    error = RuntimeError(JOB_FAILED.format(printed))
    assert error_message(error) == "c03 is 99; correct it"
    assert is_expected(error)


@pytest.mark.parametrize("beam", [PORTABLE, {**PORTABLE, "runner": "flink"}, {**PORTABLE, "runner": "spark"}, DATAFLOW])
def test_steps_in_pods_share_no_folder_with_other_machines(beam):
    with pytest.raises(ConfigError, match="a step on Kubeflow reads and writes a folder of its own pod"):
        check_can_run_in_pods(loaded(beam).beam)
    check_can_run_in_pods(loaded({"workers": 4}).beam)
    check_can_run_in_pods(loaded({**PORTABLE, "environment": {"kind": "loopback"}}).beam)


# From here on Beam is imported, which warns of what its own libraries have deprecated.
asks_beam = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


class TestBeamsOwnParser:
    """Options that Beam's parser and validator are asked about."""

    pytestmark = asks_beam

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_num_worker": 3}, "max_num_worker: Beam has no such option (did you mean max_num_workers?)"),
            ({"disk_size_gb": "many"}, "disk_size_gb: invalid int value: 'many'"),
            ({"streaming": "yes"}, "streaming: is a bare flag: expected true, found 'yes'"),
            ({"flexrs_goal": True}, "flexrs_goal: expected one argument, found True"),
            ({"flink_version": "1.1"}, "flink_version: invalid choice: '1.1'"),
            ({"use_public_ips": False}, "use_public_ips: false has no effect; set no_use_public_ips: true"),
        ],
    )
    def test_a_wrong_option(self, options, message):
        (found,) = option_problems(loaded({"options": options}).beam)
        assert found.startswith("beam.options.") and message in found

    def test_right_options(self):
        options = {"num_workers": 3, "no_use_public_ips": True, "experiments": ["a", "b"], "streaming": False}
        assert option_problems(loaded({**DATAFLOW, "options": options}).beam) == []
        for environment in (
            EXTERNAL,
            {"kind": "loopback"},
            {"kind": "docker", "image": "x"},
        ):
            assert option_problems(loaded({**PORTABLE, "environment": environment}).beam) == []

    def test_beam_reads_what_was_written(self):
        from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
        from apache_beam.transforms.environments import Environment

        docker = {"kind": "docker", "image": "registry/noisy-gru:1"}
        options = PipelineOptions(arguments({**PORTABLE, "environment": docker, "sdk_worker_parallelism": 4}))
        portable = options.view_as(PortableOptions)
        found: Any = Environment.from_options(portable)
        assert found.container_image == "registry/noisy-gru:1"
        assert (portable.job_endpoint, int(portable.sdk_worker_parallelism)) == ("jobs:8099", 4)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"project": "my project"}, "Invalid Project ID (my project)"),
            ({"temp_location": "gs://b/x"}, "Invalid GCS bucket (gs://b/x)"),
            ({"options": {"num_workers": 5}, "max_num_workers": 3}, "cannot exceed max_num_workers"),
        ],
    )
    def test_what_dataflow_would_refuse_without_asking_google(self, change, message, monkeypatch):
        def no_network(*_: Any, **__: Any) -> Any:
            raise AssertionError("nothing may be asked of the network")

        monkeypatch.setattr(socket, "getaddrinfo", no_network)
        (found,) = option_problems(loaded({**DATAFLOW, **change}).beam)
        assert message in found

    def test_the_recipes_of_the_documentation_are_right(self):
        page = (VOWELS.parents[2] / "docs" / "scale.md").read_text()
        blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
        sections = [block["beam"] for block in blocks if "beam" in block]
        assert {section.get("runner") for section in sections} == {None, "flink", "spark", "dataflow"}
        for section in sections:
            assert option_problems(loaded(section).beam) == [], section

    def test_validate_shows_them(self):
        done = CliRunner().invoke(app, ["validate", str(VOWELS), "--set", "beam.options.job_nam=x"])
        assert done.exit_code == EXIT_CONFIG
        assert "beam.options.job_nam: Beam has no such option (did you mean job_name?)" in done.stderr
