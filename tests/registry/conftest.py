"""A folder that looks like a SavedModel, to publish, and changes to it that make it another model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact" / "Format-Serving"
    (folder / "variables").mkdir(parents=True)
    (folder / "assets").mkdir()
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(os.urandom(300_000))
    (folder / "variables" / "variables.index").write_bytes(b"index")
    return folder


@pytest.fixture
def change() -> Callable[[Path], Path]:
    def _change(model: Path) -> Path:
        (model / "saved_model.pb").write_bytes((model / "saved_model.pb").read_bytes() + b"!")
        return model

    return _change
