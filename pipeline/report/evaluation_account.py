"""The evaluation: metrics and slices as recorded, what the answers come to by task, and the worst cases."""

from __future__ import annotations

from typing import Any

from noisy_gru.components.evaluation.evaluation_summary import read_first_states
from noisy_gru.pipeline.report import classification, forecasts, labels, regression
from noisy_gru.pipeline.report.answers import Answers, load_answers
from noisy_gru.pipeline.report.artifacts import AbsentError, Artifacts
from noisy_gru.pipeline.report.sequences import sequences_by_id
from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig
from noisy_gru.schema.task_config import is_multi_label, is_per_step

_WORST_SHOWN = 4


def evaluation_account(artifacts: Artifacts, examples: bool) -> dict[str, Any]:
    """Return `metrics`, `published`, `slices`, and what the answers come to: `kind` and the content of its task.

    Raises:
        AbsentError: the run ended before the Evaluator did.
    """
    record = artifacts.record
    if not record.metrics:
        raise AbsentError("Nothing to show: the run ended before Evaluator.")
    found: dict[str, Any] = {"metrics": record.metrics, "published": record.previous, "slices": record.slices}
    found["first_states"] = _first_states(artifacts)
    try:
        answers = load_answers(artifacts)
    except AbsentError as absent:
        return {**found, "kind": None, "note": str(absent)}
    task = answers.dataset.task
    found |= {"kind": task.kind, "sequences": len(set(answers.ids)), "of_steps": is_per_step(task)}
    if is_multi_label(task):
        return {**found, **labels.labels(answers)}
    if isinstance(task, ClassificationConfig):
        return {**found, **classification.classification(answers)}
    if isinstance(task, ForecastingConfig):
        return {**found, **forecasts.forecasting(answers, examples)}
    return {**found, **regression.regression(answers)}


def _first_states(artifacts: Artifacts) -> dict[str, Any] | None:
    """Return the metric from other first states; None where the run didn't measure it, or its artifact is gone."""
    try:
        return read_first_states(artifacts.folder("Evaluator", "evaluation"))
    except AbsentError:
        return None


def worst_account(artifacts: Artifacts, examples: bool) -> dict[str, Any]:
    """Return the worst answers on the test split, with the sequences that they were given for.

    Raises:
        AbsentError: examples are switched off, or there are no answers.
    """
    if not examples:
        raise AbsentError("Not shown: the configuration has report: {examples: false}.")
    answers = load_answers(artifacts)
    cases = _worst(answers)
    try:
        folder = artifacts.folder("SequenceExampleGen", "examples")
        sequences = sequences_by_id(folder, "test", answers.dataset, [case["id"] for case in cases])
    except AbsentError:
        sequences = {}
    return {"cases": [{**case, "sequence": sequences.get(case["id"])} for case in cases]}


def _worst(answers: Answers) -> list[dict[str, Any]]:
    task = answers.dataset.task
    if is_multi_label(task):
        return labels.worst(answers, _WORST_SHOWN)
    if isinstance(task, ClassificationConfig):
        return classification.worst(answers, _WORST_SHOWN)
    if isinstance(task, ForecastingConfig):
        return forecasts.worst(answers, _WORST_SHOWN)
    return regression.worst(answers, _WORST_SHOWN)
