"""Outputs of KFP's own types, because the page of a run shows no others.

``system.Metrics`` holds numbers as properties, which the page lists and compares, and KFP's plugin for MLflow logs
(frontend/src/components/viewers/MetricsVisualizations.tsx, 2.15.0; backend/src/v2/metadata/client.go, 2.17.0:1490).
``system.HTML`` is a file, which the page shows; ``system.ClassificationMetrics`` a confusion matrix in its properties.
What each step shows: ``step_pages.py``.

    >>> sorted(PAGE_OUTPUTS)
    ['classification', 'metrics', 'page']
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.kubeflow.step.confusion import as_properties

CLASSIFICATION = "classification"
# Outputs by name, and their types.
PAGE_OUTPUTS = {"metrics": "system.Metrics", "page": "system.HTML", CLASSIFICATION: "system.ClassificationMetrics"}
_STYLE = "body{font:14px sans-serif}td,th{padding:2px 12px;text-align:left}td.number{text-align:right}"


@dataclass(frozen=True)
class Shown:
    """Outputs of a step on the run's page.

    Attributes:
        metrics: numbers by name; the names of all steps are in one list where runs are compared.
        page: HTML, whole.
        confusion: the classes, and counts of true (rows) and predicted ones; None for none.
    """

    metrics: Mapping[str, float]
    page: str
    confusion: tuple[list[str], np.ndarray] | None = None


def add_page_outputs(component: dict[str, Any], *, classification: bool = False) -> None:
    """Add the page outputs to the ``ComponentSpec`` of a step, in place; the confusion matrix only on request."""
    artifacts = component.setdefault("outputDefinitions", {}).setdefault("artifacts", {})
    for name, title in PAGE_OUTPUTS.items():
        if name != CLASSIFICATION or classification:
            artifacts[name] = {"artifactType": {"schemaTitle": title, "schemaVersion": "0.0.1"}}


def write_page_outputs(shown: Shown, places: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Write the files.

    Args:
        shown: by the step.
        places: where the launcher looks for each output.

    Returns:
        Properties of each output.
    """
    page = places["page"]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(shown.page, encoding="utf-8")
    # JSON has no NaN, and ML Metadata's client takes none.
    metrics = {name: float(value) for name, value in shown.metrics.items() if math.isfinite(value)}
    properties: dict[str, dict[str, Any]] = {"metrics": metrics, "page": {}}
    if CLASSIFICATION in places:
        properties[CLASSIFICATION] = as_properties(*shown.confusion) if shown.confusion else {}
    return properties


def html_page(title: str, parts: Iterable[str]) -> str:
    """Return a page of its own of HTML parts."""
    heading = html.escape(title)
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{heading}</title><style>{_STYLE}</style>'
        f"</head><body><h1>{heading}</h1>{''.join(parts)}</body></html>\n"
    )
