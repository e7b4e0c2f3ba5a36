"""What the page of a run shows of the evaluation: outputs of KFP's own types, because it shows no others.

``system.Metrics`` holds numbers as properties, which the page lists and compares, and KFP's plugin for MLflow logs
(frontend/src/components/viewers/MetricsVisualizations.tsx, 2.15.0; backend/src/v2/metadata/client.go, 2.17.0:1490).
``system.HTML`` is a file, which the page shows; ``system.ClassificationMetrics`` a confusion matrix in its properties.

    >>> sorted(PAGE_OUTPUTS)
    ['classification', 'metrics', 'report']
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.components.evaluation.summary import EvaluationSummary
from noisy_gru.kubeflow.step.confusion import as_properties, classified_label

CLASSIFICATION = "classification"
# Outputs by name, and their types.
PAGE_OUTPUTS = {"metrics": "system.Metrics", "report": "system.HTML", "classification": "system.ClassificationMetrics"}
_STYLE = "body{font:14px sans-serif}td,th{padding:2px 12px;text-align:right}td:first-child{text-align:left}"


def add_page_outputs(component: dict[str, Any], eval_config: str) -> None:
    """Adds them to the ``ComponentSpec`` of an Evaluator with this ``eval_config``, in place."""
    artifacts = component["outputDefinitions"]["artifacts"]
    for name, title in PAGE_OUTPUTS.items():
        if name == CLASSIFICATION and classified_label(eval_config) is None:
            continue
        artifacts[name] = {"artifactType": {"schemaTitle": title, "schemaVersion": "0.0.1"}}


def write_page_outputs(
    summary: EvaluationSummary, places: Mapping[str, Path], confusion: tuple[list[str], np.ndarray] | None = None
) -> dict[str, dict[str, Any]]:
    """Writes the files.

    Args:
        summary: of the evaluation.
        places: where the launcher looks for each output.
        confusion: the classes, and counts of true (rows) and predicted ones.

    Returns:
        Properties of each output.
    """
    report = places["report"]
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(as_html(summary), encoding="utf-8")
    metrics = {**summary.metrics, **{f"published/{name}": value for name, value in summary.baseline.items()}}
    # JSON has no NaN, and ML Metadata's client takes none.
    properties: dict[str, dict[str, Any]] = {
        "metrics": {name: value for name, value in metrics.items() if math.isfinite(value)},
        "report": {},
    }
    if CLASSIFICATION in places:
        properties[CLASSIFICATION] = as_properties(*confusion) if confusion else {}
    return properties


def as_html(summary: EvaluationSummary) -> str:
    """A page of its own: whether the model passed, why not, what it lost otherwise, and all metrics."""
    verdict = "passed" if summary.blessed else "refused"
    warnings = f"<h2>Lost, without being refused for it</h2>{_list(summary.warnings)}" if summary.warnings else ""
    tables = [_table("test split", summary.metrics, summary.baseline)]
    tables += [_table(name, metrics, summary.baseline_slices.get(name, {})) for name, metrics in summary.slices.items()]
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Evaluation</title><style>{_STYLE}</style>'
        f"</head><body><h1>The model {verdict}</h1>{_list(summary.reasons)}{warnings}{''.join(tables)}</body></html>\n"
    )


def _list(sentences: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(sentence)}</li>' for sentence in sentences)}</ul>"


def _table(name: str, metrics: Mapping[str, float], published: Mapping[str, float]) -> str:
    head = "<tr><th>metric</th><th>candidate</th>" + ("<th>published</th>" if published else "") + "</tr>"
    rows = ""
    for metric, value in metrics.items():
        beside = ""
        if published:
            beside = f"<td>{published[metric]:.4g}</td>" if metric in published else "<td></td>"
        rows += f"<tr><td>{html.escape(metric)}</td><td>{value:.4g}</td>{beside}</tr>"
    return f"<h2>{html.escape(name)}</h2><table>{head}{rows}</table>"
