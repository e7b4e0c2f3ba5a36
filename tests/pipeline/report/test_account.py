"""The account of a run: numbers against scikit-learn's and SciPy's, and what becomes of torn and missing files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn import metrics

from noisy_gru.pipeline.report.account import SECTIONS, run_account
from noisy_gru.pipeline.report.classification import calibration, curves
from noisy_gru.pipeline.report.feature_account import jensen_shannon
from noisy_gru.pipeline.report.page import run_page
from noisy_gru.pipeline.runs.run_record import StepRecord
from tests.pipeline.report.conftest import CLASSES, SECRET


def account_of(run):
    return run_account(run.record, run.directory.root)


def test_every_part_is_there(make_run):
    run = make_run()
    account = account_of(run)
    assert account["notes"] == {}
    assert json.loads(json.dumps(account, allow_nan=False)) == account
    assert account["outcome"]["headline"] == "Published as version 4"
    assert account["outcome"]["compared_with"] == 3
    assert account["outcome"]["decisive"]["lower"] == 0.05
    assert account["data"]["rows"]["quarantined"] == {"total": 10, "bad_number": 10}
    assert account["training"]["history"] == {
        "epoch": [1.0, 2.0, 3.0],
        "loss": [1.5, 0.5, 0.25],
        "val_loss": [1.25, 0.75, None],
    }
    assert account["gate"]["checks"][0]["numbers"]["single_p50_ms"] == 1.25
    assert account["gate"]["checks"][0]["distributions"]["single_ms"]["counts"] == [50, 10]
    assert account["evaluation"]["first_states"]["noisy_start"] == 0.5
    assert "another sequence&#39;s last state: not measured: the &lt;test&gt; split" in run_page(account)
    assert account["importance"]["features"][0]["log_loss"] == {"mean": 0.5, "low": 0.25, "high": 0.75}
    assert account["resources"]["steps"][1]["cpu_seconds"] == 1.25


def test_the_tuners_trials(make_run):
    run = make_run()
    assert account_of(run)["tuning"] is None
    folder = run.folder("Tuner", "tuner_results")
    file = folder / "tuner_results.json"
    # As TFX writes it: the best one first.
    trials = [
        {"trial_id": "03", "score": 0.25, "stddev_scale": 10.0, "learn_mean": True},
        {"trial_id": "00", "score": 0.5, "stddev_scale": 0.0, "learn_mean": False},
    ]
    file.write_text(json.dumps(trials))
    run.record.steps.insert(3, StepRecord(name="Tuner", status="complete", seconds=2.0))
    run.record.artifacts["Tuner"] = {"tuner_results": [str(folder)]}
    account = account_of(run)
    assert account["tuning"]["metric"] == "val_loss"
    assert account["tuning"]["trials"] == [
        {"trial": 4, "score": 0.25, "values": {"stddev_scale": 10.0, "learn_mean": True}},
        {"trial": 1, "score": 0.5, "values": {"stddev_scale": 0.0, "learn_mean": False}},
    ]
    page = run_page(account)
    assert "Trials; the first one is chosen" in page and "stddev scale" in page
    for torn in ("[{", '[{"score": 1}]', "{}x"):
        file.write_text(torn)
        account = account_of(run)
        assert account["tuning"] is None
        assert "tuner_results.json can't be read" in account["notes"]["tuning"]
        assert "tuner_results.json can&#39;t be read" in run_page(account)


def test_a_classification_is_that_of_scikit_learn(make_run):
    run = make_run()
    evaluation = account_of(run)["evaluation"]
    names = sorted(CLASSES)
    label, answer = ([CLASSES[place] for place in each] for each in (run.label, run.candidate))
    assert evaluation["confusion"]["classes"] == names
    assert evaluation["confusion"]["counts"] == metrics.confusion_matrix(label, answer, labels=names).tolist()
    by_class: Any = metrics.precision_recall_fscore_support(label, answer, labels=names)
    precision, recall, f1, count = by_class
    for place, found in enumerate(evaluation["by_class"]):
        expected = precision[place], recall[place], f1[place], count[place]
        assert (found["precision"], found["recall"], found["f1"], found["sequences"]) == pytest.approx(expected)
    for found in evaluation["curves"]:
        place = CLASSES.index(found["class"])
        true, scores = run.label == place, run.probabilities[:, place].astype(float)
        assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(true, scores))
        assert found["average_precision"] == pytest.approx(metrics.average_precision_score(true, scores))
    assert len(evaluation["curves"]) == 3


def test_curves_with_equal_scores_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    scores, true = random.integers(0, 5, 200) / 5, random.random(200) < 0.3
    found = curves(scores, true)
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(true, scores))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(true, scores))


def test_calibration_by_hand():
    probabilities = np.array([[0.95, 0.05], [0.05, 0.95], [0.45, 0.55], [0.58, 0.42]])
    true = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], bool)
    found = calibration(probabilities, true)
    assert [(each["answers"], each["right"]) for each in found["bins"]] == [(2, 0.5), (2, 0.5)]
    assert found["bins"][0]["confidence"] == pytest.approx(0.565)
    assert found["expected_calibration_error"] == pytest.approx((0.45 + 0.065) / 2)


def test_the_distance_is_that_of_scipy():
    random = np.random.default_rng(3)
    one, other = random.dirichlet(np.ones(12), 2)
    one[:3] = 0
    one /= one.sum()
    assert jensen_shannon(one, other) == pytest.approx(jensenshannon(one, other, base=2) ** 2)
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1.0)


def test_distance_and_shares_of_the_statistics(make_run):
    (feature, _) = account_of(make_run())["features"]["features"]
    # Train is even on [-2, 2], test on [-1, 3]: a fifth of the range [-2, 3] is 5 ends of 20 bins.
    assert feature["splits"]["train"]["missing"] == pytest.approx(0.01)
    train, test = np.array([1 / 16] * 16 + [0] * 4), np.array([0] * 4 + [1 / 16] * 16)
    assert feature["shares"]["train"] == pytest.approx(train)
    assert feature["distance"]["test"] == pytest.approx(jensenshannon(train, test, base=2) ** 2)


def test_the_worst_are_those_with_the_largest_loss(make_run):
    run = make_run()
    loss = -np.log(run.probabilities[np.arange(60), run.label].astype(float))
    cases = account_of(run)["worst"]["cases"]
    assert [case["id"] for case in cases] == [run.ids[place] for place in np.argsort(-loss)[:4]]
    assert cases[0]["sequence"]["id"] == cases[0]["id"]
    assert len(cases[0]["sequence"]["columns"]["a"]) in (1, 10)


FILES = {
    "data": "SequenceExampleGen/ingestion_report/1/ingestion_report.json",
    "features": "StatisticsGen/statistics/1/Split-train/FeatureStats.pb",
    "training": "Trainer/model_run/1/history.csv",
    "evaluation": "Evaluator/evaluation/1/answers/answers-0.parquet",
    "gate": "ServingGate/report/1/report.json",
}


@pytest.mark.parametrize("section", FILES)
@pytest.mark.parametrize("content", [b"", b"\xff\x00{", None])
def test_a_torn_file_is_a_grey_section_and_stops_nothing_else(make_run, section, content):
    run = make_run()
    file = run.directory.artifacts / FILES[section]
    if content is None:
        content = file.read_bytes()[: file.stat().st_size // 2]
    file.write_bytes(content)
    account = account_of(run)
    page = run_page(account)
    also = {"evaluation": {"worst"}, "gate": {"importance"}}.get(section, set())
    assert set(account["notes"]) <= {section, *also}
    assert account[section] is None or section == "training"
    if account[section] is None:
        assert account["notes"][section]
        assert "can&#39;t be" in page or "Nothing to show" in page


@pytest.mark.parametrize("step", ["SequenceExampleGen", "StatisticsGen", "Trainer", "Evaluator", "ServingGate"])
def test_artifacts_that_are_gone(make_run, step):
    run = make_run()
    shutil.rmtree(run.directory.artifacts / step)
    account = account_of(run)
    assert any("is missing" in note for note in account["notes"].values())
    assert "Published as version 4" in run_page(account)
    pruned = run.record.model_copy(update={"pruned": "2026-05-01T00:00:00Z"})
    assert any("deleted on 2026-05-01" in each for each in run_account(pruned, run.directory.root)["notes"].values())


def test_a_run_that_failed_early(make_run):
    run = make_run()
    record = run.record.model_copy(
        update={"status": "failed", "error": "no <file>", "steps": run.record.steps[:2], "artifacts": {}, "metrics": {}}
        | {"comparisons": [], "version": None}
    )
    account = run_account(record, run.directory.root)
    assert set(account["notes"]) == set(SECTIONS) - {"outcome", "lineage", "resources", "reference", "tuning"}
    assert account["outcome"]["reasons"] == ["no <file>"]
    assert any("noisy-gru run /somewhere/config.yaml" in each for each in account["outcome"]["next"])
    assert "no &lt;file&gt;" in run_page(account)


def test_a_record_of_another_release(make_run):
    run = make_run()
    record = run.record.model_copy(update={"config": {"name": "odd"}, "comparisons": [{"metric": "accuracy"}]})
    account = run_account(record, run.directory.root)
    assert account["outcome"] is None
    assert account["evaluation"]["kind"] is None
    assert "another release" in account["evaluation"]["note"]
    assert "can&#39;t be read" in run_page(account)


def test_the_reference_set_is_shown_where_there_is_one(make_run):
    run = make_run()
    run.record.config["evaluation"] = {"reference": {"files": ["fixed.csv"]}}
    assert "ReferenceGate" in account_of(run)["notes"]["reference"]
    verdict = {"accepted": False, "text": "too far off", "metric": "accuracy", "new": 0.25, "margin": 0.1}
    folder = run.folder("ReferenceGate", "blessing")
    (folder / "verdict.json").write_text(json.dumps({**verdict, "sequences": 12, "clusters": 12}))
    assert account_of(run)["reference"]["new"] == 0.25
    assert "too far off" in run_page(account_of(run))


def test_importance_that_was_not_measured(make_run):
    run = make_run()
    file = run.directory.artifacts / "ServingGate/report/1/report.json"
    content = json.loads(file.read_text())
    assert "What the answers depend on" in run_page(account_of(run))
    file.write_text(json.dumps(content | {"importance": {"note": "it takes 9 s, <allowed> are 1"}}))
    assert account_of(run)["notes"] == {"importance": "Not measured: it takes 9 s, <allowed> are 1"}
    assert "it takes 9 s, &lt;allowed&gt; are 1" in run_page(account_of(run))
    # Switched off, or of an earlier release.
    for earlier in (content | {"importance": None}, {key: content[key] for key in content if key != "importance"}):
        earlier["checks"][0]["distributions"] = None
        file.write_text(json.dumps(earlier))
        assert account_of(run)["notes"] == {}
        assert "What the answers depend on" not in run_page(account_of(run))


def test_a_root_that_was_moved(make_run, tmp_path):
    run = make_run()
    moved = tmp_path / "elsewhere"
    run.directory.root.rename(moved)
    assert run_account(run.record, moved)["notes"] == {}


def test_without_examples_no_row_and_no_name_is_in_it(make_run):
    run = make_run()
    run.record.config["report"] = {"examples": False}
    account = account_of(run)
    page = run_page(account)
    assert SECRET not in json.dumps(account)
    assert SECRET not in page
    assert "192.0.2.1" not in page
    assert account["notes"]["worst"].startswith("Not shown")
    assert account["evaluation"]["confusion"]


def test_without_examples_no_error_is_quoted(make_run):
    run = make_run()
    run.record.config["report"] = {"examples": False}
    run.record.steps[1].summary = f"rounded: {SECRET}"
    steps = [run.record.steps[0], run.record.steps[1].model_copy(update={"status": "failed"})]
    record = run.record.model_copy(update={"status": "failed", "error": f"row 3: {SECRET}", "steps": steps})
    account = run_account(record, run.directory.root)
    assert SECRET not in json.dumps(account)
    assert account["outcome"]["reasons"][0].startswith("SequenceExampleGen failed.")
    record.config["report"] = {"examples": True}
    assert run_account(record, run.directory.root)["outcome"]["reasons"] == [f"row 3: {SECRET}"]


def test_equal_accounts_give_equal_pages(make_run):
    account = account_of(make_run())
    assert run_page(account) == run_page(account)


def test_whole_numbers_and_others():
    from noisy_gru.pipeline.report.page import shown_number

    shown = [shown_number(each) for each in (1234567, 3.0, 0.00012345, 1e300, -0.5)]
    assert shown == ["1,234,567", "3", "0.0001234", "1e+300", "-0.5"]


def test_the_config_of_the_fixture_is_valid(make_run):
    from noisy_gru.pipeline.report.artifacts import Artifacts

    run = make_run()
    assert Artifacts(run.record, Path(run.record.root)).config().report.examples
