"""Tell tools that teams look at already how a run ended: MLflow, Prometheus, OpenTelemetry."""
