"""The `tracking` section: where else runs are reported."""

from __future__ import annotations

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


class TrackingConfig(Section):
    """Where else the runs on this machine are reported. What fails there is a warning, never a failed run."""

    mlflow: MlflowConfig | None = Field(default=None, description="An MLflow tracking server.")
    prometheus: PrometheusConfig | None = Field(default=None, description="A file for Prometheus.")
    opentelemetry: OpenTelemetryConfig | None = Field(default=None, description="A collector of traces.")
    timeout: PositiveDuration = Field(
        default="1m", description="Time limit for all of them; `noisy-gru runs track` does it again."
    )

    @property
    def any(self) -> bool:
        """Whether there is anywhere to report to."""
        return not (self.mlflow is None and self.prometheus is None and self.opentelemetry is None)


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
