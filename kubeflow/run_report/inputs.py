"""Which output of which step is which input of `RunReport`, in the order of the steps."""

from __future__ import annotations

SOURCES: dict[str, tuple[str, str]] = {
    "plan": ("RetrainPlanner", "plan"),
    "ingestion_report": ("SequenceExampleGen", "ingestion_report"),
    "examples": ("SequenceExampleGen", "examples"),
    "statistics": ("StatisticsGen", "statistics"),
    "tuner_results": ("Tuner", "tuner_results"),
    "base_model": ("WarmStartBase", "model"),
    "model": ("Trainer", "model"),
    "model_run": ("Trainer", "model_run"),
    "published_model": ("LatestBlessed", "model"),
    "evaluation": ("Evaluator", "evaluation"),
    "reference": ("ReferenceGate", "blessing"),
    "serving_report": ("ServingGate", "report"),
    "pushed_model": ("Pusher", "pushed_model"),
}
