"""The folder that looks like a SavedModel, as in the tests of `registry/`."""

from tests.registry.conftest import change, model

__all__ = ["change", "model"]
