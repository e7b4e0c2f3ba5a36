"""A model of the server's configuration, its versions, and the version that a request names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from grpc import StatusCode

from noisy_gru.serving.local_server.configuration import ServedModelConfig
from noisy_gru.serving.local_server.errors import RequestError, invalid, not_found
from noisy_gru.serving.local_server.version_states import AVAILABLE, END, LOADING, VersionLoadState


@dataclass
class ModelVersions:
    """A model and its versions. ``served`` is None when the config no longer has the model."""

    served: ServedModelConfig | None
    states: dict[int, VersionLoadState] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    logged: str = ""


def version_of(entry: ModelVersions | None, spec: Any) -> int | None:
    """Return the version that a ``ModelSpec`` names by number or label; None if it names none.

    Raises:
        RequestError: INVALID_ARGUMENT, for an unknown label.
    """
    choice = spec.WhichOneof("version_choice")
    if choice == "version":
        return spec.version.value
    if choice != "version_label":
        return None
    labels = entry.labels if entry is not None else {}
    if spec.version_label not in labels:
        known = f" of {spec.name}; it has {', '.join(sorted(labels))}" if labels else ""
        raise invalid(f"Unrecognized servable version label: {spec.version_label}{known}")
    return labels[spec.version_label]


def unavailable_error(entry: ModelVersions | None, version: int | None, wanted: str) -> RequestError:
    """Return the error for a version that takes no requests: UNAVAILABLE while it loads, else NOT_FOUND."""
    if entry is not None and entry.served is not None:
        states = [state for number, state in entry.states.items() if version in (None, number)]
        loading = any(state.state == LOADING for state in states)
        if loading or not any(state.state in (AVAILABLE, END) for state in entry.states.values()):
            return RequestError(
                StatusCode.UNAVAILABLE, f"{wanted} is being loaded, or waited for. Send the request again."
            )
    return not_found(f"Servable not found for request: {wanted}")


def is_awaited(entry: ModelVersions | None, newest: int) -> bool:
    """Return whether a version above the newest one is restarting: an older one must not answer in its place."""
    return entry is not None and any(state.ended and number > newest for number, state in entry.states.items())


def available_versions(entry: ModelVersions) -> list[int]:
    """Return the versions that take requests, highest first."""
    return sorted((number for number, state in entry.states.items() if state.state == AVAILABLE), reverse=True)
