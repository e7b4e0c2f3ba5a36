"""Files of the UEA & UCR archive: every case as NumPy reads its line, or quarantined with the line's number."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.files import format_of, to_sources
from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.reading.tables import Source, case_name
from noisy_gru.data.reading.ts_files import read_ts, ts_columns
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.serving.client.requests import prediction_input

HEAD = (
    "#A comment\n%another\n\n@problemName x\n@timeStamps false\n@univariate {univariate}\n@classLabel true a b\n@data\n"
)


@pytest.fixture
def dataset(configured: Callable[..., DatasetConfig]) -> Callable[..., DatasetConfig]:
    def of(dimensions: int, task: dict[str, Any] | None = None, **data: Any) -> DatasetConfig:
        features = [f"dim_{place}" for place in range(dimensions)]
        task = task or {"kind": "classification", "label": "class"}
        return configured(entity="case", time={"column": "step"}, features=features, task=task, **data)

    return of


def read(path: Path, dataset: DatasetConfig, name: str | None = None) -> tuple[list[dict[str, Any]], Quarantine]:
    quarantine = Quarantine()
    source = Source(str(path), name or path.name, format_of(path.name, dataset.data))
    return [row for table in Reader(dataset).tables(source, quarantine) for row in table.to_pylist()], quarantine


def oracle(line: str) -> tuple[np.ndarray, str]:
    """Read one case as NumPy and the archive's own loaders do: dimensions between colons, the label last."""
    *dimensions, label = line.strip().split(":")
    cells = [each.replace("?", "nan").split(",") for each in dimensions]
    return np.array(cells, np.float64), label


values = st.floats(-1e6, 1e6, width=32).map(str) | st.just("?") | st.integers(-5, 5).map(str) | st.just("NaN")


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, list[str]]:
    dimensions = draw(st.integers(1, 3))
    blank = draw(st.sampled_from(["", " "]))
    lines = []
    for _ in range(draw(st.integers(1, 6))):
        steps = draw(st.integers(1, 5))
        series = [f",{blank}".join(draw(st.lists(values, min_size=steps, max_size=steps))) for _ in range(dimensions)]
        lines.append(":".join([*series, draw(st.sampled_from("ab"))]))
    return dimensions, lines


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases(), st.booleans(), st.integers(1, 20))
def test_cases_are_what_numpy_reads(
    tmp_path: Path, dataset: Callable[..., DatasetConfig], found: tuple[int, list[str]], packed: bool, cells: int
) -> None:
    dimensions, lines = found
    path = tmp_path / ("Some_TRAIN.ts.gz" if packed else "Some_TRAIN.ts")
    content = (HEAD.format(univariate=str(dimensions == 1).lower()) + "\n".join(lines)).encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    config = dataset(dimensions)
    rows, quarantine = read(path, config)
    expected = [oracle(line) for line in lines]
    assert not quarantine.lines
    assert quarantine.report.rows_read == sum(each.shape[1] for each, _ in expected)
    at = 0
    for number, (series, label) in enumerate(expected, start=1):
        mine = rows[at : at + series.shape[1]]
        at += series.shape[1]
        assert {row["entity"] for row in mine} == {f"Some_TRAIN-{number}"}
        assert {row["label"] for row in mine} == {label}
        assert {row["row"] for row in mine} == {number}
        assert [row["time"] for row in mine] == list(range(len(mine)))
        for place in range(dimensions):
            np.testing.assert_array_equal(
                np.array([row[f"n:dim_{place}"] for row in mine], np.float32), series[place].astype(np.float32)
            )
    assert at == len(rows)
    columns = Columns.of(config)
    source = Source(str(path), path.name, format_of(path.name, config.data))
    small = [row for block in read_ts(source, columns, columns.required(), block_cells=cells) for row in block.rows]
    assert small == [row["row"] for row in rows]


def test_unusable_cases_are_quarantined_by_line(tmp_path: Path, dataset: Callable[..., DatasetConfig]) -> None:
    lines = [
        "1,2:3,4:a",
        "1,2:a",
        "1,2:3:a",
        "1,2:3,4:c",
        "1,2:3,4:?",
        "",
        "# no case",
        "1,x:3,4:b",
        "1,2:3,4:5,6:a",
        ":,:a",
    ]
    path = tmp_path / "x.ts"
    path.write_text(HEAD.format(univariate="false") + "\n".join(lines))
    rows, quarantine = read(path, dataset(2, policies={"unparsable_value": "quarantine"}))
    reported = {line["line"]: line["problem"] for line in quarantine.lines}
    assert reported == {
        10: "expected 2 dimensions between colons, and the class after the last, received 1: '1,2:a'",
        11: "expected dimensions of one length, received dim_0 2, dim_1 1",
        12: "expected one of the classes that @classLabel names (a, b), received 'c'",
        16: "expected a number, received 'x'",
        17: "expected 2 dimensions between colons, and the class after the last, received 3: '1,2:3,4:5,6:a'",
        18: "expected values, received none: ':,:a'",
    }
    assert [line["row"] for line in quarantine.lines if line["line"] == 16] == [6]
    # A case counts as its steps: 5 bad cases of 2 steps, one cell; a missing label is for a later step.
    assert quarantine.report.quarantined == {"unparsable_value": 11}
    assert quarantine.report.rows_read == 16
    assert [row["label"] for row in rows] == ["a", "a", None, None, "b"]


def test_targets_are_labels_of_regression(tmp_path: Path, dataset: Callable[..., DatasetConfig]) -> None:
    path = tmp_path / "x.ts"
    path.write_text("@targetlabel true\n@data\n1,2,3:0.25\n")
    rows, _ = read(path, dataset(1, {"kind": "regression", "label": "target"}))
    assert [row["label"] for row in rows] == [0.25] * 3


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a/one.ts"], ["one-1"]),
        (["a/one.ts", "a/two.ts.gz"], ["one-1", "two-1"]),
        (["a/one.ts", "b/one.ts"], ["a/one-1", "b/one-1"]),
        (["a/one.ts", "a/b/one.ts"], ["one-1", "b/one-1"]),
    ],
)
@pytest.mark.parametrize("is_relative", [True, False])
def test_cases_to_predict_have_the_names_of_training(
    tmp_path: Path,
    dataset: Callable[..., DatasetConfig],
    monkeypatch: pytest.MonkeyPatch,
    files: list[str],
    names: list[str],
    is_relative: bool,
) -> None:
    """Not those of a path as it is written: a client elsewhere asks for the same sequences."""
    monkeypatch.chdir(tmp_path)
    for file in files:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        text = HEAD.format(univariate="true") + "1,2,3:a\n"
        path.write_bytes(gzip.compress(text.encode()) if file.endswith(".gz") else text.encode())
    given = files if is_relative else [str(tmp_path / file) for file in files]
    assert sorted(prediction_input(given, dataset(1)).ids) == sorted(names)
    trained = [(f"data-{number}", str(tmp_path / file)) for number, file in enumerate(files)]
    folder = tmp_path / (Path(files[0]).parent if len({Path(file).parent for file in files}) == 1 else "")
    if all(len(Path(file).parts) == 2 for file in files):
        sources = to_sources(str(folder), trained, dataset(1).data)
        assert sorted(case_name(source, 1) for source in sources) == sorted(names)


def test_cases_of_files_in_different_folders_have_different_names(
    tmp_path: Path, dataset: Callable[..., DatasetConfig]
) -> None:
    path = tmp_path / "x.ts"
    path.write_text(HEAD.format(univariate="true") + "1:a\n")
    assert [read(path, dataset(1), name)[0][0]["entity"] for name in ("one/x.ts", "two/x.ts")] == ["one/x-1", "two/x-1"]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("@timeStamps true\n@data\n(0,1):a\n", "line 1: @timeStamps true can't be read"),
        ("@univariate maybe\n@data\n", "line 1: expected @univariate true or false, received 'maybe'"),
        ("@classLabel true a\n1,2:a\n", "found no @data"),
        ("", "found no @data"),
    ],
)
def test_a_header_that_cannot_be_read_is_an_error(
    tmp_path: Path, dataset: Callable[..., DatasetConfig], head: str, expected: str
) -> None:
    path = tmp_path / "x.ts"
    path.write_text(head)
    with pytest.raises(DataError, match=expected):
        read(path, dataset(1))


def test_a_column_that_is_not_there_is_named(tmp_path: Path, dataset: Callable[..., DatasetConfig]) -> None:
    path = tmp_path / "x.ts"
    path.write_text(HEAD.format(univariate="true") + "1,2:a\n")
    assert ts_columns(Source(str(path), path.name, "ts")) == ["case", "step", "dim_0", "class"]
    with pytest.raises(DataError, match="expected the column dim_1; the file has case, step, dim_0, class"):
        read(path, dataset(2))
