"""Each policy has its effect, its counter, and names the row it took."""

from __future__ import annotations

from typing import Any

import pytest

from noisy_gru.data.ingestion.report_checks import check_report
from noisy_gru.schema.config import PoliciesConfig
from noisy_gru.schema.errors import DataError

HEAD = "id,t,x,y\n"
GOOD = "a,0,1,c\na,1,2,c\n"

# policy, rows that break it (after GOOD), how many rows it takes, reason, column, what the quarantine says
ROW_CASES = [
    ("unparsable_value", "a,2,oops,c\n", 1, "x", "expected a number, received 'oops'"),
    ("missing_value", "a,2,,c\n", 1, "x", "expected a value, received nothing"),
    ("missing_value", "a,2,NaN,c\n", 1, "x", "expected a value, received 'NaN'"),
    ("infinite_value", "a,2,inf,c\n", 1, "x", "expected a finite number (float32), received 'inf'"),
    ("infinite_value", "a,2,1e39,c\n", 1, "x", "expected a finite number (float32), received '1e39'"),
    ("infinite_value", "a,2,-Infinity,c\n", 1, "x", "expected a finite number (float32), received '-Infinity'"),
]


@pytest.mark.parametrize(("policy", "rows", "taken", "column", "problem"), ROW_CASES)
@pytest.mark.parametrize("action", ["error", "quarantine", "drop", "impute"])
def test_values(ingest, table, configured, policy, rows, taken, column, problem, action) -> None:
    found = ingest(configured(policies={policy: action}), [table(HEAD + GOOD + rows)])
    report = found.report
    assert report.rows_read == 2 + taken
    if action == "impute":
        assert report.rows_kept == 3
        assert report.imputed == {policy: {column: 1}}
        assert str(found.by_id["a"]["values"]["x"]) == "[1.0, 2.0, nan]"
        return
    assert report.rows_kept == 2
    assert found.by_id["a"]["values"]["x"] == [1.0, 2.0]
    assert report.dropped == ({policy: taken} if action == "drop" else {})
    assert report.quarantined == ({} if action == "drop" else {policy: taken})
    assert report.errors == ({policy: taken} if action == "error" else {})
    if action != "drop":
        (line,) = found.lines
        assert (line["reason"], line["file"], line["row"], line["column"]) == (policy, "rows.csv", 3, column)
        assert line["problem"] == problem
        assert line["values"]["id"] == "a"


SEQUENCE_CASES: list[tuple[str, dict[str, Any], str, int, str]] = [
    ("too_short", {"min_length": 2}, "b,0,1,c\n", 1, "at least 2 steps (data.min_length), received 1"),
    ("too_long", {"max_length": 2}, "b,0,1,c\nb,1,1,c\nb,2,1,c\n", 3, "at most 2 steps (data.max_length), received 3"),
    ("missing_label", {}, "b,0,1,\nb,1,1,\n", 2, "expected a label"),
    ("conflicting_label", {}, "b,0,1,c\nb,1,1,d\n", 2, "the same label in all rows"),
    ("duplicate_step", {}, "b,0,1,c\nb,0,2,c\n", 2, "one row per entity and time"),
]


@pytest.mark.parametrize(("policy", "data", "rows", "taken", "problem"), SEQUENCE_CASES)
@pytest.mark.parametrize("action", ["error", "quarantine", "drop"])
def test_sequences(ingest, table, configured, policy, data, rows, taken, problem, action) -> None:
    found = ingest(configured(policies={policy: action}, **data), [table(HEAD + GOOD + rows)])
    report = found.report
    assert report.rows_read == 2 + taken
    assert found.by_id["a"]["values"]["x"] == [1.0, 2.0]
    if action == "drop":
        # Of rows with the same time, the first in the order of the values stays.
        stays = policy == "duplicate_step"
        assert report.dropped == {policy: taken - stays}
        assert ("b" in found.by_id) == stays
        assert not found.lines
        return
    assert "b" not in found.by_id
    assert report.quarantined == {policy: taken}
    assert report.errors == ({policy: taken} if action == "error" else {})
    assert [line["row"] for line in found.lines] == list(range(3, 3 + taken))
    assert all(problem in line["problem"] and line["entity"] == "b" for line in found.lines)


def test_too_long_is_cut_to_its_latest_steps(ingest, table, configured) -> None:
    found = ingest(configured(max_length=2), [table(HEAD + "a,0,1,c\na,2,3,c\na,1,2,c\n")])
    assert found.by_id["a"]["time"] == [1, 2]
    assert found.report.dropped == {"too_long": 1}


def test_drop_keeps_the_smallest_of_different_values(ingest, table, configured) -> None:
    rows = "a,0,7,c\na,0,5,c\na,0,6,c\n"
    found = ingest(configured(policies={"duplicate_step": "drop"}), [table(HEAD + rows)])
    assert found.by_id["a"]["values"]["x"] == [5.0]


@pytest.mark.parametrize("action", ["error", "quarantine", "drop"])
def test_exact_copies_are_dropped_but_one(ingest, table, configured, action) -> None:
    policies = {"duplicate_step": action, "missing_value": "impute"}
    found = ingest(configured(policies=policies), [table(HEAD + GOOD + "a,1,2,c\na,2,,c\na,2,,c\n")])
    assert found.by_id["a"]["time"] == [0, 1, 2]
    assert found.report.dropped == {"exact_duplicate": 2}
    assert not found.report.errors


@pytest.mark.parametrize(
    ("row", "column"), [(",2,1,c\n", "id"), ("a,soon,1,c\n", "t"), ("a,,1,c\n", "t"), ("a,2.5,1,c\n", "t")]
)
def test_entity_and_time_are_never_imputed(ingest, table, configured, row, column) -> None:
    found = ingest(configured(policies={"unparsable_value": "impute"}), [table(HEAD + GOOD + row)])
    assert found.report.quarantined == {"unparsable_value": 1}
    assert found.lines[0]["column"] == column


def test_a_row_with_too_many_or_too_few_cells(ingest, table, configured) -> None:
    rows = "a,2,3,c,surplus\na,3,4,c\na,4\na,5,bad,c\n"
    found = ingest(configured(), [table(HEAD + GOOD + rows)])
    assert found.report.quarantined == {"unparsable_value": 3}
    assert found.by_id["a"]["time"] == [0, 1, 3]
    printed = {line["row"]: line["problem"] for line in found.lines}
    assert printed[3].startswith("expected 4 cells, received 5: 'a,2,3,c,surplus'")
    assert printed[5].startswith("expected 4 cells, received 2")
    assert printed[6] == "expected a number, received 'bad'"


def test_a_row_is_counted_once_for_its_first_problem(ingest, table, configured) -> None:
    policies = {"missing_value": "quarantine"}
    found = ingest(configured(features=["x", "z"], policies=policies), [table("id,t,x,z,y\na,0,,oops,c\na,1,1,1,c\n")])
    assert found.report.quarantined == {"unparsable_value": 1}


def test_a_missing_label_in_some_rows_is_that_of_the_others(ingest, table, configured) -> None:
    found = ingest(configured(), [table(HEAD + "a,0,1,\na,1,1,c\n")])
    assert found.by_id["a"]["label"] == "c"


def test_regression_labels(ingest, table, configured) -> None:
    dataset = configured(task={"kind": "regression", "label": "y"})
    rows = "a,0,1,2.5\na,1,1,\nb,0,1,2\nb,1,1,3\nc,0,1,\nd,0,1,high\ne,0,1,inf\n"
    found = ingest(dataset, [table(HEAD + rows)])
    assert found.by_id.keys() == {"a"}
    assert found.by_id["a"]["label"] == 2.5
    assert found.report.quarantined == {"conflicting_label": 2, "missing_label": 1, "unparsable_value": 2}


def test_categorical_values_missing_and_canonical(ingest, table, configured) -> None:
    features = [{"name": "k", "kind": "categorical"}]
    path = table("id,t,k,y\na,0,red,c\na,1,,c\na,2,NA,c\n")
    found = ingest(configured(features=features), [path])
    assert found.by_id["a"]["texts"]["k"] == ["red", "", "NA"]
    assert found.report.imputed == {"missing_value": {"k": 1}}
    strict = ingest(configured(features=features, policies={"missing_value": "drop"}), [path])
    assert strict.by_id["a"]["texts"]["k"] == ["red", "NA"]


def test_defaults_are_safe() -> None:
    policies = PoliciesConfig()
    assert policies.model_dump(exclude={"max_quarantined_fraction"}) == {
        "duplicate_step": "quarantine",
        "unparsable_value": "quarantine",
        "missing_value": "impute",
        "infinite_value": "quarantine",
        "missing_label": "quarantine",
        "missing_target": "mask",
        "conflicting_label": "quarantine",
        "conflicting_static": "quarantine",
        "too_short": "quarantine",
        "too_long": "truncate",
    }


def test_a_policy_of_before_missing_target_keeps_its_meaning_also_as_json() -> None:
    before = PoliciesConfig.model_validate({"missing_label": "drop"})
    assert before.missing_target == "drop"
    both = PoliciesConfig.model_validate({"missing_label": "drop", "missing_target": "mask"})
    assert both.missing_target == "mask"
    for policies in (PoliciesConfig(), before, both):
        assert PoliciesConfig.model_validate_json(policies.model_dump_json()) == policies


FORECAST = {"kind": "forecasting", "targets": ["x"], "input_length": 4, "horizons": [1, 2]}


@pytest.mark.parametrize(
    ("values", "time", "policies", "expected"),
    [
        (
            [1 if step % 4 < 2 else None for step in range(40)],
            {},
            {"missing_target": "drop"},
            r"left out for missing_target: a target is missing: data\.policies\.missing_target: mask keeps windows",
        ),
        (
            [None] * 40,
            {},
            {},
            r"left out for no_readings: no measured feature has a value in them: correct data\.features",
        ),
        (
            [1] * 5,
            {},
            {"too_short": "drop"},
            r"5 rows are of entities with fewer than 6 steps: lower task\.input_length and task\.horizons",
        ),
        (
            [1 if step % 5 else "gap" for step in range(40)],
            {"frequency": "1", "gaps": "split"},
            {"max_quarantined_fraction": 1},
            r"32 rows are in parts between gaps with fewer than 6 steps: set data\.time\.gaps: fill",
        ),
        (
            [1 if step % 5 else "gap" for step in range(40)],
            {"frequency": "1", "gaps": "split"},
            {},
            r"(?s)data\.policies\.max_quarantined_fraction.*32 rows are in parts between gaps .*data\.time\.gaps: fill",
        ),
        (
            [1 if step % 5 > 1 else "gap" for step in range(40)],
            {"frequency": "1", "gaps": "fill", "fill_limit": 1},
            {"too_short": "drop"},
            r"24 rows are in parts between gaps with fewer than 6 steps: raise data\.time\.fill_limit",
        ),
    ],
)
def test_no_windows_names_the_true_cause(ingest, table, configured, values, time, policies, expected) -> None:
    rows = "".join(f"a,{step},{'' if x is None else x}\n" for step, x in enumerate(values) if x != "gap")
    dataset = configured(
        features=["x"],
        task=FORECAST,
        time={"column": "t", **time},
        policies=policies,
        splits={"by": "time", "eval": 0.1, "test": 0.1},
    )
    found = ingest(dataset, [table("id,t,x\n" + rows)])
    with pytest.raises(DataError, match=expected):
        check_report(found.report, dataset)


def test_past_the_fraction_the_run_fails_with_examples(ingest, table, configured) -> None:
    rows = "".join(f"e{number},0,{'oops' if number < 6 else 1},c\n" for number in range(100))
    dataset = configured()
    found = ingest(dataset, [table(HEAD + rows)])
    with pytest.raises(DataError) as error:
        check_report(found.report, dataset)
    message = str(error.value)
    assert "6 of 100 rows (6.0%) are quarantined, more than data.policies.max_quarantined_fraction (5.0%)" in message
    assert "unparsable_value: 6 rows, for example" in message
    assert "rows.csv, row 1, column x: expected a number, received 'oops'" in message


def test_error_policy_fails_with_examples(ingest, table, configured) -> None:
    dataset = configured(policies={"unparsable_value": "error"})
    found = ingest(dataset, [table(HEAD + GOOD + "a,2,oops,c\n")])
    with pytest.raises(DataError, match=r"policies\.unparsable_value is error(.|\n)*row 3, column x: expected a numb"):
        check_report(found.report, dataset)


def test_an_unbalanced_report_is_a_bug(ingest, table, configured) -> None:
    dataset = configured()
    found = ingest(dataset, [table(HEAD + GOOD)])
    found.report.rows_kept -= 1
    with pytest.raises(RuntimeError, match="1 of 2 rows read are neither kept, quarantined nor dropped"):
        check_report(found.report, dataset)


def test_an_empty_split_is_said(ingest, table, configured) -> None:
    dataset = configured()
    found = ingest(dataset, [table(HEAD + GOOD)])
    found.report.sequences["train"] = 1
    with pytest.raises(DataError, match=r"no sequence for eval and test .*There are 1 entities"):
        check_report(found.report, dataset)
