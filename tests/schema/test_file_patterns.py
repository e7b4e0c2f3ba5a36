"""Names that hold a pattern's characters mean themselves, as the file system itself says."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.file_patterns import absolute_pattern, escape, escape_existing, is_literal, local_glob, unescape
from noisy_gru.schema.span_patterns import SpanPattern

names = st.text("ab*?[]{}!-.,", min_size=1, max_size=6).filter(lambda name: not name.startswith("."))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=names, others=st.lists(names, max_size=4))
@example(wanted="[ab]", others=["a", "b"])
@example(wanted="{SPAN}", others=["3"])
def test_an_escaped_name_is_found_and_nothing_else(tmp_path_factory, wanted: str, others: list[str]) -> None:
    folder = tmp_path_factory.mktemp("names")
    for name in {wanted, *others}:
        (folder / name).touch()
    assert local_glob(f"{folder}/{escape(wanted)}") == [f"{folder}/{wanted}"]
    assert is_literal(escape(wanted))
    assert unescape(escape(wanted)) == wanted


@pytest.mark.parametrize("folder", ["proj [v2]", "proj {2}", "a[1-3]", "[", "x]y", "{SPAN}", "{YYYY}-{MM}-{DD}"])
@pytest.mark.parametrize("file", ["rows.csv", "rows[1].csv", "*.csv", "[ab]*.csv"])
def test_what_is_there_as_it_is_written_means_itself(tmp_path: Path, folder: str, file: str) -> None:
    """Beside it stand the names that it would match as a pattern."""
    for other in (folder, "proj v", "proj 2", "a1", "a2", "x", "3", "2026-01-02"):
        (tmp_path / other).mkdir(exist_ok=True)
        (tmp_path / other / "b.csv").touch()
    for name in ("rows.csv", "rows[1].csv", "rows1.csv"):
        (tmp_path / folder / name).touch()
    found = local_glob(absolute_pattern(f"{folder}/{file}", str(tmp_path)))
    expected = {"*.csv": ["b.csv", "rows.csv", "rows1.csv", "rows[1].csv"], "[ab]*.csv": ["b.csv"]}
    assert found == sorted(f"{tmp_path}/{folder}/{name}" for name in expected.get(file, [file]))


def test_the_folder_of_a_configuration_means_itself(tmp_path: Path) -> None:
    for folder in ("a*b", "axb", "[ab]", "a"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.csv").touch()
    for folder in ("a*b", "[ab]"):
        assert local_glob(absolute_pattern("*.csv", f"{tmp_path}/{folder}")) == [f"{tmp_path}/{folder}/rows.csv"]
        assert local_glob(absolute_pattern("../axb/rows.csv", f"{tmp_path}/{folder}")) == [f"{tmp_path}/axb/rows.csv"]


@pytest.mark.parametrize("place", ["{SPAN}", "v {SPAN:1}", "{YYYY}-{MM}-{DD}"])
def test_a_bracket_around_a_place_for_spans_means_itself(tmp_path: Path, place: str) -> None:
    day = "2026-09-03" if "YYYY" in place else place.split("{")[0] + "7"
    (tmp_path / f"day [{day}] {{x}}").mkdir()
    (tmp_path / f"day [{day}] {{x}}" / "rows.csv").touch()
    pattern = SpanPattern(absolute_pattern(f"day [{place}] {{x}}/*.csv", str(tmp_path)))
    (path,) = local_glob(pattern.glob)
    found = pattern.match(path)
    assert found is not None and found.span == (20699 if "YYYY" in place else 7)
    assert SpanPattern(escape_existing(pattern.text)) == pattern


@pytest.mark.parametrize(
    ("pattern", "there"),
    [
        ("day {SPAN} [v2]/*.csv", "day 3 [v2]/a.csv"),
        ("{YYYY}-{MM}-{DD} [v2].csv", "2026-09-01 [v2].csv"),
        ("{SPAN}/rows [v2]*.csv", "3/rows [v2] new.csv"),
        ("d/**/r [v2]?.csv", "d/e/r [v2]x.csv"),
    ],
)
def test_a_bracket_beside_a_wildcard_means_itself_where_such_names_are(tmp_path, pattern: str, there: str) -> None:
    file = tmp_path / there
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    found = absolute_pattern(pattern, str(tmp_path))
    assert local_glob(re.sub(r"\{[A-Z]+\}", "*", found)) == [str(file)]
    assert escape_existing(found) == found
    other = tmp_path / there.replace("[v2]", "v")
    other.parent.mkdir(parents=True, exist_ok=True)
    other.touch()
    with pytest.raises(ConfigError, match=r"bracket is a character.*set of characters.*\[\[\]v2\]"):
        absolute_pattern(pattern, str(tmp_path))
    file.unlink()
    if file.parent != tmp_path and not list(file.parent.iterdir()):
        file.parent.rmdir()
    assert local_glob(re.sub(r"\{[A-Z]+\}", "*", absolute_pattern(pattern, str(tmp_path)))) == [str(other)]


def test_a_star_that_may_mean_two_things_is_refused(tmp_path: Path, monkeypatch) -> None:
    for name in ("a*b.csv", "axb.csv"):
        (tmp_path / name).touch()
    with pytest.raises(
        ConfigError, match=r"a\*b\.csv: is the name of an existing file, .* matches axb\.csv\. Write a\[\*\]b"
    ):
        absolute_pattern("a*b.csv", str(tmp_path))
    assert local_glob(absolute_pattern("a[*]b.csv", str(tmp_path))) == [f"{tmp_path}/a*b.csv"]
    os.remove(tmp_path / "axb.csv")  # noqa: PTH107
    monkeypatch.chdir(tmp_path)
    assert local_glob(escape_existing("a*b.csv")) == ["a*b.csv"]
