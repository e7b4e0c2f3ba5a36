"""What Vertex AI Pipelines can't do, of the section ``kubeflow:``. It has no volumes and no Kubernetes settings.

It mounts buckets below /gcs in every step, with Cloud Storage FUSE, and knows artifacts in gs:// alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from noisy_gru.schema.config import Section

_MOUNTED = re.compile(r"^/gcs/[^/]+/.")
_BUCKET = re.compile(r"^gs://[^/]+")
_OF_KUBERNETES = {
    "volumes": "there are none; name folders in buckets, as gs:// (data_root) and /gcs/bucket/folder (serving_dir)",
    "secrets": "there are no secrets of Kubernetes; give the steps' service account access instead",
    "image_pull_secrets": "the steps' service account pulls the image",
    "node_selector": "there are no nodes to choose",
    "tolerations": "there are no nodes to choose",
    "schedule": "make the schedule with aiplatform.PipelineJob(...).create_schedule(cron=...)",
    "service_account": "name it when you submit: aiplatform.PipelineJob(...).submit(service_account=...)",
}


def vertex_problems(section: Section) -> Iterator[str]:
    """Yield the problems of a ``KubeflowConfig`` for Vertex AI, each with its key below ``kubeflow``."""
    config: Any = section
    for key, reason in _OF_KUBERNETES.items():
        if key in config.model_fields_set and getattr(config, key):
            yield f"{key}: not on Vertex AI: {reason}. Remove it"
    for name, step in config.steps.items():
        for key in ("node_selector", "tolerations", "time_limit"):
            if getattr(step, key):
                yield f"steps.{name}.{key}: not on Vertex AI. Remove it"
        if step.accelerator and "/" in step.accelerator:
            yield (
                f"steps.{name}.accelerator: expected a type of Vertex AI's, such as NVIDIA_TESLA_T4. Received: "
                f"{step.accelerator!r}"
            )
    for key in ("pipeline_root", "base_model"):
        value = getattr(config, key)
        if (value or key == "pipeline_root") and not _BUCKET.match(value or ""):
            yield f"{key}: expected gs://bucket/folder, the only artifacts that Vertex AI knows. Received: {value}"
    for key in ("serving_dir", "working_dir"):
        value = getattr(config, key)
        if value and not _MOUNTED.match(value):
            yield f"{key}: expected /gcs/bucket/folder, where Vertex AI mounts the bucket. Received: {value}"
    if "data_root" in config.model_fields_set and not (_MOUNTED.match(config.data_root) or "://" in config.data_root):
        yield f"data_root: expected gs://bucket/folder or /gcs/bucket/folder. Received: {config.data_root}"
