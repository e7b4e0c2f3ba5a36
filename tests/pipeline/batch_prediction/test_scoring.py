"""Scoring of new spans: each once, by the published version, recorded; failures are seen and tried again."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.batch_prediction.scoring import SCORES, SpanScore
from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG, EXIT_FAILED, EXIT_INTERRUPTED
from noisy_gru.pipeline.retrain.child_process import ProcessExit
from noisy_gru.saved_model.session_process import SessionProcess
from noisy_gru.schema.errors import ConfigError
from noisy_gru.storage.json_lines import read_records

CONFIG = """\
name: small
schema: schema.pbtxt
data: {files: ["rows-{SPAN}.csv"], entity: id, time: {column: t}, features: [a, b]}
task: {kind: classification, label: way}
score: {part_size: 1}
"""


class Nights:
    """A configuration with spans, and the command."""

    def __init__(self, folder: Path, text: str = CONFIG) -> None:
        self.folder, self.root = folder, folder / "root"
        self.config = folder / "config.yaml"
        self.config.write_text(text)

    def span(self, number: int | str, count: int = 5, cell: str = "0.5") -> None:
        rows = "".join(f"s{number}-{each},{t},{cell},{t}\n" for each in range(count) for t in range(3))
        (self.folder / f"rows-{number}.csv").write_text("id,t,a,b\n" + rows)

    def score(self, *options: object) -> Any:
        return CliRunner().invoke(app, ["score", str(self.config), "--root", str(self.root), *map(str, options)])

    def records(self) -> list[tuple[str, str, int | None]]:
        return [(each.span, each.outcome, each.version) for each in read_records(self.root / SCORES, SpanScore)]

    def predictions(self, span: object) -> pd.DataFrame:
        return pd.read_parquet(self.root / "scores" / f"span={span}" / "part-00000.parquet")


@pytest.mark.slow
def test_nights(exported, tmp_path, monkeypatch):
    nights = Nights(tmp_path)
    done = nights.score()
    assert (done.exit_code, nights.records()) == (EXIT_FAILED, [("", "failed", None)])
    assert "rows-{SPAN}.csv matches no file. Correct score.files" in done.output

    nights.span(1)
    done = nights.score()
    assert done.exit_code == EXIT_FAILED and "span 1: failed: " in done.output and "no published model" in done.output
    serving = nights.root / "serving" / "small"
    shutil.copytree(exported[0], serving / "4")
    nights.span(2)
    done = nights.score()
    assert done.exit_code == 0, done.output
    assert "span 1: 5 sequences scored by version 4 in " in done.stdout
    assert nights.records()[1:] == [("1", "failed", None), ("1", "scored", 4), ("2", "scored", 4)]
    found = nights.predictions(2)
    assert found["sequence_id"].tolist() == [f"s2-{each}" for each in range(5)]
    assert set(found["model_version"]) == {4}
    # The folders are partitions: readers see the span as a column.
    assert pd.read_parquet(nights.root / "scores")["span"].astype(int).tolist() == [1] * 5 + [2] * 5

    before = nights.predictions(1)
    done = nights.score("--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"outcome": "nothing new", "spans": []})

    # A span without a usable row doesn't keep the next one from being scored, and is tried again.
    nights.span(3, cell="loud")
    nights.span(4)
    done = nights.score("--json")
    content = json.loads(done.stdout)
    assert (done.exit_code, content["outcome"]) == (EXIT_FAILED, "failed")
    assert [each["outcome"] for each in content["spans"]] == ["failed", "scored"]
    assert content["spans"][0]["error"].startswith("no sequence came of 15 rows in 1 files: 15 unparsable_value")
    nights.span(3)
    assert nights.score().exit_code == 0

    # Interrupted in the middle, then a new version: the span is finished by the one that began it.
    nights.span(5, count=600)
    run, calls = SessionProcess.run, []

    def interrupted(self: Any, *arguments: Any) -> Any:
        calls.append(len(arguments[1]["examples"]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(self, *arguments)

    monkeypatch.setattr(SessionProcess, "run", interrupted)
    assert nights.score().exit_code == EXIT_INTERRUPTED
    shutil.copytree(serving / "4", serving / "5")
    nights.span(6)
    assert nights.score().exit_code == 0
    assert calls == [512, 88, 88, 5]
    assert nights.records()[-2:] == [("5", "scored", 4), ("6", "scored", 5)]
    # The version that began is gone: the span begins anew.
    nights.span(7, count=600)
    calls.clear()
    assert nights.score().exit_code == EXIT_INTERRUPTED
    shutil.copytree(serving / "5", serving / "6")
    shutil.rmtree(serving / "5")
    assert nights.score().exit_code == 0
    assert calls == [512, 88, 512, 88] and nights.records()[-1] == ("7", "scored", 6)
    assert nights.predictions(1).equals(before)


def test_configurations_without_spans(tmp_path):
    without = Nights(tmp_path, CONFIG.replace("score: {part_size: 1}\n", ""))
    done = without.score()
    assert done.exit_code == EXIT_CONFIG and "expected a section `score` in CONFIG" in done.output
    plain = Nights(tmp_path, CONFIG.replace("{SPAN}", "1"))
    assert "in every pattern of data.files: set score.files" in plain.score().output
    for files, message in (
        ('["new/*.csv"]', "score.files: expected {SPAN} or a date"),
        ('["a-{SPAN}.csv", "b-{YYYY}-{MM}-{DD}.csv"]', "expected the same span placeholders in all patterns"),
        ("[]", "score.files"),
    ):
        Nights(tmp_path, CONFIG.replace("part_size: 1", f"files: {files}"))
        with pytest.raises(ConfigError) as caught:
            load_config(tmp_path / "config.yaml")
        assert message in str(caught.value)


def test_dates_first_spans_and_incomplete_ones(tmp_path, monkeypatch):
    text = CONFIG.replace(
        "part_size: 1", 'files: ["d/{YYYY}-{MM}-{DD}-*.csv", "e/{YYYY}{MM}{DD}.csv"], first: 2026-03-02'
    )
    nights = Nights(tmp_path, text)
    (tmp_path / "d").mkdir()
    (tmp_path / "e").mkdir()
    for day in ("2026-03-01", "2026-03-02", "2026-03-03"):
        (tmp_path / "d" / f"{day}-x.csv").write_text("id,t,a,b\n")
        if not day.endswith("3"):
            (tmp_path / "e" / f"{day.replace('-', '')}.csv").write_text("id,t,a,b\n")
    requested = []

    def predicted(config: Any, sources: Any, folder: Path, **options: Any) -> dict[str, Any]:
        requested.append(([Path(source.path).name for source in sources], folder.name, options["own"]))
        return {"version": 1, "sequences": 2, "unused": {"a": 3}}

    monkeypatch.setattr("noisy_gru.pipeline.batch_prediction.scoring.predict_into_folder", predicted)
    done = nights.score()
    assert requested == [(["2026-03-02-x.csv", "20260302.csv"], "span=2026-03-02", None)]
    assert "span 2026-03-03: waits, it is incomplete: " in done.stdout
    assert "span 2026-03-02: 2 sequences scored by version 1 in " in done.stdout and "3 rows not used" in done.stdout
    requested.clear()
    nights.score("--set", "score.history=1", "--set", "score.first=null")
    assert [names for names, _, _ in requested] == [
        ["2026-03-01-x.csv", "20260301.csv"],
        ["2026-03-01-x.csv", "2026-03-02-x.csv", "20260301.csv", "20260302.csv"],
    ]
    assert {Path(name).name for name in requested[1][2]} == {"2026-03-02-x.csv", "20260302.csv"}


@pytest.mark.slow
def test_the_scheduler_scores_after_each_check(tmp_path, monkeypatch, capsys):
    from noisy_gru.pipeline.retrain.schedule import run_schedule

    Nights(tmp_path)
    config = load_config(tmp_path / "config.yaml", ["retraining.schedule.cron='* * * * * *'"])
    events = []

    def retrain() -> ProcessExit:
        events.append("check")
        return ProcessExit(1, {"outcome": "failed", "error": "bad data", "notified": []})

    def score() -> ProcessExit:
        events.append("score")
        os.kill(os.getpid(), signal.SIGTERM)
        spans = [{"span": "3", "error": "no sequence"}, {"span": "4", "error": ""}]
        return ProcessExit(1, {"outcome": "failed", "spans": spans})

    code = run_schedule(config, tmp_path / "config.yaml", tmp_path, [], run_child=retrain, score_child=score)
    assert (code, events) == (0, ["check", "score"])


def test_the_lines_of_the_scheduler():
    from noisy_gru.pipeline.retrain.schedule import _score_lines

    spans = [{"span": "3", "error": "no sequence"}, {"span": "4", "error": ""}]
    assert _score_lines(ProcessExit(1, {"spans": spans})) == [
        "WARNING: scoring of span 3 failed: no sequence",
        "scored: spans 4",
    ]
    assert _score_lines(ProcessExit(0, {"spans": []})) == ["scored: nothing new"]
    assert _score_lines(ProcessExit(-9, None)) == [
        "WARNING: scoring was killed by SIGKILL, perhaps because memory ran out"
    ]
