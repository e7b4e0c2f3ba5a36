"""Outputs of the steps on a run's page: retraining decision, anomalies, evaluation, gate verdicts, the report.

    >>> PAGES["ReferenceGate"](step).metrics["reference/accepted"]  # doctest: +SKIP
    0.0

A failed step has no outputs on the page, so the anomalies that `AnomalyGate` stops a run for are on ExampleValidator's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tfx.types.artifact import Artifact

from noisy_gru.components.anomaly_gate.executor import read_anomalies
from noisy_gru.components.evaluation.evaluation_summary import EvaluationSummary, read_evaluation
from noisy_gru.components.evaluation.recorded_answers import ANSWERS, read_answers
from noisy_gru.components.reference_gate.verdict import read_reference_verdict
from noisy_gru.components.retrain_planner.executor import PLAN_FILE
from noisy_gru.components.retrain_planner.plan import Reason
from noisy_gru.components.serving_gate.report import read_report
from noisy_gru.kubeflow.step.confusion import classified_label, confusion_matrix
from noisy_gru.kubeflow.step.page_outputs import Shown, html_page
from noisy_gru.kubeflow.step.run_report_page import run_report_page
from noisy_gru.schema.html_tables import html_list, html_table


class Step(Protocol):
    """A step that has run."""

    @property
    def inputs(self) -> Mapping[str, list[Artifact]]: ...
    @property
    def outputs(self) -> Mapping[str, list[Artifact]]: ...
    @property
    def properties(self) -> Mapping[str, Any]: ...
    @property
    def run_id(self) -> str: ...


def plan_page(step: Step) -> Shown:
    """Return whether to retrain, and the verdict of every rule."""
    plan = json.loads((_folder(step, "plan") / PLAN_FILE).read_text(encoding="utf-8"))
    reasons = [Reason(**each) for each in plan["reasons"]]
    title = "Retraining is due" if plan["retrain"] else "Held for a person" if plan["held"] else "Nothing is retrained"
    metrics = {"plan/retrain": plan["retrain"], "plan/held": plan["held"]}
    metrics |= {f"plan/{reason.rule}": reason.met for reason in reasons if not reason.is_off}
    table = html_table(("rule", "verdict", "why"), [(each.rule, each.verdict[1], each.text) for each in reasons])
    return Shown(metrics, html_page(title, [html_list([plan["summary"]]), table]))


def anomalies_page(step: Step) -> Shown:
    """Return the page of anomalies."""
    (artifact,) = step.outputs["anomalies"]
    found = read_anomalies(artifact)
    metrics = {"anomalies": len(found)}
    if not found:
        return Shown(metrics, html_page("The data matches the schema", []))
    rows = [(each.feature, each.split, each.expected, each.found, each.advice) for each in found]
    table = html_table(("feature", "split", "expected", "found", "what to do"), rows)
    return Shown(metrics, html_page("The data doesn't match the schema: AnomalyGate stops the run", [table]))


def evaluation_page(step: Step) -> Shown:
    """Return the page of an evaluation: metrics beside the published model's, and why the model was refused."""
    return evaluation_shown(read_evaluation(str(_folder(step, "evaluation"))), _confusion(step))


def evaluation_shown(summary: EvaluationSummary, confusion: tuple[list[str], np.ndarray] | None = None) -> Shown:
    """Return the page of an evaluation that was read."""
    metrics = {**summary.metrics, **{f"published/{name}": value for name, value in summary.baseline.items()}}
    parts = [html_list(summary.reasons)]
    if summary.warnings:
        parts.append(f"<h2>Lost, without being refused for it</h2>{html_list(summary.warnings)}")
    parts.append(_metrics_table("test split", summary.metrics, summary.baseline))
    for name, found in summary.slices.items():
        parts.append(_metrics_table(name, found, summary.baseline_slices.get(name, {})))
    return Shown(metrics, html_page(f"The model {'passed' if summary.blessed else 'refused'}", parts), confusion)


def reference_page(step: Step) -> Shown:
    """Return the comparison on the reference set."""
    verdict = read_reference_verdict(_folder(step, "blessing"))
    numbers = {
        verdict.metric: verdict.new,
        f"published/{verdict.metric}": verdict.published,
        "fall": verdict.fall,
        "fall at most": verdict.most,
        "margin": verdict.margin,
        "sequences": verdict.sequences,
        "independent": verdict.clusters,
    }
    known = {name: value for name, value in numbers.items() if value is not None}
    metrics = {"reference/accepted": verdict.accepted}
    metrics |= {f"reference/{name.replace(' ', '_')}": value for name, value in known.items()}
    title = f"The reference set: the model {'passed' if verdict.accepted else 'is refused'}"
    table = html_table(("number", "value"), list(known.items()))
    return Shown(metrics, html_page(title, [html_list([verdict.text]), table]))


def serving_page(step: Step) -> Shown:
    """Return the checks of the served model."""
    report = read_report(_folder(step, "report"))
    numbers = {
        f"{check['name']}/{name}": value for check in report["checks"] for name, value in check["numbers"].items()
    }
    metrics = {"serving/accepted": report["blessed"]}
    metrics |= {f"serving/{name}": value for name, value in numbers.items() if value is not None}
    rows = [(check["name"], "passed" if check["passed"] else "refused", check["found"]) for check in report["checks"]]
    title = f"TF Serving {'can serve the model' if report['blessed'] else 'must not get the model'}"
    parts = [html_list(report["problems"]), html_table(("check", "verdict", "found"), rows)]
    return Shown(metrics, html_page(title, [*parts, html_table(("number", "value"), list(numbers.items()))]))


# By the name of the step.
PAGES: dict[str, Callable[[Step], Shown]] = {
    "RetrainPlanner": plan_page,
    "ExampleValidator": anomalies_page,
    "Evaluator": evaluation_page,
    "ReferenceGate": reference_page,
    "ServingGate": serving_page,
    "RunReport": run_report_page,
}


def _folder(step: Step, output: str) -> Path:
    (artifact,) = step.outputs[output]
    return Path(artifact.uri)


def _metrics_table(name: str, metrics: Mapping[str, float], published: Mapping[str, float]) -> str:
    if not published:
        return html_table(("metric", "candidate"), list(metrics.items()), name)
    rows = [(metric, value, published.get(metric)) for metric, value in metrics.items()]
    return html_table(("metric", "candidate", "published"), rows, name)


def _confusion(step: Step) -> tuple[list[str], np.ndarray] | None:
    """Return the confusion matrix of a classification that was evaluated; None for any other task."""
    if classified_label(step.properties["eval_config"]) is None:
        return None
    return confusion_matrix(read_answers(_folder(step, "evaluation") / ANSWERS))
