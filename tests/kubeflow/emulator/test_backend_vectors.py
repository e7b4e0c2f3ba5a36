"""The emulator beside the backend itself: the same questions, and what the releases' own Go functions answered."""

from __future__ import annotations

import ast
import json
import re
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
from noisy_gru.kubeflow.emulator.inputs import Run, Scope, resolve
from noisy_gru.kubeflow.emulator.ml_metadata import recorded
from noisy_gru.kubeflow.emulator.object_store import ObjectStore
from noisy_gru.kubeflow.emulator.running import emulate

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
    run = Run("run-id", "name", "display", backend(version), created="")
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
                recorded(artifact, "model", 42, backend(version))
            continue
        sent = json_format.MessageToDict(recorded(artifact, "model", 42, backend(version)))
        # The store was the caller's there; that of an installation is in the answers of the whole run.
        for each in (sent, case["sent"]):
            each["metadata"].pop("store_session_info")
        assert sent == case["sent"]


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
    executor_input = parsed(
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
    # The driver of 2.17 refuses a parameter without a value, a default or not, before the launcher sees it.
    refused = ("['missing']", "['d']") if backend(version).driver_resolves_arguments else ("['missing']",)
    templates = [each for each in expected["arguments"] if not any(name in each for name in refused)]
    local = pod / "minio" / bucket
    container = proto.PipelineDeploymentConfig.PipelineContainerSpec(
        command=["sh", "-ec", SCRIPT, "script"],
        args=[str(tmp_path / "seen"), str(local), str(pod / "p" / "size"), *templates, "{{$}}"],
    )
    outputs = launcher.launch(
        container, component, executor_input, store, pod, threading.Event(), backend(version), attempt=1
    )
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
    executor_input = parsed(proto.ExecutorInput(), {"inputs": {"parameterValues": {"image": "repo/image:1"}}})
    driver = VECTORS[version]["driver"]
    # What the driver leaves to the launcher is the same in the end.
    resolved = [word.replace("{{$.inputs.parameters['image']}}", "repo/image:1") for word in driver["pod_args"]]
    container = proto.PipelineDeploymentConfig.PipelineContainerSpec(
        command=["python", "-m", "x"],
        args=["{{$.inputs.parameters['image']}}", "a-{{$.inputs.parameters['image']}}", "{{$.unknown}}"],
    )
    assert arguments.command_line(container, executor_input, tmp_path, backend(version)) == [
        *resolved[:3],
        *resolved[4:7],
    ]
    missing = proto.PipelineDeploymentConfig.PipelineContainerSpec(
        command=["echo"], args=["{{$.inputs.parameters['missing']}}"]
    )
    if backend(version).driver_resolves_arguments:
        with pytest.raises(TaskError, match="the parameter missing has no value"):
            arguments.command_line(missing, executor_input, tmp_path, backend(version))
    else:
        words = arguments.command_line(missing, executor_input, tmp_path, backend(version))
        assert words[1] == VECTORS[version]["launcher"]["arguments"]["{{$.inputs.parameters['missing']}}"]


def comparable(value: Any, pod: str, run_id: str) -> Any:
    """What a container was told, without what is by chance or of this machine."""
    if isinstance(value, list):
        return [comparable(each, pod, run_id) for each in value]
    if isinstance(value, dict):
        made = {name: comparable(each, pod, run_id) for name, each in value.items()}
        # The ids of artifacts, in the order in which tasks happened to end.
        return {**made, "name": "ID"} if "uri" in made and str(made.get("name", "")).isdigit() else made
    if isinstance(value, str):
        value = value.replace(pod, "").replace(run_id, "RUN")
        value = re.sub(r"(?<=/)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=/)", "salt", value)
        return re.sub(r"\b[a-z]+-try-1\b", "POD", value)
    return value


@versions
def test_a_whole_run_is_the_backend_s(version: str, tmp_path: Path) -> None:
    """Compiler, driver and launcher of the release ran the same file: what each container was told, word by word."""
    file = Path(__file__).parent / "backend_vectors" / "every_kind.yaml"
    record = emulate(file, tmp_path, version=version, write_line=lambda _: None)
    assert {task.name: task.state for task in record.tasks} == {
        **dict.fromkeys(("Plan", "Import", "Use", "Inner/Deep", "Last"), "SUCCEEDED"),
        **dict.fromkeys(("Skip", "AfterSkip"), "SKIPPED"),
    }
    seen = {}
    for task in record.tasks:
        if task.folder is not None:
            log = (Path(task.folder) / "log.txt").read_text().splitlines()
            executor_input, *words = ast.literal_eval(next(line for line in log if line.startswith("['{")))
            printed = comparable({"told": json.loads(executor_input), "words": words}, task.folder, record.run_id)
            seen[task.name.rpartition("/")[2]] = printed
    expected = VECTORS[version]["run"]
    for step in expected.values():
        # A run has a name on a cluster: whoever submits it chooses it.
        parameters = step["told"]["inputs"].get("parameterValues", {})
        if "job" in parameters:
            parameters["job"] = record_name = "dry run of every-kind"
            step["words"] = [record_name if word == "a run" else word for word in step["words"]]
    for name, step in expected.items():
        assert seen.pop(name) == step, name
    assert not seen


@pytest.mark.parametrize(
    ("definition", "given", "expected"),
    [
        ({"parameterType": "STRING"}, 3.0, "3"),
        ({"parameterType": "STRING"}, [1.0, "a"], '[1,"a"]'),
        ({"parameterType": "STRING", "defaultValue": "x"}, None, ""),
        ({"parameterType": "STRING", "defaultValue": "x", "isOptional": True}, None, None),
        ({"parameterType": "STRING"}, None, "input parameter n has neither a value nor a default"),
        ({"parameterType": "BOOLEAN"}, 3.0, "input parameter n: expected a BOOLEAN, got number"),
        ({"parameterType": "NUMBER_INTEGER"}, "3", "input parameter n: expected a NUMBER_INTEGER, got string"),
        ({"parameterType": "NUMBER_INTEGER", "defaultValue": 5}, None, "takes its default for no NUMBER_INTEGER"),
    ],
)
def test_parameters_are_typed_as_the_driver_types_them(definition: dict[str, Any], given: Any, expected: Any) -> None:
    """driver/resolve.go, 2.15.0:160 to 245; of these the whole run has a text's default, and a number as a text."""
    component = parsed(proto.ComponentSpec(), {"inputDefinitions": {"parameters": {"n": definition}}})
    source = {"inputs": {"parameters": {"n": {"runtimeValue": {"constant": given}}} if given is not None else {}}}
    run = Run("run-id", "name", "display", backend("2.15"))

    def resolved() -> Any:
        inputs = resolve(parsed(proto.PipelineTaskSpec(), source), component, Scope({}, {}), run)
        return json_format.MessageToDict(inputs).get("parameterValues", {}).get("n")

    if " " in str(expected):
        with pytest.raises(TaskError, match=re.escape(expected)):
            resolved()
    else:
        assert resolved() == expected


def test_a_graph_s_optional_parameter_that_nobody_gives() -> None:
    """driver/resolve.go, 2.15.0:295; a task in a graph of 2.5 ends in "parent DAG does not have input parameter"."""
    definitions = {"a": {"parameterType": "STRING", "isOptional": True, "defaultValue": "x"}}
    definitions["b"] = {"parameterType": "STRING", "isOptional": True}
    graph = parsed(
        proto.ComponentSpec(), {"inputDefinitions": {"parameters": definitions}, "dag": {"tasks": {"t": {}}}}
    )
    given = {}
    for version in ("2.5", "2.15"):
        run = Run("run-id", "name", "display", backend(version))
        given[version] = resolve(proto.PipelineTaskSpec(), graph, Scope({}, {}), run)
    assert not given["2.5"].parameter_values
    assert json_format.MessageToDict(given["2.15"])["parameterValues"] == {"a": "x", "b": None}
    task = parsed(proto.PipelineTaskSpec(), {"inputs": {"parameters": {"n": {"componentInputParameter": "a"}}}})
    run = Run("run-id", "name", "display", backend("2.5"))
    with pytest.raises(TaskError, match="input parameter n: the graph around it has no value of a"):
        resolve(task, proto.ComponentSpec(), Scope(given["2.5"].parameter_values, {}), run)


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
