"""The pages of `noise` and `compare` in headless Chromium: readable everywhere, nothing is fetched, nothing runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.experiments.comparison_report import comparison_report
from noisy_gru.pipeline.experiments.experiment_page import experiment_page
from noisy_gru.pipeline.experiments.noise_report import noise_report
from noisy_gru.pipeline.experiments.variants import CONFIGURED
from tests.browser import chromium, needs_chromium, open_offline, structure_problems
from tests.pipeline.experiments.trials import CONFIG, TRAINER, compared, noise_trials

EVIL = "<script>document.title='hacked'</script>"
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(playwright) as browser:
        yield browser


@pytest.fixture(params=["noise", "compare"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """The page of a command in a file, and its report. A name in it is a script."""
    trials = noise_trials() if request.param == "noise" else compared({CONFIGURED: 0.0, EVIL: 0.1, "same": -0.001})
    trials.failed[EVIL + "x"] = EVIL
    make = noise_report if request.param == "noise" else comparison_report
    options: dict[str, Any] = {"pipeline": EVIL, "metric": "accuracy", "best": "max"}
    report = noise_report(trials, TRAINER, **options) if make is noise_report else comparison_report(trials, **options)
    (tmp_path / "config.yaml").write_text(CONFIG)
    file = tmp_path / "page.html"
    page = experiment_page(report, command=request.param, name="x-1", config=load_config(tmp_path / "config.yaml"))
    file.write_text(page, encoding="utf-8")
    return file, report


def test_it_is_read_in_the_light_and_in_the_dark_on_a_phone_and_by_keyboard(browser, written):
    file, report = written
    page, seen = open_offline(browser, file, color_scheme="light")
    assert page.locator("h1").inner_text() == report["verdict"]
    assert json.loads(page.locator("#account").text_content())["report"] == json.loads(json.dumps(report))
    assert structure_problems(page) == []
    for link in page.eval_on_selector_all("nav a", "all => all.map(each => each.hash)"):
        assert page.locator(f"section{link} h2").count() == 1
    colours = (
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('svg text')).fill]"
    )
    light = page.evaluate(colours)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(colours)
    assert (light, dark) == (["rgb(255, 255, 255)", "rgb(28, 35, 48)"], ["rgb(20, 24, 31)", "rgb(230, 233, 239)"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    folded = page.locator("figure details").first
    assert not folded.locator("table").is_visible()
    folded.locator("summary").focus()
    page.keyboard.press("Enter")
    assert folded.locator("table").is_visible()
    page.set_viewport_size({"width": 360, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert seen == []
    assert file.stat().st_size < 5e6


def test_what_it_quotes_is_text(browser, written):
    page, seen = open_offline(browser, written[0])
    assert "hacked" not in page.title().replace(EVIL, "")
    assert page.locator("script:not([type]), img, iframe").count() == 0
    assert page.locator("main", has_text=f"{EVIL}x").count() == 1
    assert seen == []
