"""The served models: watch folders; load, warm up, swap and unload versions; resolve labels.

A version takes requests only after its warm-up; only then the old version is unloaded, after its last request. A
version that fails to load never replaces the old one.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from grpc import StatusCode
from tensorflow_serving.apis import get_model_status_pb2

from noisy_gru.saved_model.session import TensorSpec
from noisy_gru.schema.errors import ConfigError
from noisy_gru.serving.local_server.configuration import ServedModelConfig, read_config_file, served_models
from noisy_gru.serving.local_server.errors import RequestError, failed_precondition, invalid, not_found
from noisy_gru.serving.local_server.limits import Limits
from noisy_gru.serving.local_server.loaded_version import LoadedVersion
from noisy_gru.serving.local_server.loading import load_version
from noisy_gru.serving.local_server.model_versions import (
    ModelVersions,
    available_versions,
    is_awaited,
    unavailable_error,
    version_of,
)
from noisy_gru.serving.local_server.version_states import (
    AVAILABLE,
    END,
    LOADING,
    UNLOADING,
    VersionLoadState,
    find_versions,
    folder_stamp,
    no_version_message,
)

Log = Callable[[str], None]


class Models:
    """The served models; all methods are thread-safe.

    Args:
        config: a ``ModelServerConfig``. Its labels may name versions that don't exist yet.
        log: receives a line at each change.
        limits: of the models' requests.

    Raises:
        RequestError: if the config can't be used.
    """

    def __init__(self, config: Any, *, log: Log, limits: Limits | None = None) -> None:
        self._log = log
        self._limits = limits or Limits()
        self._changing = threading.Lock()  # held while folders are looked at and models are loaded
        self._lock = threading.Lock()  # guards what follows, and is never held for long
        self._entries: dict[str, ModelVersions] = {}
        self._unloader = ThreadPoolExecutor(4, thread_name_prefix="unload")
        self._closed = False
        served = served_models(config)
        self._set(served)
        self._set_labels(served)

    def _set(self, served: Mapping[str, ServedModelConfig]) -> None:
        with self._lock:
            for name, model in served.items():
                self._entries.setdefault(name, ModelVersions(None)).served = model
            for name, entry in self._entries.items():
                if name not in served:
                    entry.served = None

    def _set_labels(self, served: Mapping[str, ServedModelConfig]) -> None:
        with self._lock:
            for name, entry in self._entries.items():
                entry.labels = dict(served[name].labels) if name in served else {}

    @property
    def ready(self) -> bool:
        """Whether every model has a version that takes requests."""
        with self._lock:
            entries = [entry for entry in self._entries.values() if entry.served is not None]
            return bool(entries) and all(available_versions(entry) for entry in entries)

    def available(self) -> dict[str, list[int]]:
        """Return the versions that take requests, highest first, by model of the config."""
        with self._lock:
            return {
                name: available_versions(entry) for name, entry in self._entries.items() if entry.served is not None
            }

    def known(self, name: str) -> str:
        """Return the name if the config has such a model, else an empty string."""
        with self._lock:
            entry = self._entries.get(name)
            return name if entry is not None and entry.served is not None else ""

    def inputs(self, name: str, signature: str) -> dict[str, TensorSpec]:
        """Return the inputs of a signature of the newest version; empty if there is no such version or signature."""
        with self._lock:
            entry = self._entries.get(name)
            newest = available_versions(entry)[:1] if entry is not None else []
            loaded = entry.states[newest[0]].loaded if entry is not None and newest else None
        found = loaded.model.signatures.get(signature) if loaded is not None else None
        return dict(found.inputs) if found is not None else {}

    def lease(self, spec: Any) -> LoadedVersion:
        """Return the version that a ``ModelSpec`` names; it stays in memory until its `release`.

        Raises:
            RequestError: NOT_FOUND for a model or version that isn't served, INVALID_ARGUMENT for an unknown label;
                UNAVAILABLE while a model's first version, or the named version, is loading.
        """
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        with self._lock:
            entry = self._entries.get(spec.name)
            version = version_of(entry, spec)
            wanted = f"Latest({spec.name})" if version is None else f"Specific({spec.name}, {version})"
            available = available_versions(entry) if entry is not None else []
            if version is None and available and not is_awaited(entry, available[0]):
                version = available[0]
            if entry is None or version not in available:
                raise unavailable_error(entry, version, wanted)
            loaded = entry.states[version].loaded
            if loaded is None:
                raise not_found(f"Servable not found for request: {wanted}")
            loaded.acquire()
            return loaded

    def status(self, spec: Any) -> Any:
        """Return the ``GetModelStatusResponse`` for a ``ModelSpec``: the named version, or all, highest first.

        Raises:
            RequestError: NOT_FOUND for an unknown model or version, INVALID_ARGUMENT for an unknown label.
        """
        response = get_model_status_pb2.GetModelStatusResponse()
        with self._lock:
            entry = self._entries.get(spec.name)
            version = version_of(entry, spec)
            states = entry.states if entry is not None else {}
            if version is not None and version not in states:
                raise not_found(f"Could not find version {version} of model {spec.name}")
            if not states:
                raise not_found(f"Could not find any versions of model {spec.name}")
            for number in sorted(states, reverse=True) if version is None else [version]:
                response.model_version_status.append(states[number].to_proto(number))
        return response

    def reload(self, config: Any) -> None:
        """Apply a new ``ModelServerConfig``, and wait until its new models are loaded.

        Labels change last and all at once. They may name only versions that take requests, as TF Serving's
        `HandleReloadConfig` requires.

        Raises:
            RequestError: if the config can't be used, a new model does not become available, or a label is refused.
        """
        served = served_models(config)
        with self._changing:
            before = set(self.available())
            self._set(served)
            self._sync()
            available = self.available()
            missing = [name for name in served if name not in before and not available[name]]
            if missing:
                reasons = "; ".join(f"{name}: {self._why_unavailable(name)}" for name in missing)
                raise RequestError(StatusCode.UNKNOWN, f"Some models did not become available: {{{reasons}}}")
            for name, model in served.items():
                for label, version in model.labels.items():
                    if version not in available[name]:
                        raise failed_precondition(
                            f"Request to assign label {label} to version {version} of model {name}, which is not "
                            f"currently available for inference; available: {available[name] or 'none'}"
                        )
            self._set_labels(served)

    def _why_unavailable(self, name: str) -> str:
        with self._lock:
            entry = self._entries[name]
            errors = [state.error.message for state in entry.states.values() if state.error is not None]
        if errors:
            return errors[-1]
        return "no version found under its base path"

    def take_over(self, file: Path, config_of_file: Callable[[Path], Any] = read_config_file) -> None:
        """Apply a changed config file; its labels may name versions that don't exist yet."""
        try:
            served = served_models(config_of_file(file))
        except (ConfigError, RequestError) as error:
            self._log(f"{file} changed, but is invalid; the server keeps its configuration: {error}")
            return
        with self._changing:
            self._set(served)
            self._sync()
            self._set_labels(served)

    def sync(self) -> None:
        """Read the folders once: load new versions, unload those that the policy no longer selects."""
        with self._changing:
            self._sync()

    def _sync(self) -> None:
        with self._lock:
            entries = list(self._entries.items())
        for name, entry in entries:
            if self._closed:
                return
            self._sync_model(name, entry)

    def _sync_model(self, name: str, entry: ModelVersions) -> None:
        served = entry.served
        if served is None:
            self._unload(name, entry, list(entry.states))
            return
        for version, state in list(entry.states.items()):
            if state.state == AVAILABLE and state.loaded is not None and not state.loaded.model.alive:
                self._restart(name, version, state.loaded)
        found = find_versions(served.base_path)
        wanted = served.policy.choose(found or [])
        if not wanted:
            self._log_once(entry, no_version_message(served, found))
        if found is None:
            return
        for version in wanted:
            self._load(served, entry, version, found[version])
        # Unload the old version when a selected one has replaced it, or when none is selected.
        if not wanted or any(version in wanted for version in available_versions(entry)):
            self._unload(name, entry, [version for version in entry.states if version not in wanted])

    def _load(self, served: ServedModelConfig, entry: ModelVersions, version: int, folder: Path) -> None:
        state = entry.states.get(version)
        if state is not None and state.state in (LOADING, UNLOADING) and not state.ended:
            return
        stamp = folder_stamp(folder)
        if state is not None and state.stamp == stamp and (state.error is not None or state.state == AVAILABLE):
            return
        # Its files have changed since: the old model answers until the new one is loaded.
        before = state if state is not None and state.state == AVAILABLE else None
        if before is None:
            with self._lock:
                entry.states[version] = VersionLoadState(LOADING, ended=state is not None and state.ended)
        try:
            loaded = load_version(served.name, version, folder, self._limits)
        except RequestError as error:
            with self._lock:
                if before is not None:
                    before.stamp = stamp
                else:
                    entry.states[version] = VersionLoadState(END, error=error, stamp=stamp)
            still = available_versions(entry)
            kept = f"Still serving version {still[0]}." if still else "No version is served."
            self._log(f"{served.name}: version {version} failed to load. {error.message} {kept}")
            return
        with self._lock:
            entry.states[version] = VersionLoadState(AVAILABLE, loaded, stamp=stamp)
        loaded.on_end = functools.partial(self._restart, served.name, version, loaded)
        if before is not None and before.loaded is not None:
            self._unloader.submit(before.loaded.close)
        entry.logged = ""
        self._log(f"{served.name}: serving version {version}, from {folder}")

    def _restart(self, name: str, version: int, loaded: LoadedVersion) -> None:
        """Reload a version whose process ended; it is LOADING meanwhile."""
        with self._lock:
            entry = self._entries[name]
            state = entry.states.get(version)
            # Only once, for the first of the requests that notice.
            if self._closed or state is None or state.loaded is not loaded or state.state != AVAILABLE:
                return
            entry.states[version] = VersionLoadState(LOADING, ended=True)
        self._log(f"{name}: the process of version {version} ended; restarting it")
        self._unloader.submit(loaded.close)
        self._unloader.submit(self.sync)

    def _unload(self, name: str, entry: ModelVersions, versions: list[int]) -> None:
        for version in versions:
            state = entry.states[version]
            if state.ended:
                with self._lock:
                    entry.states[version] = VersionLoadState(END)
                continue
            if state.state != AVAILABLE or state.loaded is None:
                continue
            with self._lock:
                state.state = UNLOADING
            self._unloader.submit(self._drain, name, version, state)

    def _drain(self, name: str, version: int, state: VersionLoadState) -> None:
        if state.loaded is not None:
            state.loaded.close()
        with self._lock:
            state.loaded, state.state = None, END
        self._log(f"{name}: version {version} is unloaded")

    def _log_once(self, entry: ModelVersions, line: str) -> None:
        if entry.logged != line:
            entry.logged = line
            self._log(line)

    def close(self) -> None:
        """Unload everything, each version after its last request."""
        self._closed = True
        with self._changing:
            self._set({})
            with self._lock:
                entries = list(self._entries.items())
            for name, entry in entries:
                self._unload(name, entry, list(entry.states))
        self._unloader.shutdown(wait=True)
