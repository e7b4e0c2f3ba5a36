"""Chromium for tests: what they wait for may take long on a machine under load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.patience import PATIENCE

# /dev/shm has 64 MB in a container; a container's root may not use Chromium's sandbox.
_FLAGS = ("--no-sandbox", "--disable-dev-shm-usage")


@contextmanager
def chromium(playwright: Any, executable: str | None) -> Iterator[Any]:
    """Run a browser.

    Args:
        playwright: the module ``playwright.sync_api``.
        executable: path of Chromium.
    """
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable, args=[*_FLAGS], timeout=1000 * PATIENCE)
        yield browser
        browser.close()


def patient(context: Any) -> Any:
    """Give a browser's context time for everything that its pages wait for; return it."""
    context.set_default_timeout(1000 * PATIENCE)
    context.set_default_navigation_timeout(1000 * PATIENCE)
    return context
