"""Pages on several labels (`task.labels`): what was answered and predicted, against scikit-learn and counts by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.report.answers import Answers
from noisy_gru.pipeline.report.labels import labels, worst
from noisy_gru.pipeline.report.model_sections import evaluation_blocks
from noisy_gru.pipeline.report.predictions_account import predictions_page_account
from noisy_gru.pipeline.report.predictions_sections import prediction_blocks

NAMES = ["fever", "cough"]
CONFIG = """\
name: signs
schema: schema.pbtxt
data: {files: [rows.csv], entity: id, time: {column: t}, features: [x]}
task: {kind: classification, labels: [fever, cough]}
"""


def config(folder: Path) -> Any:
    (folder / "config.yaml").write_text(CONFIG)
    return load_config(folder / "config.yaml")


def predicted(folder: Path) -> Answers:
    random = np.random.default_rng(0)
    truth = (random.random((80, 2)) < [0.5, 0.2]).astype(float)
    scores = np.clip(0.3 * truth + random.random(truth.shape) * 0.7, 0, 1)
    truth[::9, 1] = np.nan
    columns = {"label": truth, "candidate": (scores >= 0.5).astype(float)}
    columns["candidate_loss"] = -np.log(np.where(truth > 0, scores, 1 - scores))
    ids = [f"p{number}" for number in range(80)]
    return Answers(ids, columns, config(folder).dataset, scores, tuple(NAMES))


def test_counts_and_areas_by_label(tmp_path: Path) -> None:
    answers = predicted(tmp_path)
    found = labels(answers)
    for place, (row, curve) in enumerate(zip(found["by_class"], found["curves"], strict=True)):
        known = ~np.isnan(answers.columns["label"][:, place])
        true, chosen = (answers.columns[name][known, place] for name in ("label", "candidate"))
        assert row["class"] == curve["class"] == NAMES[place]
        assert (row["sequences"], row["answered"]) == (true.sum(), chosen.sum())
        assert row["f1"] == pytest.approx(f1_score(true, chosen))
        assert answers.probabilities is not None
        scores = answers.probabilities[known, place]
        assert curve["roc_auc"] == pytest.approx(roc_auc_score(true, scores))
        assert curve["average_precision"] == pytest.approx(average_precision_score(true, scores))
    page = {"metrics": {"log_loss": 0.3}, "published": None, "first_states": None, "kind": "classification", **found}
    titles = [getattr(block, "title", "") for block in evaluation_blocks(page)]
    assert titles[1:] == ["By label", "Areas below the curves", "ROC", "Precision and recall"]
    cases = worst(answers, 3)
    assert [case["error"] for case in cases] == sorted((case["error"] for case in cases), reverse=True)
    losses = np.where(np.isnan(answers.columns["label"]), np.nan, answers.columns["candidate_loss"])
    assert cases[0]["error"] == pytest.approx(np.nanmax(np.nanmean(losses, axis=1)))
    assert {case["label"] for case in cases} <= {"none", "fever", "cough", "fever, cough"}


def test_predictions_of_several_labels(tmp_path: Path) -> None:
    frame = pd.DataFrame({"sequence_id": ["a", "b", "c"], "fever": [1, 1, 0], "probability_fever": [0.9, 0.6, 0.1]})
    frame.assign(cough=0, probability_cough=0.2).to_csv(tmp_path / "found.csv", index=False)
    content = predictions_page_account(config(tmp_path), [tmp_path / "found.csv"])["predictions"]
    assert content["labels"] == {"fever": 2, "cough": 0}
    assert content["numbers"][0]["mean"] == pytest.approx(1.6 / 3)
    titles = [getattr(block, "title", "") for block in prediction_blocks(content)]
    assert titles[1:] == ["Predicted classes", "Distribution of fever", "Distribution of cough", "Probabilities"]
