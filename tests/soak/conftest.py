"""Whether the whole year is lived through, or a few days of it; all days before anything is asserted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--year", action="store_true", help="Simulate all 75 days (make soak) instead of a few.")
    parser.addoption("--days", type=int, help="With --year: the first so many days alone.")


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Any]:
    """What was lived through, so that a failure shows what came of it."""
    # Not at import: this file is read wherever a test is.
    from tests.soak.expectations import SHORT, YEAR
    from tests.soak.life import live

    stretch = YEAR if pytestconfig.getoption("--year", False) else SHORT
    yield from live(tmp_path_factory.mktemp("life"), stretch, pytestconfig.getoption("--days", None))
