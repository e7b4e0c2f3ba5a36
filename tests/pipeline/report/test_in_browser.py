"""The page in headless Chromium: no request, nothing of the data runs, and each number is in the account."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from noisy_gru.pipeline.report.account import run_account
from noisy_gru.pipeline.report.page import run_page
from tests.browser import chromium, needs_chromium, open_offline, structure_problems
from tests.pipeline.report.conftest import CLASSES

EVIL = "<script>alert(1)</script>"
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(playwright) as browser:
        yield browser


@pytest.fixture
def opened(make_run, browser, tmp_path):
    """``opened(…)``: a page in a new context, its account, and what it asked for and complained of."""
    run = make_run()
    account = run_account(run.record, run.directory.root)
    file = tmp_path / "report.html"
    file.write_text(run_page(account), encoding="utf-8")

    def _opened(**options: Any) -> tuple[Any, dict[str, Any], list[str]]:
        page, requests = open_offline(browser, file, **options)
        return page, account, requests

    yield _opened
    assert file.stat().st_size < 5e6


def numbers_in(content: Any) -> Iterator[float]:
    if isinstance(content, dict):
        content = content.values()
    elif isinstance(content, bool) or not isinstance(content, int | float | list):
        return
    elif not isinstance(content, list):
        yield float(content)
        return
    for each in content:
        yield from numbers_in(each)


def test_what_it_says_is_in_the_account_and_nothing_is_fetched(opened):
    page, account, requests = opened()
    assert json.loads(page.locator("#account").text_content()) == account
    shown = page.eval_on_selector_all("data", "all => all.map(each => each.value)")
    # Counts that the page makes: places of steps on an axis, and epochs.
    known = {*numbers_in(account), *map(float, range(13))}
    assert len(shown) > 100
    assert [value for value in shown if float(value) not in known] == []
    assert page.locator("h1").inner_text() == "Published as version 4"
    assert page.locator("figure svg").count() >= 8
    assert requests == []


def test_a_label_is_text(opened):
    page, _, requests = opened()
    assert "hacked" not in page.title()
    assert page.evaluate("document.querySelectorAll('script:not([type]), img').length") == 0
    row = page.locator("#evaluation td", has_text="document.title").first
    assert row.text_content() == CLASSES[0]
    for section in ("evaluation", "importance"):
        assert page.locator(f"#{section} svg text", has_text="<script>").count() >= 1
    assert page.locator("#importance td", has_text="document.title").first.text_content() == CLASSES[0]
    assert requests == []


def test_no_name_of_the_data_is_more_than_text(make_run, browser, tmp_path):
    run = make_run()
    account = run_account(run.record, run.directory.root)
    ends = {"coverage": 0.8, "covered": 0.75, "width": 2.0, "answers": 9}
    window = {"id": f"{EVIL}@1", "error": 1.5, "why": "median error", "horizons": [1, 2]}
    window |= {key: {EVIL: [1.0, 2.0]} for key in ("came", "forecast", "low", "high")}
    target = {"target": EVIL, "interval": ends, "by_hour": [], "pairs": {"true": []}, "residuals": {"count": 0}}
    target["by_horizon"] = [{"horizon": each, "mae": {"candidate": 1.0}, "interval": ends} for each in (1, 2)]
    target["by_series"] = [{"series": EVIL, "mae": {"candidate": 1.0}, "windows": 3, "bias": 0.5}] * 2
    account["evaluation"] |= {"kind": "forecasting", "targets": [target], "windows": [window]}
    account["evaluation"]["first_states"] |= {"metric": EVIL, "not_measured": {"carried_start": EVIL}}
    for each in account["importance"]["features"]:
        each |= {"name": EVIL, "kind": EVIL}
    account["lineage"]["files"] = [{"name": EVIL, "rows": 1, "bytes": 2, "span": None, "sha256": EVIL}]
    file = tmp_path / "report.html"
    file.write_text(run_page(account), encoding="utf-8")
    page = browser.new_context(offline=True).new_page()
    printed: list[str] = []
    page.on("dialog", lambda dialog: printed.append(dialog.message))
    page.on("console", lambda message: printed.append(message.text))
    page.goto(file.as_uri())
    assert "can't be shown" not in page.locator("main").text_content()
    assert page.locator("script:not([type])").count() == 0
    for section, figures in (("evaluation", 3), ("importance", 2)):
        assert page.locator(f"#{section} figure").count() >= figures
        assert page.locator(f"#{section} svg text", has_text="<script>").count() >= 1
        assert page.locator(f"#{section} td", has_text=EVIL).count() >= 1
    assert page.locator("h3", has_text=f"Window {EVIL}@1").count() == 1
    assert page.locator("#gate h3", has_text="Latency of one sequence").count() == 1
    assert page.locator("#lineage td", has_text=EVIL).count() == 2
    # The same in a notebook, which has no policy that forbids scripts.
    record = run.record.model_copy(update={"metrics": {EVIL: 0.5}, "refusals": [EVIL], "pipeline": EVIL})
    page.set_content(record._repr_html_())
    assert page.locator("td", has_text=EVIL).count() == 1
    assert page.locator("script").count() == 0
    assert printed == []


def test_light_dark_and_print(opened):
    page, _, _ = opened(color_scheme="light")
    colours = (
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('svg text')).fill]"
    )
    assert page.evaluate(colours) == ["rgb(255, 255, 255)", "rgb(28, 35, 48)"]
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(colours) == ["rgb(20, 24, 31)", "rgb(230, 233, 239)"]
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(colours) == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    assert not page.locator("nav").is_visible()
    assert len(page.pdf()) > 10_000


def test_a_phone_scrolls_one_way(opened):
    page, _, _ = opened(viewport={"width": 360, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_keyboard_and_screen_reader(opened):
    page, _, _ = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    folded = page.locator("#training details").first
    assert not folded.locator("table").is_visible()
    folded.locator("summary").focus()
    page.keyboard.press("Enter")
    assert folded.locator("table").is_visible()
    assert folded.locator("data").first.get_attribute("value") == "1.0"
    assert structure_problems(page) == []
    names = "[...document.querySelectorAll('[id]')].map(each => each.id)"
    ids = [each for each in page.evaluate(names) if not each.startswith(("m", "p", "figure", "axes"))]
    for link in page.eval_on_selector_all("nav a", "all => all.map(each => each.hash.slice(1))"):
        assert ids.count(link) == 1
