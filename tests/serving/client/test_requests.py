"""What can be asked about, and how it is cut into requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError, DataError
from noisy_gru.serving.client.calls import ModelChoice, PredictCall
from noisy_gru.serving.client.connection import ConnectionOptions, Tls
from noisy_gru.serving.client.requests import batches, prediction_input, serialized, sources_of
from noisy_gru.serving.client.settings import ClientSettings

ROWS = [{"id": "b", "t": 0, "x": 1.5}, {"id": "a", "t": 1, "x": 2.5}, {"id": "a", "t": 0, "x": 0.5}]
DATASET = DatasetConfig.model_validate(
    {
        "data": {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]},
        "task": {"kind": "classification", "label": "y"},
    }
)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    frame = pd.DataFrame(ROWS)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    return {"csv": tmp_path / "rows.csv", "parquet": tmp_path / "rows.parquet"}


def test_all_forms_of_data_are_the_same_request(files):
    import pyarrow

    pa: Any = pyarrow
    frame = pd.DataFrame(ROWS)
    forms = [files["csv"], str(files["csv"]), [files["parquet"]], frame, pa.Table.from_pandas(frame), ROWS, iter(ROWS)]
    forms += [tuple(ROWS), pa.RecordBatch.from_pandas(frame)]
    found = [prediction_input(form, DATASET) for form in forms]
    assert found[0].ids == ["b", "a"]
    assert all((each.ids, each.examples) == (found[0].ids, found[0].examples) for each in found)


def test_several_files(files, tmp_path):
    pd.DataFrame([{"id": "c", "t": 0, "x": 1}]).to_csv(tmp_path / "a.csv", index=False)
    found = prediction_input([files["csv"], tmp_path / "a.csv", str(files["csv"])], DATASET)
    assert found.ids == ["b", "a", "c"]
    assert found.report.rows_read == 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (7, "expected files, a pandas DataFrame, a pyarrow Table, or rows .* received int"),
        ({"id": "a"}, "received dict"),
        (b"bytes", "received bytes"),
        ([b"example"], "serialized tf.Examples go to predict_examples"),
        (["rows.doc"], "rows.doc: expected a file that ends in .csv"),
        ([{"id": "a"}, "b.csv"], "<rows>, row 2: expected a mapping of column name to value, received str"),
    ],
)
def test_what_is_no_data(data, message):
    with pytest.raises(DataError, match=message):
        sources_of(data, DATASET)


def test_no_data_is_no_sequence():
    assert prediction_input([], DATASET).ids == []


def test_examples_as_bytes_and_messages():
    class Message:
        def SerializeToString(self) -> bytes:
            return b"message"

    assert serialized([b"bytes", Message()]) == [b"bytes", b"message"]
    with pytest.raises(DataError, match=r"example 1: expected a tf\.Example, serialized or not, received str"):
        serialized([b"", "text"])
    for wrong in (None, b"example", "text", {"a": 1}, 3):
        with pytest.raises(DataError, match=r"expected tf\.Examples, one for each sequence, received"):
            serialized(wrong)  # pyright: ignore[reportArgumentType]


def cut(sizes: list[int], most: int, largest: int) -> list[list[int]]:
    call = PredictCall(ModelChoice("m"), "s", {"examples": [bytes(size) for size in sizes]}, list(map(str, sizes)))
    parts = list(batches(call, most, largest))
    starts = [0, *np.cumsum([len(part.ids) for _, part in parts]).tolist()]
    assert [start for start, _ in parts] == starts[:-1]
    assert all([str(len(each)) for each in part.inputs["examples"]] == part.ids for _, part in parts)
    return [list(map(int, part.ids)) for _, part in parts]


def test_batches_by_count_and_by_size():
    assert cut([], 2, 100) == []
    assert cut([1, 2, 3, 4, 5], 2, 100) == [[1, 2], [3, 4], [5]]
    assert cut([50, 50, 50, 1, 1], 9, 100) == [[50, 50], [50, 1, 1]]
    assert cut([500, 1, 500, 500], 9, 100) == [[500], [1], [500], [500]]


def test_batches_of_tensors():
    inputs: dict[str, Any] = {
        "features": np.zeros((5, 10, 2), np.float32),
        "lengths": np.arange(5),
        "sky": np.array([[b"x" * 12]] * 5, object),
    }
    call = PredictCall(ModelChoice("m"), "s", inputs, list("abcde"))
    # 80 bytes of features, 8 of lengths and 12 of text.
    parts = [part for _, part in batches(call, 100, 250)]
    assert [part.ids for part in parts] == [["a", "b"], ["c", "d"], ["e"]]
    assert np.shape(parts[1].inputs["features"]) == (2, 10, 2)
    assert list(parts[1].inputs["lengths"]) == [2, 3]


def test_ids_of_examples():
    settings = ClientSettings("127.0.0.1:1", dataset=DATASET, model_name="m")
    with pytest.raises(DataError, match="expected an id for each of 2 examples, received 1"):
        settings.plan_examples([b"", b""], ["a"], "raise")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_version": 1, "version_label": "stable"}, "by version or by label, received both"),
        ({"model_version": -1}, "a whole number from 0 on, received -1"),
        ({"model_name": ""}, "can't be empty"),
        ({"batch_size": 0}, "batch_size: expected at least 1, received 0"),
        ({"concurrency": 0}, "concurrency: expected at least 1"),
        ({"attempts": 0}, "attempts: expected at least 1"),
        ({"timeout": 0}, "timeout: expected seconds above 0"),
        ({"timeout": float("nan")}, "timeout: expected seconds above 0"),
        ({"transport": "http"}, "expected grpc or rest, received 'http'"),
        ({"tls": True, "plaintext": True}, "both are given"),
        ({"headers": {"a b": "x"}}, "headers: 'a b'"),
        ({"target": "localhost"}, "HOST:PORT, for example 127.0.0.1:8500, received 'localhost'"),
        ({"target": "ftp://localhost:8501"}, "HOST:PORT, http://HOST:PORT or https://HOST:PORT"),
        ({"target": "http://localhost:8501", "transport": "grpc"}, "is a REST address, but the transport is grpc"),
        ({"target": "http://localhost:8501", "tls": True}, "is not encrypted, but TLS options are given"),
        ({"target": "http://localhost:port"}, "HOST:PORT"),
        ({"target": "http://example.com:8501"}, "is not this machine"),
        ({"target": "localhost:port"}, "HOST:PORT"),
        ({"target": "localhost:0"}, "HOST:PORT"),
    ],
)
def test_settings_that_cannot_be_used(options, message):
    given: dict[str, Any] = {"target": "127.0.0.1:8500", "dataset": DATASET, "model_name": "m", **options}
    with pytest.raises(ConfigError, match=message):
        ClientSettings(given.pop("target"), **given)


@pytest.mark.parametrize("host", ["10.0.0.7", "example.com", "localhost.example.com", "[2001:db8::1]", "0.0.0.0"])
def test_plain_text_leaves_this_machine_only_when_asked(host):
    with pytest.raises(ConfigError, match="is not this machine, so the connection must be encrypted"):
        ConnectionOptions(target=f"{host}:8500")
    ConnectionOptions(target=f"{host}:8500", plaintext=True)
    ConnectionOptions(target=f"{host}:8500", tls=Tls())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_plain_text_on_this_machine(host):
    assert ConnectionOptions(target=f"{host}:8500").tls is None


def test_a_secret_is_not_shown():
    with pytest.raises(ConfigError) as caught:
        ConnectionOptions(target="127.0.0.1:1", headers={"authorization": "Bearer hunter2\n"})
    assert "hunter2" not in str(caught.value)


def test_half_a_client_certificate():
    with pytest.raises(ConfigError, match="a client certificate and its key go together"):
        Tls(certificate=Path("client.pem"))


@pytest.mark.parametrize(
    ("target", "address", "encrypted"),
    [
        ("http://127.0.0.1:8501", "127.0.0.1:8501", False),
        ("http://localhost:8501/", "localhost:8501", False),
        ("http://[::1]", "[::1]:80", False),
        ("https://models.example.com", "models.example.com:443", True),
        ("https://[2001:db8::1]:8501", "[2001:db8::1]:8501", True),
    ],
)
def test_a_url_means_rest(target, address, encrypted):
    connection = ClientSettings(target, dataset=DATASET, model_name="m").connection
    assert (connection.target, connection.transport, connection.tls is not None) == (address, "rest", encrypted)


def test_an_address_without_a_scheme_means_grpc():
    assert ClientSettings("127.0.0.1:8500", dataset=DATASET, model_name="m").connection.transport == "grpc"
