"""The committed example tables hold what their SOURCE.md says, and the converters that made them name what is wrong."""

import gzip
import hashlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
VOWELS = EXAMPLES / "japanese_vowels"
WEATHER = EXAMPLES / "nycflights_weather"
CHANNELS = [f"c{number:02d}" for number in range(1, 13)]

TS_HEAD = "#comment\n@problemName x\n@classLabel true 1 2\n@data\n"


def converter(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"convert_{folder.name}", folder / "convert.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def vowels(name: str) -> pd.DataFrame:
    return pd.read_csv(VOWELS / f"{name}.csv.gz", dtype={"speaker": str})


@pytest.fixture(scope="module")
def weather() -> pd.DataFrame:
    return pd.read_csv(WEATHER / "weather.csv.gz", parse_dates=["time_hour"])


@pytest.mark.parametrize(
    ("name", "rows", "longest", "per_speaker"),
    [
        ("train", 4274, 26, [30] * 9),
        ("test", 5687, 29, [31, 35, 88, 44, 29, 24, 40, 50, 29]),
    ],
)
def test_vowels_as_published(name: str, rows: int, longest: int, per_speaker: list[int]) -> None:
    table = vowels(name)
    assert list(table.columns) == ["utterance", "step", *CHANNELS, "speaker"]
    assert len(table) == rows
    assert not table.isna().to_numpy().any()
    assert (table[CHANNELS].dtypes == "float64").all()

    groups = table.groupby("utterance", sort=False)
    lengths = groups.size()
    assert (lengths.min(), lengths.max()) == (7, longest)
    assert (table["step"] == groups.cumcount()).all()
    assert (groups["speaker"].nunique() == 1).all()
    counts = groups["speaker"].first().value_counts().sort_index()
    assert counts.index.tolist() == list("123456789")
    assert counts.tolist() == per_speaker


def test_vowels_ids_are_unique_over_both_files() -> None:
    ids = [set(vowels(name)["utterance"]) for name in ("train", "test")]
    assert [len(found) for found in ids] == [270, 370]
    assert ids[0].isdisjoint(ids[1])


def test_vowels_spot_values() -> None:
    table = vowels("train")
    first = table[table["utterance"] == "train-001"]
    assert len(first) == 20
    assert first["c01"].iloc[[0, 19]].tolist() == [1.860936, 1.261441]
    assert first["c12"].iloc[[0, 19]].tolist() == [0.088728, -0.175986]


def test_weather_as_published(weather: pd.DataFrame) -> None:
    assert list(weather.columns) == ["origin", "time_hour", *converter(WEATHER).MEASUREMENTS]
    assert len(weather) == 26115
    assert weather["origin"].value_counts().to_dict() == {"EWR": 8703, "JFK": 8706, "LGA": 8706}
    assert weather.isna().sum().to_dict() == {
        "origin": 0,
        "time_hour": 0,
        "temp": 1,
        "dewp": 1,
        "humid": 1,
        "wind_dir": 460,
        "wind_speed": 4,
        "wind_gust": 20778,
        "precip": 0,
        "pressure": 2729,
        "visib": 0,
    }


def test_weather_time_line_is_utc_hours_with_the_documented_gaps(weather: pd.DataFrame) -> None:
    time = weather["time_hour"]
    assert str(time.dt.tz) == "UTC"
    assert (time == time.dt.floor("h")).all()
    assert (time.min(), time.max()) == (pd.Timestamp("2013-01-01T06Z"), pd.Timestamp("2013-12-30T23Z"))
    gaps = {}
    for origin, rows in weather.groupby("origin"):
        hours = rows["time_hour"].diff().dropna().dt.total_seconds() / 3600
        assert (hours >= 1).all()  # in order, no duplicate
        absent = (hours[hours > 1].astype(int) - 1).value_counts()
        gaps[origin] = {int(hours): int(number) for hours, number in absent.items()}
    assert gaps == {"EWR": {1: 13, 2: 2, 5: 2}, "JFK": {1: 10, 2: 2, 5: 2}, "LGA": {1: 10, 2: 2, 5: 2}}


def test_weather_known_errors_are_kept(weather: pd.DataFrame) -> None:
    at = weather.set_index(["origin", "time_hour"])
    assert at.loc[("EWR", pd.Timestamp("2013-02-12T08Z")), "wind_speed"] == pytest.approx(1048.36, abs=0.01)
    assert at.loc[("JFK", pd.Timestamp("2013-05-09T02Z")), "temp"] == 13.1


@pytest.mark.parametrize("path", [VOWELS / "train.csv.gz", VOWELS / "test.csv.gz", WEATHER / "weather.csv.gz"])
def test_checksums_match_source_md(path: Path) -> None:
    packed = path.read_bytes()
    assert packed[3:8] == bytes(5)  # gzip: no flags (no name), mtime 0
    digest = hashlib.sha256(gzip.decompress(packed)).hexdigest()
    table_row = re.escape(f"| `{path.stem}` | `{digest}` |")
    assert re.search(table_row, (path.parent / "SOURCE.md").read_text(encoding="utf-8"))


def ts_line(length: int = 2, channels: int = 12, label: str = "1") -> str:
    return ":".join([",".join(f"{c}.{s}0" for s in range(length)) for c in range(channels)] + [label]) + "\n"


def test_vowels_converter_writes_rows_and_repeats_itself(tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_text(TS_HEAD + ts_line(3) + ts_line(2, label="2"))
    (tmp_path / "b.ts").write_text(TS_HEAD + ts_line(1))
    written = []
    for out in ("one", "two"):
        command = [str(tmp_path / "a.ts"), str(tmp_path / "b.ts"), str(tmp_path / out)]
        assert converter(VOWELS).main(command) == 0
        written.append([(tmp_path / out / f"{name}.csv.gz").read_bytes() for name in ("train", "test")])
    assert written[0] == written[1]
    lines = gzip.decompress(written[0][0]).decode().splitlines()
    assert len(lines) == 1 + 3 + 2
    assert lines[2] == "train-001,1," + ",".join(f"{c}.10" for c in range(12)) + ",1"
    assert lines[-1].startswith("train-002,1,") and lines[-1].endswith(",2")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (ts_line(channels=11), "expected 12 channels and a label. Received: 11 channels"),
        (ts_line(label="7"), "expected a label among ['1', '2']. Received: '7'"),
        (ts_line().replace("3.10", "?"), "c04: expected a finite number. Received: '?'"),
        (ts_line().replace("3.10", "3.10,3.2"), "expected channels of one length"),
        ("", "expected series after @data"),
    ],
)
def test_vowels_converter_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, message: str
) -> None:
    path = tmp_path / "bad.ts"
    path.write_text(TS_HEAD + body)
    assert converter(VOWELS).main([str(path), str(path), str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert str(path) in error and message in error
    assert not (tmp_path / "out").exists()


def test_weather_converter_sorts_and_empties_na(tmp_path: Path) -> None:
    module = converter(WEATHER)
    names = ["year", "origin", "time_hour", *module.MEASUREMENTS]
    rows = ["2013,JFK,2013-01-01T07:00:00Z" + ",NA" * 9, "2013,JFK,2013-01-01T06:00:00Z" + ",1.50" * 9]
    (tmp_path / "w.csv").write_text("\n".join([",".join(names), *rows]) + "\n")
    assert module.main([str(tmp_path / "w.csv"), str(tmp_path)]) == 0
    lines = gzip.decompress((tmp_path / "weather.csv.gz").read_bytes()).decode().splitlines()
    assert lines[1:] == ["JFK,2013-01-01T06:00:00Z" + ",1.50" * 9, "JFK,2013-01-01T07:00:00Z" + "," * 9]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["JFK,2013-01-01T06:00:00Z" + ",1" * 9] * 2, "line 3: expected one row per origin and time_hour"),
        (["JFK,2013-01-01 06:00" + ",1" * 9], "Received: '2013-01-01 06:00'"),
        (["JFK,2013-01-01T06:00:00Z" + ",x" * 9], "temp: expected a number or NA. Received: 'x'"),
        (["JFK,2013-01-01T06:00:00Z,1"], "expected 11 cells"),
        ([], "expected rows after the header"),
    ],
)
def test_weather_converter_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[str], message: str
) -> None:
    module = converter(WEATHER)
    path = tmp_path / "w.csv"
    path.write_text("\n".join([",".join(module.HEADER), *rows]) + "\n")
    assert module.main([str(path), str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert str(path) in error and message in error
