"""``noisy-gru predict``: the same lines from a model loaded here and from a server, and what it says otherwise."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG, EXIT_FAILED, EXIT_UNUSED_INPUT
from noisy_gru.saved_model.session_process import SessionProcess

CONFIG = """\
name: small
schema: schema.pbtxt
data: {files: [rows/*.csv], entity: id, time: {column: t}, features: [a, b]}
task: {kind: classification, label: way}
"""


def predict(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """20 sequences, of which one has a cell that is no number."""
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"id": np.repeat([f"s{place}" for place in range(20)], 4), "t": np.tile(np.arange(4), 20)})
    frame = frame.assign(a=random.normal(size=80).astype(object), b=random.normal(size=80))
    frame.loc[5, "a"] = "loud"
    frame.to_csv(tmp_path / "new.csv", index=False)
    return tmp_path / "new.csv"


@pytest.fixture(scope="module")
def served(exported: tuple[Path, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A root with the published model `small`, and a server of it."""
    from noisy_gru.serving.local_server import LocalServer

    root = tmp_path_factory.mktemp("root")
    shutil.copytree(exported[0], root / "serving" / "small" / "4")
    with LocalServer({"small": root / "serving" / "small"}) as server:
        yield SimpleNamespace(root=root, grpc=server.grpc_address, rest=server.rest_address)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_server_gives_the_same_lines(served, config, rows, tmp_path, form):
    runs = {
        "here": ("--root", served.root),
        "grpc": ("--server", served.grpc, "--root", tmp_path),
        "version": ("--server", served.grpc, "--model-version", 4, "--root", tmp_path),
        "rest": ("--server", served.rest, "--transport", "rest", "--timeout", 20, "--root", tmp_path),
    }
    done = {name: predict(config, rows, "--format", form, *options) for name, options in runs.items()}
    assert {name: each.exit_code for name, each in done.items()} == dict.fromkeys(runs, EXIT_UNUSED_INPUT)
    lines = done["here"].stdout.splitlines()
    assert len(lines) == (21 if form == "csv" else 20)
    assert done["grpc"].stdout == done["version"].stdout == done["here"].stdout
    reported = "not used: 1 row: unparsable_value\n"
    assert all(
        reported in each.stderr and "new.csv, row 6, column a: expected a" in each.stderr for each in done.values()
    )
    if form == "jsonl":
        here, there = ([json.loads(line) for line in done[name].stdout.splitlines()] for name in ("here", "rest"))
        for answer, other in zip(here, there, strict=True):
            # REST goes through decimals.
            assert other == pytest.approx(answer, abs=1e-6)


@pytest.mark.slow
def test_layouts_and_parquet(served, config, rows, tmp_path):
    """The same numbers in every format and layout; the version is that of the model, over gRPC, too."""
    done = {}
    for name, options in {
        "here": ("--root", served.root),
        "grpc": ("--server", served.grpc, "--root", tmp_path),
    }.items():
        for suffix, layout in (("csv", "long"), ("jsonl", "wide"), ("parquet", None), ("pq", "long")):
            out = tmp_path / f"{name}_{layout}.{suffix}"
            given = predict(config, rows, "--out", out, *(("--layout", layout) if layout else ()), *options)
            assert given.exit_code == EXIT_UNUSED_INPUT, given.output
            done[name, suffix] = out
    for suffix in ("csv", "jsonl"):
        assert done["here", suffix].read_text() == done["grpc", suffix].read_text()
    wide = pd.read_parquet(done["here", "parquet"])
    assert list(wide)[:3] == ["sequence_id", "entity", "way"]
    assert (wide["model_version"] == 4).all()
    assert wide["entity"].tolist() == wide["sequence_id"].tolist() == [f"s{place}" for place in range(20)]
    classes = [name for name in wide if name.startswith("probability_")]
    lines = [json.loads(line) for line in done["here", "jsonl"].read_text().splitlines()]
    for line, row in zip(lines, wide.to_dict("records"), strict=True):
        assert {name: np.float32(line[name]) for name in classes} == {name: row[name] for name in classes}
    long = pd.read_parquet(done["grpc", "pq"])
    assert len(long) == len(pd.read_csv(done["here", "csv"])) == 20 * len(classes)
    assert long["probability"].tolist() == wide[classes].to_numpy().reshape(-1).tolist()
    chosen = long[long["predicted"]]
    assert chosen["class"].tolist() == wide["way"].tolist()


@pytest.mark.slow
def test_blocks_on_disk_and_a_folder_of_parts(served, config, tmp_path, monkeypatch):
    """Input of many buckets gives the same bytes as in memory, in one file and in parts."""
    random = np.random.default_rng(5)
    frame = pd.DataFrame({"id": [f"s{place}" for place in random.integers(0, 1500, 4000)], "t": np.arange(4000)})
    frame = frame.assign(a=random.normal(size=4000), b=random.normal(size=4000))
    frame.to_parquet(tmp_path / "new.parquet")
    options = (config, tmp_path / "new.parquet", "--root", served.root, "--format", "csv", "--layout", "wide")
    assert predict(*options, "--out", tmp_path / "memory.csv").exit_code == 0
    monkeypatch.setattr("noisy_gru.data.requests.staged_input.bucket_count", lambda sizes: 7)
    assert predict(*options, "--out", tmp_path / "disk.csv").exit_code == 0
    whole = (tmp_path / "memory.csv").read_bytes()
    assert (tmp_path / "disk.csv").read_bytes() == whole
    for _ in range(2):
        done = predict(*options, "--out", tmp_path / "parts", "--part-size", 600)
        assert (done.exit_code, done.output) == (0, "")
    parts = sorted((tmp_path / "parts").glob("part-*.csv"))
    assert [len(pd.read_csv(part)) for part in parts] == [1024, frame["id"].nunique() - 1024]
    lines = [part.read_bytes().split(b"\n", 1) for part in parts]
    assert {head for head, _ in lines} == {whole.split(b"\n", 1)[0]}
    assert b"".join(rest for _, rest in lines) == whole.split(b"\n", 1)[1]
    other = predict(*options, "--out", tmp_path / "parts", "--part-size", 512)
    assert other.exit_code == EXIT_FAILED and "holds a prediction with other part_size" in other.stderr


@pytest.mark.slow
def test_ids_with_line_ends_are_one_cell_of_the_csv(served, config, tmp_path):
    ids = ["a\rb", "a\nb", "a\r\nb", 'a"\rb', "a,b", "\r", "plain"]
    frame = pd.DataFrame({"id": np.repeat(ids, 3), "t": np.tile(np.arange(3), len(ids)), "a": 0.5, "b": 1.0})
    frame.to_parquet(tmp_path / "new.parquet")
    out = tmp_path / "out.csv"
    assert predict(config, tmp_path / "new.parquet", "--out", out, "--root", served.root).exit_code == 0
    assert sorted(pd.read_csv(out, keep_default_na=False)["sequence_id"]) == sorted(ids)
    with out.open(newline="") as stream:
        assert sorted(row["sequence_id"] for row in csv.DictReader(stream)) == sorted(ids)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--version", "9"), "has no model small, version 9"),
        (("--label", "canary"), "has no model small, label canary"),
        (("--set", "serving.model_name=other"), "has no model other"),
        (("--timeout", "0.0005"), "has not answered 20 sequences (s0 to s19) within 0.0005 s"),
    ],
)
def test_what_the_server_does_not_answer(served, config, rows, options, message):
    done = predict(config, rows, "--server", served.grpc, *options)
    assert (done.exit_code, done.stdout) == (EXIT_FAILED, "")
    assert f"error: {served.grpc}" in done.stderr and message in done.stderr


def test_refused_sequences_are_told(config, rows):
    """The files are read as in training, so only a server with other ideas refuses one."""
    from tests.serving.client.scripted import ScriptedRest, scripted_rest

    with scripted_rest(ScriptedRest(lambda loaded: (400, {"error": "never"}))) as server:
        done = predict(config, rows, "--server", server.address, "--transport", "rest")
    assert (done.exit_code, done.stdout) == (EXIT_UNUSED_INPUT, "")
    assert "refused by the server: 20 sequences\n  sequence_id s0: never\n" in done.stderr
    assert done.stderr.count("sequence_id s") == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "parquet"), "--format parquet needs a file: --out predictions.parquet"),
        (("--format", "xlsx"), "--format: expected one of csv, jsonl, parquet, found xlsx"),
        (("--layout", "tall"), "tall"),
        (("--part-size", "9"), "--part-size needs a folder: --out predictions"),
        (("--part-size", "0", "--out", "parts"), "--part-size: expected at least 1 sequence, received 0"),
        (("--part-size", "9", "--out", "parts", "--server", "127.0.0.1:1"), "--part-size: only without --server"),
        (("--beam",), "--beam needs a folder: --out predictions"),
        (("--beam", "--out", "parts", "--server", "127.0.0.1:1"), "--beam: only without --server"),
        (("--beam", "--out", "parts", "--part-size", "9"), "--part-size: only without --beam"),
        (("--label", "stable"), "--label: only with --server HOST:PORT"),
        (("--tls-ca", "ca.pem", "--header", "a=b"), "--tls, --header: only with --server"),
        (("--server", "nowhere"), "expected a server as HOST:PORT"),
        (("--server", "10.1.2.3:8500"), "10.1.2.3:8500 is not this machine"),
        (("--server", "127.0.0.1:1", "--version", "1", "--label", "stable"), "by version or by label, received both"),
        (("--server", "127.0.0.1:1", "--tls-cert", "a.pem"), "a client certificate and its key go together"),
        (("--server", "127.0.0.1:1", "--tls", "--plaintext"), "both are given"),
        (("--server", "127.0.0.1:1", "--timeout", "0"), "timeout: expected seconds above 0"),
        (("--server", "127.0.0.1:1", "--transport", "http"), "http"),
    ],
)
def test_options_that_cannot_be_used(config, rows, options, message):
    done = predict(config, rows, *options)
    assert done.exit_code == EXIT_CONFIG
    assert message in " ".join(done.output.split())
    assert "Traceback" not in done.output


def test_a_header_is_not_shown(config, rows):
    done = predict(config, rows, "--server", "127.0.0.1:1", "--header", "Bearer hunter2")
    assert done.exit_code == EXIT_CONFIG
    assert "--header: expected NAME=VALUE" in done.stderr
    assert "hunter2" not in done.output


def test_a_server_that_is_not_there(config, rows):
    done = predict(config, rows, "--server", "127.0.0.1:1", "--transport", "rest", "--timeout", 1)
    assert done.exit_code == EXIT_FAILED
    assert "error: 127.0.0.1:1 is unavailable: " in done.stderr


def test_a_version_that_is_taken_away_while_it_is_read_is_not_missed(served, config, rows, tmp_path, monkeypatch):
    """A push publishes the next version and removes this one, as pruning and a rollback do: by a rename."""
    root = tmp_path / "root"
    model_dir = root / "serving" / "small"
    shutil.copytree(served.root / "serving" / "small" / "4", model_dir / "5")
    before = predict(config, rows, "--root", root).stdout
    loaded = []

    def taken_away(folder: Path) -> SessionProcess:
        loaded.append(folder.name)
        if folder.name == "5":
            if not (model_dir / "6").is_dir():
                shutil.copytree(folder, model_dir / "incoming-6")
                (model_dir / "incoming-6").rename(model_dir / "6")
            folder.rename(model_dir / "removed-5")
        return SessionProcess(folder)

    monkeypatch.setattr("noisy_gru.pipeline.batch_prediction.published_model.SessionProcess", taken_away)
    done = predict(config, rows, "--root", root)
    assert loaded == ["5", "6"]
    assert (done.exit_code, done.stdout) == (EXIT_UNUSED_INPUT, before)
    # A version that was asked for is not replaced.
    (model_dir / "removed-5").rename(model_dir / "5")
    done = predict(config, rows, "--root", root, "--version", 5)
    assert done.exit_code == EXIT_FAILED
    assert done.stderr.startswith(f"error: {model_dir}: expected a published version, found 5; versions here: 6")


def test_a_model_that_no_server_loads_is_an_error_and_not_asked_for_again(served, config, rows, tmp_path):
    folder = tmp_path / "root" / "serving" / "small" / "5"
    shutil.copytree(served.root / "serving" / "small" / "4", folder)
    (folder / "saved_model.pb").write_bytes(b"\xff" * 100)
    done = predict(config, rows, "--root", tmp_path / "root")
    assert done.exit_code == EXIT_FAILED
    assert done.stderr.startswith(f"error: TensorFlow can't load {folder}")


def test_a_root_that_can_not_be_written_is_enough(served, config, rows, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(served.root / "serving", root / "serving")
    # No log can be written here, whoever tries.
    (root / "logs" / "predict.log").mkdir(parents=True)
    done = predict(config, rows, "--root", root)
    assert (done.exit_code, len(done.stdout.splitlines())) == (EXIT_UNUSED_INPUT, 21)


def test_empty_cells_of_a_wide_table_are_nothing_to_tell(capsys: pytest.CaptureFixture[str]) -> None:
    from collections import Counter

    from noisy_gru.pipeline.batch_prediction.unused_rows import report_unused

    unusable = [
        {"reason": "unparsable_value", "file": "a.csv", "row": 1, "column": "x", "file_column": "s1", "problem": "p"}
    ]
    unused = Counter(empty_cell=7, exact_duplicate=2, unparsable_value=1)
    assert report_unused(unused, unusable) == 1
    reported = capsys.readouterr().err
    assert reported == "not used: 1 row: unparsable_value\n  file a.csv, row 1, column x, file_column s1: p\n"
