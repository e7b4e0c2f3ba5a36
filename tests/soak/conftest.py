"""Whether the whole year is lived through, or a few days of it."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--year", action="store_true", help="Simulate all 60 spans (make soak) instead of a few.")
