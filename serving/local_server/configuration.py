"""The served models: TF Serving's ModelServerConfig, read and checked.

>>> VersionPolicy(latest=2).choose([3, 1, 2])
[3, 2]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from noisy_gru.schema.errors import ConfigError
from noisy_gru.serving.local_server.errors import invalid

_PLATFORM = "tensorflow"
_REMOTE = "://"


@dataclass(frozen=True)
class VersionPolicy:
    """The versions of a model that are served, of those found.

    Attributes:
        latest: how many of the highest.
        specific: these versions, where they are found; overrides ``latest``.
        all: every version; overrides both.
    """

    latest: int = 1
    specific: tuple[int, ...] = ()
    all: bool = False

    def choose(self, found: Iterable[int]) -> list[int]:
        """Return the versions to serve, highest first."""
        ordered = sorted(set(found), reverse=True)
        if self.all:
            return ordered
        if self.specific:
            return [version for version in ordered if version in self.specific]
        return ordered[: self.latest]


@dataclass(frozen=True)
class ServedModelConfig:
    """Configuration of a served model.

    Attributes:
        name: of the model, as in requests.
        base_path: the folder of its versions.
        policy: the versions to serve.
        labels: version by label.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


def served_models(config: Any) -> dict[str, ServedModelConfig]:
    """Return the models of a ``ModelServerConfig``, by name.

    Raises:
        RequestError: INVALID_ARGUMENT, TF Serving would refuse it, or this server lacks a feature that it uses.
    """
    kind = config.WhichOneof("config")
    if kind != "model_config_list":
        raise invalid(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
            f"supported; received {kind or 'an empty config'}."
        )
    models: dict[str, ServedModelConfig] = {}
    for entry in config.model_config_list.config:
        if not entry.name:
            raise invalid(f"A model of the config has no name (base_path: {entry.base_path!r}).")
        if entry.name in models:
            raise invalid(f"Illegal to list model {entry.name} multiple times in config list")
        models[entry.name] = _served_model(entry)
    return models


def _served_model(entry: Any) -> ServedModelConfig:
    platform = entry.model_platform
    if not platform and not entry.model_type:
        raise invalid(
            f"Model {entry.name}: Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f'ModelServerConfig::model_platform. Expected model_platform: "{_PLATFORM}".'
        )
    if platform and entry.model_type:
        raise invalid(
            f"Model {entry.name}: Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform."
        )
    if platform and platform != _PLATFORM:
        raise invalid(f"Model {entry.name} requests unsupported platform {platform}; expected {_PLATFORM}.")
    if not entry.base_path:
        raise invalid(f"Model {entry.name}: base_path is empty; expected the folder that holds its versions.")
    if _REMOTE in entry.base_path:
        raise invalid(f"Model {entry.name}: the local server reads local folders; received {entry.base_path}.")
    if not Path(entry.base_path).is_absolute():
        raise invalid(
            f"Model {entry.name}: Expected model {entry.name} to have an absolute path or URI; got base_path"
            f"()={entry.base_path}"
        )
    return ServedModelConfig(
        name=entry.name,
        base_path=Path(entry.base_path),
        policy=_policy(entry),
        labels=MappingProxyType(dict(entry.version_labels)),
    )


def _policy(entry: Any) -> VersionPolicy:
    choice = entry.model_version_policy.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy(all=True)
    if choice == "specific":
        wanted = tuple(entry.model_version_policy.specific.versions)
        if not wanted:
            raise invalid(f"Model {entry.name}: the policy `specific` names no version.")
        return VersionPolicy(specific=wanted)
    # 0 is proto3's default: not set.
    return VersionPolicy(latest=entry.model_version_policy.latest.num_versions or 1)


def read_config_file(file: Path) -> Any:
    """Read a ``ModelServerConfig`` from a text file.

    Raises:
        ConfigError: if it can't be read, or isn't one.
    """
    try:
        return text_format.Parse(file.read_text(), model_server_config_pb2.ModelServerConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ConfigError(f"{file}: expected a ModelServerConfig of TF Serving as text: {error}") from error


def config_of(models: Mapping[str, str | Path]) -> Any:
    """Return a ``ModelServerConfig`` that serves the latest version of each model; base paths by name."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.SetInParent()
    for name, base_path in models.items():
        config.model_config_list.config.add(
            name=name, base_path=str(Path(base_path).absolute()), model_platform=_PLATFORM
        )
    return config
