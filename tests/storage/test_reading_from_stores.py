"""The rows of every format, from s3:// as from a folder; the commands that take files, and those that refuse a URI."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from noisy_gru.data.arrow import pa
from noisy_gru.data.ingestion.resolved_input import resolve_input
from noisy_gru.data.reading.file_hashes import hash_files
from noisy_gru.data.reading.formats import column_names
from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.requests.prediction_input import read_sources
from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.config.checks import check_config, input_files
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.doctor import check_object_stores
from noisy_gru.pipeline.init.proposal import propose
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError, UserError
from noisy_gru.serving.client.requests import sources_of
from noisy_gru.storage.object_stores import glob_files, open_file
from tests.storage.conftest import Bucket

ROWS = pd.DataFrame({"id": ["a"] * 3 + ["b"] * 3, "t": [0, 1, 2] * 2, "x": [1.5, 2, 3, 4, 5, 6], "y": list("uuuvvv")})
DATASET = {
    "data": {
        "files": ["*"],
        "entity": "id",
        "time": {"column": "t", "kind": "integer"},
        "features": ["x"],
        "min_length": 1,
        "max_length": 9,
    },
    "task": {"kind": "classification", "label": "y"},
}


def _write(folder: Path) -> None:
    folder.mkdir()
    ROWS.to_csv(folder / "a.csv", index=False)
    ROWS.to_csv(folder / "b.csv.gz", index=False)
    ROWS.to_csv(folder / "c.tsv", index=False, sep=",")
    ROWS.to_parquet(folder / "d.parquet", row_group_size=2)
    ROWS.to_json(folder / "e.jsonl", orient="records", lines=True)
    ROWS.to_json(folder / "f.jsonl.gz", orient="records", lines=True)
    ROWS.to_feather(folder / "g.arrow")
    if importlib.util.find_spec("openpyxl") is not None:
        ROWS.to_excel(folder / "h.xlsx", index=False)


def _tables(base: str, dataset: DatasetConfig) -> tuple[dict[str, Any], dict[str, tuple[int, str]]]:
    found = resolve_input(base, dataset.data, "latest", glob_files)
    reader = Reader(dataset, opener=open_file)
    tables = {}
    for source in found.sources:
        quarantine = Quarantine()
        assert set(column_names(source, dataset.data, open_file) or ()) == set(ROWS)
        parts = [table for part in reader.parts(source) for table in reader.tables(part, quarantine)]
        assert not quarantine.lines
        tables[source.name] = pa.concat_tables(parts)
    return tables, dict(hash_files(found.sources, open_file))


def test_every_format_is_read_as_from_a_folder(tmp_path: Path, uploaded: Callable[[Path], str]) -> None:
    _write(tmp_path / "rows")
    base, dataset = uploaded(tmp_path / "rows"), DatasetConfig.model_validate(DATASET)
    local, local_hashes = _tables(str(tmp_path / "rows"), dataset)
    remote, remote_hashes = _tables(base, dataset)
    assert len(local) >= 7 and all(table.num_rows == len(ROWS) for table in local.values())
    assert remote.keys() == local.keys() and remote_hashes == local_hashes
    for name, table in local.items():
        assert remote[name].equals(table), name


def test_the_newest_spans_are_read(bucket: Bucket) -> None:
    for day in ("2026-07-30", "2026-07-31", "2026-08-02"):
        bucket.put(f"days/{day}/rows.csv", ROWS.to_csv(index=False))
    data = {**DATASET["data"], "files": [f"{bucket.uri}/days/{{YYYY}}-{{MM}}-{{DD}}/*.csv"], "spans": {"count": 2}}
    dataset = DatasetConfig.model_validate({**DATASET, "data": data})
    found = resolve_input("", dataset.data, "latest", glob_files)
    assert [source.path.split("/")[-2] for source in found.sources] == ["2026-07-31", "2026-08-02"]


def test_requests_are_read_from_a_store(bucket: Bucket, tmp_path: Path) -> None:
    uri = bucket.put("new.csv", ROWS.to_csv(index=False))
    ROWS.to_csv(tmp_path / "new.csv", index=False)
    dataset = DatasetConfig.model_validate(DATASET)
    remote, local = (read_sources(sources_of([path], dataset), dataset) for path in (uri, tmp_path / "new.csv"))
    assert (remote.ids, remote.examples) == (local.ids, local.examples)
    assert len(local.ids) == 2


@pytest.fixture
def proposed(bucket: Bucket, tmp_path: Path) -> Path:
    rows = pd.concat([ROWS.assign(id=ROWS.id + str(n)) for n in range(60)])
    bucket.put("rows.csv", rows.to_csv(index=False))
    propose([f"{bucket.uri}/ro*.csv"], out=tmp_path / "made").write(tmp_path / "made")
    return tmp_path / "made/config.yaml"


def test_init_and_validate_read_from_a_store(proposed: Path, bucket: Bucket) -> None:
    config = load_config(proposed)
    assert config.data.patterns == [f"{bucket.uri}/ro*.csv"]
    assert input_files(config) == [f"{bucket.uri}/rows.csv"]
    assert "data.files: 1 file" in check_config(config)
    bucket.put("schema.pbtxt", (proposed.parent / "schema.pbtxt").read_bytes())
    assert check_config(load_config(proposed, [f"schema={bucket.uri}/schema.pbtxt"]))[-1:] != []
    with pytest.raises(ConfigError, match=r"other\.pbtxt: the schema can't be read: no such file"):
        check_config(load_config(proposed, [f"schema={bucket.uri}/other.pbtxt"]))
    with pytest.raises(ConfigError, match=r"none\.csv matches no file"):
        check_config(load_config(proposed, [f"data.files=['{bucket.uri}/none.csv']"]))
    bucket.faults.fault = lambda method, path: 403
    with pytest.raises(ConfigError, match=r"s3:.*: the store denies access"):
        check_config(config)


@pytest.mark.parametrize("key", ["data.files", "schema"])
def test_a_configuration_of_another_scheme_is_refused(proposed: Path, key: str) -> None:
    value = "['hdfs://a/b.csv']" if key == "data.files" else "hdfs://a/b.csv"
    with pytest.raises(ConfigError, match=rf"{key}: hdfs://a/b\.csv: expected a path, s3:// or gs://"):
        check_config(load_config(proposed, [f"{key}={value}"]), files=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "c.yaml", "--root", "s3://b/root"],
        ["doctor", "--root", "s3://b/root"],
        ["predict", "c.yaml", "x.csv", "--out", "gs://b/out.csv"],
        ["runs", "list", "--root", "s3://b/root"],
        ["init", "--data", "x.csv", "--out", "s3://b/out"],
    ],
)
def test_a_command_that_writes_to_a_folder_refuses_a_uri(arguments: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "expected a path of this machine" in " ".join(done.stderr.replace("│", " ").split())
    assert not Path("s3:").exists() and not Path("gs:").exists()


def test_a_root_in_a_store_is_refused_from_python() -> None:
    with pytest.raises(UserError, match="expected a folder, received one of s3://"):
        RunDirectory(Path("s3://bucket/root"))


def test_doctor_names_the_credentials_and_not_their_values() -> None:
    found = check_object_stores({"AWS_ACCESS_KEY_ID": "AKIA-secret", "AWS_ENDPOINT_URL": "http://user:pw@host"})
    assert found.found == "s3:// by AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL"
    assert "secret" not in str(found) and "pw" not in str(found)
    assert check_object_stores({}).found == "no variables of credentials"
