"""Splits by hash, file, column and time; and that nothing an evaluation asks for stands in a training window."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisy_gru.data.reading.block_parser import UNKNOWN_SPLIT
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.data.sequences.splits import hash_fraction, split_boundaries
from noisy_gru.schema.errors import DataError

FORECAST = {"kind": "forecasting", "targets": ["x"], "input_length": 2, "horizons": [1]}


def test_entity_hash_is_even_and_depends_on_the_seed() -> None:
    parts = [hash_fraction(f"e{number}", 0) for number in range(4000)]
    assert sum(part < 0.25 for part in parts) == pytest.approx(1000, abs=100)
    assert parts[:5] != [hash_fraction(f"e{number}", 1) for number in range(5)]
    # Fixed for all time: another value would move every user's entities to other splits.
    assert hash_fraction("train-001", 0) == pytest.approx(0.9321121491685955, abs=1e-15)


def test_by_entity(ingest, table, configured) -> None:
    rows = "id,t,x,y\n" + "".join(f"e{number},{step},1,c\n" for number in range(300) for step in range(2))
    dataset = configured(splits={"by": "entity", "eval": 0.2, "test": 0.3}, seed=4)
    found = ingest(dataset, [table(rows)], buckets=5)
    assert [len(found.ids(split)) for split in ("train", "eval", "test")] == pytest.approx([150, 60, 90], abs=25)
    for name, entry in found.by_id.items():
        part = hash_fraction(name, 4)
        assert entry["split"] == ("test" if part < 0.3 else "eval" if part < 0.5 else "train")


def test_by_files_with_eval_from_train(ingest, table, configured) -> None:
    files = {"train": ["train.csv"], "test": ["test.csv"]}
    dataset = configured(files=files, splits={"by": "files", "eval_from_train": 0.3})
    train = table("id,t,x,y\n" + "".join(f"e{number},0,1,c\n" for number in range(100)), "train.csv")
    test = table("id,t,x,y\n" + "".join(f"f{number},0,1,c\n" for number in range(20)), "test.csv")
    found = ingest(dataset, {"train": [train], "test": [test]})
    assert found.ids("test") == sorted(f"f{number}" for number in range(20))
    assert len(found.ids("eval")) == pytest.approx(30, abs=12)
    assert all(hash_fraction(name, 0) < 0.3 for name in found.ids("eval"))
    assert all(hash_fraction(name, 0) >= 0.3 for name in found.ids("train"))


def test_by_column(ingest, table, configured) -> None:
    values = {"train": ["fit", "more"], "test": ["hold"]}
    dataset = configured(splits={"by": "column", "column": "part", "values": values})
    rows = "id,t,x,y,part\na,0,1,c,fit\nb,0,1,c,more\nd,0,1,c,hold\ne,0,1,c,elsewhere\nf,0,1,c,\n"
    found = ingest(dataset, [table(rows)])
    assert (found.ids("train"), found.ids("test")) == (["a", "b"], ["d"])
    assert found.report.quarantined == {UNKNOWN_SPLIT: 2}
    assert found.lines[0]["problem"] == "expected one of fit, more, hold, received 'elsewhere'"


def test_an_entity_in_two_splits_is_two_series(ingest, table, configured) -> None:
    dataset = configured(task=FORECAST, splits={"by": "column", "column": "part"})
    parts = ["train"] * 4 + ["test"] * 4
    rows = "id,t,x,part\n" + "".join(f"a,{step},{step},{part}\n" for step, part in enumerate(parts))
    found = ingest(dataset, [table(rows)])
    assert found.ids("train") == ["a@1", "a@2"]
    assert found.ids("test") == ["a@5", "a@6"]
    assert found.report.entities_in_several_splits == 1


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("action", ["quarantine", "error", "drop"])
def test_a_row_in_train_and_test_does_not_leak(ingest, table, configured, same, action) -> None:
    files = {"train": ["train.csv"], "test": ["test.csv"]}
    dataset = configured(files=files, splits={"by": "files"}, policies={"duplicate_step": action})
    train = table("id,t,x,y\na,0,1,c\na,1,2,c\n", "train.csv")
    test = table(f"id,t,x,y\na,1,{2 if same else 3},c\na,2,3,c\n", "test.csv")
    found = ingest(dataset, {"train": [train], "test": [test]}, buckets=1)
    (part,) = found.parts
    split_times = {
        ("train", "eval", "test")[split]: part.rows.time[start:stop].tolist()
        for split, start, stop in zip(part.split, part.start, part.stop, strict=True)
    }
    reason = "duplicate_step_across_splits"
    if action == "drop":
        assert split_times == {"train": [0], "test": [1, 2]}
        assert found.report.dropped == {reason: 1}
    else:
        assert split_times == {"train": [0], "test": [2]}
        assert found.report.quarantined == {reason: 2}
        assert {line["file"] for line in found.lines} == {"train.csv", "test.csv"}
    assert found.report.errors == ({reason: 2} if action == "error" else {})


def test_by_time_with_the_default_embargo(ingest, table, configured) -> None:
    # 20 steps of one entity; eval starts at 12, test at 16, the furthest horizon is 2.
    task = {**FORECAST, "horizons": [1, 2]}
    dataset = configured(task=task, splits={"by": "time", "eval": "12", "test": "16"})
    rows = "id,t,x\n" + "".join(f"a,{step},{step}\n" for step in range(20))
    found = ingest(dataset, [table(rows)])
    ends = {split: sorted(int(name.split("@")[1]) for name in found.ids(split)) for split in ("train", "eval", "test")}
    assert ends == {"train": list(range(1, 10)), "eval": [12, 13], "test": [16, 17]}
    assert found.report.sequences_dropped == {"embargo": 4}


def test_by_time_in_parts_of_the_range(configured) -> None:
    dataset = configured(task=FORECAST, splits={"by": "time", "eval": 0.1, "test": 0.2})
    at = split_boundaries(dataset, 100, 1100)
    assert (at.eval, at.test) == (800, 900)
    mixed = configured(task=FORECAST, splits={"by": "time", "eval": 0.1, "test": "500"})
    assert split_boundaries(mixed, 100, 1100).eval == 400


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"eval": "900", "test": "500"}, r"splits.eval \(900\) starts after splits.test \(500\)"),
        ({"test": "later"}, r"splits.test: expected a time \(integer\) or a part below 1, received 'later'"),
    ],
)
def test_boundaries_that_are_none(configured, splits, message) -> None:
    dataset = configured(task=FORECAST, splits={"by": "time", **splits})
    with pytest.raises(DataError, match=message):
        split_boundaries(dataset, 0, 1000)


def test_no_eval_split_between_equal_times(ingest, table, configured) -> None:
    """M4's protocol: all but the last windows train."""
    rows = "id,t,x\n" + "".join(f"a,{step},{step}\n" for step in range(20))
    dataset = configured(splits={"by": "time", "eval": "15", "test": "15"}, task=FORECAST)
    assert not dataset.has_eval_split
    found = ingest(dataset, [table(rows)])
    # Windows end from step 1 to 18; those that end at step 14 have the target 15, which tests.
    assert [len(found.ids(split)) for split in ("train", "eval", "test")] == [13, 0, 4]
    assert configured(splits={"by": "time", "eval": 0.1, "test": 0.1}, task=FORECAST).has_eval_split


def test_whole_sequences_by_time(ingest, table, configured) -> None:
    spans = {"early": (0, 3), "near": (4, 8), "across": (8, 11), "eval": (10, 12), "test": (20, 22), "both": (5, 25)}
    rows = "id,t,x,y\n" + "".join(f"{name},{t},1,c\n" for name, (a, b) in spans.items() for t in range(a, b + 1))
    splits = {"by": "time", "eval": "10", "test": "20", "embargo": 2}
    time = {"column": "t", "frequency": "1"}
    found = ingest(configured(splits=splits, time=time), [table(rows)])
    assert {name: entry["split"] for name, entry in found.by_id.items()} == {
        "early": "train",
        "eval": "eval",
        "test": "test",
    }
    assert found.report.sequences_dropped == {"embargo": 1, "across_split_boundary": 2}


@st.composite
def leak_cases(draw: st.DrawFn) -> dict[str, Any]:
    horizons = sorted(draw(st.sets(st.integers(1, 4), min_size=1, max_size=2)))
    steps = st.lists(st.integers(0, 25), min_size=1, max_size=25, unique=True)
    return {
        "series": draw(st.dictionaries(st.sampled_from("abcd"), steps, min_size=1, max_size=3)),
        "parts": draw(st.lists(st.sampled_from(["train", "eval", "test"]), min_size=26, max_size=26)),
        "overlap": draw(st.lists(st.integers(0, 25), max_size=3)),
        "by": draw(st.sampled_from(["time", "entity", "column"])),
        "gaps": draw(st.sampled_from(["ignore", "fill", "split"])),
        "task": {
            "kind": "forecasting",
            "targets": ["x"],
            "input_length": draw(st.integers(1, 4)),
            "horizons": horizons,
            "stride": draw(st.integers(1, 3)),
        },
        "embargo": draw(st.one_of(st.none(), st.integers(horizons[-1], 6))),
        "bounds": sorted(draw(st.tuples(st.integers(0, 25), st.integers(0, 25)))),
        "action": draw(st.sampled_from(["quarantine", "drop"])),
    }


def given_rows(rows: Rows, which: Iterable[int]) -> set[tuple[str, int]]:
    """Entity and time; steps that were filled in hold no value, so they are no rows."""
    return {(rows.entities[rows.entity[row]], int(rows.time[row])) for row in which if rows.row[row]}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=leak_cases())
def test_no_row_of_an_evaluation_target_stands_in_a_training_window(ingest, configured, tmp_path: Path, case) -> None:
    first, second = case["bounds"]
    splits = {
        "time": {"by": "time", "eval": str(first), "test": str(second), "embargo": case["embargo"]},
        "entity": {"by": "entity", "eval": 0.3, "test": 0.3},
        "column": {"by": "column", "column": "part", "eval_from_train": 0.2},
    }[case["by"]]
    dataset = configured(
        task=case["task"],
        splits=splits,
        features=["x", {"name": "plan", "known_in_advance": True}],
        time={"column": "t", "gaps": case["gaps"], "frequency": "1"},
        policies={"duplicate_step": case["action"], "missing_label": "drop"},
    )
    path = tmp_path / "rows.csv"
    lines = [f"{name},{t},{t},{t},{case['parts'][t]}" for name, times in case["series"].items() for t in times]
    lines += [f"{name},{t},{t},{t},test" for name in case["series"] for t in case["overlap"]]
    path.write_text("id,t,x,plan,part\n" + "\n".join(lines) + "\n")
    found = ingest(dataset, [path])

    furthest = case["task"]["horizons"][-1]
    trained: set[tuple[str, int]] = set()
    held_out: set[tuple[str, int]] = set()
    for part in found.parts:
        for place, split in enumerate(part.split.tolist()):
            start, stop = int(part.start[place]), int(part.stop[place])
            if split == 0:
                trained |= given_rows(part.rows, range(start, stop + furthest))
            else:
                held_out |= given_rows(part.rows, [stop - 1 + horizon for horizon in case["task"]["horizons"]])
    assert not trained & held_out
    if case["by"] == "time" and trained and held_out:
        assert max(time for _, time in trained) < min(time for _, time in held_out)
