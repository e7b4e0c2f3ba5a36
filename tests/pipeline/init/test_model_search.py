"""`noisy-gru init --search`: which models are tried, which one is kept, and what is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG
from noisy_gru.pipeline.experiments.engine import Trials
from noisy_gru.pipeline.init import model_search
from noisy_gru.pipeline.init.model_search import adopt, search_models
from noisy_gru.pipeline.init.proposal import propose

Score = Callable[[str, int], float]


def forecast(folder: Path) -> Path:
    """Two series of 40 days in hours, with a day's season."""
    random = np.random.default_rng(0)
    hours = np.arange(960)
    times = pd.date_range("2025-01-01", periods=960, freq="h")
    parts = [
        pd.DataFrame(
            {"plant": name, "at": times, "load": 9 + np.sin(hours * 2 * np.pi / 24) + random.normal(0, 0.1, 960)}
        )
        for name in ("a", "b")
    ]
    pd.concat(parts).to_csv(folder / "rows.csv", index=False)
    propose([str(folder / "rows.csv")], out=folder).write(folder)
    return folder / "config.yaml"


def classes(folder: Path) -> Path:
    random = np.random.default_rng(0)
    parts = []
    for number in range(120):
        kind = number % 2
        values = random.normal(kind, 1, 12).round(3)
        parts.append(pd.DataFrame({"pump": f"p{number}", "t": range(12), "x": values, "kind": f"k{kind}"}))
    pd.concat(parts).to_csv(folder / "rows.csv", index=False)
    propose([str(folder / "rows.csv")], out=folder, task="classification", targets=["kind"], entity="pump").write(
        folder
    )
    return folder / "config.yaml"


class Trainings:
    """In place of trainings: results by a function of the variant's name and the seed."""

    def __init__(self, score: Score, seconds: float = 5.0):
        self.score, self.seconds = score, seconds
        self.calls: list[tuple[list[str], int]] = []

    def __call__(self, config: Any, variants: Any, *, seeds: int, shown: str, budget: float, **_: Any) -> Any:
        names = [each.name for each in variants]
        self.calls.append((names, seeds))
        results, spent = {}, 0.0
        for seed in range(seeds):
            for name in names:
                if spent < budget:
                    results[name, seed] = {"metrics": {shown: self.score(name, seed)}, "seconds": self.seconds}
                    spent += self.seconds
        is_spent = len(results) < seeds * len(names)
        trials = Trials(list(variants), list(range(seeds)), results, spent, is_spent)
        return type("Done", (), {"trials": trials})()


def searched(
    path: Path, score: Score, monkeypatch: pytest.MonkeyPatch, seconds: float = 1e6
) -> tuple[model_search.ModelSearch, Trainings]:
    trainings = Trainings(score)
    monkeypatch.setattr(model_search, "run_experiment", trainings)
    found = search_models(path, root=None, seconds=seconds)
    adopt(path, found)
    return found, trainings


def test_the_best_model_on_eval_is_written_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = forecast(tmp_path)
    before = load_config(path)
    scores = {"configured": 2.0, "forecasting": 1.0, "forecasting, with a linear path": 0.9}
    found, trainings = searched(path, lambda name, seed: scores.get(name, 3.0) + 0.01 * seed, monkeypatch)
    names, _ = trainings.calls[0]
    assert names[0] == "configured" and "relative to the window" in names
    assert "differences" not in names  # that is what is proposed
    best = ["configured", "forecasting", "forecasting, with a linear path"]
    assert trainings.calls[1] == (best, 3), "the best two and the proposed one with further seeds"
    config = load_config(path)
    assert (config.model.preset, config.model.segment, config.model.linear_path) == ("forecasting", 24, True)
    unchanged = {"model": before.model}
    assert config.model_copy(update=unchanged) == before, "nothing else changes"
    text = path.read_text()
    assert "# By noisy-gru init --search: forecasting, with a linear path has mae 0.91 on eval" in text
    assert found.is_complete and [len(each.scores) for each in found.ranked[:3]] == [3, 3, 3]


def test_the_proposed_model_stays_where_none_is_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = classes(tmp_path)
    before = load_config(path)
    found, trainings = searched(path, lambda *_: 0.5, monkeypatch)
    assert found.chosen is None and load_config(path) == before
    assert "the proposed model has the best accuracy on eval, 0.5, of" in path.read_text()
    assert {"long", "attention", "convolutions"} <= set(trainings.calls[0][0])


def test_one_lucky_seed_does_not_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = classes(tmp_path)

    def score(name: str, seed: int) -> float:
        return {"configured": 0.8, "long": 0.9 if seed == 0 else 0.6}.get(name, 0.5)

    found, _ = searched(path, score, monkeypatch)
    assert found.chosen is None and found.ranked[0].candidate.name == "configured"
    assert found.ranked[1].mean == pytest.approx(0.7)


def test_what_the_time_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = classes(tmp_path)
    found, trainings = searched(path, lambda name, _: 0.9 if name == "small" else 0.5, monkeypatch, seconds=14.0)
    assert len(trainings.calls) == 1 and not found.is_complete
    assert len(found.ranked) == 3 and "a longer --budget tries the rest" in found.lines[-1]
    assert found.chosen is not None and load_config(path).model.preset == "small"


def test_options_of_the_search_alone_are_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["init", "--data", "rows.csv", "--out", str(tmp_path), "--budget", "5m"])
    assert done.exit_code == EXIT_CONFIG and "--budget and --root are of --search" in done.output


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.filterwarnings("default")  # of TFX's own imports
def test_from_a_table_to_a_validated_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes(tmp_path)
    monkeypatch.chdir(tmp_path)
    options = ["--task", "classification", "--entity", "pump", "--target", "kind", "--yes", "--force"]
    search = ["--search", "--budget", "1s", "--root", "root"]
    done = CliRunner().invoke(app, ["init", "--data", "rows.csv", "--out", ".", *options, *search])
    assert done.exit_code == 0, done.output
    assert "on eval" in done.output and "configured" in done.output
    assert "By noisy-gru init --search" in (tmp_path / "config.yaml").read_text()
    assert CliRunner().invoke(app, ["validate", "config.yaml"]).exit_code == 0
