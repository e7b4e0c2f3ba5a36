"""The compiled pipeline: what the API server and the pods are told, read back with kfp's own loader."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format

from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.schema.errors import ConfigError, UserError
from noisy_gru.schema.loading import load_schema

# TFX warns of its own use of what it deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "examples" / "japanese_vowels" / "config.yaml"
SETTINGS = [
    "kubeflow.image=registry.example/noisy-gru:7",
    "kubeflow.pipeline_root=minio://bucket/pipelines",
    "kubeflow.data_root=/mnt/data/vowels",
    "kubeflow.secrets={AWS_ACCESS_KEY_ID: {secret: s3-credentials, key: access}}",
    "kubeflow.env={GREETING: hello}",
    "kubeflow.node_selector={pool: cpu}",
    "kubeflow.tolerations=[{key: shared, operator: Exists}]",
    "kubeflow.image_pull_secrets=[registry]",
    "kubeflow.steps={default: {memory: 2Gi}, Trainer: {cpu: 1500m, memory: 8Gi, accelerator: nvidia.com/gpu}}",
    "kubeflow.retries=3",
]
# Compiles where nothing can be sent.
OFFLINE = """
import socket, sys
def refuse(*_, **__): raise AssertionError("the network is used")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
from noisy_gru.pipeline.cli.main import main
sys.argv[1:] = ["kubeflow", "compile", sys.argv[1], "-o", sys.argv[2], *[x for s in sys.argv[3:] for x in ("--set", s)]]
main()
"""


def compile_text(*settings: str, image: str | None = None) -> str:
    from noisy_gru.kubeflow.compiler.compile import compile_config

    return compile_config(load_config(CONFIG, settings), image=image)


@pytest.fixture(scope="module")
def text() -> str:
    return compile_text(*SETTINGS)


@pytest.fixture(scope="module")
def spec(text: str) -> dict[str, Any]:
    return next(iter(yaml.safe_load_all(text)))


@pytest.fixture(scope="module")
def pods(text: str) -> dict[str, Any]:
    _, platform = yaml.safe_load_all(text)
    return platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


STEPS = {
    *("SequenceExampleGen", "StatisticsGen", "ImportSchemaGen", "ExampleValidator", "AnomalyGate", "Transform"),
    *("Trainer", "LatestBlessed", "Evaluator", "ServingGate", "Pusher", "RunReport"),
}


def test_kfp_reads_it_back(text: str, tmp_path: Path) -> None:
    from kfp import components
    from kfp.pipeline_spec import pipeline_spec_pb2

    file = tmp_path / "pipeline.yaml"
    file.write_text(text)
    loaded = components.load_component_from_file(str(file))
    assert loaded.name == "japanese-vowels"
    proto: Any = pipeline_spec_pb2
    parsed = json_format.ParseDict(next(iter(yaml.safe_load_all(text))), proto.PipelineSpec())
    assert loaded.pipeline_spec == parsed
    assert set(parsed.root.dag.tasks) == {*STEPS, "Configuration"}
    assert parsed.schema_version == "2.1.0"
    assert parsed.default_pipeline_root == "minio://bucket/pipelines"


def test_parameters_have_their_defaults(spec: dict[str, Any]) -> None:
    assert spec["root"]["inputDefinitions"]["parameters"] == {
        "data_root": {"parameterType": "STRING", "defaultValue": "/mnt/data/vowels"},
        "image": {"parameterType": "STRING", "defaultValue": "registry.example/noisy-gru:7"},
        "serving_dir": {"parameterType": "STRING", "defaultValue": "/mnt/serving"},
        "steps": {"parameterType": "NUMBER_INTEGER", "defaultValue": 0},
    }
    tasks = spec["root"]["dag"]["tasks"]
    given = {
        (step, name): value["componentInputParameter"]
        for step, task in tasks.items()
        for name, value in task["inputs"]["parameters"].items()
        if "componentInputParameter" in value and name != "image"
    }
    assert given == {
        ("SequenceExampleGen", "input_base"): "data_root",
        ("Trainer", "train_args"): "steps",
        ("LatestBlessed", "serving_dir"): "serving_dir",
        ("Pusher", "serving_dir"): "serving_dir",
    }


def test_patterns_with_a_span_add_a_parameter() -> None:
    files = "data.files={train: ['d-{SPAN}/train.csv'], test: ['d-{SPAN}/test.csv']}"
    spec = next(iter(yaml.safe_load_all(compile_text(files))))
    assert spec["root"]["inputDefinitions"]["parameters"]["span"] == {
        "parameterType": "STRING",
        "defaultValue": "latest",
    }
    task = spec["root"]["dag"]["tasks"]["SequenceExampleGen"]["inputs"]["parameters"]
    assert task["span"] == {"componentInputParameter": "span"}


def test_a_base_model_adds_an_importer_and_a_parameter() -> None:
    spec = next(iter(yaml.safe_load_all(compile_text("kubeflow.base_model=s3://models/base"))))
    default = {"parameterType": "STRING", "defaultValue": "s3://models/base"}
    assert spec["root"]["inputDefinitions"]["parameters"]["base_model"] == default
    artifact = spec["root"]["dag"]["tasks"]["Trainer"]["inputs"]["artifacts"]["base_model"]
    assert artifact == {"taskOutputArtifact": {"producerTask": "BaseModel", "outputArtifactKey": "result"}}


def test_each_container_runs_our_entrypoint_in_the_image_that_is_asked_for(spec: dict[str, Any]) -> None:
    for step in STEPS:
        container = spec["deploymentSpec"]["executors"][f"{step}_executor"]["container"]
        assert container["command"] == ["python", "-m", "noisy_gru.kubeflow.entrypoint"]
        assert container["image"] == "{{$.inputs.parameters['image']}}"
        assert "image" in spec["components"][step]["inputDefinitions"]["parameters"]
        # The backend would pass over it, and the driver would not run.
        assert "lifecycle" not in container
        assert container["env"] == [{"name": "GREETING", "value": "hello"}]


def argument(spec: dict[str, Any], step: str, name: str) -> str | None:
    words = spec["deploymentSpec"]["executors"][f"{step}_executor"]["container"]["args"]
    return words[words.index(name) + 1] if name in words else None


def test_steps_are_told_their_drivers_types_and_runner(spec: dict[str, Any]) -> None:
    drivers = {step: argument(spec, step, "--driver_class_path") for step in STEPS}
    assert {step: driver for step, driver in drivers.items() if driver} == {
        "SequenceExampleGen": "noisy_gru.components.sequence_example_gen.driver.Driver",
        "LatestBlessed": "noisy_gru.components.latest_blessed.executor.Driver",
        "Pusher": "noisy_gru.components.drivers.UncachedDriver",
    }
    types = {step: json.loads(argument(spec, step, "--artifact_types") or "") for step in STEPS}
    # The driver sends no types, so that every artifact's is there.
    for step, component in spec["components"].items():
        if step in STEPS:
            inputs = component.get("inputDefinitions", {}).get("artifacts", {})
            assert set(types[step]["inputs"]) == set(inputs) - {"configuration"}
            outputs = {
                name: artifact["artifactType"].get("schemaTitle", "")
                for name, artifact in component["outputDefinitions"]["artifacts"].items()
            }
            # What the page of the run shows is KFP's own, and TFX knows nothing of it.
            shown = {name for name, title in outputs.items() if title.startswith("system.")}
            both = (
                {"metrics", "page"} if step in {"ExampleValidator", "Evaluator", "ServingGate", "RunReport"} else set()
            )
            assert shown == (both | {"classification"} if step == "Evaluator" else both)
            assert set(types[step]["outputs"]) == set(outputs) - shown
    assert types["AnomalyGate"] == {
        "inputs": {"anomalies": "tfx.types.standard_artifacts.ExampleAnomalies"},
        "outputs": {"report": "noisy_gru.components.anomaly_gate.component.AnomalyReport"},
    }
    runner = "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
    words = {step: spec["deploymentSpec"]["executors"][f"{step}_executor"]["container"]["args"] for step in STEPS}
    beam = {"SequenceExampleGen", "StatisticsGen", "Transform", "Evaluator"}
    assert {step for step in STEPS if runner in words[step]} == beam


@pytest.mark.parametrize(
    "task",
    [
        "{kind: regression, label: level}",
        "{kind: forecasting, targets: [c01], input_length: 4, horizons: [2]}",
    ],
)
def test_only_a_classification_has_a_confusion_matrix(task: str) -> None:
    text = compile_text(f"task={task}", "splits={by: entity}", "data.files=[train.csv]", "evaluation={slices: []}")
    outputs = next(iter(yaml.safe_load_all(text)))["components"]["Evaluator"]["outputDefinitions"]["artifacts"]
    shown = {name: each["artifactType"].get("schemaTitle", "") for name, each in outputs.items()}
    assert {name: title for name, title in shown.items() if title.startswith("system.")} == {
        "metrics": "system.Metrics",
        "page": "system.HTML",
    }


def test_the_report_is_the_last_step_and_gets_no_examples_where_none_may_be_shown(spec: dict[str, Any]) -> None:
    """It is there after a refusal, too: Pusher succeeds then, and publishes nothing."""
    tasks = spec["root"]["dag"]["tasks"]
    assert "Pusher" in tasks["RunReport"]["dependentTasks"]
    assert not [name for name, task in tasks.items() if "RunReport" in task.get("dependentTasks", [])]
    assert tasks["RunReport"]["inputs"]["artifacts"]["examples"] == {
        "taskOutputArtifact": {"producerTask": "SequenceExampleGen", "outputArtifactKey": "examples"}
    }
    hidden = next(iter(yaml.safe_load_all(compile_text("report={examples: false}"))))
    assert "examples" not in hidden["root"]["dag"]["tasks"]["RunReport"]["inputs"]["artifacts"]
    off = next(iter(yaml.safe_load_all(compile_text("report={enabled: false}"))))
    assert "RunReport" not in off["root"]["dag"]["tasks"]


def test_what_looks_at_files_outside_is_never_cached(spec: dict[str, Any]) -> None:
    tasks = spec["root"]["dag"]["tasks"]
    cached = {step for step in STEPS if tasks[step]["cachingOptions"].get("enableCache")}
    assert STEPS - cached == {"SequenceExampleGen", "LatestBlessed", "Pusher", "RunReport"}
    off = next(iter(yaml.safe_load_all(compile_text("kubeflow.cache=false"))))
    assert not any(task["cachingOptions"] for task in off["root"]["dag"]["tasks"].values())


def test_retries(spec: dict[str, Any]) -> None:
    counts = {task["retryPolicy"]["maxRetryCount"] for task in spec["root"]["dag"]["tasks"].values()}
    assert counts == {3}
    # Four tries of a week, an hour for each to start, and 30 + 60 + 120 s between; Argo counts from the first start.
    week = 7 * 24 * 3600
    longest = {task["retryPolicy"]["backoffMaxDuration"] for task in spec["root"]["dag"]["tasks"].values()}
    assert longest == {f"{4 * (week + 3600) + 210}s"}
    limited = compile_text("kubeflow.steps={Trainer: {time_limit: 12h}}", "kubeflow.retries=1")
    first, platform = yaml.safe_load_all(limited)
    assert first["root"]["dag"]["tasks"]["Trainer"]["retryPolicy"]["backoffMaxDuration"] == f"{2 * 13 * 3600 + 30}s"
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    # As kfp-kubernetes' set_timeout writes it.
    assert executors["Trainer_executor"]["activeDeadlineSeconds"] == "43200"
    assert "activeDeadlineSeconds" not in executors["Pusher_executor"]
    none = next(iter(yaml.safe_load_all(compile_text("kubeflow.retries=0"))))
    assert not any("retryPolicy" in task for task in none["root"]["dag"]["tasks"].values())


def test_limits_of_a_step_and_of_the_others(spec: dict[str, Any]) -> None:
    executors = spec["deploymentSpec"]["executors"]
    # 1500m is a CPU and a half; 2^33 bytes are 8.589934592 GB, the unit of the older field.
    assert executors["Trainer_executor"]["container"]["resources"] == {
        "resourceCpuLimit": "1500m",
        "cpuLimit": 1.5,
        "resourceMemoryLimit": "8Gi",
        "memoryLimit": 8.589934592,
        "accelerator": {
            "type": "nvidia.com/gpu",
            "count": "1",
            "resourceType": "nvidia.com/gpu",
            "resourceCount": "1",
        },
    }
    assert executors["Pusher_executor"]["container"]["resources"]["resourceMemoryLimit"] == "2Gi"


def test_the_platform_spec_is_as_kfp_kubernetes_writes_it(pods: dict[str, Any]) -> None:
    assert set(pods) == {f"{step}_executor" for step in (*STEPS, "Configuration")}

    def constant(value: str) -> dict[str, Any]:
        return {"runtimeValue": {"constant": value}}

    # Written by kfp-kubernetes 2.16.1: mount_pvc, use_secret_as_env, set_image_pull_policy, set_image_pull_secrets,
    # add_node_selector, add_toleration.
    assert pods["Trainer_executor"] == {
        "pvcMount": [
            {"mountPath": "/mnt/data", "constant": "noisy-gru-data", "pvcNameParameter": constant("noisy-gru-data")},
            {
                "mountPath": "/mnt/serving",
                "constant": "noisy-gru-serving",
                "pvcNameParameter": constant("noisy-gru-serving"),
            },
        ],
        "secretAsEnv": [
            {
                "secretName": "s3-credentials",
                "keyToEnv": [{"secretKey": "access", "envVar": "AWS_ACCESS_KEY_ID"}],
                "optional": False,
                "secretNameParameter": constant("s3-credentials"),
            }
        ],
        "imagePullPolicy": "IfNotPresent",
        "imagePullSecret": [{"secretName": "registry", "secretNameParameter": constant("registry")}],
        "nodeSelector": {"labels": {"pool": "cpu"}},
        "tolerations": [{"key": "shared", "operator": "Exists"}],
    }


def test_the_same_bytes_every_time_and_nothing_is_sent(text: str, tmp_path: Path) -> None:
    assert compile_text(*SETTINGS) == text
    out = tmp_path / "pipeline.yaml"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(CONFIG), str(out), *SETTINGS],
        env={**environment, "PYTHONHASHSEED": "1234"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == (f"written: {out}\n", "")
    assert hashlib.sha256(out.read_bytes()).hexdigest() == hashlib.sha256(text.encode()).hexdigest()
    assert [file.name for file in tmp_path.iterdir()] == ["pipeline.yaml"]


def test_the_image_may_be_named_on_the_command_line() -> None:
    spec = next(iter(yaml.safe_load_all(compile_text(*SETTINGS, image="other:2"))))
    assert spec["root"]["inputDefinitions"]["parameters"]["image"]["defaultValue"] == "other:2"


def test_the_schema_is_in_the_file(spec: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from noisy_gru.kubeflow.step import configuration
    from noisy_gru.kubeflow.step.artifact_paths import PREFIX_VARIABLE

    monkeypatch.setenv(PREFIX_VARIABLE, str(tmp_path))
    executor_input = {"outputs": {"artifacts": {"files": {"artifacts": [{"uri": "s3://b/run/files"}]}}}}
    words = spec["deploymentSpec"]["executors"]["Configuration_executor"]["container"]["args"]
    assert words[0] == "{{$}}"
    assert configuration.main([json.dumps(executor_input), words[1]]) == 0
    folder = tmp_path / "s3" / "b" / "run" / "files"
    tasks = spec["root"]["dag"]["tasks"]
    given = {
        name: value["runtimeValue"]["constant"]
        for name, value in tasks["ImportSchemaGen"]["inputs"]["parameters"].items()
        if "runtimeValue" in value
    }
    read = configuration.resolve(given, folder)
    derived = load_schema(read["schema_file"])
    curated = load_schema(ROOT / "schema" / "japanese_vowels" / "schema.pbtxt")
    assert {each.name for each in curated.feature} <= {each.name for each in derived.feature}
    counts = {each.name: (each.value_count.min, each.value_count.max) for each in derived.feature}
    assert counts["c01"] == (1, 100)
    assert counts["speaker"] == (1, 1)
    assert str(ROOT) not in json.dumps(spec)
    with pytest.raises(
        UserError,
        match=r"dataset: expected the file dataset-.* from the step Configuration",
    ):
        configuration.resolve(given, tmp_path)
    # No text of any length is in a parameter, and who refers to one waits for it.
    for step in STEPS:
        texts = [
            value.get("runtimeValue", {}).get("constant", "") for value in tasks[step]["inputs"]["parameters"].values()
        ]
        assert max(len(str(text)) for text in texts) < 500
        refers = any(str(text).startswith("configuration") for text in texts)
        assert refers == ("Configuration" in tasks[step].get("dependentTasks", []))
        assert refers == ("configuration" in tasks[step]["inputs"].get("artifacts", {}))


def test_a_step_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"kubeflow\.steps\.Trainr: expected a step .*Trainer"):
        compile_text("kubeflow.steps={Trainr: {memory: 2Gi}}")


def test_data_that_a_step_could_not_read_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"s3://bucket/train\.csv can't be read by a step"):
        compile_text("data.files={train: ['s3://bucket/train.csv'], test: ['s3://bucket/test.csv']}")
    with pytest.raises(ConfigError, match=r"evaluation\.reference\.files: s3://bucket/a\.csv can't be read by a step"):
        compile_text("evaluation.reference.files=['s3://bucket/a.csv']")
    with pytest.raises(ConfigError, match=r"evaluation\.reference\.files: /a\.csv is on this machine, and data\.files"):
        compile_text(
            "data.files={train: ['gs://bucket/train.csv'], test: ['gs://bucket/test.csv']}",
            "evaluation.reference.files=[/a.csv]",
        )


def test_a_reference_set_has_to_be_where_the_data_is() -> None:
    files = ROOT / "examples" / "japanese_vowels"
    spec = next(yaml.safe_load_all(compile_text(*SETTINGS, f"evaluation.reference.files=[{files}/more/*.csv]")))
    task = spec["root"]["dag"]["tasks"]["ReferenceGate"]
    assert task["inputs"]["parameters"]["input_base"] == {"componentInputParameter": "data_root"}
    given = json.loads(task["inputs"]["parameters"]["reference"]["runtimeValue"]["constant"])
    assert given["files"] == ["more/*.csv"]
    assert task["cachingOptions"].get("enableCache", False) is False
    blessing = spec["root"]["dag"]["tasks"]["Pusher"]["inputs"]["artifacts"]["reference_blessing"]
    assert blessing["taskOutputArtifact"]["producerTask"] == "ReferenceGate"
    shown = spec["components"]["ReferenceGate"]["outputDefinitions"]["artifacts"]["page"]["artifactType"]
    assert shown["schemaTitle"] == "system.HTML"
    assert "ReferenceGate" not in next(yaml.safe_load_all(compile_text(*SETTINGS)))["root"]["dag"]["tasks"]
    with pytest.raises(ConfigError, match=r"evaluation\.reference\.files: \.\./reference\.csv is outside of"):
        compile_text(*SETTINGS, f"evaluation.reference.files=[{files.parent}/reference.csv]")
