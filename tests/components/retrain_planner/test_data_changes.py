from __future__ import annotations

from pathlib import Path

import pytest

from noisy_gru.components.retrain_planner.data_changes import data_changes
from noisy_gru.registry.training_record import DataFile, SpanFiles, TrainingRecord


def _file(name: str, content: str | None = None) -> DataFile:
    return DataFile(name, len(content or name), f"sha256 of {content or name}")


def _span(number: int, *files: DataFile, version: int | None = None) -> SpanFiles:
    return SpanFiles(number, version, files or (_file(f"{number}.csv"),))


def _record(*spans: SpanFiles, files: tuple[DataFile, ...] = ()) -> TrainingRecord:
    of_spans = tuple(file for span in spans for file in span.files)
    return TrainingRecord(folder=Path(), spans=spans, files=files or of_spans)


def _changes(record: TrainingRecord | None, *spans: SpanFiles):
    return data_changes(record, spans, [file for span in spans for file in span.files])


def test_the_same_spans_are_no_news():
    changes = _changes(_record(_span(3), _span(4)), _span(3), _span(4))
    assert (changes.count, changes.new_spans, changes.files, changes.known) == (0, (), (), True)


def test_spans_that_fell_out_of_the_window_are_no_news():
    assert _changes(_record(_span(2), _span(3)), _span(3)).count == 0


def test_new_spans_with_their_files_and_one_that_came_late():
    changes = _changes(_record(_span(3), _span(5)), _span(3), _span(4), _span(5), _span(6))
    assert (changes.new_spans, changes.files, changes.count) == ((4, 6), ("4.csv", "6.csv"), 2)


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        (_span(3, version=1), _span(3, version=2), "version 1 became 2"),
        (_span(3), _span(3, _file("3.csv", "other")), "other content: 3.csv"),
        (_span(3, _file("a"), _file("b")), _span(3, _file("a"), _file("c")), "new: c; gone: b"),
    ],
)
def test_a_span_that_changed_counts_as_new_and_says_how(before, now, why):
    changes = _changes(_record(before, _span(4)), now, _span(4))
    assert changes.changed == {3: why}
    assert (changes.spans, changes.new_spans, changes.count) == ((), (3,), 1)
    assert set(changes.files) == {file.name for file in now.files}


def test_without_hashes_names_and_sizes_decide():
    bare = _span(3, DataFile("3.csv"))
    assert _changes(_record(bare), _span(3)).count == 0
    assert _changes(_record(_span(3, DataFile("3.csv", 10))), _span(3, DataFile("3.csv", 11, "x"))).changed


def test_files_without_spans():
    record = _record(files=(_file("a"), _file("b"), _file("c")))
    changes = data_changes(record, (), [_file("a"), _file("b", "other"), _file("d")])
    assert not changes.by_span
    assert (changes.files, changes.altered, changes.gone, changes.count) == (("b", "d"), ("b",), ("c",), 3)
    assert data_changes(record, (), list(record.files)).count == 0


def test_all_is_new_to_a_model_that_says_nothing():
    for record in (None, TrainingRecord(folder=Path())):
        changes = _changes(record, _span(3))
        assert (changes.known, changes.new_spans) == (False, (3,))
