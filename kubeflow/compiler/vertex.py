"""The single document that Vertex AI Pipelines takes: ``aiplatform.PipelineJob(template_path=...)``.

Its steps run as they do on Kubeflow: Vertex AI mounts buckets where our entrypoint looks for gs://, below /gcs.
"""

from __future__ import annotations

from typing import Any

from noisy_gru.kubeflow.step import parameters as names
from noisy_gru.pipeline.config.kubeflow_config import KubeflowConfig
from noisy_gru.schema.errors import ConfigError

# kfp/dsl/structures.py, 2.16.1:385: no longer there, and counted from the first start.
_MOST_SECONDS = 3600


def check_vertex(config: KubeflowConfig, image: str, *, away: bool) -> None:
    """Check what the section alone doesn't tell.

    Args:
        config: the section.
        image: of all steps.
        away: whether ``data.files`` are on gs://.

    Raises:
        ConfigError: with all problems.
    """
    problems = []
    host, _, rest = image.partition("/")
    if not rest or "." not in host:
        problems.append(
            "kubeflow.image: expected an image with its registry, such as "
            f"europe-west4-docker.pkg.dev/PROJECT/images/noisy-gru-tfx:1. Received: {image!r}"
        )
    if not away and "data_root" not in config.model_fields_set:
        problems.append(
            "kubeflow.data_root: expected gs://bucket/folder, because data.files are relative to it on Vertex AI. "
            "Received: nothing"
        )
    if problems:
        raise ConfigError("\n".join(problems))


def for_vertex(spec: dict[str, Any], image: str) -> None:
    """Change a ``PipelineSpec``, in place, to what Vertex AI takes: no image as a parameter, and shorter retries."""
    for name, component in spec["components"].items():
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]].get("container")
        task = spec["root"]["dag"]["tasks"][name]
        if policy := task.get("retryPolicy"):
            policy["backoffMaxDuration"] = f"{_MOST_SECONDS}s"
        if container is None or "image" not in component.get("inputDefinitions", {}).get("parameters", {}):
            continue
        container["image"] = image
        # For open-source installations: texts of their own, and the names of their accelerators.
        limits = container.get("resources", {})
        for key in ("resourceCpuLimit", "resourceMemoryLimit"):
            limits.pop(key, None)
        for key in ("resourceType", "resourceCount"):
            limits.get("accelerator", {}).pop(key, None)
        for given in (component["inputDefinitions"]["parameters"], task["inputs"]["parameters"]):
            del given[names.IMAGE]
    del spec["root"]["inputDefinitions"]["parameters"][names.IMAGE]
