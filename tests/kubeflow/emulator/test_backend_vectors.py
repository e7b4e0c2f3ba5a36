"""The emulator beside the backend itself: the same questions, and what the releases' own Go functions answered."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from noisy_gru.kubeflow.compiled_pipeline import CompiledPipelineError
from noisy_gru.kubeflow.emulator import arguments, launcher
from noisy_gru.kubeflow.emulator.backends import BACKENDS, MAX_ARGUMENT, backend
from noisy_gru.kubeflow.emulator.conditions import holds
from noisy_gru.kubeflow.emulator.errors import TaskError
from noisy_gru.kubeflow.emulator.inputs import Run
from noisy_gru.kubeflow.emulator.ml_metadata import recorded
from noisy_gru.kubeflow.emulator.object_store import ObjectStore

# Generated code, of which type checkers see nothing.
proto: Any = pipeline_spec_pb2
VECTORS = {
    version: json.loads((Path(__file__).parent / "backend_vectors" / f"{version}.json").read_text())
    for version in BACKENDS
}
versions = pytest.mark.parametrize("version", BACKENDS)


def parsed(message: Any, value: Any) -> Any:
    return json_format.ParseDict(value, message)


@versions
def test_outputs(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher.uuid, "uuid4", lambda: "salt")
    declared = {
        "artifacts": {
            "model": {"artifactType": {"instanceSchema": "title: tfx.Model\ntype: object\n"}},
            "report": {"artifactType": {"schemaTitle": "noisy_gru.Report"}, "metadata": {"a": 1}},
        },
        "parameters": {"size": {"parameterType": "NUMBER_INTEGER"}},
    }
    for root, definitions, expected in (
        ("minio://mlpipeline/v2/artifacts/p/run", declared, "outputs"),
        ("s3://bucket/root/", {}, "outputs_of_none"),
    ):
        outputs = launcher.provision_outputs(
            root, "Trainer", parsed(proto.ComponentOutputsSpec(), definitions), backend(version)
        )
        assert json_format.MessageToDict(outputs) == VECTORS[version]["driver"][expected]


@versions
def test_constants(version: str) -> None:
    run = Run("run-id", "display", backend(version), created="")
    answers = VECTORS[version]["driver"]["constants"]
    assert {text for text in answers if run.filled(text, "task") != text} == {
        text for text, answer in answers.items() if answer != text
    }
    for text in ("{{$.pipeline_job_uuid}}", "{{$.pipeline_job_name}}", "{{$.pipeline_task_name}}", "plain"):
        assert run.filled(text, "task") == answers[text]


@versions
def test_conditions(version: str) -> None:
    plan = {"artifacts": [{"metadata": {"retrain": 1}}]}
    inputs = {"parameter_values": {"n": 3, "s": "x"}, "artifacts": {"_RetrainPlanner.plan": plan}}
    for condition, answer in VECTORS[version]["driver"]["conditions"].items():
        if answer == "error":
            with pytest.raises(TaskError):
                holds(condition, inputs)
        else:
            assert holds(condition, inputs) == answer, condition


@versions
def test_what_becomes_of_an_output(version: str) -> None:
    for case in VECTORS[version]["metadata"]:
        artifact = parsed(proto.RuntimeArtifact(), case["given"])
        if "error" in case:
            with pytest.raises(TaskError, match="null"):
                recorded(artifact, "model", 42)
            continue
        assert json_format.MessageToDict(recorded(artifact, "model", 42)) == case["sent"]


SCRIPT = (
    'out=$1; root=$2; size=$3; shift 3; for a in "$@"; do printf "%s\\0" "$a" >>"$out"; done; echo said;'
    'mkdir -p "$root/run/U/salt/result/empty"; echo r >"$root/run/U/salt/result/r.txt"; printf 7 >"$size"'
)


@versions
def test_a_container_is_launched(version: str, tmp_path: Path) -> None:
    expected, bucket = VECTORS[version]["launcher"], "noisy-gru-oracle"
    store, pod = ObjectStore(tmp_path / "store"), tmp_path / "pod"
    for key in ("model/a.txt", "model/sub/b.txt", "model_run/c.txt", "model2", "other/d.txt"):
        kept = store.path(f"minio://{bucket}/run/T/salt/{key}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text("x")
    told = parsed(
        proto.ExecutorInput(),
        {
            "inputs": {
                "parameterValues": {"s": "text", "n": 3, "f": 0.25, "b": True, "l": [1, "a"], "m": {"k": [1]}},
                "artifacts": {"model": {"artifacts": [{"uri": f"minio://{bucket}/run/T/salt/model"}]}},
            },
            "outputs": {
                "outputFile": "/out/output_metadata.json",
                "parameters": {"size": {"outputFile": "/p/size"}},
                "artifacts": {
                    "result": {
                        "artifacts": [
                            {"uri": f"minio://{bucket}/run/U/salt/result", "type": {"schemaTitle": "noisy_gru.Report"}}
                        ]
                    },
                    "executor-logs": {
                        "artifacts": [
                            {
                                "uri": f"minio://{bucket}/run/U/salt/executor-logs",
                                "type": {"schemaTitle": "system.Artifact"},
                            }
                        ]
                    },
                },
            },
        },
    )
    component = parsed(
        proto.ComponentSpec(),
        {
            "inputDefinitions": {"parameters": {"d": {"parameterType": "STRING", "defaultValue": "by default"}}},
            "outputDefinitions": {"parameters": {"size": {"parameterType": "NUMBER_INTEGER"}}},
        },
    )
    # The driver of 2.17 refuses a parameter without a value before the launcher sees it.
    templates = [each for each in expected["arguments"] if "missing" not in each]
    local = pod / "minio" / bucket
    container = proto.PipelineDeploymentConfig.PipelineContainerSpec(
        command=["sh", "-ec", SCRIPT, "script"],
        args=[str(tmp_path / "seen"), str(local), str(pod / "p" / "size"), *templates, "{{$}}"],
    )
    outputs = launcher.launch(container, component, told, store, pod, threading.Event(), backend(version), attempt=1)
    *words, whole = (tmp_path / "seen").read_text().removesuffix("\0").split("\0")
    assert [word.replace(str(pod), "") for word in words] == [expected["arguments"][each] for each in templates]
    assert json.loads(whole)["inputs"]["parameterValues"] == expected["whole_parameters"]

    def files(root: Path) -> list[str]:
        return sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file())

    assert files(local) == expected["local_files"]
    assert files(tmp_path / "store" / "minio" / bucket) == expected["stored"]
    assert {name: each.uri for name, each in outputs.artifacts.items()} == expected["uris"]
    assert outputs.parameters["size"].number_value == expected["size"]
    assert (local / Path(expected["uris"]["executor-logs"]).relative_to(f"minio:/{bucket}")).read_text() == "said\n"


@versions
def test_placeholders_in_arguments(version: str, tmp_path: Path) -> None:
    told = parsed(proto.ExecutorInput(), {"inputs": {"parameterValues": {"image": "repo/image:1"}}})
    driver = VECTORS[version]["driver"]
    # What the driver leaves to the launcher is the same in the end.
    resolved = [word.replace("{{$.inputs.parameters['image']}}", "repo/image:1") for word in driver["pod_args"]]
    container = proto.PipelineDeploymentConfig.PipelineContainerSpec(
        command=["python", "-m", "x"],
        args=["{{$.inputs.parameters['image']}}", "a-{{$.inputs.parameters['image']}}", "{{$.unknown}}"],
    )
    assert arguments.command_line(container, told, tmp_path, backend(version)) == [*resolved[:3], *resolved[4:7]]
    missing = proto.PipelineDeploymentConfig.PipelineContainerSpec(
        command=["echo"], args=["{{$.inputs.parameters['missing']}}"]
    )
    if backend(version).driver_resolves_arguments:
        with pytest.raises(TaskError, match="the parameter missing has no value"):
            arguments.command_line(missing, told, tmp_path, backend(version))
    else:
        words = arguments.command_line(missing, told, tmp_path, backend(version))
        assert words[1] == VECTORS[version]["launcher"]["arguments"]["{{$.inputs.parameters['missing']}}"]


def test_the_limit_of_an_argument_is_that_of_linux() -> None:
    import subprocess

    longest = "x" * (MAX_ARGUMENT - 1)
    assert subprocess.run(["true", longest], check=False).returncode == 0
    arguments.check_arguments({"--task": longest})
    with pytest.raises(OSError, match="too long"):
        subprocess.run(["true", longest + "x"], check=False)
    with pytest.raises(TaskError, match=r"--task has 131,073 bytes: Linux takes 131,072 an argument"):
        arguments.check_arguments({"--task": longest + "x"})


def test_other_releases_are_refused() -> None:
    with pytest.raises(CompiledPipelineError, match=r"expected one of 2\.5, 2\.15, 2\.17. Received: '2\.4'"):
        backend("2.4")
