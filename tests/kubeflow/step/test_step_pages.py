"""What the gates and the planner show on KFP's page, of what the real steps write; read by an HTML parser."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from noisy_gru.components.evaluation.served_error import ServedError
from noisy_gru.components.reference_gate.verdict import ReferenceVerdict, write_reference_verdict
from noisy_gru.components.retrain_planner.config import RulesConfig
from noisy_gru.components.retrain_planner.evidence import DataChanges, Evidence, Measurements, PublishedVersion
from noisy_gru.components.retrain_planner.planning import decide
from noisy_gru.components.serving_gate.report import GateCheck, GateReport
from tests.pipeline.report.conftest import FakeRun

# TFX warns of its own use of what it deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
NOW = datetime(2026, 4, 1, 3, tzinfo=UTC)
ODD = "<script>&"


class Texts(HTMLParser):
    """The texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def shown(name: str, folder: Path, output: str, artifact: Any = None) -> tuple[dict[str, float], list[str]]:
    """Metrics as KFP gets them, and the texts of the page."""
    from noisy_gru.kubeflow.step.page_outputs import write_page_outputs
    from noisy_gru.kubeflow.step.step_pages import PAGES

    outputs = {output: [artifact or SimpleNamespace(uri=str(folder))]}
    step: Any = SimpleNamespace(inputs={}, outputs=outputs, properties={})
    places = {"metrics": folder / "shown" / "metrics", "page": folder / "shown" / "page"}
    metrics = write_page_outputs(PAGES[name](step), places)["metrics"]
    json.dumps(metrics, allow_nan=False)
    page = Texts(places["page"].read_text())
    assert "script" not in page.tags
    return metrics, page.texts


@pytest.mark.parametrize("accepted", [True, False])
def test_the_reference_gate(tmp_path: Path, accepted: bool) -> None:
    verdict = ReferenceVerdict(
        accepted=accepted,
        text=f"accuracy is 0.1 {ODD}",
        metric="accuracy",
        new=0.1,
        published=0.9,
        fall=0.8,
        most=float("inf"),
        margin=0.1,
        sequences=400,
        clusters=4,
    )
    write_reference_verdict(tmp_path, verdict)
    metrics, texts = shown("ReferenceGate", tmp_path, "blessing")
    assert metrics == {
        "reference/accepted": float(accepted),
        "reference/accuracy": 0.1,
        "reference/published/accuracy": 0.9,
        "reference/fall": 0.8,
        "reference/margin": 0.1,
        "reference/sequences": 400,
        "reference/independent": 4,
    }
    assert f"The reference set: the model {'passed' if accepted else 'is refused'}" in texts
    assert f"accuracy is 0.1 {ODD}" in texts


def test_the_first_model_has_nothing_to_compare_with(tmp_path: Path) -> None:
    write_reference_verdict(
        tmp_path, ReferenceVerdict(accepted=True, text="-", metric="mae", new=2, margin=0.1, sequences=40, clusters=4)
    )
    metrics, _ = shown("ReferenceGate", tmp_path, "blessing")
    assert metrics == {
        "reference/accepted": 1,
        "reference/mae": 2,
        "reference/margin": 0.1,
        "reference/sequences": 40,
        "reference/independent": 4,
    }


def test_the_serving_gate(tmp_path: Path) -> None:
    checks = [
        GateCheck("load", "loaded", numbers={"seconds": 1.5, "worst": float("nan")}),
        GateCheck("memory", f"takes 9 MB {ODD}", ["9 MB are too much"], {"memory_mb": 9}),
    ]
    GateReport("m", checks).write(tmp_path)
    metrics, texts = shown("ServingGate", tmp_path, "report")
    assert metrics == {"serving/accepted": 0, "serving/load/seconds": 1.5, "serving/memory/memory_mb": 9}
    for text in ("TF Serving must not get the model", "9 MB are too much", f"takes 9 MB {ODD}", "passed", "refused"):
        assert text in texts
    GateReport("m", checks[:1]).write(tmp_path)
    metrics, texts = shown("ServingGate", tmp_path, "report")
    assert metrics["serving/accepted"] == 1
    assert "TF Serving can serve the model" in texts


@pytest.mark.parametrize(("error", "held"), [(0.4, False), (2.0, True)])
def test_the_planner(tmp_path: Path, error: float, held: bool) -> None:
    served = ServedError(error=error, lower=error, published=0.2, limit=0.6, sequences=50, independent=50)
    evidence = Evidence(
        base=PublishedVersion(version=7, published=NOW - timedelta(days=1), spans="8-9"),
        changes=DataChanges(by_span=True, known=True, spans=(10,), files=(f"10{ODD}.csv",)),
        spans=(8, 9, 10),
        data="now",
        measured=Measurements(rows=100, sequences=50, why_no_drift="off", served=served),
    )
    plan = decide(RulesConfig(), evidence, pipeline="p", now=NOW, force=False)
    (tmp_path / "plan.json").write_text(plan.to_json())
    metrics, texts = shown("RetrainPlanner", tmp_path, "plan")
    assert (metrics["plan/retrain"], metrics["plan/held"]) == (not held, held)
    assert (metrics["plan/new_spans"], metrics["plan/served_model"]) == (1, held)
    assert ("Held for a person" if held else "Retraining is due") in texts
    assert plan.summary in texts
    assert {"served_model", "alarm" if held else "quiet"} <= set(texts)


def report_of(inputs: dict[str, Any], **properties: Any) -> tuple[dict[str, float], str]:
    from noisy_gru.kubeflow.step.page_outputs import write_page_outputs
    from noisy_gru.kubeflow.step.step_pages import PAGES

    folder = Path(next(iter(inputs.values()))[0].uri) / "shown"
    step: Any = SimpleNamespace(inputs=inputs, outputs={}, properties=properties, run_id="run-7")
    places = {"metrics": folder / "metrics", "page": folder / "page"}
    return write_page_outputs(PAGES["RunReport"](step), places)["metrics"], places["page"].read_text()


@pytest.mark.parametrize("pushed", [True, False])
def test_the_report_is_that_of_the_artifacts(tmp_path: Path, pushed: bool) -> None:
    """The artifacts of a run of this machine, as a pod gets them: the same sections, and the places in the store."""
    from tfx.types import standard_artifacts

    from noisy_gru.components.artifacts import ORIGIN
    from noisy_gru.kubeflow.run_report.inputs import SOURCES
    from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
    from noisy_gru.pipeline.report.account import run_account

    run = FakeRun(tmp_path)
    ended = standard_artifacts.PushedModel()
    ended.uri = str(tmp_path)
    # As TFX's entrypoint reads what Kubeflow sends.
    ended.set_json_value_custom_property("pushed", float(pushed))
    ended.set_json_value_custom_property("pushed_version", "9")
    ended.set_string_custom_property("pushed_destination", "/mnt/serving/odd/9")
    ended.set_string_custom_property("reason", f"not published: {ODD}")
    inputs: dict[str, Any] = {"pushed_model": [ended]}
    for name, (step, output) in SOURCES.items():
        if name in ("evaluation", "pushed_model") or output not in run.record.artifacts.get(step, {}):
            continue
        artifact = standard_artifacts.Model()
        (artifact.uri,) = run.record.artifacts[step][output]
        artifact.set_string_custom_property(ORIGIN, f"s3://bucket/{name}")
        inputs[name] = [artifact]
    config = PipelineConfig.model_validate(run.record.config).model_dump_json(by_alias=True)
    metrics, page = report_of(inputs, config=config)
    assert metrics == {"run/published": pushed, "run/rows_kept": 890}
    texts = Texts(page).texts
    account = json.loads(page.partition('id="account">')[2].partition("</script>")[0])
    expected = run_account(run.record, tmp_path)
    for part in ("data", "features", "training", "gate", "importance"):
        assert account[part] == expected[part]
    assert account["lineage"]["artifacts"]["Trainer"]["model_run"] == ["s3://bucket/model_run"]
    assert "odd · run run-7 on Kubeflow · " in "".join(texts)
    assert "Time and memory of each step are on Kubeflow's own page of the run." in texts
    if pushed:
        assert "Published as version 9" in texts
    else:
        assert f"Pusher: {ODD}" in texts


def test_a_report_that_fails_says_so_and_the_run_goes_on(tmp_path: Path) -> None:
    metrics, page = report_of({"evaluation": [SimpleNamespace(uri=str(tmp_path))]}, config=f"not {ODD}")
    assert metrics == {}
    assert "The report of this run can't be made" in Texts(page).texts
    assert "JSONDecodeError" in page


def test_anomalies_are_on_the_page_of_the_step_that_finds_them(tmp_path: Path) -> None:
    """AnomalyGate fails, and KFP's launcher publishes no outputs of a step that failed."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import anomalies_pb2
    from tfx.types import standard_artifacts

    artifact = standard_artifacts.ExampleAnomalies()
    artifact.uri, artifact.split_names = str(tmp_path), '["train", "test"]'
    proto: Any = anomalies_pb2
    found = 'anomaly_info { key: "x" value { path { step: "x" } severity: ERROR reason { '
    found += f'type: FEATURE_TYPE_NOT_PRESENT description: "all {ODD}" short_description: "gone" }} }} }}'
    for text, count in (("", 0), (found, 1)):
        for split in ("train", "test"):
            (tmp_path / f"Split-{split}").mkdir(exist_ok=True)
            anomalies = text_format.Parse(text if split == "test" else "", proto.Anomalies())
            (tmp_path / f"Split-{split}" / "SchemaDiff.pb").write_bytes(anomalies.SerializeToString(deterministic=True))
        metrics, texts = shown("ExampleValidator", tmp_path, "anomalies", artifact)
        assert metrics == {"anomalies": count}
        if count:
            assert "The data doesn't match the schema: AnomalyGate stops the run" in texts
            assert {"x", "test", f"all {ODD}"} <= set(texts)
        else:
            assert "The data matches the schema" in texts
