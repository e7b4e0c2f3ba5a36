"""The step through TFX's own launcher: outputs, cache, failures, spans, and one worker or two."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError

# TFX and Beam warn of themselves when they are imported and when they run.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

# --sdk_container_image keeps TFX from packing itself into an sdist; local runners make no use of the image.
ONE_PROCESS = ["--runner=FnApiRunner", "--sdk_container_image=unused"]
TWO_WORKERS = [*ONE_PROCESS, "--direct_running_mode=multi_processing", "--direct_num_workers=2"]


def launch(root: Path, data: Path, dataset: DatasetConfig, arguments: list[Any] = ONE_PROCESS, **more: Any) -> None:
    from tfx.orchestration import metadata, pipeline
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    from noisy_gru.components.sequence_example_gen.component import SequenceExampleGen

    step = SequenceExampleGen(input_base=str(data), dataset=dataset.model_dump_json(), **more)
    LocalDagRunner().run(
        pipeline.Pipeline(
            "test",
            str(root),
            components=[step],
            enable_cache=True,
            metadata_connection_config=metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite")),
            beam_pipeline_args=arguments,
        )
    )


def executions(root: Path) -> list[Path]:
    return sorted((root / "SequenceExampleGen" / "examples").glob("*"), key=lambda path: int(path.name))


def shards(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.gz"))}


def report(root: Path, execution: str) -> dict[str, Any]:
    return json.loads(
        (root / "SequenceExampleGen" / "ingestion_report" / execution / "ingestion_report.json").read_text()
    )


def write_csv(path: Path, first: int, value: str = "1") -> None:
    rows = "".join(f"e{number},{step},{value},c\n" for number in range(first, first + 40) for step in range(3))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(f"id,t,x,y\n{rows}".encode()))


@pytest.fixture
def published(configured) -> DatasetConfig:
    files = {"train": ["train*.csv.gz", "more/*.csv.gz"], "test": ["test.csv.gz"]}
    return configured(files=files, splits={"by": "files", "eval_from_train": 0.2})


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data"
    for first, name in enumerate(("train.csv.gz", "more/a.csv.gz", "test.csv.gz")):
        write_csv(folder / name, 100 * first)
    return folder


def test_outputs_cache_and_changes(tmp_path, data, published) -> None:
    root = tmp_path / "root"
    launch(root, data, published)
    (first,) = executions(root)
    found = report(root, first.name)
    assert found["rows"] == {"read": 360, "kept": 360, "quarantined": {"total": 0}, "dropped": {"total": 0}}
    by_split = found["sequences"]["by_split"]
    assert by_split["test"] == 40 and by_split["train"] + by_split["eval"] == 80
    assert {path.split("/")[0] for path in shards(first)} == {"Split-train", "Split-eval", "Split-test"}
    names = ["more/a.csv.gz", "test.csv.gz", "train.csv.gz"]
    assert [(file["name"], file["rows"]) for file in found["files"]] == [(name, 120) for name in names]
    assert (found["spans"], found["window"]) == ([], None)

    from tfx.components.util import examples_utils
    from tfx.orchestration import metadata
    from tfx.types import artifact_utils, standard_artifacts

    connection = metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))
    with metadata.Metadata(connection) as store:
        (written,) = store.store.get_artifacts_by_type("Examples")
        (kind,) = store.store.get_artifact_types_by_id([written.type_id])
        artifact = artifact_utils.deserialize_artifact(kind, written)
        name = "noisy_gru.IngestionReport"
        assert [one.type for one in store.store.get_artifacts_by_type(name)] == [name]
    assert isinstance(artifact, standard_artifacts.Examples)
    assert artifact_utils.decode_split_names(artifact.split_names) == ["train", "eval", "test"]
    assert examples_utils.get_payload_format_string(artifact) == "FORMAT_TF_EXAMPLE"
    assert artifact.get_int_custom_property("span") == 0

    launch(root, data, published)
    assert len(executions(root)) == 1  # from the cache

    before = (data / "more" / "a.csv.gz").stat()
    os.utime(data / "more" / "a.csv.gz")
    launch(root, data, published)
    assert len(executions(root)) == 1  # touched, and the same

    # The same size, and the same time.
    write_csv(data / "more" / "a.csv.gz", 100, value="2")
    os.utime(data / "more" / "a.csv.gz", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (data / "more" / "a.csv.gz").stat().st_size == before.st_size
    launch(root, data, published)
    assert len(executions(root)) == 2
    assert shards(executions(root)[1])["Split-test/data_tfrecord-00000-of-00001-000.gz"] == shards(first).get(
        "Split-test/data_tfrecord-00000-of-00001-000.gz"
    )
    launch(root, data, published, fingerprint="other source")
    assert len(executions(root)) == 3
    launch(root, data, published.model_copy(update={"seed": 1}), fingerprint="other source")
    assert len(executions(root)) == 4


def test_two_workers_write_the_same_bytes(tmp_path, data, published) -> None:
    write_csv(data / "train-extra.csv.gz", 500, value="oops")
    policies = published.data.policies.model_copy(update={"max_quarantined_fraction": 0.5})
    dataset = published.model_copy(update={"data": published.data.model_copy(update={"policies": policies})})
    for name, arguments in (("one", ONE_PROCESS), ("two", TWO_WORKERS)):
        launch(tmp_path / name, data, dataset, arguments)
    (one,), (two,) = executions(tmp_path / "one"), executions(tmp_path / "two")
    assert shards(one) == shards(two)
    assert report(tmp_path / "one", "1") == report(tmp_path / "two", "1")
    assert report(tmp_path / "one", "1")["rows"]["quarantined"] == {"total": 120, "unparsable_value": 120}
    quarantine = tmp_path / "two" / "SequenceExampleGen" / "ingestion_report" / "1" / "quarantine"
    (path,) = quarantine.iterdir()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 120
    assert (lines[0]["file"], lines[0]["row"], lines[0]["column"]) == ("train-extra.csv.gz", 1, "x")


def test_a_failure_keeps_its_error_and_the_rejected_rows(tmp_path, data, published) -> None:
    write_csv(data / "train-extra.csv.gz", 500, value="oops")
    root = tmp_path / "root"
    with pytest.raises(DataError, match=r"120 of 480 rows \(25\.0%\) are quarantined") as error:
        launch(root, data, published)
    rejected = root / "SequenceExampleGen" / "rejected" / "1"
    assert f"kept in {rejected}" in str(error.value)
    assert len((rejected / "quarantine" / "read-train-extra.csv.gz.jsonl").read_text().splitlines()) == 120
    assert json.loads((rejected / "ingestion_report.json").read_text())["rows"]["read"] == 480


def test_faults_of_all_files_are_told_at_once(tmp_path, data, published) -> None:
    (data / "train.csv.gz").write_bytes((data / "train.csv.gz").read_bytes()[:-20])
    (data / "test.csv.gz").write_bytes(gzip.compress(b"id,t,y\n"))
    with pytest.raises(DataError) as error:
        launch(tmp_path / "root", data, published)
    first, second = str(error.value).splitlines()
    assert first.startswith("test.csv.gz: expected the column x")
    assert second.startswith("train.csv.gz: can't be read as a CSV file")


def test_the_window_of_spans_is_read_at_once(tmp_path, configured) -> None:
    task = {"kind": "forecasting", "targets": ["x"], "input_length": 2, "horizons": [1]}
    splits = {"by": "time", "eval": 0.2, "test": 0.2}
    dataset = configured(files=["span-{SPAN}/*.csv"], spans={"count": 2}, task=task, splits=splits)
    root, data = tmp_path / "root", tmp_path / "data"

    def arrives(span: int, rows: Iterable[str], name: str = "rows") -> Path:
        path = data / f"span-{span}" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("id,t,x\n" + "".join(f"{row}\n" for row in rows))
        return path

    def a(first: int, last: int) -> Iterator[str]:
        return (f"a,{step},{step}" for step in range(first, last))

    arrives(1, a(-9, 0))
    arrives(2, a(0, 9))
    newest = arrives(4, a(9, 21))
    launch(root, data, dataset)
    found = report(root, "1")
    assert [(span["span"], span["rows"]) for span in found["spans"]] == [(2, 9), (4, 12)]
    (file,) = found["spans"][1]["files"]
    assert file["sha256"] == hashlib.sha256(newest.read_bytes()).hexdigest()
    assert found["window"] == {"window": "rolling", "asked": 2, "read": 2, "gaps": "3"}
    # Of the times of both spans, 0 to 20.
    assert found["boundaries"] == {"eval": 12, "test": 16}
    assert found["sequences"] == {
        "total": 17,
        "by_split": {"train": 10, "eval": 3, "test": 4},
        "quarantined": {"total": 0},
        "dropped": {"total": 2, "embargo": 2},
    }

    from tfx.orchestration import metadata

    connection = metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))
    with metadata.Metadata(connection) as store:
        for name in ("Examples", "noisy_gru.IngestionReport"):
            (artifact,) = store.store.get_artifacts_by_type(name)
            assert artifact.custom_properties["span"].int_value == 4
            assert artifact.custom_properties["spans"].string_value == "2,4"

    arrives(1, a(-9, -1))  # not of the window
    launch(root, data, dataset, span="4")
    assert len(executions(root)) == 1  # from the cache: 4 is the latest
    arrives(2, ["b,1,1", "b,2,2", "b,3,3"], name="late")
    launch(root, data, dataset)
    second = executions(root)[1].name
    assert [(file["name"], file["rows"]) for file in report(root, second)["spans"][0]["files"]] == [
        ("span-2/late.csv", 3),
        ("span-2/rows.csv", 9),
    ]

    empty = arrives(5, [])
    with pytest.raises(DataError, match=r"^span 5 is empty: span-5/rows\.csv holds no rows"):
        launch(root, data, dataset)
    empty.write_bytes(b"id,t,x\na,1,\xff\xfe\n")
    with pytest.raises(DataError, match=r"^span 5: span-5/rows\.csv: can't be read as a CSV file"):
        launch(root, data, dataset)
    with pytest.raises(DataError, match=r"span 3 is missing: .*/span-3/\*\.csv matches no file"):
        launch(root, data, dataset, span="3")


def test_a_file_that_changes_while_it_is_read_is_no_result(tmp_path, data, published, monkeypatch) -> None:
    from noisy_gru.components.sequence_example_gen import executor

    ingest = executor.ingest

    def overtaken(*arguments: Any, **options: Any) -> None:
        ingest(*arguments, **options)
        write_csv(data / "more" / "a.csv.gz", 100, value="2")

    monkeypatch.setattr(executor, "ingest", overtaken)
    with pytest.raises(DataError, match=r"^more/a\.csv\.gz changed while being read\. Run it again"):
        launch(tmp_path / "root", data, published)

    def gone(*arguments: Any, **options: Any) -> None:
        ingest(*arguments, **options)
        (data / "more" / "a.csv.gz").unlink()

    monkeypatch.setattr(executor, "ingest", gone)
    with pytest.raises(DataError, match=r"more/a\.csv\.gz: was deleted in the meantime"):
        launch(tmp_path / "root", data, published)
