"""The model of a stream: in a Session here and on a server, and newer versions of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.prediction import Server
from noisy_gru.pipeline.streaming.model_source import (
    CHECK_SECONDS,
    ModelSource,
    PublishedModel,
    ServerModel,
    VersionGone,
)
from noisy_gru.schema.errors import ConfigError

pytestmark = [pytest.mark.slow, pytest.mark.long]

CONFIG = """\
name: small
schema: schema.pbtxt
data: {files: [rows.csv], entity: id, time: {column: t}, features: [a, b]}
task: {kind: classification, label: way}
model: {serving_step: true}
"""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    (tmp_path / "config.yaml").write_text(CONFIG)
    return load_config(tmp_path / "config.yaml")


@pytest.fixture
def root(tmp_path: Path, export_model: Callable[..., Any]) -> Path:
    """A root with version 1; 2 is beside it."""
    export_model(tmp_path / "root" / "serving" / "small" / "1", step=lambda state: state)
    export_model(tmp_path / "2", seed=1, step=lambda state: state)
    return tmp_path / "root"


@pytest.fixture(params=["here", "server"])
def source(request, root, config) -> Iterator[tuple[ModelSource, Clock]]:
    clock = Clock()
    if request.param == "here":
        with PublishedModel(root, "small", clock=clock) as model:
            yield model, clock
        return
    from noisy_gru.serving.local_server import LocalServer

    with (
        LocalServer({"small": root / "serving" / "small"}, poll_seconds=0.05) as server,
        ServerModel(Server(target=server.grpc_address), config, clock=clock) as model,
    ):
        yield model, clock


def inputs(rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "features": random.normal(size=(rows, 1, 2)).astype(np.float32),
        "lengths": np.ones(rows, np.int64),
        "state": np.zeros((rows, 5), np.float32),
    }


def publish(root: Path) -> None:
    shutil.copytree(root.parent / "2", root / "serving" / "small" / "tmp")
    (root / "serving" / "small" / "tmp").rename(root / "serving" / "small" / "2")


def probabilities(model: ModelSource, rows: int = 3) -> np.ndarray:
    parts, refused = model.run("serving_step", inputs(rows), [f"e{place}" for place in range(rows)])
    assert not refused
    return np.concatenate([part.outputs["probabilities"] for _, part in parts])


def test_a_newer_version_takes_over_when_it_is_looked_for(source, root, export_model, tmp_path):
    model, clock = source
    assert model.version == 1
    before = probabilities(model)
    publish(root)
    assert not model.refresh()
    while model.version == 1:  # a server loads it first
        clock.now += CHECK_SECONDS
        model.refresh()
    assert model.version == 2
    assert np.abs(probabilities(model) - before).max() > 1e-3


def test_batches_are_cut_and_joined_in_order(source):
    model, _ = source
    whole = probabilities(model, 1200)
    assert whole.shape == (1200, 3)
    assert np.allclose(whole[:7], probabilities(model, 7), atol=1e-6)


def test_what_the_model_refuses_does_not_take_others_along(source):
    model, _ = source
    asked = inputs(4)
    asked["state"][2] = np.nan
    parts, refused = model.run("serving_step", asked, list("abcd"))
    assert [each.sequence_id for each in refused] == ["c"]
    assert [(place, list(part.ids)) for place, part in parts] in (
        [(0, ["a", "b"]), (3, ["d"])],
        [(0, ["a"]), (1, ["b"]), (3, ["d"])],
    )


def test_a_version_that_is_gone_is_told(root, config):
    from noisy_gru.serving.local_server import LocalServer

    with (
        LocalServer({"small": root / "serving" / "small"}, poll_seconds=0.05) as server,
        ServerModel(Server(target=server.grpc_address), config) as model,
    ):
        publish(root)
        shutil.rmtree(root / "serving" / "small" / "1")
        with pytest.raises(VersionGone):
            while True:
                probabilities(model)
        assert model.refresh()
        assert model.version == 2
        probabilities(model)


def test_a_version_that_cannot_be_loaded_is_left_out(root, capfd):
    clock = Clock()
    with PublishedModel(root, "small", clock=clock) as model:
        (root / "serving" / "small" / "7").mkdir()
        (root / "serving" / "small" / "7" / "saved_model.pb").write_bytes(b"nothing")
        for _ in range(3):
            clock.now += CHECK_SECONDS
            assert not model.refresh()
        assert model.version == 1
        assert capfd.readouterr().err.count("version 7 can't be loaded") == 1


def test_rest_is_refused(config):
    with pytest.raises(ConfigError, match="expected HOST:PORT of gRPC"):
        ServerModel(Server(target="http://127.0.0.1:1"), config)
