"""The section ``kubeflow:`` of the configuration: what is wrong is told by its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from noisy_gru.pipeline.config.loading import ConfigFileError, load_config

CONFIG = Path(__file__).parents[2] / "examples" / "japanese_vowels" / "config.yaml"


def test_a_configuration_without_the_section_has_defaults() -> None:
    kubeflow = load_config(CONFIG).kubeflow
    assert (kubeflow.data_root, kubeflow.serving_dir) == ("/mnt/data", "/mnt/serving")
    assert sorted(kubeflow.volumes.values()) == ["/mnt/data", "/mnt/serving"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("kubeflow.serving_dir=/srv/models", "serving_dir is /srv/models, which is on no volume"),
        ("kubeflow.serving_dir=/mnt/serving-2", "serving_dir is /mnt/serving-2, which is on no volume"),
        ("kubeflow.data_root=s3://bucket/data", "kubeflow.data_root: expected text that matches"),
        ("kubeflow.pipeline_root=/tmp/artifacts", "kubeflow.pipeline_root: expected text that matches"),
        (
            "kubeflow.steps.Trainer.memroy=8Gi",
            "kubeflow.steps.Trainer.memroy: is not a key here (did you mean memory?)",
        ),
        ("kubeflow.steps.Trainer.memory=lots", "kubeflow.steps.Trainer.memory: expected text that matches"),
        ("kubeflow.env={'A B': c}", "expected names of environment variables, found 'A B'"),
        ("kubeflow.retries=-1", "kubeflow.retries: expected a value"),
    ],
)
def test_problems(setting: str, message: str) -> None:
    with pytest.raises(ConfigFileError) as caught:
        load_config(CONFIG, [setting])
    assert message in str(caught.value)


VERTEX = "platform: vertex, pipeline_root: 'gs://b/runs', serving_dir: /gcs/b/serving"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("kubeflow.serving_dir=gs://b/models", "which object stores can't do. Expected a folder on one of"),
        ("kubeflow.serving_dir=gs://b/models", "or with platform: vertex /gcs/b/models"),
        ("kubeflow.working_dir=s3://b/work", "working_dir is s3://b/work: a step renames and locks files there"),
        ("kubeflow.serving_dir=/gcs/b/models", "serving_dir is /gcs/b/models, which is on no volume"),
        ("kubeflow.platform=vertex", "pipeline_root: expected gs://bucket/folder"),
        ("kubeflow.platform=vertex", "serving_dir: expected /gcs/bucket/folder, .* Received: /mnt/serving"),
        (f"kubeflow={{{VERTEX}, volumes: {{a: /mnt/a}}}}", "volumes: not on Vertex AI"),
        (f"kubeflow={{{VERTEX}, secrets: {{A: {{secret: s, key: k}}}}}}", "secrets: not on Vertex AI"),
        (f"kubeflow={{{VERTEX}, tolerations: [{{key: a}}]}}", "tolerations: not on Vertex AI"),
        (f"kubeflow={{{VERTEX}, schedule: {{cron: 0 0 3 * * *}}}}", "schedule: not on Vertex AI"),
        (f"kubeflow={{{VERTEX}, data_root: /mnt/data}}", "data_root: expected gs://bucket/folder or /gcs/"),
        (f"kubeflow={{{VERTEX}, base_model: 's3://b/m'}}", "base_model: expected gs://"),
        (f"kubeflow={{{VERTEX}, working_dir: /mnt/work}}", "working_dir: expected /gcs/bucket/folder"),
        (f"kubeflow={{{VERTEX}, steps: {{Trainer: {{time_limit: 1h}}}}}}", "steps.Trainer.time_limit: not on Vertex"),
        (
            f"kubeflow={{{VERTEX}, steps: {{default: {{accelerator: nvidia.com/gpu}}}}}}",
            "steps.default.accelerator: expected a type of Vertex AI's",
        ),
    ],
)
def test_object_stores_and_vertex_ai(setting: str, message: str) -> None:
    with pytest.raises(ConfigFileError, match=message):
        load_config(CONFIG, [setting])


def test_a_section_for_vertex_ai() -> None:
    kubeflow = load_config(CONFIG, [f"kubeflow={{{VERTEX}, data_root: 'gs://b/data', retries: 1}}"]).kubeflow
    assert (kubeflow.platform, kubeflow.serving_dir) == ("vertex", "/gcs/b/serving")


@pytest.mark.parametrize("setting", ["kubeflow.serving_dir=/mnt/serving/team", "kubeflow.data_root=gs://bucket/data"])
def test_below_a_volume_and_in_a_bucket(setting: str) -> None:
    load_config(CONFIG, [setting])
