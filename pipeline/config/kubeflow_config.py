"""Configuration of Kubeflow Pipelines: image, volumes, resources, schedule."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from noisy_gru.pipeline.config.cron import six_fields
from noisy_gru.pipeline.config.vertex_config import vertex_problems
from noisy_gru.schema.config import Section
from noisy_gru.schema.durations import PositiveDuration

# Schemes of artifacts that KFP's launcher copies to a local folder and back.
URI = r"^(minio|s3|gs)://[^/]+(/.*)?$"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"

MountPath = Annotated[str, Field(pattern=r"^/[^:]*$")]
KubernetesName = Annotated[str, Field(pattern=_NAME)]


class TolerationConfig(Section):
    """A Kubernetes toleration of a step's pod."""

    key: str | None = Field(default=None, description="Key of the taint; null with `Exists` matches all taints.")
    operator: Literal["Equal", "Exists"] = Field(default="Equal", description="Comparison of the value.")
    value: str | None = Field(default=None, description="Value of the taint; none with `Exists`.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; null matches all."
    )


class StepConfig(Section):
    """Resources and placement of a step's pod. null: the cluster's default."""

    cpu: str | None = Field(default=None, pattern=_QUANTITY, description="CPU limit, for example `4` or `500m`.")
    memory: str | None = Field(default=None, pattern=_QUANTITY, description="Memory limit, for example `8Gi`.")
    accelerator: str | None = Field(
        default=None, description="Resource name of an accelerator, for example `nvidia.com/gpu`."
    )
    accelerators: int = Field(default=1, ge=1, description="Number of accelerators.")
    time_limit: PositiveDuration | None = Field(
        default=None,
        description="Time limit of one attempt, for example `12h`; after it the attempt fails and is retried. null: no "
        "limit for an attempt, and a week for all attempts together.",
    )
    node_selector: dict[str, str] = Field(
        default_factory=dict, description="Node labels required besides those of all steps."
    )
    tolerations: list[TolerationConfig] = Field(
        default_factory=list, description="Tolerations besides those of all steps."
    )


class SecretConfig(Section):
    """One value in a Kubernetes secret."""

    secret: KubernetesName = Field(description="Name of the secret, in the namespace of the run.")
    key: str = Field(min_length=1, description="Key in it.")


class RecurringRunConfig(Section):
    """Schedule of the recurring run that `noisy-gru kubeflow schedule` creates."""

    cron: str = Field(
        description="Six fields, seconds first, in UTC, for example `0 0 3 * * *`; crontab's five get a 0 in front."
    )
    parameters: dict[str, str] = Field(
        default_factory=dict,
        description="Values of pipeline parameters. They may contain `[[ScheduledTime]]`, `[[Index]]` and "
        "`[[RunUUID]]`.",
    )

    @field_validator("cron")
    @classmethod
    def _six_fields(cls, value: str) -> str:
        six_fields(value)
        return value


class KubeflowConfig(Section):
    """How `noisy-gru kubeflow` compiles the pipeline, and the defaults of the pipeline parameters."""

    platform: Literal["kubeflow", "vertex"] = Field(
        default="kubeflow",
        description="What runs the compiled pipeline: an open-source installation of Kubeflow Pipelines, or Vertex AI "
        "Pipelines on Google Cloud, which has no volumes and no settings of Kubernetes.",
    )
    image: str | None = Field(
        default=None,
        min_length=1,
        description="Image of all steps; null: `noisy-gru-tfx:<version>`. A pipeline parameter.",
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When a node pulls the image."
    )
    image_pull_secrets: list[KubernetesName] = Field(
        default_factory=list, description="Secrets with the credentials of the image registry."
    )
    data_root: str = Field(
        default="/mnt/data",
        pattern=r"^(/|gs://)",
        description="Folder that the patterns of `data.files` are relative to on the cluster: on one of `volumes`, or "
        "a gs:// URI. A pipeline parameter.",
    )
    serving_dir: MountPath = Field(
        default="/mnt/serving",
        description="Folder that models are published to, on one of `volumes` (with `platform: vertex` "
        "/gcs/bucket/folder). A pipeline parameter.",
    )
    working_dir: MountPath | None = Field(
        default=None,
        description="Folder on one of `volumes` that keeps checkpoints, from which an interrupted training resumes; "
        "null: it starts anew.",
    )
    base_model: str | None = Field(
        default=None,
        pattern=URI,
        description="URI of the model artifact that training starts from; null: new weights. If set, it is a pipeline "
        "parameter.",
    )
    pipeline_root: str | None = Field(
        default=None,
        pattern=URI,
        description="Root of the artifacts: minio://, s3:// or gs://; null: the installation's default.",
    )
    volumes: dict[KubernetesName, MountPath] = Field(
        default_factory=lambda: {"noisy-gru-data": "/mnt/data", "noisy-gru-serving": "/mnt/serving"},
        description="Persistent volume claims and their mount paths in every step.",
    )
    secrets: dict[str, SecretConfig] = Field(
        default_factory=dict, description="Environment variables with values from secrets."
    )
    env: dict[str, str] = Field(default_factory=dict, description="Environment variables of every step.")
    node_selector: dict[str, str] = Field(default_factory=dict, description="Node labels required by every step.")
    tolerations: list[TolerationConfig] = Field(default_factory=list, description="Tolerations of every step.")
    steps: dict[str, StepConfig] = Field(
        default_factory=dict,
        description="Resources by step, for example `Trainer: {memory: 8Gi}`; `default` is for the steps not named.",
    )
    service_account: KubernetesName | None = Field(
        default=None, description="Service account of the steps' pods; null: the installation's default."
    )
    schedule: RecurringRunConfig | None = Field(
        default=None,
        description="Schedule of the recurring run; null: that of `--cron`, or of `retraining.schedule`.",
    )
    planned: bool | None = Field(
        default=None,
        description="Whether the first step decides by `retraining.rules` if the others run at all; the parameter "
        "`force`, if it is `true`, has them run whatever the rules say. null: in recurring runs, and in all runs if "
        "`kubeflow.schedule` or `retraining.schedule` says when.",
    )
    cache: bool = Field(
        default=True,
        description="Whether KFP may reuse results of steps whose inputs and parameters are the same. Steps that look "
        "at files outside of the pipeline always run.",
    )
    retries: int = Field(default=2, ge=0, le=10, description="Retries of a failed step.")

    @field_validator("serving_dir", "working_dir", mode="before")
    @classmethod
    def _no_object_store(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, str) and "://" in value:
            mounted = f", or with platform: vertex /gcs/{value[5:]}" if value.startswith("gs://") else ""
            raise ValueError(
                f"{info.field_name} is {value}: a step renames and locks files there, which object stores can't do. "
                f"Expected a folder on one of kubeflow.volumes{mounted}"
            )
        return value

    @field_validator("secrets", "env")
    @classmethod
    def _names(cls, value: dict[str, object]) -> dict[str, object]:
        for name in value:
            if not name.replace("_", "a").isalnum() or name[0].isdigit():
                raise ValueError(f"expected names of environment variables, found {name!r}")
        return value

    @model_validator(mode="after")
    def _on_volumes(self) -> KubeflowConfig:
        if self.platform == "vertex":
            if problems := list(vertex_problems(self)):
                raise ValueError("; ".join(problems))
            return self
        for key in ("data_root", "serving_dir", "working_dir"):
            path = getattr(self, key)
            if path is None or "://" in path or self.on_volume(path):
                continue
            mounts = ", ".join(sorted(self.volumes.values())) or "none"
            raise ValueError(
                f"{key} is {path}, which is on no volume: a step sees and keeps only files on a volume. Mounted by "
                f"kubeflow.volumes: {mounts}"
            )
        return self

    def on_volume(self, path: str) -> bool:
        """Return whether a path is at or below a mount path."""
        return any(f"{path}/".startswith(f"{mount.rstrip('/')}/") for mount in self.volumes.values())
