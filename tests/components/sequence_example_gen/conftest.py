"""The fixtures of `data/`, whose parts the component runs."""

from tests.data.conftest import configured, ingest

__all__ = ["configured", "ingest"]
