"""Chromium for tests: what they wait for may take long on a machine under load."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")
# /dev/shm has 64 MB in a container; a container's root may not use Chromium's sandbox.
_FLAGS = ("--no-sandbox", "--disable-dev-shm-usage")


@contextmanager
def chromium(playwright: Any) -> Iterator[Any]:
    """Run a browser.

    Args:
        playwright: the module ``playwright.sync_api``.
    """
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=[*_FLAGS], timeout=1000 * PATIENCE)
        yield browser
        browser.close()


def patient(context: Any) -> Any:
    """Give a browser's context time for everything that its pages wait for; return it."""
    context.set_default_timeout(1000 * PATIENCE)
    context.set_default_navigation_timeout(1000 * PATIENCE)
    return context


def open_offline(browser: Any, file: Path, **options: Any) -> tuple[Any, list[str]]:
    """Open a file in a new context without a network.

    Args:
        browser: from ``chromium``.
        file: page to open.
        options: of the context, e.g. ``color_scheme``.

    Returns:
        The page, and what it has asked for or complained of since.
    """
    seen: list[str] = []
    page = patient(browser.new_context(offline=True, **options)).new_page()
    page.on("request", lambda request: seen.append(request.url))
    page.on("console", lambda message: seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("dialog", lambda dialog: seen.append(f"dialog: {dialog.message}"))
    page.goto(file.as_uri())
    assert seen.pop(0) == file.as_uri()
    return page, seen


_STRUCTURE = """() => {
  const all = selector => [...document.querySelectorAll(selector)], found = [];
  const check = (selector, isRight, problem) => {
    for (const each of all(selector)) if (!isRight(each)) found.push(`${problem}: ${each.outerHTML.slice(0, 200)}`);
  };
  let level = 0;
  for (const each of all("h1, h2, h3, h4")) {
    const next = Number(each.tagName[1]);
    if (next > level + 1) found.push(`heading ${each.textContent} is of level ${next}, after ${level}`);
    level = next;
  }
  check("html", each => each.lang && document.title, "no language or title");
  check("body", () => all("h1").length === 1 && all("main").length === 1, "not one h1 and one main");
  check("h1, h2, h3, h4, th, a, summary, button", each => each.textContent.trim(), "no text");
  check("table", each => each.querySelector("th"), "no names of columns");
  check("svg", each => each.getAttribute("aria-hidden") === "true", "not silent");
  check("svg", each => each.parentElement.querySelector("h2, h3"), "no title");
  check("svg", each => each.parentElement.querySelector("figcaption"), "no caption");
  check(".scroll, pre", each => each.tabIndex === 0, "not reached by keyboard");
  check("input, select", each => each.labels.length || each.type === "hidden", "no label");
  return found;
}"""


def structure_problems(page: Any) -> list[str]:
    """Return what a screen reader or a keyboard would miss: headings, names of columns and controls, titles."""
    return page.evaluate(_STRUCTURE)
