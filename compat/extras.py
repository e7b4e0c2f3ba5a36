"""Which extra of this package installs a library, and the error where it is missing.

    require("tfx", "running the pipeline")

Looks a library up without importing it.
"""

from __future__ import annotations

import importlib.util

from noisy_gru.schema.errors import ConfigError

DISTRIBUTION = "noisy-gru-tfx"
# By the package that is imported: the library, and the extra that installs it.
_LIBRARIES = {
    "grpc": ("gRPC", "grpc"),
    "grpc_health": ("gRPC's health service", "grpc"),
    "tfx": ("TFX", "pipeline"),
    "tensorflow": ("TensorFlow", "pipeline"),
    "tensorflow_serving": ("TensorFlow Serving's messages", "pipeline"),
    "tensorflow_transform": ("TensorFlow Transform", "pipeline"),
    "tensorflow_model_analysis": ("TensorFlow Model Analysis", "pipeline"),
    "keras": ("Keras", "pipeline"),
    "keras_tuner": ("KerasTuner", "pipeline"),
    "apache_beam": ("Apache Beam", "pipeline"),
    "ml_metadata": ("ML Metadata", "pipeline"),
    "scipy": ("SciPy", "pipeline"),
    "aiohttp": ("aiohttp", "pipeline"),
    "matplotlib": ("Matplotlib", "pipeline"),
    "kfp": ("the SDK of Kubeflow Pipelines", "kubeflow"),
    "kfp_server_api": ("the SDK of Kubeflow Pipelines", "kubeflow"),
    "kubernetes": ("Kubernetes' client", "kubeflow"),
    "onnx": ("ONNX", "onnx"),
    "confluent_kafka": ("Confluent's client of Kafka", "kafka"),
    "mlflow": ("MLflow's client", "tracking"),
    "prometheus_client": ("Prometheus' client", "tracking"),
    "statsforecast": ("StatsForecast", "statsforecast"),
    "wandb": ("Weights & Biases' client", "wandb"),
    "opentelemetry.exporter": ("OpenTelemetry's exporter for OTLP", "tracking"),
}


class MissingExtraError(ConfigError):
    """A library is not installed that comes with an extra of this package."""

    def __init__(self, package: str, purpose: str) -> None:
        library, extra = _LIBRARIES[package]
        super().__init__(f"{purpose} needs {library}, which is not installed: pip install '{DISTRIBUTION}[{extra}]'")


def require(package: str, purpose: str) -> None:
    """Do nothing if a library is installed.

    Args:
        package: the name that is imported.
        purpose: what needs it, to begin a sentence with.

    Raises:
        MissingExtraError: it is not installed; the message names the extra.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(package, purpose)


def missing_extra(error: ModuleNotFoundError, purpose: str) -> MissingExtraError | None:
    """Return an error that names the extra which installs a module; None if no extra does."""
    package = (error.name or "").partition(".")[0]
    installed = package not in _LIBRARIES or importlib.util.find_spec(package) is not None
    return None if installed else MissingExtraError(package, purpose)
