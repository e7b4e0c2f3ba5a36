"""Fingerprint of our sources and the package versions, as part of the key of TFX's cache.

TFX caches by component, parameters and inputs, not by code. So our code and the packages' versions are hashed into a
fingerprint, which every component with code of ours has as a parameter.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path

PACKAGES = (
    "noisy-gru-tfx",
    "tfx",
    "tensorflow",
    "keras",
    "tensorflow-transform",
    "tensorflow-data-validation",
    "tensorflow-model-analysis",
    "ml-metadata",
    "apache-beam",
    "pyarrow",
    "numpy",
    "holidays",
)
MODEL_ROOMS = ("schema", "compat", "saved_model", "trainer")
ALL_ROOMS = (*MODEL_ROOMS, "storage", "data", "registry", "components")


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on; `absent` where one is not installed."""
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


@cache
def source_fingerprint(rooms: tuple[str, ...] = ALL_ROOMS) -> str:
    """Return the SHA-256 of the sources of rooms and the package versions, wherever the package is installed.

    Rooms include all that they import: ``MODEL_ROOMS`` for the module file, ``ALL_ROOMS`` for components.
    """
    digest = hashlib.sha256()
    for room in rooms:
        folder = _folder(room)
        for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
            digest.update(f"{room}/{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    for name, version in package_versions().items():
        digest.update(f"\0{name}=={version}".encode())
    return digest.hexdigest()


def _folder(room: str) -> Path:
    spec = importlib.util.find_spec(f"noisy_gru.{room}")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"noisy_gru.{room} is not installed; reinstall noisy-gru-tfx")
    return Path(next(iter(spec.submodule_search_locations)))
