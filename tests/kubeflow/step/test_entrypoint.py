"""One step in its container: URIs, drivers, what an earlier try left, errors in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.registry.published_versions import latest_publication

# TFX and Beam warn of their own use of what they deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

RUNNER = "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
ROWS = "id,t,x,y\n" + "".join(
    f"s{index},{step},{index}.{step},{'ab'[index % 2]}\n" for index in range(60) for step in (1, 2)
)


def imported(name: str, kind: str) -> Any:
    from tfx.dsl.components.common.importer import Importer
    from tfx.types import standard_artifacts

    return Importer(source_uri=f"s3://bucket/{name}", artifact_type=getattr(standard_artifacts, kind)).with_id(name)


def example_gen(tmp_path: Path, spans: dict[int, str]) -> Any:
    from tfx.orchestration.data_types import RuntimeParameter

    from noisy_gru.components.sequence_example_gen.component import SequenceExampleGen

    for span, rows in spans.items():
        (tmp_path / "data" / f"day-{span}").mkdir(parents=True)
        (tmp_path / "data" / f"day-{span}" / "rows.csv").write_text(rows)
    config = tmp_path / "config.yaml"
    config.write_text(
        "name: tiny\nschema: schema.pbtxt\n"
        "data: {files: ['day-{SPAN}/rows.csv'], entity: id, time: {column: t, kind: integer}, features: [x]}\n"
        "task: {kind: classification, label: y}\n"
    )
    dataset = load_config(config).dataset
    data = dataset.data.model_copy(update={"files": ["day-{SPAN}/rows.csv"]})
    from tfx.dsl.components.base import executor_spec

    node = SequenceExampleGen(
        input_base=RuntimeParameter(name="data_root", ptype=str, default="/mnt/data"),  # type: ignore[arg-type]
        dataset=dataset.model_copy(update={"data": data}).model_dump_json(),
        span=RuntimeParameter(name="span", ptype=str, default="latest"),
    )
    spec: Any = node.executor_spec
    assert isinstance(spec, executor_spec.BeamExecutorSpec)
    spec.add_beam_pipeline_args([RUNNER])
    return node


@pytest.mark.parametrize(("requested", "read"), [("latest", 12), ("3", 3)])
def test_the_driver_resolves_the_span_and_its_properties_are_merged(
    run_here: Callable[..., Any], tmp_path: Path, requested: str, read: int
) -> None:
    node = example_gen(tmp_path, {3: ROWS, 12: ROWS.replace("s", "r")})
    answer = run_here(node, parameters={"data_root": str(tmp_path / "data"), "span": requested})
    assert answer.code == 0
    examples = answer.outputs["examples"]
    assert examples["uri"].startswith("s3://bucket/root/SequenceExampleGen/")
    reported = examples["metadata"]
    # The driver's properties and the executor's. TFX gives the span this name, because Examples has one of its own.
    assert reported["custom:span"] == read
    assert f"total_bytes:{len(ROWS)}" in reported["input_fingerprint"]
    assert set(json.loads(reported["split_names"])) <= {"train", "eval", "test"}
    assert (reported["payload_format"], reported["file_format"]) == ("FORMAT_TF_EXAMPLE", "tfrecords_gzip")
    run_record = json.loads((answer.folder("ingestion_report") / "ingestion_report.json").read_text())
    assert run_record["rows"]["read"] == 120
    assert [span["span"] for span in run_record["spans"]] == [read]
    assert answer.outputs["ingestion_report"]["metadata"]["spans"] == reported["spans"] == str(read)


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ("tomorrow", "span: expected latest, a whole number of at least 0, or a date since 1970-01-01 like 2026-07-31"),
        ("4", "data.files: span 4 is missing: {data}/day-4/rows.csv matches no file. Existing spans: 3"),
    ],
)
def test_a_span_that_is_not_there_ends_in_words(
    run_here: Callable[..., Any], tmp_path: Path, capfd: pytest.CaptureFixture[str], requested: str, message: str
) -> None:
    node = example_gen(tmp_path, {3: ROWS})
    answer = run_here(node, parameters={"data_root": str(tmp_path / "data"), "span": requested})
    assert (answer.code, answer.outputs) == (1, {})
    printed = capfd.readouterr().err
    assert f"error: {message.format(data=tmp_path / 'data')}" in printed
    assert "Traceback" not in printed


def anomalies(pod: Path, text: str) -> None:
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    proto: Any = anomalies_pb2
    for split in ("train", "test"):
        folder = pod / "s3" / "bucket" / "Anomalies" / f"Split-{split}"
        folder.mkdir(parents=True)
        found = text_format.Parse(text if split == "test" else "", proto.Anomalies())
        (folder / "SchemaDiff.pb").write_bytes(found.SerializeToString(deterministic=True))


def gate(run_here: Callable[..., Any]) -> Any:
    from noisy_gru.components.anomaly_gate.component import AnomalyGate

    source = imported("Anomalies", "ExampleAnomalies")
    return run_here(
        AnomalyGate(anomalies=source.outputs["result"]),
        before=[source],
        metadata={"Anomalies": {"split_names": '["train", "test"]'}},
    )


def test_a_custom_artifact_type_is_found_by_its_class(run_here: Callable[..., Any], tmp_path: Path) -> None:
    anomalies(tmp_path / "pod", "")
    answer = gate(run_here)
    assert answer.code == 0
    assert (answer.folder("report") / "report.txt").is_file()


def test_a_users_error_is_one_message_and_nothing_is_answered(
    run_here: Callable[..., Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    anomalies(
        tmp_path / "pod",
        'anomaly_info { key: "x" value { path { step: "x" } severity: ERROR '
        'reason { type: FEATURE_TYPE_NOT_PRESENT description: "all gone" short_description: "gone" } } }',
    )
    answer = gate(run_here)
    assert (answer.code, answer.outputs) == (1, {})
    printed = capfd.readouterr().err
    assert "error: The data doesn't match the schema: 1 feature has anomalies." in printed
    assert "x" in printed.partition("error: ")[2].splitlines()[1]
    assert "Traceback" not in printed


class Salt(str):
    """An id that is the same every time."""

    hex = "salt"


class Halfway(Exception):
    """A machine that goes away."""


def test_what_an_earlier_try_left_is_gone(
    run_here: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noisy_gru.components.anomaly_gate import executor
    from noisy_gru.kubeflow.emulator import launcher

    anomalies(tmp_path / "pod", "")
    # The same URIs in both tries, as in a pod whose container is started again.
    monkeypatch.setattr(launcher.uuid, "uuid4", lambda: Salt("salt"))
    whole = executor.Executor.Do

    def half(self: Any, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        (Path(output_dict["report"][0].uri) / "half.txt").write_text("half")
        raise Halfway

    monkeypatch.setattr(executor.Executor, "Do", half)
    with pytest.raises(Halfway):
        gate(run_here)
    report = tmp_path / "pod" / "s3" / "bucket" / "root" / "AnomalyGate" / "salt" / "report"
    assert [file.name for file in report.iterdir()] == ["half.txt"]
    monkeypatch.setattr(executor.Executor, "Do", whole)
    assert gate(run_here).code == 0
    assert [file.name for file in report.iterdir()] == ["report.txt"]


def test_folders_are_made_for_our_executors_and_not_for_tfx_s(
    run_here: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfx.components.schema_gen.import_schema_gen import executor as tfx_executor
    from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen

    from noisy_gru.kubeflow.step.parameters import as_data_uri

    there: list[bool] = []
    whole = tfx_executor.Executor.Do

    def look(self: Any, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        there.append(Path(output_dict["schema"][0].uri).exists())
        whole(self, input_dict, output_dict, exec_properties)

    monkeypatch.setattr(tfx_executor.Executor, "Do", look)
    content = b'feature { name: "x" type: FLOAT }\n'
    answer = run_here(ImportSchemaGen(schema_file=as_data_uri(content)))
    assert (answer.code, there) == (0, [False])
    assert (answer.folder("schema") / "schema.pbtxt").read_bytes() == content


def test_the_record_of_a_published_model_names_uris_and_the_run(run_here: Callable[..., Any], tmp_path: Path) -> None:
    from noisy_gru.components.pusher.component import Pusher

    folder = tmp_path / "pod" / "s3" / "bucket" / "Model" / "Format-Serving"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    model, blessing = imported("Model", "Model"), imported("Blessing", "ModelBlessing")
    pusher = Pusher(
        model=model.outputs["result"],
        model_blessing=blessing.outputs["result"],
        serving_dir=tmp_path / "serving",
        model_name="m",
    )
    answer = run_here(pusher, before=[model, blessing], metadata={"Blessing": {"blessed": 1.0}})
    assert answer.code == 0
    record = latest_publication(tmp_path / "serving" / "m")
    assert record is not None
    assert record.model_uri == "s3://bucket/Model"
    assert record.lineage == {"model_blessing": "s3://bucket/Blessing", "pipeline": "tiny", "run": "run-1"}
    assert answer.outputs["pushed_model"]["metadata"]["pushed"] == 1.0
    assert answer.outputs["pushed_model"]["metadata"]["pushed_version"] == str(record.version)
