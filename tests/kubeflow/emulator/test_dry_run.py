"""Japanese Vowels through the compiled file, from data to a published model, twice; and the same model as a local run.

The second run has a new span, finds what the first one published, starts from it and compares with it; the third has
nothing new, and ends at the planner. Each is played as on another release of Kubeflow Pipelines.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any
from unittest.mock import patch

import numpy as np
import pytest

from noisy_gru.kubeflow.emulator import launcher
from noisy_gru.kubeflow.emulator.dry_run_record import DryRunRecord
from noisy_gru.kubeflow.emulator.running import emulate
from tests import preloaded

# TFX warns of its own use of what it deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

EXAMPLE = Path(__file__).parents[3] / "examples" / "japanese_vowels"
SETTINGS = (
    "training.epochs=2",
    "training.schedule={kind: constant}",
    "evaluation.thresholds={accuracy: {min: 0.05}}",
    "evaluation.compare={margin: 1.0}",
    "evaluation.baselines=report",
    "evaluation.reference={files: [reference.csv.gz], margin: 0.3}",
    "kubeflow.planned=true",
    "retraining.warm_start={enabled: true}",
)
LOCAL = "import sys; sys.argv[0] = 'noisy-gru'; from noisy_gru.pipeline.cli.main import main; main()"


def files_setting(folder: str) -> str:
    return f"data.files={json.dumps({split: [f'{folder}/{split}.csv.gz'] for split in ('train', 'test')})}"


@dataclass(frozen=True)
class Runs:
    """A local run's record, and those of the dry runs."""

    folder: Path
    local: dict[str, Any]
    first: DryRunRecord
    second: DryRunRecord
    third: DryRunRecord
    held: DryRunRecord
    forced: DryRunRecord

    def kept(self, run_record: DryRunRecord, step: str, output: str) -> Path:
        """Where the object store has an artifact."""
        uri = run_record.task(step).artifacts[output]["uri"]
        return self.folder / "dry-run" / "store" / uri.replace("://", "/")

    def published(self) -> list[Path]:
        return sorted((self.folder / "serving" / "japanese-vowels").glob("[0-9]*"))


def swapped(text: str) -> str:
    """Rows with the next speaker's label."""
    header, *rows = text.splitlines()
    column = header.split(",").index("speaker")
    cells = [row.split(",") for row in rows]
    for each in cells:
        each[column] = str(int(each[column]) % 9 + 1)
    return "\n".join([header, *map(",".join, cells)]) + "\n"


def forked(command: list[str], *, stdout: IO[bytes], cwd: Path, env: dict[str, str], **_: Any) -> preloaded.Popen:
    """A task's process, of which only the imports have been done already."""
    return preloaded.Popen(command, stdout=Path(stdout.name), cwd=cwd, env=env)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """One local run and five dry runs; the first dry run and the local one have the same data, seed and settings."""
    from noisy_gru.kubeflow.compiler.compile import compile_config
    from noisy_gru.pipeline.config.loading import load_config

    folder = tmp_path_factory.mktemp("kubeflow")
    for span, utterances in ((1, 240), (2, 270)):
        (folder / "data" / f"span-{span}").mkdir(parents=True)
        for split in ("train", "test"):
            header, *rows = gzip.decompress((EXAMPLE / f"{split}.csv.gz").read_bytes()).decode().splitlines()
            names = list(dict.fromkeys(row.partition(",")[0] for row in rows))
            kept = set(names[:utterances] if split == "train" else names)
            text = "\n".join([header, *(row for row in rows if row.partition(",")[0] in kept)]) + "\n"
            (folder / "data" / f"span-{span}" / f"{split}.csv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    config = load_config(EXAMPLE / "config.yaml", [*SETTINGS, files_setting("span-{SPAN}")])
    compiled = folder / "pipeline.yaml"
    compiled.write_text(compile_config(config))

    # Utterances of the test half, every fourth: a file that nobody trains on.
    header, *rows = gzip.decompress((EXAMPLE / "test.csv.gz").read_bytes()).decode().splitlines()
    text = "\n".join([header, *(row for row in rows if int(row[5:8]) % 4 == 0)]) + "\n"
    reference = folder / "data" / "reference.csv.gz"
    reference.write_bytes(gzip.compress(text.encode(), mtime=0))
    there = f"evaluation.reference.files=['{reference}']"
    here = [*SETTINGS, files_setting(str(folder / "data" / "span-1")), there]
    command = ["run", str(EXAMPLE / "config.yaml"), "--root", str(folder / "local"), "--json"]
    local = subprocess.Popen(
        [sys.executable, "-c", LOCAL, *command, *(part for each in here for part in ("--set", each))],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        text=True,
    )
    reported = {"data_root": str(folder / "data"), "serving_dir": str(folder / "serving")}
    with patch.object(launcher, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": forked})):
        try:
            first = emulate(compiled, folder / "dry-run", {**reported, "span": "1"}, version="2.15", jobs=2)
            run_record, _ = local.communicate()
        finally:
            local.kill()
        second = emulate(compiled, folder / "dry-run", reported, version="2.17", jobs=2)
    # The last one's are processes from their first line on.
    third = emulate(compiled, folder / "dry-run", reported, version="2.5", jobs=2)
    (folder / "data" / "span-3").mkdir()
    for split in ("train", "test"):
        text = gzip.decompress((folder / "data" / "span-2" / f"{split}.csv.gz").read_bytes()).decode()
        (folder / "data" / "span-3" / f"{split}.csv.gz").write_bytes(gzip.compress(swapped(text).encode(), mtime=0))
    with patch.object(launcher, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": forked})):
        held = emulate(compiled, folder / "dry-run", reported, version="2.15", jobs=2)
        forced = emulate(compiled, folder / "dry-run", {**reported, "force": "true"}, version="2.17", jobs=2)
    return Runs(folder, json.loads(run_record), first, second, third, held, forced)


def test_every_step_ran_and_a_model_is_published(runs: Runs) -> None:
    assert runs.first.status == "succeeded", [task.error for task in runs.first.tasks]
    assert {task.state for task in runs.first.tasks} == {"SUCCEEDED"}
    assert {task.name for task in runs.first.tasks} == {step["name"] for step in runs.local["steps"]} | {
        "RetrainPlanner",
        "Configuration",
        "RunReport",
    }
    order = [task.name for task in runs.first.tasks]
    chain = ["SequenceExampleGen", "StatisticsGen", "ExampleValidator", "AnomalyGate", "Transform", "Trainer", "Pusher"]
    assert [name for name in order if name in chain] == chain
    pushed = runs.first.task("Pusher").artifacts["pushed_model"]["metadata"]
    version = runs.published()[0]
    assert (pushed["pushed"], pushed["pushed_destination"]) == (1.0, str(version))
    record = json.loads((version / "publication.json").read_text())
    assert record["model_uri"] == runs.first.task("Trainer").artifacts["model"]["uri"]
    assert record["lineage"]["run"] == runs.first.run_id
    assert record["lineage"]["model_blessing"] == runs.first.task("Evaluator").artifacts["blessing"]["uri"]


def variables(saved_model: Path) -> dict[str, np.ndarray]:
    """The variables by name. Their numbers may be others in every process."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    proto: Any = saved_model_pb2
    graph = proto.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes()).meta_graphs[0].object_graph_def
    checkpoint: Any = tf.train.load_checkpoint(str(saved_model / "variables" / "variables"))
    (numbered,) = [child.node_id for child in graph.nodes[0].children if child.local_name == "used"]
    children = graph.nodes[numbered].children
    named = {
        graph.nodes[child.node_id].variable.name: checkpoint.get_tensor(
            f"used/{child.local_name}/.ATTRIBUTES/VARIABLE_VALUE"
        )
        for child in children
    }
    assert len(named) == len(children)
    return named


def test_the_model_is_the_local_run_s_value_for_value(runs: Runs) -> None:
    assert runs.local["status"] == "succeeded"
    mine, theirs = variables(Path(runs.local["published_path"])), variables(runs.published()[0])
    assert set(mine) == set(theirs)
    for name, value in mine.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)
    # Three layers in both directions, each with kernel, recurrent kernel and bias, and the head's kernel and bias.
    assert len(mine) == 3 * 2 * 3 + 2
    assert any(np.ptp(value) > 0.1 for value in mine.values())
    metrics = evaluation(runs, runs.first).metrics
    assert metrics["accuracy"] == pytest.approx(runs.local["metrics"]["accuracy"], abs=1e-6)
    assert metrics["example_count"] == 370


def evaluation(runs: Runs, run_record: DryRunRecord) -> Any:
    from noisy_gru.components.evaluation.evaluation_summary import read_evaluation

    return read_evaluation(str(runs.kept(run_record, "Evaluator", "evaluation")))


def test_the_page_of_the_run_shows_the_evaluation(runs: Runs) -> None:
    for run_record in (runs.first, runs.second):
        task, summary = run_record.task("Evaluator"), evaluation(runs, run_record)
        shown = task.artifacts["metrics"]["metadata"]
        assert shown["accuracy"] == pytest.approx(summary.metrics["accuracy"])
        # The page wants a name, and MLflow's plugin passes over these two: all others are numbers.
        others = {key: value for key, value in shown.items() if key not in ("display_name", "store_session_info")}
        assert all(isinstance(value, float) for value in others.values())
        # ML Metadata wraps mappings. Rows are true classes: their sums are the slices', and the diagonal is right.
        matrix = task.artifacts["classification"]["metadata"]["confusionMatrix"]["struct"]
        names = [each["displayName"] for each in matrix["annotationSpecs"]]
        counts = np.array([row["row"] for row in matrix["rows"]])
        expected = {name.removeprefix("speaker="): metrics["example_count"] for name, metrics in summary.slices.items()}
        assert dict(zip(names, counts.sum(axis=1), strict=True)) == expected
        assert np.trace(counts) / counts.sum() == pytest.approx(summary.metrics["accuracy"])
        page = runs.kept(run_record, "Evaluator", "page").read_text()
        assert f'<td class="number">{summary.metrics["accuracy"]:.4g}</td>' in page
    assert runs.second.task("Evaluator").artifacts["metrics"]["metadata"]["published/accuracy"] == pytest.approx(
        evaluation(runs, runs.first).metrics["accuracy"], abs=1e-6
    )


def embedded(page: str) -> dict[str, Any]:
    """The account in a report."""
    return json.loads(page.partition('<script type="application/json" id="account">')[2].partition("</script>")[0])


def test_the_whole_report_is_on_the_page(runs: Runs) -> None:
    """What a local run's report says of the same data and seed; it is there after a refusal, too."""
    page = runs.kept(runs.first, "RunReport", "page").read_text()
    mine = embedded(page)
    theirs = embedded(Path(runs.local["report"]).read_text())
    version = runs.published()[0].name
    assert f"<h1>Published as version {version}</h1>" in page
    assert [name for name, part in mine.items() if part is None] == [
        name for name, part in theirs.items() if part is None and name != "resources"
    ] + ["resources"]
    for part in ("data", "features", "evaluation"):
        assert set(mine[part]) == set(theirs[part])
    assert {**mine["data"], "spans": []} == theirs["data"]
    assert mine["evaluation"]["metrics"]["accuracy"] == pytest.approx(theirs["evaluation"]["metrics"]["accuracy"])
    assert mine["training"]["history"]["loss"] == pytest.approx(theirs["training"]["history"]["loss"])
    uris = [uri for each in mine["lineage"]["artifacts"].values() for all_of in each.values() for uri in all_of]
    assert all(uri.startswith("minio://") for uri in uris)
    assert (
        f"--serving-dir {runs.folder / 'serving'} --model japanese-vowels"
        in embedded(runs.kept(runs.second, "RunReport", "page").read_text())["outcome"]["next"][0]
    )
    refused = runs.kept(runs.forced, "RunReport", "page").read_text()
    assert "<h1>Refused: the model was trained, and is not published</h1>" in refused
    assert embedded(refused)["outcome"]["plan"]["reasons"]
    published = [
        each.task("RunReport").artifacts["metrics"]["metadata"]["run/published"]
        for each in (runs.first, runs.second, runs.forced)
    ]
    assert published == [1, 1, 0]


def test_a_held_night_is_seen_on_the_page(runs: Runs) -> None:
    """The labels of the third span are swapped: the planner holds, and nothing else runs."""
    states = {task.name: task.state for task in runs.held.tasks}
    assert (runs.held.status, states.pop("RetrainPlanner"), states.pop("Configuration")) == (
        "succeeded",
        "SUCCEEDED",
        "SUCCEEDED",
    )
    assert set(states.values()) == {"SKIPPED"}
    shown = runs.held.task("RetrainPlanner").artifacts["metrics"]["metadata"]
    assert (shown["plan/retrain"], shown["plan/held"], shown["plan/served_model"]) == (0, 1, 1)
    page = runs.kept(runs.held, "RetrainPlanner", "page").read_text()
    assert "<h1>Held for a person</h1>" in page
    assert "<td>served_model</td><td>alarm</td>" in page


def test_what_the_reference_gate_says_is_seen_on_the_page(runs: Runs) -> None:
    """Forced, a model of swapped labels is trained; on the reference set it is a fall, and it is not published."""
    accepted = [
        run_record.task("ReferenceGate").artifacts["metrics"]["metadata"]["reference/accepted"]
        for run_record in (runs.first, runs.second, runs.forced)
    ]
    assert accepted == [1, 1, 0]
    shown = runs.forced.task("ReferenceGate").artifacts["metrics"]["metadata"]
    assert shown["reference/fall"] > 0.3
    page = runs.kept(runs.forced, "ReferenceGate", "page").read_text()
    assert "<h1>The reference set: the model is refused</h1>" in page
    assert runs.forced.status == "succeeded"
    assert len(runs.published()) == 2
    for step, name, expected in (
        ("RetrainPlanner", "plan/retrain", 1),
        ("ExampleValidator", "anomalies", 0),
        ("ServingGate", "serving/accepted", 1),
    ):
        assert runs.forced.task(step).artifacts["metrics"]["metadata"][name] == expected
        assert runs.kept(runs.forced, step, "page").read_text().startswith("<!DOCTYPE html>")


def rows_read(runs: Runs, run_record: DryRunRecord) -> int:
    report = json.loads(
        (runs.kept(run_record, "SequenceExampleGen", "ingestion_report") / "ingestion_report.json").read_text()
    )
    return report["rows"]["read"]


def test_spans_are_resolved_in_the_step(runs: Runs) -> None:
    spans = [
        run_record.task("SequenceExampleGen").artifacts["examples"]["metadata"]["custom:span"]
        for run_record in (runs.first, runs.second)
    ]
    assert spans == [1, 2]
    # All of the published data set; the first span lacks the last 30 utterances of its train half.
    assert rows_read(runs, runs.second) == 9961
    assert rows_read(runs, runs.first) == runs.local["rows"]["read"] < 9961


def test_the_second_run_compares_with_what_the_first_published(runs: Runs) -> None:
    assert runs.second.status == "succeeded", [task.error for task in runs.second.tasks]
    assert runs.first.task("LatestBlessed").artifacts["model"]["metadata"]["present"] == 0
    assert "baseline_model" not in runs.first.task("Evaluator").artifacts["blessing"]["metadata"]
    assert evaluation(runs, runs.first).baseline == {}

    latest = runs.second.task("LatestBlessed").artifacts["model"]
    first, second = runs.published()
    assert (latest["metadata"]["present"], latest["metadata"]["version"]) == (1, first.name)
    blessing = runs.second.task("Evaluator").artifacts["blessing"]["metadata"]
    assert blessing["baseline_model"] == latest["uri"]
    compared = evaluation(runs, runs.second)
    assert compared.baseline["accuracy"] == pytest.approx(evaluation(runs, runs.first).metrics["accuracy"], abs=1e-6)
    assert compared.blessed
    assert second.name == runs.second.task("Pusher").artifacts["pushed_model"]["metadata"]["pushed_version"]


def test_the_second_run_starts_from_what_the_first_published(runs: Runs) -> None:
    first, second = runs.published()
    warm = [
        json.loads((version / "assets.extra/retraining/run.json").read_text())["warm_start"]
        for version in (first, second)
    ]
    assert (warm[0]["used"], warm[0]["base"]) == (False, {})
    assert (warm[1]["used"], warm[1]["base"]["version"]) == (True, int(first.name)), warm[1]["reasons"]
    base = runs.second.task("WarmStartBase").artifacts["model"]
    assert base["metadata"]["present"] == 1
    published = (first / "assets.extra/retraining/model.keras").read_bytes()
    assert (runs.kept(runs.second, "WarmStartBase", "model") / "Format-Keras" / "model.keras").read_bytes() == published


def test_the_planner_compares_with_what_is_published_and_a_run_without_news_ends_there(runs: Runs) -> None:
    plans = [
        json.loads((runs.kept(run_record, "RetrainPlanner", "plan") / "plan.json").read_text())
        for run_record in (runs.first, runs.second, runs.third)
    ]
    first, second = (int(version.name) for version in runs.published())
    assert [plan["base_version"] for plan in plans] == [None, first, second]
    assert [plan["retrain"] for plan in plans] == [True, True, False]
    assert plans[0]["summary"] == "due: no model is published yet"
    reasons = {reason["rule"]: reason for reason in plans[1]["reasons"]}
    assert (plans[1]["new_spans"], reasons["new_spans"]["met"]) == ([2], True)
    # 270 utterances to train on, 30 for each speaker, and 370 to test on; most of them were in span 1, too.
    assert reasons["new_sequences"]["numbers"]["sequences"] == 640
    drift = {(each["feature"], each["measure"]): each for each in reasons["drift"]["numbers"]["features"]}
    assert {name for name, _ in drift} == {*(f"c{number:02d}" for number in range(1, 13)), "speaker", "sequence length"}
    assert 0 < max(drift[f"c{number:02d}", "shape"]["distance"] for number in range(1, 13)) < 0.1
    assert reasons["drift"]["numbers"]["compared"] == "640 new and 240 trained-on entities"
    assert plans[2]["summary"] == f"not due: nothing new since version {second}, which was trained on span 2"
    states = {task.name: task.state for task in runs.third.tasks}
    assert (runs.third.status, states.pop("RetrainPlanner")) == ("succeeded", "SUCCEEDED")
    assert states.pop("Configuration") == "SUCCEEDED"
    assert set(states.values()) == {"SKIPPED"}
    events = [json.loads(line) for line in (runs.published()[0].parent / "retraining.jsonl").read_text().splitlines()]
    assert [(event["event"], event["run_id"], event["version"]) for event in events] == [
        ("started", runs.first.run_id, None),
        ("published", runs.first.run_id, first),
        ("started", runs.second.run_id, None),
        ("published", runs.second.run_id, second),
        ("started", runs.forced.run_id, None),
        ("refused", runs.forced.run_id, None),
    ]


def test_a_step_is_given_no_more_than_the_launcher_gives(runs: Runs) -> None:
    reported = json.loads((Path(str(runs.first.task("Trainer").folder)) / "executor_input.json").read_text())
    assert reported["inputs"]["parameterValues"]["train_args"] == 0
    (examples,) = reported["inputs"]["artifacts"]["examples"]["artifacts"]
    assert examples["uri"] == runs.first.task("Transform").artifacts["transformed_examples"]["uri"]

    def there(step: str) -> set[str]:
        pod = Path(str(runs.first.task(step).folder))
        return {path.name for path in pod.glob(f"minio/mlpipeline/v2/artifacts/japanese-vowels/{runs.first.run_id}/*")}

    assert there("Trainer") == {"Configuration", "Transform", "ImportSchemaGen", "WarmStartBase", "Trainer"}
    assert there("LatestBlessed") == {"LatestBlessed", "Trainer"}
    # The plan is there for the condition; the executor isn't told of it.
    assert there("ImportSchemaGen") == {"Configuration", "ImportSchemaGen", "RetrainPlanner"}
