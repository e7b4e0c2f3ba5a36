"""HandleReloadConfigRequest: models, policies and labels change while the server runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.serving.local_server.conftest import Asking, Serving

if TYPE_CHECKING:
    from noisy_gru.serving.local_server import LocalServer

pytestmark = pytest.mark.slow

Publish = Callable[..., Path]
ALL = "model_version_policy { all {} }"


def entry(name: str, base_path: Path | str, more: str = "", platform: str = 'model_platform: "tensorflow"') -> str:
    return f'config {{ name: "{name}" base_path: "{base_path}" {platform} {more} }}'


def listed(*entries: str) -> str:
    return f"model_config_list {{ {' '.join(entries)} }}"


def label(name: str, version: int) -> str:
    return f'version_labels {{ key: "{name}" value: {version} }}'


def refuses(code: grpc.StatusCode, asking: Asking, text: str, words: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        asking.reload(text)
    error = caught.value
    assert isinstance(error, grpc.Call)
    assert (error.code(), words in (error.details() or "")) == (code, True), error


def test_models_come_and_go(serving: Serving, base_path: Path) -> None:
    _, asking, log = serving()
    other = base_path.with_name("other")
    shutil.copytree(base_path, other)
    assert asking.reload(listed(entry("small", base_path), entry("other", other))).status.error_code == 0
    assert asking.version() == 1
    asking.name = "other"
    assert asking.version() == 1
    asking.reload(listed(entry("small", base_path)))
    with pytest.raises(grpc.RpcError, match=r"Servable not found for request: Latest\(other\)"):
        asking.predict()
    asking.name = "small"
    assert asking.version() == 1
    assert sum("small: serving version 1" in line for line in log) == 1, "it was loaded again without need"


def test_a_policy_changes(serving: Serving, publish: Publish, base_path: Path) -> None:
    publish(2)
    server, asking, _ = serving()
    assert server.models.available() == {"small": [2]}
    asking.reload(listed(entry("small", base_path, ALL)))
    assert server.models.available() == {"small": [2, 1]}
    asking.reload(listed(entry("small", base_path, "model_version_policy { specific { versions: 1 } }")))
    assert server.models.available() == {"small": [1]}


def test_labels_move(serving: Serving, publish: Publish, base_path: Path) -> None:
    publish(2)
    _, asking, _ = serving()
    asking.reload(listed(entry("small", base_path, f"{ALL} {label('stable', 1)} {label('canary', 2)}")))
    assert (asking.version(label="stable"), asking.version(label="canary")) == (1, 2)
    asking.reload(listed(entry("small", base_path, f"{ALL} {label('stable', 2)}")))
    assert asking.version(label="stable") == 2
    with pytest.raises(grpc.RpcError, match="Unrecognized servable version label: canary"):
        asking.predict(label="canary")


def test_a_label_for_a_version_that_is_not_there_is_refused(serving: Serving, base_path: Path) -> None:
    _, asking, _ = serving()
    asking.reload(listed(entry("small", base_path, label("stable", 1))))
    refuses(
        grpc.StatusCode.FAILED_PRECONDITION,
        asking,
        listed(entry("small", base_path, f"{label('stable', 7)} {label('canary', 1)}")),
        "version 7 of model small, which is not currently available for inference",
    )
    assert asking.version(label="stable") == 1
    with pytest.raises(grpc.RpcError, match="Unrecognized"):
        asking.predict(label="canary")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Only ModelConfigList is currently supported"),
        ("custom_model_config {}", "Only ModelConfigList is currently supported"),
        (listed(entry("", "/m")), "has no name"),
        (listed(entry("a", "/m"), entry("a", "/n")), "Illegal to list model a multiple times"),
        (listed(entry("a", "/m", platform="")), "neither ModelServerConfig::model_type"),
        (listed(entry("a", "/m", "model_type: TENSORFLOW")), "both ModelServerConfig::model_type"),
        (listed(entry("a", "/m", platform='model_platform: "onnx"')), "unsupported platform onnx"),
        (listed(entry("a", "")), "base_path is empty"),
        (listed(entry("a", "models/a")), "absolute path"),
        (listed(entry("a", "gs://bucket/a")), "reads local folders"),
        (listed(entry("a", "/m", "model_version_policy { specific {} }")), "names no version"),
    ],
)
def test_bad_configs_change_nothing(server: LocalServer, published: Path, text: str, words: str) -> None:
    asking = Asking(server, published.name)
    refuses(grpc.StatusCode.INVALID_ARGUMENT, asking, text, words)
    assert asking.version() == 1
    asking.channel.close()


def test_a_new_model_that_is_not_there(serving: Serving, base_path: Path, tmp_path: Path) -> None:
    _, asking, _ = serving()
    text = listed(entry("small", base_path), entry("other", tmp_path / "nothing"))
    refuses(grpc.StatusCode.UNKNOWN, asking, text, "Some models did not become available: {other: no version found")
    assert asking.version() == 1


def test_a_new_model_that_does_not_load(serving: Serving, base_path: Path, tmp_path: Path) -> None:
    (tmp_path / "broken" / "1").mkdir(parents=True)
    _, asking, _ = serving()
    text = listed(entry("small", base_path), entry("broken", tmp_path / "broken"))
    refuses(grpc.StatusCode.UNKNOWN, asking, text, "holds no saved_model.pb")
    assert asking.version() == 1
