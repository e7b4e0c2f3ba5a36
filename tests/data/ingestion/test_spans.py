"""Which spans there are on disk, which of them a window holds, and in what words one that is not there is missed."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisy_gru.data.ingestion.resolved_input import ResolvedInput, resolve_input
from noisy_gru.data.ingestion.spans import (
    Span,
    files_without_span,
    find_spans,
    format_gaps,
    select_spans,
    span_gaps,
)
from noisy_gru.data.reading.file_hashes import hash_files
from noisy_gru.schema.config import DataConfig
from noisy_gru.schema.errors import ConfigError, DataError
from noisy_gru.storage.object_stores import open_file


def configuration(files: Any, **spans: Any) -> DataConfig:
    given = {"files": files, "entity": "id", "time": {"column": "t"}, "features": ["x"], "spans": spans}
    return DataConfig.model_validate(given)


def listed(pattern: str) -> list[str]:
    return glob.glob(pattern)  # noqa: PTH207


def lay(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return str(folder)


def test_all_spans_rise_by_number_and_what_has_none_is_no_span(tmp_path):
    base = lay(tmp_path, "day-10/a.csv", "day-9/b.csv", "day-9/a.csv", "day-11.tmp/a.csv", "day-x/a.csv", "day-2/a.txt")
    found = find_spans(base, configuration(["day-{SPAN}/*.csv"]), listed)
    assert [(span.number, span.version) for span in found] == [(9, None), (10, None)]
    assert found[0].files == (f"{base}/day-9/a.csv", f"{base}/day-9/b.csv")


def test_the_newest_version_counts_of_each_span_by_number(tmp_path):
    base = lay(tmp_path, "1/v2/a.csv", "1/v10/a.csv", "2/v1/a.csv", "2/v1/b.csv", "3/v0/a.csv")
    found = find_spans(base, configuration(["{SPAN}/v{VERSION}/*.csv"]), listed)
    assert [(span.number, span.version, len(span.files)) for span in found] == [(1, 10, 1), (2, 1, 2), (3, 0, 1)]
    assert found[0].files == (f"{base}/1/v10/a.csv",)


def test_a_version_that_has_not_arrived_in_all_patterns_is_not_replaced_by_an_older_one(tmp_path):
    base = lay(tmp_path, *(f"{split}-1-v{version}.csv" for split, version in (("a", 1), ("b", 1), ("a", 2))))
    data = configuration(["a-{SPAN}-v{VERSION}.csv", "b-{SPAN}-v{VERSION}.csv"])
    (span,) = find_spans(base, data, listed)
    assert (span.version, span.missing) == (2, (f"{base}/b-1-v2.csv",))
    with pytest.raises(DataError, match=r"span 1 is incomplete: .*b-1-v2\.csv matches no file, while .*a-1-v2\.csv"):
        select_spans([span], data)


def test_a_span_without_the_file_of_one_split_is_an_error_only_where_the_window_holds_it(tmp_path):
    base = lay(tmp_path, "1/train.csv", "2/train.csv", "2/test.csv", "3/train.csv", "3/test.csv", "4/test.csv")
    data = configuration({"train": ["{SPAN}/train.csv"], "test": ["{SPAN}/test.csv"]}, count=2)
    found = find_spans(base, data, listed)
    assert [span.number for span in select_spans(found, data, "3")] == [2, 3]
    with pytest.raises(DataError, match=r"span 4 is incomplete: .*/4/train\.csv matches no file"):
        select_spans(found, data)
    with pytest.raises(DataError, match=r"span 1 is incomplete: .*/1/test\.csv matches no file"):
        select_spans(found, data, "2")
    resolved = resolve_input(base, data, "3", listed)
    assert [(source.name, source.split) for source in resolved.sources] == [
        ("2/test.csv", "test"),
        ("2/train.csv", "train"),
        ("3/test.csv", "test"),
        ("3/train.csv", "train"),
    ]


def test_a_file_belongs_to_one_span(tmp_path):
    base = lay(tmp_path, "a-3-4.csv")
    with pytest.raises(DataError, match=r"a-3-4\.csv belongs to span 3 and to span 4; a file goes to one"):
        find_spans(base, configuration(["a-{SPAN}-*.csv", "a-*-{SPAN}.csv"]), listed)


def test_a_span_has_one_name(tmp_path):
    base = lay(tmp_path, "day-7/a.csv", "day-07/a.csv")
    with pytest.raises(DataError, match=r"day-0?7/a\.csv and .*day-0?7/a\.csv are both span 7; keep one"):
        find_spans(base, configuration(["day-{SPAN}/a.csv"]), listed)


def test_a_date_that_is_none_is_told(tmp_path):
    base = lay(tmp_path, "2024-02-30.csv")
    with pytest.raises(DataError, match=r"2024-02-30\.csv does not match .*: day is out of range for month"):
        find_spans(base, configuration(["{YYYY}-{MM}-{DD}.csv"]), listed)


SPANS = st.sets(st.integers(min_value=0, max_value=30), min_size=1)


def there(numbers: Any) -> list[Span]:
    return [Span(number, None, (("data-0", f"{number}.csv"),)) for number in sorted(numbers)]


@given(SPANS, st.integers(min_value=1, max_value=8), st.one_of(st.none(), st.integers(min_value=0, max_value=32)))
def test_a_rolling_window_is_the_last_that_are_there(numbers, count, wanted):
    data = configuration(["{SPAN}.csv"], count=count)
    newest = max(numbers) if wanted is None else wanted
    if newest not in numbers:
        with pytest.raises(DataError, match=f"span {newest} is missing: {newest}.csv matches no file"):
            select_spans(there(numbers), data, str(newest))
        return
    chosen = [span.number for span in select_spans(there(numbers), data, "latest" if wanted is None else str(wanted))]
    # By definition: the newest, and each time the largest that is smaller.
    expected = [newest]
    while len(expected) < count and any(number < expected[0] for number in numbers):
        expected.insert(0, max(number for number in numbers if number < expected[0]))
    assert chosen == expected


@given(SPANS, st.integers(0, 30), st.one_of(st.none(), st.integers(0, 30)), st.one_of(st.none(), st.integers(0, 32)))
def test_a_static_window_is_all_there_or_an_error(numbers, first, length, wanted):
    last = None if length is None else first + length
    data = configuration(["{SPAN}.csv"], window="static", first=first, last=last)
    text = "latest" if wanted is None else str(wanted)
    newest = wanted if wanted is not None else last if last is not None else max(numbers)
    if wanted is not None and (wanted < first or (last is not None and wanted > last)):
        with pytest.raises(ConfigError, match=r"is not in the window of data\.spans"):
            select_spans(there(numbers), data, text)
    elif newest >= first and set(range(first, newest + 1)) <= numbers:
        assert [span.number for span in select_spans(there(numbers), data, text)] == list(range(first, newest + 1))
    else:
        with pytest.raises(DataError, match=r"span \d+ is missing: \d+\.csv matches no file"):
            select_spans(there(numbers), data, text)


@given(SPANS, st.data())
def test_the_window_of_all_ends_at_the_one_that_is_wanted(numbers, draw):
    wanted = draw.draw(st.sampled_from(sorted(numbers)))
    chosen = select_spans(there(numbers), configuration(["{SPAN}.csv"], window="all"), str(wanted))
    assert {span.number for span in chosen} == {number for number in numbers if number <= wanted}


@given(st.sets(st.integers(min_value=0, max_value=30)))
def test_gaps_are_what_is_missing_in_between(numbers):
    rising = sorted(numbers)
    missing = {number for low, high in span_gaps(rising) for number in range(low, high + 1)}
    assert missing == (set(range(rising[0], rising[-1])) - numbers if rising else set())


def test_what_is_missing_is_told_with_the_number_filled_in():
    data = configuration(["d/{SPAN:3}/v{VERSION}/a.csv"], window="static", first=2, last=9)
    spans = [Span(number, 1, ()) for number in (2, 3, 6, 9)]
    with pytest.raises(DataError) as error:
        select_spans(spans, data, base="/base")
    assert str(error.value) == (
        "data.files: span 4 is missing: /base/d/004/v*/a.csv matches no file. The window of data.spans lacks "
        "4-5,7-8. Existing spans: 2-3,6,9"
    )
    with pytest.raises(DataError, match=r"no span found: .*v\{VERSION\}/a\.csv matches no file with a whole number"):
        select_spans([], data)
    assert format_gaps([(4, 5), (8, 8)]) == "4-5,8"


def test_dates_are_told_as_dates():
    data = configuration(["{YYYY}-{MM}-{DD}.csv"])
    spans = [Span(number, None, ()) for number in (19000, 19001)]
    with pytest.raises(DataError) as error:
        select_spans(spans, data, "2022-01-10")
    assert "span 19002 (2022-01-10) is missing: 2022-01-10.csv matches no file" in str(error.value)
    assert str(error.value).endswith("Existing spans: 19000-19001; the newest is span 19001 (2022-01-09)")
    assert [span.number for span in select_spans(spans, data, "2022-01-08")] == [19000]
    with pytest.raises(DataError, match="span 99999999 is beyond the calendar"):
        select_spans(spans, data, "99999999")


@pytest.mark.parametrize("wanted", ["", "-1", "1.5", "last", "2024-02-30", "20240101x", "1969-12-31", "²"])
def test_what_names_no_span_is_told(wanted):
    with pytest.raises(ConfigError, match="span: expected latest, a whole number of at least 0, or a date"):
        select_spans(there([1]), configuration(["{SPAN}.csv"]), wanted)


def test_without_spans_there_is_nothing_to_choose(tmp_path):
    base = lay(tmp_path, "a.csv", "b.csv")
    data = configuration(["*.csv"])
    resolved = resolve_input(base, data, "latest", listed)
    assert (resolved.numbers, [source.name for source in resolved.sources]) == ([], ["a.csv", "b.csv"])
    with pytest.raises(ConfigError, match=r"span: 3 is requested, but data.files hold neither \{SPAN\} nor a date"):
        resolve_input(base, data, "3", listed)


@pytest.mark.parametrize(
    "files", [["*.csv"], {"train": ["[ab].csv"], "test": ["c.csv"]}, ["{SPAN}/*.csv", "{SPAN}/a.csv"]]
)
def test_what_the_driver_found_travels_as_text(tmp_path, files):
    base = lay(tmp_path, "a.csv", "b.csv", "c.csv", "1/a.csv", "1/b.csv", "2/a.csv")
    data = configuration(files)
    resolved = resolve_input(base, data, "latest", listed)
    assert ResolvedInput.from_json(resolved.to_json(), base, data) == resolved
    assert base not in resolved.to_json()


def test_the_fingerprint_sees_files_come_go_change_and_swap(tmp_path):
    base = lay(tmp_path, "1/a.csv", "1/b.csv", "2/a.csv")
    data = configuration(["{SPAN}/*.csv"], count=2)

    def fingerprint() -> str:
        resolved = resolve_input(base, data, "latest", listed)
        return resolved.fingerprint(hash_files(resolved.sources, open_file))

    seen = [fingerprint(), fingerprint()]
    assert len(set(seen)) == 1
    lay(tmp_path, "2/b.csv")
    seen.append(fingerprint())
    (tmp_path / "1" / "a.csv").rename(tmp_path / "1" / "x.csv")
    (tmp_path / "1" / "b.csv").rename(tmp_path / "1" / "a.csv")
    (tmp_path / "1" / "x.csv").rename(tmp_path / "1" / "b.csv")
    seen.append(fingerprint())
    os.utime(tmp_path / "1" / "a.csv", ns=(1, 1))
    # Touched, and the same.
    assert fingerprint() == seen[-1]
    # Corrected, at the same size and time.
    (tmp_path / "1" / "a.csv").write_bytes((tmp_path / "1" / "a.csv").read_bytes().swapcase())
    os.utime(tmp_path / "1" / "a.csv", ns=(1, 1))
    seen.append(fingerprint())
    (tmp_path / "2" / "b.csv").unlink()
    seen.append(fingerprint())
    assert len(set(seen)) == len(seen) - 1
    assert seen[0].startswith("num_files:3,total_bytes:21,")


def test_hive_dates_without_zeros_are_all_spans(tmp_path):
    days = ["2026/month=9/day=28", "2026/month=9/day=30", "2026/month=10/day=1", "2026/month=10/day=11"]
    base = lay(tmp_path, *(f"year={day}/part-0.csv" for day in days))
    data = configuration(["year={YYYY}/month={MM}/day={DD}/*.csv"], window="all")
    expected = pd.to_datetime(["2026-09-28", "2026-09-30", "2026-10-01", "2026-10-11"]) - pd.Timestamp(0)
    assert [span.number for span in find_spans(base, data, listed)] == expected.days.tolist()
    lay(tmp_path, "year=2026/month=09/day=28/part-1.csv")
    with pytest.raises(DataError, match=r"month=9/day=28.* are both span .*; keep one"):
        find_spans(base, data, listed)


def test_digits_that_are_no_span_are_refused_by_name(tmp_path):
    base = lay(tmp_path, "day-007.csv", "day-8.csv", "day-x.csv")
    data = configuration(["day-{SPAN:3}.csv"])
    with pytest.raises(DataError, match=r"day-8\.csv does not match .*day-\{SPAN:3\}\.csv: .*8 for \{SPAN\}"):
        find_spans(base, data, listed)
    assert files_without_span(lay(tmp_path / "other", "day-007.csv", "day-x.csv"), data, listed) == [
        f"{tmp_path}/other/day-x.csv"
    ]


@pytest.mark.parametrize("folder", ["proj [v2]", "a*b", "{SPAN}", "a?b", "{YYYY}"])
def test_the_folder_of_the_data_means_itself(tmp_path, folder):
    base = lay(tmp_path / folder, "day-7/a.csv", "a.csv")
    lay(tmp_path / "proj v", "day-8/a.csv")
    lay(tmp_path / "axb", "day-8/a.csv")
    lay(tmp_path / "3", "day-8/a.csv")
    spanned = resolve_input(base, configuration(["day-{SPAN}/*.csv"]), "latest", listed)
    assert (spanned.numbers, [source.name for source in spanned.sources]) == ([7], ["day-7/a.csv"])
    plain = resolve_input(base, configuration(["*.csv"]), "latest", listed)
    assert [source.name for source in plain.sources] == ["a.csv"]
    assert ResolvedInput.from_json(spanned.to_json(), base, configuration(["day-{SPAN}/*.csv"])) == spanned


def test_two_stars_match_files_alone(tmp_path):
    base = lay(tmp_path, "a.csv", "part.csv/part-0.csv")
    found = resolve_input(base, configuration(["**"]), "latest", lambda pattern: glob.glob(pattern, recursive=True))  # noqa: PTH207
    assert [source.name for source in found.sources] == ["a.csv", "part.csv/part-0.csv"]


def test_files_of_folders_that_begin_alike_have_names_of_their_own(tmp_path):
    lay(tmp_path, "data/b/rows.csv", "datab/rows.csv", "data/rows.csv")
    files = [str(tmp_path / name) for name in ("data/b/rows.csv", "datab/rows.csv")]
    found = resolve_input(str(tmp_path / "data"), configuration(files), "latest", listed)
    assert len({source.name for source in found.sources}) == 2
