"""Trials: their order, what is kept on disk and found again, the budget, and the time that is left."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.pipeline.experiments.engine import ResultStore, Trials, run_trials
from noisy_gru.pipeline.experiments.variants import Variant, scaled
from noisy_gru.pipeline.runs.progress import LiveProgress
from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.config import TrainerConfig

TRAINER = TrainerConfig()
VARIANTS = [Variant("x0", scaled(TRAINER, 0.0)), Variant("x1", TRAINER)]


class Bench:
    """Trainings that take ten seconds of a clock of their own."""

    def __init__(self, folder: Path):
        self.now, self.trained, self.fail_at, self.diverges = 0.0, [], None, None
        self.folder = folder
        self.stream = io.StringIO()

    def train(self, trainer: TrainerConfig) -> dict[str, Any]:
        if len(self.trained) == self.fail_at:
            raise KeyboardInterrupt
        if trainer.model.layers[0].stddev == self.diverges:
            raise ConfigError("The training loss became nan in epoch 1.")
        self.now += 10
        self.trained.append((trainer.model.layers[0].stddev, trainer.seed))
        return {"metrics": {"accuracy": trainer.seed + trainer.model.layers[0].stddev}}

    def run(self, *, seeds: int = 3, measured: Any = None, budget: float | None = None) -> Trials:
        store = ResultStore(self.folder, measured)
        live = LiveProgress(self.stream)
        return run_trials(
            VARIANTS, range(5, 5 + seeds), store, self.train, live, shown="accuracy", required=["x1"], budget=budget,
            clock=lambda: self.now,
        )  # fmt: skip


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "experiment")


def test_all_variants_of_a_seed_come_before_the_next_seed(bench):
    trials = bench.run()
    assert bench.trained == [(0.0, 5), (0.1, 5), (0.0, 6), (0.1, 6), (0.0, 7), (0.1, 7)]
    assert trials.complete_seeds == [5, 6, 7]
    assert trials.values("x1", lambda result: result["metrics"]["accuracy"]) == pytest.approx([5.1, 6.1, 7.1])
    assert not trials.budget_spent
    lines = bench.stream.getvalue().splitlines()
    assert "2/6 x1 seed 5  accuracy 5.1  10.0 s, about 40 s left" in lines[3]
    assert lines[-1].endswith("10.0 s")


def test_a_killed_experiment_goes_on_with_what_is_missing(bench):
    bench.fail_at = 3
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    assert bench.trained == [(0.0, 5), (0.1, 5), (0.0, 6)]
    bench.fail_at = None
    assert bench.run().complete_seeds == [5, 6, 7]
    assert bench.trained == [(0.0, 5), (0.1, 5), (0.0, 6), (0.1, 6), (0.0, 7), (0.1, 7)]


def test_results_are_shared_by_configuration_and_not_by_what_is_measured(bench):
    bench.run(seeds=1)
    again = bench.run(seeds=2)
    assert len(bench.trained) == 4
    assert again.complete_seeds == [5, 6]
    assert "2 of 4 trainings were finished before" in bench.stream.getvalue()
    bench.run(seeds=1, measured=[[0.1], [1.0], [5]])
    assert len(bench.trained) == 6


def test_a_variant_that_diverges_is_left_out_and_the_others_go_on(bench):
    bench.diverges = 0.0
    for _ in range(2):
        trials = bench.run()
        assert trials.failed == {"x0": "The training loss became nan in epoch 1."}
        assert [each.name for each in trials.compared] == ["x1"]
        assert trials.complete_seeds == [5, 6, 7]
        assert not trials.budget_spent
        assert bench.trained == [(0.1, 5), (0.1, 6), (0.1, 7)], "neither it nor the others are trained again"
    assert "x0 seed 5  The training loss became nan" in bench.stream.getvalue()


def test_without_what_all_are_compared_with_there_is_no_experiment(bench):
    bench.diverges = 0.1
    for _ in range(2):
        with pytest.raises(ConfigError, match="became nan"):
            bench.run()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"result"', "null", '{"trainer": {}}'])
def test_a_damaged_result_is_trained_again(bench, content, caplog):
    bench.run(seeds=1)
    path = ResultStore(bench.folder).path(TRAINER.model_copy(update={"seed": 5}))
    assert json.loads(path.read_text())["result"] == {"metrics": {"accuracy": 5.1}}
    path.write_text(content)
    assert bench.run(seeds=1).complete_seeds == [5]
    assert bench.trained == [(0.0, 5), (0.1, 5), (0.1, 5)]
    assert f"{path} is damaged" in caplog.text


def test_after_the_budget_no_training_begins_and_complete_pairs_count(bench):
    trials = bench.run(budget=25)
    assert bench.trained == [(0.0, 5), (0.1, 5), (0.0, 6)]
    assert trials.complete_seeds == [5]
    assert trials.budget_spent
    assert "about 5 s left" in bench.stream.getvalue()
    whole = bench.run(budget=30)
    assert whole.complete_seeds == [5, 6, 7]
    assert not whole.budget_spent
