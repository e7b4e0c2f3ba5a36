"""Tell tools that teams look at how a run ended: MLflow, TensorBoard, Weights & Biases, Prometheus, OpenTelemetry."""
