"""Calls to a server, and their replies, for any transport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from noisy_gru.saved_model.session import Signature
from noisy_gru.schema.errors import ConfigError


@dataclass(frozen=True)
class ModelChoice:
    """A model, and its version by number or label; with neither, the newest version that is served.

    Raises:
        ConfigError: number and label are both given, or invalid.
    """

    name: str
    version: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.label is not None:
            raise ConfigError(
                f"choose the model {self.name} by version or by label, received both (version {self.version}, label "
                f"{self.label})"
            )
        if self.version is not None and self.version < 0:
            raise ConfigError(f"a model's version is a whole number from 0 on, received {self.version}")
        if not self.name or self.label == "":
            raise ConfigError(f"a model's name and label can't be empty, received {self.name!r} and {self.label!r}")

    def at(self, version: int | None) -> ModelChoice:
        """Return the same model at a version."""
        return replace(self, version=version, label=None)

    def __str__(self) -> str:
        if self.version is not None:
            return f"model {self.name}, version {self.version}"
        return f"model {self.name}, label {self.label}" if self.label is not None else f"model {self.name}"


Inputs = Mapping[str, "np.ndarray | Sequence[bytes]"]


@dataclass(frozen=True)
class PredictCall:
    """A prediction by a signature. Each input is an array or a list of strings, sequences along its first axis."""

    model: ModelChoice
    signature: str
    inputs: Inputs
    ids: Sequence[str]

    def part(self, start: int, stop: int) -> PredictCall:
        """Return the call for a range of its sequences."""
        inputs = {name: values[start:stop] for name, values in self.inputs.items()}
        return replace(self, inputs=inputs, ids=self.ids[start:stop])

    def __str__(self) -> str:
        if not self.ids:
            return "no sequence"
        if len(self.ids) == 1:
            return f"sequence {self.ids[0]}"
        return f"{len(self.ids)} sequences ({self.ids[0]} to {self.ids[-1]})"


@dataclass(frozen=True)
class StatusCall:
    """The versions of a model."""

    model: ModelChoice


@dataclass(frozen=True)
class MetadataCall:
    """The signatures of a model."""

    model: ModelChoice


@dataclass(frozen=True)
class HealthCall:
    """The health of a server."""


Call = PredictCall | StatusCall | MetadataCall | HealthCall


@dataclass(frozen=True)
class PredictReply:
    """A signature's outputs by name; ``version`` is None over REST, which doesn't return it."""

    outputs: dict[str, np.ndarray]
    version: int | None = None


@dataclass(frozen=True)
class VersionStatus:
    """A version as the server sees it: START, LOADING, AVAILABLE, UNLOADING or END; ``error`` says why it failed."""

    version: int
    state: str
    error: str = ""


@dataclass(frozen=True)
class ModelMetadata:
    """The version that a model's name, version or label selects now, and its signatures by name."""

    version: int | None
    signatures: dict[str, Signature]


Reply = Any
