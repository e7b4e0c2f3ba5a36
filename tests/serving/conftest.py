"""A small published model, and a local server that serves it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from noisy_gru.serving.local_server import LocalServer

MODEL_NAME = "small"


@pytest.fixture(scope="session")
def small(export_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The base path of the model ``small``, which has every signature, and the Keras model that its version 1 is."""
    base_path = tmp_path_factory.mktemp("serving") / MODEL_NAME
    return base_path, export_model(base_path / "1", step=lambda state: state)


@pytest.fixture(scope="session")
def published(small: tuple[Path, Any]) -> Path:
    """The base path of the model ``small``. For reading only: `base_path` is a copy to change."""
    return small[0]


@pytest.fixture(scope="session")
def other_exported(export_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel of the same contract with other weights."""
    folder = tmp_path_factory.mktemp("other") / "Format-Serving"
    export_model(folder, seed=1)
    return folder


@pytest.fixture
def base_path(published: Path, tmp_path: Path) -> Path:
    """A copy of `published` for a test that changes it."""
    copy = tmp_path / "serving" / MODEL_NAME
    shutil.copytree(published, copy)
    return copy


@pytest.fixture(scope="module")
def server(published: Path) -> Iterator[LocalServer]:
    """A local server of the model ``small``, version 1."""
    from noisy_gru.serving.local_server import LocalServer

    with LocalServer({MODEL_NAME: published}) as running:
        yield running
