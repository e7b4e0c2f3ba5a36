"""The part of the configuration that says how the pipeline runs on Kubeflow Pipelines; nothing else reads it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from noisy_gru.pipeline.config.cron import six_fields
from noisy_gru.schema.config import Section
from noisy_gru.schema.durations import PositiveDuration

# What KFP's launcher copies to a local folder and back.
URI = r"^(minio|s3|gs)://[^/]+(/.*)?$"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"

MountPath = Annotated[str, Field(pattern=r"^/[^:]*$")]
KubernetesName = Annotated[str, Field(pattern=_NAME)]


class TolerationConfig(Section):
    """A taint of nodes that a step's pod puts up with, in the words of Kubernetes."""

    key: str | None = Field(default=None, description="Key of the taint; null with `Exists` matches all.")
    operator: Literal["Equal", "Exists"] = Field(default="Equal", description="How the value is compared.")
    value: str | None = Field(default=None, description="Value of the taint; none with `Exists`.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; null matches all."
    )


class StepConfig(Section):
    """What the pod of a step gets, and where it runs. What is null is left to the cluster."""

    cpu: str | None = Field(default=None, pattern=_QUANTITY, description="CPU limit, for example `4` or `500m`.")
    memory: str | None = Field(default=None, pattern=_QUANTITY, description="Memory limit, for example `8Gi`.")
    accelerator: str | None = Field(
        default=None, description="Resource name of an accelerator, for example `nvidia.com/gpu`."
    )
    accelerators: int = Field(default=1, ge=1, description="How many of them.")
    time_limit: PositiveDuration | None = Field(
        default=None,
        description="How long one try may take, for example `12h`; it fails then, and is tried again. null: no limit "
        "for a try, and a week for each of all tries together.",
    )
    node_selector: dict[str, str] = Field(
        default_factory=dict, description="Labels that the node must have, besides those for all steps."
    )
    tolerations: list[TolerationConfig] = Field(default_factory=list, description="Besides those for all steps.")


class SecretConfig(Section):
    """One value in a Kubernetes secret."""

    secret: KubernetesName = Field(description="Name of the secret, in the namespace of the run.")
    key: str = Field(min_length=1, description="Key in it.")


class RecurringRunConfig(Section):
    """When `noisy-gru kubeflow schedule` has the pipeline run again."""

    cron: str = Field(
        description="Six fields, seconds first, in UTC, for example `0 0 3 * * *`; crontab's five get a 0 in front."
    )
    parameters: dict[str, str] = Field(
        default_factory=dict,
        description="Values of pipeline parameters. Text may hold `[[ScheduledTime]]`, `[[Index]]` and `[[RunUUID]]`.",
    )

    @field_validator("cron")
    @classmethod
    def _six_fields(cls, value: str) -> str:
        six_fields(value)
        return value


class KubeflowConfig(Section):
    """How `noisy-gru kubeflow` compiles the pipeline. The pipeline parameters' defaults stand here, too."""

    image: str | None = Field(
        default=None,
        min_length=1,
        description="Image of all steps; null: `noisy-gru-tfx:<version>`. A pipeline parameter.",
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When a node pulls the image."
    )
    image_pull_secrets: list[KubernetesName] = Field(
        default_factory=list, description="Secrets with the registry's credentials."
    )
    data_root: str = Field(
        default="/mnt/data",
        pattern=r"^(/|gs://)",
        description="What the patterns of `data.files` are relative to on the cluster: a folder on one of `volumes`, "
        "or a gs:// URI. A pipeline parameter.",
    )
    serving_dir: MountPath = Field(
        default="/mnt/serving",
        description="Folder that models are published to, on one of `volumes`. A pipeline parameter.",
    )
    working_dir: MountPath | None = Field(
        default=None,
        description="Folder on one of `volumes` where a training that was interrupted goes on; null: it starts anew.",
    )
    base_model: str | None = Field(
        default=None,
        pattern=URI,
        description="URI of the model artifact that training starts from; null: it starts anew. If it is given, it is "
        "a pipeline parameter.",
    )
    pipeline_root: str | None = Field(
        default=None, pattern=URI, description="Where artifacts go: minio://, s3:// or gs://; null: the installation's."
    )
    volumes: dict[KubernetesName, MountPath] = Field(
        default_factory=lambda: {"noisy-gru-data": "/mnt/data", "noisy-gru-serving": "/mnt/serving"},
        description="Persistent volume claims, and where every step sees them.",
    )
    secrets: dict[str, SecretConfig] = Field(
        default_factory=dict, description="Environment variables that come from secrets."
    )
    env: dict[str, str] = Field(default_factory=dict, description="Environment variables of every step.")
    node_selector: dict[str, str] = Field(default_factory=dict, description="Labels that every step's node must have.")
    tolerations: list[TolerationConfig] = Field(default_factory=list, description="Of every step.")
    steps: dict[str, StepConfig] = Field(
        default_factory=dict,
        description="Resources by step, for example `Trainer: {memory: 8Gi}`; `default` is for the steps not named.",
    )
    service_account: KubernetesName | None = Field(
        default=None, description="Service account of the steps' pods; null: the installation's default."
    )
    schedule: RecurringRunConfig | None = Field(
        default=None,
        description="When `noisy-gru kubeflow schedule` runs the pipeline; null: `--cron` says it, or "
        "`retraining.schedule`.",
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
    retries: int = Field(default=2, ge=0, le=10, description="How often a step that failed is tried again.")

    @field_validator("secrets", "env")
    @classmethod
    def _names(cls, value: dict[str, object]) -> dict[str, object]:
        for name in value:
            if not name.replace("_", "a").isalnum() or name[0].isdigit():
                raise ValueError(f"expected names of environment variables, found {name!r}")
        return value

    @model_validator(mode="after")
    def _on_volumes(self) -> KubeflowConfig:
        for key in ("data_root", "serving_dir", "working_dir"):
            path = getattr(self, key)
            if path is None or "://" in path or self.on_volume(path):
                continue
            mounts = ", ".join(sorted(self.volumes.values())) or "none"
            raise ValueError(
                f"{key} is {path}, which is on no volume: what a step writes elsewhere is gone with its pod, and what "
                f"is elsewhere it doesn't see. Mounted by kubeflow.volumes: {mounts}"
            )
        return self

    def on_volume(self, path: str) -> bool:
        """Whether a path is at or below a mount path."""
        return any(f"{path}/".startswith(f"{mount.rstrip('/')}/") for mount in self.volumes.values())
