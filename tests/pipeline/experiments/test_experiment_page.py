"""The page of an experiment, of results that are stored: its numbers are the JSON's, and what it quotes is text."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.experiments_view import show_comparison
from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.experiments import experiment
from noisy_gru.pipeline.experiments.comparison_report import comparison_report
from noisy_gru.pipeline.experiments.engine import ResultStore, run_trials, with_seed
from noisy_gru.pipeline.experiments.experiment import Experiment
from noisy_gru.pipeline.experiments.experiment_page import experiment_page
from noisy_gru.pipeline.experiments.learning_curves import learning_curves
from noisy_gru.pipeline.experiments.noise_report import noise_report
from noisy_gru.pipeline.experiments.variants import CONFIGURED, Variant
from noisy_gru.pipeline.runs.progress import LiveProgress
from tests.pipeline.experiments.trials import CONFIG, TRAINER, compared, noise_trials, result

EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """What a browser would make of a page: the tags, the numbers, the text of some elements, the account."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.numbers: list[float] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(content)
        (account,) = self.texts["script"]
        self.account = json.loads(account)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        self.texts.setdefault(tag, []).append("")
        if tag == "data":
            self.numbers.append(float(dict(attrs)["value"] or "nan"))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]][-1] += data

    @property
    def scripts(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "script"]


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    rows = "".join(f"s{number},{step},{step},{number},c{number % 2}\n" for number in range(8) for step in range(4))
    (tmp_path / "rows.csv").write_text(f"id,t,a,b,kind\n{rows}")
    (tmp_path / "schema.pbtxt").write_text("")
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path / "config.yaml"


@pytest.fixture
def config(config_file: Path) -> PipelineConfig:
    return load_config(config_file, [])


def numbers_in(content: Any) -> set[float]:
    if isinstance(content, dict | list):
        values = content.values() if isinstance(content, dict) else content
        return set().union(*map(numbers_in, values))
    return {float(content)} if isinstance(content, int | float) and not isinstance(content, bool) else set()


def test_the_pages_of_both_have_the_numbers_of_their_json(config: PipelineConfig) -> None:
    trials = compared({CONFIGURED: 0.0, "wider": 0.1, "same": -0.001})
    for command, report, shown in (
        ("noise", noise_report(noise_trials(), TRAINER, pipeline="tiny", metric="accuracy", best="max"), 200),
        ("compare", comparison_report(trials, pipeline="tiny", metric="accuracy", best="max"), 50),
    ):
        page = Page(experiment_page(report, command=command, name=f"{command}-1", config=config))
        assert page.account["report"] == json.loads(json.dumps(report))
        assert len(page.numbers) >= shown
        assert set(page.numbers) <= numbers_in(report) | {len(report["seeds"])}
        assert page.texts["h1"] == [report["verdict"]]
        assert report["suggestion"]["yaml"] in page.texts["pre"]
        assert page.scripts == [{"type": "application/json", "id": "account"}], "nothing in it runs"
        assert not [attributes for _, attributes in page.tags if "src" in attributes]
    names = [cell.partition(". ")[2] for cell in page.texts["text"] if cell.startswith(("1. ", "2. ", "3. "))]
    assert {"wider", "same", CONFIGURED} == set(names)


def test_the_learning_curve_is_numpys_median_and_range() -> None:
    trials = compared({CONFIGURED: 0.0, "wider": 0.1})
    histories = [trials.results["wider", seed]["history"]["val_loss"] for seed in range(5)]
    histories[3][1] = float("inf")
    found = learning_curves(trials)["wider"]
    assert found["epoch"] == [1, 2, 3]
    assert found["seeds"] == [5, 4, 2], "two trainings had a third epoch; one loss was no number"
    for epoch in range(3):
        values = [each[epoch] for each in histories if len(each) > epoch and np.isfinite(each[epoch])]
        expected = (np.median(values), np.min(values), np.max(values))
        assert (found["median"][epoch], found["low"][epoch], found["high"][epoch]) == pytest.approx(expected)


def test_a_value_of_a_variant_is_text(config: PipelineConfig) -> None:
    trials = compared({CONFIGURED: 0.0, EVIL: 0.1})
    trials.failed["x"] = EVIL
    report = comparison_report(trials, pipeline=EVIL, metric="accuracy", best="max")
    content = experiment_page(report, command="compare", name="compare-1", config=config)
    page = Page(content)
    assert page.scripts == [{"type": "application/json", "id": "account"}]
    assert EVIL not in content
    assert page.texts["td"].count(EVIL) == 7, "ranking, name and value, metrics, three epochs"
    assert f"1. {EVIL}" in "".join(page.texts["text"])


@pytest.mark.parametrize("pairs", [1, 0])
def test_little_is_known(config: PipelineConfig, pairs: int) -> None:
    """One pair has no interval, and none no result; a metric may be no number."""
    for command in ("noise", "compare"):
        trials = noise_trials(pairs=1) if command == "noise" else compared({CONFIGURED: 0.0, "b": 0.1}, pairs=1)
        if not pairs:
            del trials.results[trials.variants[-1].name, 0]
        for each in trials.results.values():
            each["metrics"]["ece"] = float("nan")
        if command == "noise":
            report = noise_report(trials, TRAINER, pipeline="tiny", metric="accuracy", best="max")
        else:
            report = comparison_report(trials, pipeline="tiny", metric="accuracy", best="max")
        page = Page(experiment_page(report, command=command, name="x", config=config))
        expected = "One pair of trainings is no evidence yet" if pairs else "No seed is complete"
        assert page.texts["h1"][0].startswith(expected)
        assert ("1 seeds are left: run it again to go on." in page.texts["p"]) == (not pairs)


@pytest.mark.parametrize(
    ("gains", "sentence", "name"),
    [
        ({"wider": 0.1, "same": 0.0}, "wider is better than the configuration: +0.1", "wider"),
        (
            {"same": 0.0, "worse": -0.1},
            "No variant is better than the configuration by a difference that 5 pairs",
            None,
        ),
        ({}, "No other variant could be trained.", None),
    ],
)
def test_the_verdict_of_a_comparison(gains: dict[str, float], sentence: str, name: str | None) -> None:
    report = comparison_report(compared({CONFIGURED: 0.0, **gains}), pipeline="tiny", metric="accuracy", best="max")
    assert report["verdict"].startswith(sentence)
    assert (report["suggestion"] or {}).get("name") == name
    stream = io.StringIO()
    show_comparison(report, stream)
    assert sentence in " ".join(stream.getvalue().split())


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an experiment find all its results on disk."""

    def run(config: Any, variants: list[Variant], *, command: str, root: Path, seeds: int, shown: str, **_: Any) -> Any:
        folder = root / "experiments" / "0123"
        store = ResultStore(folder)
        for place, variant in enumerate(variants):
            for seed in range(seeds):
                accuracy = 0.8 + 0.1 * place + 0.001 * (seed * (place + 1) % 3)
                store.write(with_seed(variant.trainer, seed), result(accuracy, 0.5, [1.0, 0.5]))
        live = LiveProgress(io.StringIO())
        trials = run_trials(variants, range(seeds), store, lambda _: pytest.fail("it trained"), live, shown=shown)
        return Experiment(trials, folder, root / "experiments" / "logs" / f"{command}-20260102-030405.log")

    monkeypatch.setattr(experiment, "run_experiment", run)


@pytest.mark.usefixtures("stored")
def test_the_commands_write_it(config_file: Path, tmp_path: Path) -> None:
    compare = ["compare", str(config_file), "--vary", "model.layers[0].units=4", "--seeds", "4"]
    root = ["--root", str(tmp_path / "root")]
    done = CliRunner().invoke(app, [*compare, *root])
    assert done.exit_code == 0, done.output
    default = tmp_path / "root" / "experiments" / "0123" / "compare-20260102-030405.html"
    assert done.stdout.splitlines()[-1] == str(default)
    page = Page(default.read_text())
    assert yaml.safe_load(page.texts["pre"][0]) == {"model": {"layers": [{"units": 4, "stddev": 0.1}]}}
    assert "--set 'model.layers.0.units=4'" in page.texts["pre"]
    default.unlink()

    done = CliRunner().invoke(app, [*compare, *root, "--json", "--out", str(tmp_path / "new" / "page.html")])
    assert done.exit_code == 0, done.output
    assert Page((tmp_path / "new" / "page.html").read_text()).account["report"] == json.loads(done.stdout)
    assert not default.exists()

    noise = ["noise", str(config_file), "--kinds", "none", "--scales", "0,1,10", "--seeds", "4"]
    done = CliRunner().invoke(app, [*noise, *root, "--json", "--out", str(tmp_path / "noise.json")])
    assert done.exit_code == 0, done.output
    page = Page(default.with_name("noise-20260102-030405.html").read_text())
    assert page.account["report"] == json.loads(done.stdout) == json.loads((tmp_path / "noise.json").read_text())
