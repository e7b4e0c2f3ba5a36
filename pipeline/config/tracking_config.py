"""The `tracking` section: where else runs are reported."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisy_gru.compat.extras import require
from noisy_gru.schema.durations import PositiveDuration
from noisy_gru.schema.section import Section


class MlflowConfig(Section):
    """MLflow: parameters, metrics by epoch, the report and the model of each run. Needs the extra [tracking]."""

    uri: str | None = Field(
        default=None,
        pattern=r"^(https?|file|sqlite)://?",
        description="Tracking server; null: the environment variable MLFLOW_TRACKING_URI. Credentials come from "
        "MLflow's own environment variables.",
    )
    experiment: str | None = Field(
        default=None, min_length=1, description="Name of the experiment, made if there is none; null: the pipeline's."
    )
    registered_model: str | None = Field(
        default=None,
        min_length=1,
        description="Model in MLflow's registry that gets a version for each published one; null: none.",
    )


class PrometheusConfig(Section):
    """A file for the textfile collector of Prometheus' node exporter. Needs the extra [tracking]."""

    folder: str = Field(
        min_length=1,
        description="The collector's folder (`--collector.textfile.directory`); gets `noisy_gru_<pipeline>.prom`.",
    )


class OpenTelemetryConfig(Section):
    """A trace of each run, with a span for each step, over OTLP/HTTP. Needs the extra [tracking]."""

    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Base URL of the collector; null: the environment variable OTEL_EXPORTER_OTLP_ENDPOINT. Headers "
        "come from OTEL_EXPORTER_OTLP_HEADERS.",
    )


class TensorBoardConfig(Section):
    """A folder of TensorBoard's event files for each run, with its settings for the HParams tab. Needs no library."""

    folder: str | None = Field(
        default=None,
        min_length=1,
        description="Gets a folder for each run, to be given to `tensorboard --logdir`; null: `tensorboard` under the "
        "root.",
    )


class WandbConfig(Section):
    """Weights & Biases: settings, metrics by epoch and the report of each run. Needs the extra [wandb]."""

    project: str = Field(min_length=1, pattern=r"^[^/\\#?%:]+$", description="Name of the project.")
    entity: str | None = Field(default=None, min_length=1, description="User or team; null: that of the API key.")
    mode: Literal["online", "offline"] = Field(
        default="online",
        description="`online`: sent at once, with the key in the environment variable WANDB_API_KEY; `offline`: kept "
        "in `wandb` under the root, for `wandb sync`.",
    )


class TrackingConfig(Section):
    """Where else the runs on this machine are reported. What fails there is a warning, never a failed run."""

    mlflow: MlflowConfig | None = Field(default=None, description="An MLflow tracking server.")
    prometheus: PrometheusConfig | None = Field(default=None, description="A file for Prometheus.")
    opentelemetry: OpenTelemetryConfig | None = Field(default=None, description="A collector of traces.")
    tensorboard: TensorBoardConfig | None = Field(default=None, description="Event files with the HParams of each run.")
    wandb: WandbConfig | None = Field(default=None, description="A project of Weights & Biases.")
    timeout: PositiveDuration = Field(
        default="1m", description="Time limit for all of them; `noisy-gru runs track` does it again."
    )

    @property
    def is_used(self) -> bool:
        """Whether there is anywhere to report to."""
        places = (self.mlflow, self.prometheus, self.opentelemetry, self.tensorboard, self.wandb)
        return any(place is not None for place in places)


def check_tracking(config: TrackingConfig) -> None:
    """Check that the libraries are installed that the section needs.

    Raises:
        MissingExtraError: one is not.
    """
    if config.mlflow is not None:
        require("mlflow", "tracking.mlflow")
    if config.prometheus is not None:
        require("prometheus_client", "tracking.prometheus")
    if config.opentelemetry is not None:
        require("opentelemetry.exporter", "tracking.opentelemetry")
    if config.wandb is not None:
        require("wandb", "tracking.wandb")
