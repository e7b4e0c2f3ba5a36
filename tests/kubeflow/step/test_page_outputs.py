"""What the page of a run shows: KFP's own SDK reads the properties, an HTML parser the report."""

from __future__ import annotations

import math
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from noisy_gru.components.evaluation.evaluation_summary import EvaluationSummary
from noisy_gru.kubeflow.step.page_outputs import PAGE_OUTPUTS, write_page_outputs

# TFX and the kfp SDK are imported with what they deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


class Cells(HTMLParser):
    """All texts, and the tags that were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def summary() -> EvaluationSummary:
    return EvaluationSummary(
        blessed=False,
        metrics={"accuracy": 0.75, "log_loss": math.nan, "example_count": 40.0},
        slices={"shop=<script>alert(1)</script>": {"accuracy": 0.5}},
        baseline={"accuracy": 0.8},
        reasons=["accuracy is 0.75, must be at least 0.9 (off by 0.15)"],
        warnings=["mae@3 is not shown to be below the seasonal naive's <b>"],
    )


def test_numbers_are_properties(tmp_path: Path) -> None:
    from kfp import dsl

    from noisy_gru.kubeflow.step.step_pages import evaluation_shown

    counts = np.array([[3, 1], [0, 2]])
    places = {name: tmp_path / "out" / name for name in PAGE_OUTPUTS}
    written = write_page_outputs(evaluation_shown(summary(), (["a", "b"], counts)), places)
    theirs = dsl.Metrics()
    for name, value in (("accuracy", 0.75), ("example_count", 40.0), ("published/accuracy", 0.8)):
        theirs.log_metric(name, value)
    matrix = dsl.ClassificationMetrics()
    matrix.log_confusion_matrix(["a", "b"], counts.tolist())
    assert written == {"metrics": theirs.metadata, "page": {}, "classification": matrix.metadata}
    del places["classification"]
    assert set(write_page_outputs(evaluation_shown(summary()), places)) == {"metrics", "page"}
    assert {
        "metrics": dsl.Metrics.schema_title,
        "page": dsl.HTML.schema_title,
        "classification": dsl.ClassificationMetrics.schema_title,
    } == PAGE_OUTPUTS


def test_the_report_is_one_page_that_runs_nothing(tmp_path: Path) -> None:
    from noisy_gru.kubeflow.step.step_pages import evaluation_shown

    write_page_outputs(evaluation_shown(summary()), {name: tmp_path / name for name in PAGE_OUTPUTS})
    page = Cells((tmp_path / "page").read_text())
    assert "script" not in page.tags
    for text in (
        "The model refused",
        "accuracy is 0.75, must be at least 0.9 (off by 0.15)",
        "0.75",
        "0.8",
        "nan",
        *summary().warnings,
    ):
        assert text in page.texts
    assert "shop=<script>alert(1)</script>" in page.texts
    assert [file.name for file in tmp_path.iterdir()] == ["page"]
