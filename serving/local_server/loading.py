"""From a folder to a version that can take requests; or the reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from noisy_gru.schema.errors import ModelError
from noisy_gru.serving.local_server.configuration import ServedModelConfig
from noisy_gru.serving.local_server.errors import RequestError, invalid, not_found, without_folders
from noisy_gru.serving.local_server.limits import Limits
from noisy_gru.serving.local_server.loaded_version import LoadedVersion
from noisy_gru.serving.local_server.warmup import warm_up


def load_version(name: str, version: int, folder: Path, limits: Limits | None = None) -> LoadedVersion:
    """A version that is loaded and warmed up.

    Raises:
        RequestError: if there is no model in ``folder``, TensorFlow can't load it, or a warm-up request fails.
    """
    try:
        loaded = LoadedVersion(name, version, folder, limits)
    except ModelError as error:
        message = without_folders(str(error), folder, f"{name}/{version}")
        raise not_found(message) if not (folder / "saved_model.pb").is_file() else invalid(message) from error
    try:
        warm_up(loaded)
    except RequestError as error:
        loaded.close()
        raise RequestError(error.code, without_folders(error.message, folder, f"{name}/{version}")) from error
    return loaded


def nothing_found(served: ServedModelConfig, found: Mapping[int, Path] | None) -> str:
    """Why there is no version to serve, for people.

    Args:
        served: the model.
        found: the versions under its base path; None if that can't be read.
    """
    if found is None:
        return f"{served.name}: Could not find base path {served.base_path} for servable {served.name}; waiting for it."
    if found:
        return f"{served.name}: of the versions {sorted(found)} under {served.base_path} the policy wants none."
    return (
        f"{served.name}: No versions of servable {served.name} found under base path {served.base_path}. Did you "
        "forget to name your leaf directory as a number (eg. '/1/')? Waiting for one."
    )
