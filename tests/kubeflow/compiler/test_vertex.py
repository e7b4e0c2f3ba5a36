"""The single document for Vertex AI Pipelines, read by Google's own client. Nothing is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.schema.errors import ConfigError

# TFX warns of its own use of what it deprecated, and so does Google's client.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

CONFIG = Path(__file__).parents[3] / "examples" / "japanese_vowels" / "config.yaml"
IMAGE = "europe-west4-docker.pkg.dev/project/images/noisy-gru-tfx:1"
SETTINGS = [
    "kubeflow.platform=vertex",
    "kubeflow.pipeline_root=gs://bucket/runs",
    "kubeflow.serving_dir=/gcs/bucket/serving",
    "kubeflow.steps={Trainer: {cpu: '4', memory: 8Gi, accelerator: NVIDIA_TESLA_T4}}",
]
WHERE = [f"kubeflow.image={IMAGE}", "kubeflow.data_root=gs://bucket/vowels"]


def together(*settings: str) -> list[str]:
    """One setting: the section is checked whenever one of its keys is set."""
    section: dict[str, Any] = {}
    for setting in settings:
        key, _, value = setting.removeprefix("kubeflow.").partition("=")
        section[key] = yaml.safe_load(value)
    return [f"kubeflow={yaml.safe_dump(section, default_flow_style=True, width=10_000).strip()}"]


def compile_text(*settings: str) -> str:
    from noisy_gru.kubeflow.compiler.compile import compile_config

    return compile_config(load_config(CONFIG, together(*settings)))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vertex") / "job.yaml"
    path.write_text(compile_text(*SETTINGS, *WHERE))
    return path


def job(path: Path, **arguments: Any) -> dict[str, Any]:
    """What Google's client would send."""
    aiplatform = pytest.importorskip("google.cloud.aiplatform", reason="google-cloud-aiplatform isn't installed")
    from google.auth.credentials import AnonymousCredentials

    made = aiplatform.PipelineJob(
        display_name="vowels",
        template_path=str(path),
        project="project",
        location="europe-west4",
        credentials=AnonymousCredentials(),
        **arguments,
    )
    return made.to_dict()


def test_google_s_client_makes_a_job_of_it(file: Path) -> None:
    sent = job(file, parameter_values={"steps": 5, "data_root": "gs://bucket/other"}, failure_policy="fast")
    assert sent["runtimeConfig"] == {
        "gcsOutputDirectory": "gs://bucket/runs",
        "parameterValues": {"steps": 5, "data_root": "gs://bucket/other"},
        "failurePolicy": "PIPELINE_FAILURE_POLICY_FAIL_FAST",
    }
    assert sent["pipelineSpec"] == yaml.safe_load(file.read_text())
    uncached = job(file, enable_caching=False)["pipelineSpec"]["root"]["dag"]["tasks"]
    assert {task["cachingOptions"]["enableCache"] for task in uncached.values()} == {False}
    with pytest.raises(ValueError, match="parameter image is not found"):
        job(file, parameter_values={"image": "other"})


def test_nothing_of_kubernetes_is_left(file: Path) -> None:
    (spec,) = yaml.safe_load_all(file.read_text())
    assert set(spec["root"]["inputDefinitions"]["parameters"]) == {"data_root", "serving_dir", "steps"}
    containers = {name: each["container"] for name, each in spec["deploymentSpec"]["executors"].items()}
    assert {container["image"] for container in containers.values()} == {IMAGE}
    assert containers["Trainer_executor"]["resources"] == {
        "cpuLimit": 4.0,
        "memoryLimit": pytest.approx(8 * 1.024**3),
        "accelerator": {"type": "NVIDIA_TESLA_T4", "count": "1"},
    }
    tasks = spec["root"]["dag"]["tasks"]
    # The most that kfp's own compiler writes.
    assert {task["retryPolicy"]["backoffMaxDuration"] for task in tasks.values()} == {"3600s"}
    assert not any("image" in task.get("inputs", {}).get("parameters", {}) for task in tasks.values())
    assert tasks["Pusher"]["inputs"]["parameters"]["serving_dir"] == {"componentInputParameter": "serving_dir"}


def test_the_file_for_open_source_is_none_for_it(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(compile_text("kubeflow.pipeline_root=gs://bucket/runs"))
    with pytest.raises(yaml.YAMLError, match="expected a single document"):
        job(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (WHERE[1:], "kubeflow.image: expected an image with its registry, .* Received: 'noisy-gru-tfx:"),
        (WHERE[:1], "kubeflow.data_root: expected gs://bucket/folder, because data.files are relative to it"),
    ],
)
def test_what_the_section_alone_does_not_tell(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compile_text(*SETTINGS, *settings)
