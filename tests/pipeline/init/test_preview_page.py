"""The preview of `noisy-gru init` as a page: the numbers of pandas, labels escaped, nothing fetched."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from tests.browser import chromium, needs_chromium, patient

ODD = "</script><img src=http://other.invalid onerror=alert(1)>"


def rows() -> pd.DataFrame:
    """Five entities, one with an odd name, of 60 to 64 steps, with missing values."""
    frames = []
    for number, name in enumerate(["a", "b", "c", "d", ODD]):
        when = pd.date_range("2026-01-01", periods=60 + number, freq="h").strftime("%Y-%m-%dT%H:%M:%S")
        values = 10 + np.sin(np.arange(60 + number) / 24 * 6.283) + number
        frames.append(pd.DataFrame({"meter": name, "when": when, "left": values.round(3), "right": values * 2}))
    found = pd.concat(frames, ignore_index=True)
    found.loc[3:9, "right"] = np.nan
    return found


def page_of(folder: Path, *options: str) -> str:
    rows().to_csv(folder / "rows.csv", index=False)
    done = CliRunner().invoke(app, ["init", "--data", str(folder / "rows.csv"), "--out", str(folder), "--yes",
                                    "--preview", str(folder / "seen" / "page.html"), *options])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert f"Preview: {folder / 'seen' / 'page.html'}" in done.output
    return (folder / "seen" / "page.html").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "seen").mkdir()
    return tmp_path


def test_it_says_what_the_terminal_says(folder):
    page = page_of(folder)
    account = json.loads(page.partition('id="account">')[2].partition("</script>")[0])
    table = rows()
    assert account["facts"]["rows"] == "310 rows, 5 sequences (by meter)"
    assert account["lengths"] == sorted(table.groupby("meter").size())
    assert account["missing"] == {"right": 7}
    assert any(not each["sure"] and each["option"] == "--target" for each in account["guesses"])
    text = html.unescape(page)
    for shown in (
        "2026-01-01T00:00:00",
        "<- NOT SURE, --target decides",
        "left of a",
        "steps of a sequence",
        "60 to 64",
    ):
        assert shown in text
    # Numbers of a picture are those of the file.
    drawn = [float(value) for value in re.findall(r'<data value="([\d.]+)">', page)]
    assert set(table.left[:60]) <= set(drawn)
    assert ODD not in page and "<img" not in page
    assert html.escape(ODD[:9]) in page


@pytest.mark.long
def test_a_page_of_many_rows_stays_small(folder):
    steps = 2001
    frame = pd.DataFrame({"when": pd.date_range("2026-01-01", periods=steps, freq="min").astype(str)})
    for number in range(45):
        frame[f"sensor {number}"] = np.random.default_rng(number).normal(size=steps).round(3)
    frame.to_csv(folder / "rows.csv", index=False)
    done = CliRunner().invoke(app, ["init", "--data", str(folder / "rows.csv"), "--out", str(folder), "--yes",
                                    "--layout", "none", "--preview", str(folder / "page.html")])  # fmt: skip
    assert done.exit_code == 0, done.output
    page = (folder / "page.html").read_text()
    assert len(page) < 2e6
    assert "Each point is the mean of 3 steps." in page and "6 more columns." in page
    assert not re.search(r"(?:src|href)=[\"'](?!#)", page)


@pytest.mark.long
@needs_chromium
def test_in_a_browser_nothing_is_fetched_and_nothing_of_the_data_runs(folder):
    playwright: Any = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    page_of(folder)
    requested: list[str] = []
    with chromium(playwright) as browser:
        page = patient(browser.new_context(offline=True)).new_page()
        page.on("request", lambda request: requested.append(request.url))
        page.on("console", lambda message: requested.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: requested.append(f"error: {error}"))
        page.on("dialog", lambda dialog: requested.append(f"dialog: {dialog.message}"))
        page.goto((folder / "seen" / "page.html").as_uri())
        assert requested == [(folder / "seen" / "page.html").as_uri()]
        assert page.locator("figure svg").count() == 6  # lengths, and five meters
        assert page.locator("#guesses table tbody tr").count() > 5
        assert page.locator("#rows tbody tr").count() == 10
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
