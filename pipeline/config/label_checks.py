"""Check the classes that a configuration names against the domain of the label in the schema."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from noisy_gru.components.evaluation.metric_catalogue import class_of
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.schema.config import ClassificationConfig

_MOST_NAMED = 10


def label_problems(config: PipelineConfig, schema: Any) -> list[str]:
    """Return messages about classes that the label can't have; none if the schema doesn't bound its values.

    Args:
        config: which may name classes in class weights, `task.positive`, and metrics of a class.
        schema: ``schema_pb2.Schema``, derived.
    """
    if not isinstance(config.task, ClassificationConfig):
        return []
    known = _domain(schema, config.task.label)
    problems = []
    if config.task.threshold is not None and known and len(known) != 2:
        problems.append(
            f"task.threshold is about two classes, and the schema has {len(known)} of {config.task.label} "
            f"({_listed(known)}); leave it out"
        )
    for key, label in _named(config, config.task):
        if known and label not in known:
            close = difflib.get_close_matches(label, known, n=1)
            guess = f" (did you mean {close[0]}?)" if close else ""
            problems.append(
                f"{key}: {label} is not a class of {config.task.label}{guess}. The schema has {_listed(known)}"
            )
    return problems


def _named(config: PipelineConfig, task: ClassificationConfig) -> Iterator[tuple[str, str]]:
    """The classes that a configuration names, each after its key."""
    if isinstance(config.training.class_weights, dict):
        yield from (("training.class_weights", label) for label in config.training.class_weights)
    if task.positive is not None:
        yield "task.positive", task.positive
    evaluation = config.evaluation
    metrics = [(f"evaluation.thresholds.{name}", name) for name in evaluation.thresholds]
    metrics.append(("evaluation.baseline_metric", evaluation.baseline_metric))
    if evaluation.compare is not None:
        metrics.append(("evaluation.compare.metric", evaluation.compare.metric))
    for key, name in metrics:
        if (label := class_of(name)) is not None:
            yield key, label


def _domain(schema: Any, label: str) -> list[str]:
    """The values that a schema allows for the label; empty if it doesn't bound them."""
    for feature in schema.feature:
        if feature.name == label:
            if feature.WhichOneof("domain_info") == "string_domain":
                # A label of a step may be missing.
                return [value for value in feature.string_domain.value if value]
            if feature.WhichOneof("domain_info") == "domain":
                return [value for each in schema.string_domain if each.name == feature.domain for value in each.value]
    return []


def _listed(values: list[str]) -> str:
    return ", ".join(values[:_MOST_NAMED]) + (", …" if len(values) > _MOST_NAMED else "")
