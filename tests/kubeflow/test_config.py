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


@pytest.mark.parametrize("setting", ["kubeflow.serving_dir=/mnt/serving/team", "kubeflow.data_root=gs://bucket/data"])
def test_below_a_volume_and_in_a_bucket(setting: str) -> None:
    load_config(CONFIG, [setting])
