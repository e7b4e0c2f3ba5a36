"""Spans on the command line: what is checked, proposed and told of them before and after a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.config.checks import check_config, input_files
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG
from noisy_gru.pipeline.init.proposal import propose
from noisy_gru.pipeline.runs.step_report import report

HEADER = "name,t,x,kind\n"


def arrives(folder: Path, day: int, header: str = HEADER, files: tuple[str, ...] = ("rows.csv",)) -> None:
    rows = "".join(f"d{day}-{name},{step},{day}.{step},{'ab'[name % 2]}\n" for name in range(60) for step in range(4))
    (folder / f"2026-07-{day:02d}").mkdir(parents=True)
    for name in files:
        (folder / f"2026-07-{day:02d}" / name).write_text(header + rows)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration that `init` proposes for the spans of 1, 2 and 4 July 2026: 20635, 20636 and 20638."""
    for day in (1, 2, 4):
        arrives(tmp_path / "data", day)
    (tmp_path / "data" / "2026-07-05.part").mkdir()
    monkeypatch.chdir(tmp_path)
    proposal = propose(["data/{YYYY}-{MM}-{DD}/*.csv"], out=Path("model"))
    assert "read: 720 rows of 180 sequences" in proposal.guesses[0]
    proposal.write(Path("model"))
    return tmp_path / "model" / "config.yaml"


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def test_init_keeps_the_pattern_and_proposes_a_window(config: Path) -> None:
    data = load_config(config).data
    assert [Path(pattern).name for pattern in data.patterns] == ["*.csv"]
    assert "{YYYY}-{MM}-{DD}" in data.patterns[0]
    assert data.spans.window == "all"


def test_validate_looks_at_the_files_of_the_window(config: Path) -> None:
    assert "data.spans: spans 20635-20636,20638" in call("validate", config).stdout
    done = call("validate", config, "--set", "data.spans={count: 2}")
    assert "data.spans: spans 20636,20638\ndata.files: 2 files\n" in done.stdout
    arrives(config.parents[1] / "data", 6, header="name,t,y,kind\n")
    done = call("validate", config)
    assert done.exit_code == EXIT_CONFIG
    assert "2026-07-06/rows.csv: expected the column x" in done.stderr
    assert check_config(load_config(config), span="2026-07-04")[0] == "data.spans: spans 20635-20636,20638"


def test_a_run_of_a_span_that_is_not_there_does_not_begin(config: Path) -> None:
    done = call("run", config, "--root", config.parent / "root", "--span", "2026-07-03", "--json")
    assert done.exit_code == EXIT_CONFIG
    error = json.loads(done.stdout)["error"]
    assert "span 20637 (2026-07-03) is missing" in error
    assert "/data/2026-07-03/*.csv matches no file" in error
    done = call("run", config, "--root", config.parent / "root", "--span", "newest")
    assert done.exit_code == EXIT_CONFIG
    assert "span: expected latest, a whole number of at least 0, or a date" in done.stderr
    done = call(
        "run", config, "--span", "1", "--set", "data.files=[../data/2026-07-01/*.csv]", "--set", "data.spans={}"
    )
    assert done.exit_code == EXIT_CONFIG
    assert "data.files hold neither {SPAN} nor a date" in done.stderr
    assert not (config.parent / "root").exists()


def test_input_files_are_those_of_the_window(config: Path) -> None:
    loaded = load_config(config, ["data.spans={count: 2}"])
    assert [Path(path).parent.name for path in input_files(loaded)] == ["2026-07-02", "2026-07-04"]
    assert [Path(path).parent.name for path in input_files(loaded, "20636")] == ["2026-07-01", "2026-07-02"]


@pytest.mark.parametrize(
    "patterns", [["data/{YYYY}-{MM}/*.csv"], ["data/{SPAN}/*.csv"], ["data/{SPAN}.csv", "data/*.csv"]]
)
def test_init_refuses_what_is_no_span(config: Path, patterns: list[str]) -> None:
    done = call("init", "--data", *patterns, "--out", "other")
    assert done.exit_code == EXIT_CONFIG
    assert done.stderr.startswith("error: --data ")


@pytest.mark.parametrize(
    ("spans", "window", "message"),
    [
        ([], None, ""),
        ([4], {"asked": 1, "read": 1, "gaps": ""}, "span 4: "),
        ([3, 4, 6], {"asked": 3, "read": 3, "gaps": "5"}, "spans 3-4,6 (no 5): "),
        ([3, 4, 6], {"asked": 9, "read": 3, "gaps": "5"}, "spans 3-4,6 (no 5, 3 of 9 requested): "),
        ([3, 4], {"asked": None, "read": 2, "gaps": ""}, "spans 3-4: "),
    ],
)
def test_the_line_of_the_step_says_which_spans_were_read(
    tmp_path: Path, spans: list[int], window: dict[str, Any] | None, message: str
) -> None:
    from noisy_gru.pipeline.runs.run_record import RunRecord, StepRecord

    nothing = {"total": 0}
    record = {
        "rows": {"read": 7, "kept": 7, "quarantined": nothing, "dropped": nothing},
        "sequences": {"by_split": {"train": 2}},
        "spans": [{"span": span, "files": []} for span in spans],
        "files": [],
        "window": window,
    }
    (tmp_path / "ingestion_report.json").write_text(json.dumps(record))

    class Made:
        uri, properties = str(tmp_path), {}

    class Result:
        name, status, seconds, outputs = "SequenceExampleGen", "complete", 1.0, {"ingestion_report": [Made]}

    run = RunRecord.model_construct(steps=[StepRecord(name="SequenceExampleGen")], artifacts={})
    report(Result, run)  # type: ignore[arg-type]
    assert run.steps[0].summary == f"{message}7 rows, all kept; sequences: train 2"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_step_is_told_the_span_that_is_asked_for(config: Path) -> None:
    from noisy_gru.pipeline.build import build_pipeline

    loaded = load_config(config)
    pipeline = build_pipeline(loaded, pipeline_root="root", serving_dir="serving", schema_file="s", span="20636")
    (step,) = [node for node in pipeline.components if node.id == "SequenceExampleGen"]
    assert step.exec_properties["span"] == "20636"
    # The rule of the window is part of the data set; the patterns are relative to the folder of all spans.
    error = json.loads(step.exec_properties["dataset"])["data"]
    assert (error["spans"]["window"], error["files"]) == ("all", ["{YYYY}-{MM}-{DD}/*.csv"])
    assert step.exec_properties["input_base"] == str(config.parents[1] / "data")
