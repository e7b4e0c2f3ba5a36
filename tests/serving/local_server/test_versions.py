"""Versions come, fail and go while the server answers."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from noisy_gru.saved_model.session import SessionModel
from tests.patience import PATIENCE, until
from tests.serving.local_server.conftest import INPUTS, Asking, Serving, write_warm_up

pytestmark = pytest.mark.slow

Publish = Callable[..., Path]


def config(base_path: Path, policy: str = "", labels: str = "") -> str:
    return (
        f'model_config_list {{ config {{ name: "{base_path.name}" base_path: "{base_path}" '
        f'model_platform: "tensorflow" {policy} {labels} }} }}'
    )


def test_a_new_version_is_found_and_takes_over(serving: Serving, publish: Publish) -> None:
    _, asking, log = serving(poll_seconds=0.05)
    assert asking.version() == 1
    publish(2)
    until(lambda: asking.version() == 2)
    until(lambda: asking.states() == {2: "AVAILABLE", 1: "END"})
    assert any("serving version 2" in line for line in log)
    with pytest.raises(grpc.RpcError, match=r"Specific\(small, 1\)"):
        asking.predict(version=1)


def test_no_request_is_lost_in_a_swap(
    serving: Serving, publish: Publish, base_path: Path, other_exported: Path
) -> None:
    from noisy_gru.saved_model.tensor_protos import make_ndarray

    expected = {}
    for version, folder in ((1, base_path / "1"), (2, other_exported), (3, other_exported)):
        with SessionModel(folder) as model:
            expected[version] = model.run("serving_tensors", INPUTS)["probabilities"]
    assert not np.allclose(expected[1], expected[2])
    server, asking, _ = serving()
    stop, problems, predicted = threading.Event(), [], Counter()

    def ask() -> None:
        while not stop.is_set():
            try:
                response = asking.predict()
            except grpc.RpcError as error:
                problems.append(error)
                return
            version = response.model_spec.version.value
            if not np.array_equal(make_ndarray(response.outputs["probabilities"]), expected[version]):
                problems.append(f"version {version} answered with the numbers of another one")
            predicted[version] += 1

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for version in (1, 2, 3):
        if version > 1:
            publish(version)
            server.models.sync()
        before = predicted[version]
        until(lambda version=version, before=before: predicted[version] > before + 5 or bool(problems))
    stop.set()
    for thread in threads:
        thread.join()
    assert not problems
    assert set(predicted) == {1, 2, 3}


def test_a_version_in_use_is_unloaded_when_its_request_is_answered(serving: Serving, publish: Publish) -> None:
    from tensorflow_serving.apis import model_pb2

    server, asking, _ = serving()
    old = server.models.lease(model_pb2.ModelSpec(name=asking.name))
    publish(2)
    server.models.sync()
    assert asking.states() == {2: "AVAILABLE", 1: "UNLOADING"}
    assert asking.version() == 2
    assert old.model.run("serving_tensors", INPUTS)["class_id"].shape == (2,)
    old.release()
    until(lambda: asking.states() == {2: "AVAILABLE", 1: "END"})


def test_requests_that_run_when_the_server_ends_are_answered(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, base_path: Path
) -> None:
    from noisy_gru.serving.local_server import LocalServer
    from noisy_gru.serving.local_server.loaded_version import LoadedVersion

    running, go = threading.Event(), threading.Event()
    predict = LoadedVersion.predict

    def slow(self: Any, *args: Any) -> Any:
        running.set()
        assert go.wait(PATIENCE)
        return predict(self, *args)

    monkeypatch.setattr(LoadedVersion, "predict", slow)
    with LocalServer({base_path.name: base_path}) as server:
        asking = Asking(server, base_path.name)
        future = asking.predictions.Predict.future(asking.request(), timeout=PATIENCE)
        assert running.wait(PATIENCE)
        threading.Timer(0.3, go.set).start()
    assert future.result().model_spec.version.value == 1
    asking.channel.close()


def broken(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"no model")


def without_a_model(folder: Path) -> None:
    (folder / "saved_model.pb").unlink()


def without_values(folder: Path) -> None:
    next((folder / "variables").glob("variables.data*")).unlink()


def without_weights(folder: Path) -> None:
    shutil.rmtree(folder / "variables")


@pytest.mark.parametrize("change", [broken, without_a_model, without_values])
def test_a_version_that_does_not_load_keeps_the_old_one(
    serving: Serving, publish: Publish, change: Callable[[Path], None]
) -> None:
    server, asking, log = serving()
    publish(2, change=change)
    server.models.sync()
    assert asking.version() == 1
    assert asking.states() == {2: "END", 1: "AVAILABLE"}
    failed = asking.status()[0].status
    assert failed.error_code != 0
    assert "2" in failed.error_message
    assert "Still serving version 1" in log[-1]


def test_a_warm_up_that_fails_keeps_the_old_version(serving: Serving, publish: Publish) -> None:
    server, asking, _ = serving()

    def change(folder: Path) -> None:
        bad = asking.request()
        bad.inputs["lengths"].int64_val[:] = []
        bad.inputs["lengths"].tensor_content = b"12"
        write_warm_up(folder, [asking.request(), bad])

    publish(2, change=change)
    server.models.sync()
    assert asking.version() == 1
    assert asking.states() == {2: "END", 1: "AVAILABLE"}
    failed = asking.status()[0].status
    assert failed.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "Warm-up request 2 of" in failed.error_message
    assert "lengths" in failed.error_message


def test_a_warm_up_finds_what_the_loader_does_not(serving: Serving, publish: Publish) -> None:
    # Without its folder of variables TensorFlow takes a model for one that has none, and loads it.
    server, asking, _ = serving()

    def change(folder: Path) -> None:
        without_weights(folder)
        write_warm_up(folder, [asking.request()])

    publish(2, change=change)
    server.models.sync()
    assert asking.states() == {2: "END", 1: "AVAILABLE"}
    assert "Could not find variable" in asking.status()[0].status.error_message


def test_a_warm_up_is_asked_before_the_version_is_available(
    serving: Serving, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noisy_gru.serving.local_server.loaded_version import LoadedVersion

    server, asking, _ = serving()
    seen: list[tuple[int, dict[int, str], str]] = []
    predict = LoadedVersion.predict

    def watched(self: LoadedVersion, signature_name: str, *args: Any) -> Any:
        seen.append((self.version, asking.states(), signature_name))
        return predict(self, signature_name, *args)

    publish(2, change=lambda folder: write_warm_up(folder, [asking.request(), asking.request()]))
    monkeypatch.setattr(LoadedVersion, "predict", watched)
    server.models.sync()
    assert seen == [(2, {2: "LOADING", 1: "AVAILABLE"}, "serving_tensors")] * 2
    monkeypatch.undo()
    assert asking.version() == 2


def test_a_warm_up_file_that_is_none(serving: Serving, publish: Publish) -> None:
    server, asking, _ = serving()

    def change(folder: Path) -> None:
        write_warm_up(folder, [asking.request()])
        file = folder / "assets.extra" / "tf_serving_warmup_requests"
        file.write_bytes(file.read_bytes()[:-7])

    publish(2, change=change)
    server.models.sync()
    assert asking.states() == {2: "END", 1: "AVAILABLE"}
    assert "tf_serving_warmup_requests" in asking.status()[0].status.error_message


def test_more_warm_up_requests_than_tf_serving_takes(serving: Serving, publish: Publish) -> None:
    server, asking, _ = serving()
    publish(2, change=lambda folder: write_warm_up(folder, [asking.request()] * 1001))
    server.models.sync()
    assert "exceeds the maximum (1000)" in asking.status()[0].status.error_message


def test_a_version_that_was_put_right_is_loaded(serving: Serving, publish: Publish, other_exported: Path) -> None:
    server, asking, log = serving()
    folder = publish(2, change=without_a_model)
    server.models.sync()
    server.models.sync()
    assert sum("failed to load" in line for line in log) == 1, "it was tried again though nothing changed"
    message = asking.status()[0].status.error_message
    assert "small/2 holds no saved_model.pb" in message
    assert "/tmp" not in message and str(folder.parent) not in message
    shutil.copy(other_exported / "saved_model.pb", folder)
    server.models.sync()
    assert asking.version() == 2


def test_a_withdrawn_version_gives_way_to_the_one_before(serving: Serving, publish: Publish, base_path: Path) -> None:
    folder = publish(2)
    server, asking, _ = serving()
    assert asking.version() == 2
    folder.rename(base_path / "withdrawn-2")
    server.models.sync()
    assert asking.version() == 1
    until(lambda: asking.states() == {2: "END", 1: "AVAILABLE"})


def test_an_unreadable_base_path_unloads_nothing(serving: Serving, base_path: Path) -> None:
    server, asking, log = serving()
    base_path.rename(base_path.with_name("away"))
    server.models.sync()
    assert asking.version() == 1
    assert "Could not find base path" in log[-1]


def test_an_empty_base_path_unloads_everything(serving: Serving, base_path: Path) -> None:
    server, asking, log = serving()
    shutil.rmtree(base_path / "1")
    server.models.sync()
    with pytest.raises(grpc.RpcError, match=r"Latest\(small\)"):
        asking.predict()
    assert any("No versions of servable small found" in line for line in log)


def test_waits_for_the_first_version(serving: Serving, tmp_path: Path, base_path: Path) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    missing = tmp_path / "not yet" / base_path.name
    _, asking, log = serving({base_path.name: missing}, poll_seconds=0.05)
    health = health_pb2_grpc.HealthStub(asking.channel)

    def is_serving() -> bool:
        return health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING

    assert not is_serving()
    with pytest.raises(grpc.RpcError, match="Could not find any versions of model small"):
        asking.status()
    assert "Could not find base path" in log[0]
    missing.parent.mkdir()
    base_path.rename(missing)
    until(is_serving)
    assert asking.version() == 1


def test_while_it_loads_it_is_unavailable(
    serving: Serving, base_path: Path, monkeypatch: pytest.MonkeyPatch, serialized_examples: list[bytes]
) -> None:
    """What clients try again: NOT_FOUND would be the end of it."""
    from noisy_gru.schema.config import DatasetConfig
    from noisy_gru.serving import Client
    from noisy_gru.serving.local_server import models

    begun, go, load = threading.Event(), threading.Event(), models.load_version

    def slow(*arguments: Any) -> Any:
        begun.set()
        assert go.wait(PATIENCE)
        return load(*arguments)

    missing = base_path.with_name("away")
    base_path.rename(missing)
    server, asking, _ = serving(poll_seconds=0.05)
    with pytest.raises(grpc.RpcError, match=r"(?s)UNAVAILABLE.*Latest\(small\) is being loaded, or waited for"):
        asking.predict()
    monkeypatch.setattr(models, "load_version", slow)
    missing.rename(base_path)
    assert begun.wait(PATIENCE)
    for version in (None, 1):
        with pytest.raises(grpc.RpcError, match=r"(?s)UNAVAILABLE.*is being loaded"):
            asking.predict(version=version)
    url = f"http://{server.rest_address}/v1/models/small"
    answers = [
        httpx.post(f"{url}:predict", content="{}", timeout=PATIENCE),
        httpx.get(f"{url}/metadata", timeout=PATIENCE),
    ]
    assert [answer.status_code for answer in answers] == [503] * 2
    assert asking.states() == {1: "LOADING"}
    columns = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a", "b"]}
    dataset = DatasetConfig.model_validate({"data": columns, "task": {"kind": "classification", "label": "way"}})
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            go.set()
        time.sleep(0.2)

    with Client(server.grpc_address, dataset=dataset, model_name="small", timeout=PATIENCE, sleep=sleep) as client:
        assert len(client.predict_examples(serialized_examples[:3])) == 3
    assert len(waits) >= 3


def test_a_copy_that_grows_in_place_is_loaded_when_it_is_whole(
    serving: Serving, base_path: Path, other_exported: Path
) -> None:
    """Nothing but the size of a file changes at the end: no name, no folder."""
    server, asking, _ = serving()
    with SessionModel(other_exported) as model:
        expected = model.run("serving_tensors", INPUTS)["probabilities"]
    folder = base_path / "2"
    shutil.copytree(other_exported, folder)
    whole = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size}
    for path in whole:
        path.write_bytes(b"")
    for path, content in whole.items():
        with path.open("r+b") as file:
            for part in (content[: len(content) // 2], content[len(content) // 2 :]):
                file.write(part)
                file.flush()
                server.models.sync()
                assert asking.version() in (1, 2)
    assert asking.version() == 2
    from noisy_gru.saved_model.tensor_protos import make_ndarray

    np.testing.assert_array_equal(make_ndarray(asking.predict().outputs["probabilities"]), expected)


def test_a_file_that_grows_after_it_was_loaded_is_loaded_again(
    serving: Serving, base_path: Path, other_exported: Path
) -> None:
    """A vocabulary that was copied in part loads, and would answer wrongly for ever."""
    server, asking, log = serving()
    before = asking.predict().outputs["probabilities"].float_val[:]
    for path in sorted(other_exported.rglob("*")):
        if path.is_file():
            (base_path / "1" / path.relative_to(other_exported)).write_bytes(path.read_bytes())
    server.models.sync()
    assert asking.predict().outputs["probabilities"].float_val[:] != before
    assert sum("serving version 1" in line for line in log) == 2
    (base_path / "1" / "saved_model.pb").write_bytes(b"no model")
    server.models.sync()
    assert asking.version() == 1
    assert "Still serving version 1" in log[-1]


@pytest.mark.parametrize("idle", [True, False])
def test_a_model_whose_process_crashes_is_started_again(
    serving: Serving, publish: Publish, base_path: Path, idle: bool
) -> None:
    """The requests that were asked get UNAVAILABLE, later ones an answer of the same version; the server goes on."""
    publish(2)
    file = base_path.parent / "models.config"
    file.write_text(config(base_path, "model_version_policy { all {} }"))
    server, asking, log = serving(config_file=file, poll_seconds=0.05 if idle else 3600.0)
    crashing = server.models.lease(asking.request(version=2).model_spec)
    crashing.release()
    calls = []
    if not idle:
        from noisy_gru.saved_model.tensor_protos import make_tensor_proto

        slow = asking.request()
        slow.inputs["features"].CopyFrom(make_tensor_proto(np.zeros((500, 5000, 2), np.float32)))
        slow.inputs["lengths"].CopyFrom(make_tensor_proto(np.full(500, 5000)))
        calls = [asking.predictions.Predict.future(slow, timeout=PATIENCE) for _ in range(2)]
        time.sleep(0.5)
    os.kill(crashing.model.pid, signal.SIGSEGV)
    for call in calls:
        assert call.code() == grpc.StatusCode.UNAVAILABLE
        assert "signal 11 (SIGSEGV)" in call.details()
    # The other version has its own process.
    assert asking.version(version=1) == 1
    seen = []

    def predicted() -> bool:
        try:
            seen.append(asking.version())
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            return False
        return any("restarting it" in line for line in log)

    until(predicted)
    assert set(seen) == {2}
    until(lambda: asking.states() == {2: "AVAILABLE", 1: "AVAILABLE"})
    assert sum("restarting it" in line for line in log) == 1


def test_an_example_that_kills_tensorflow(serving: Serving, base_path: Path) -> None:
    """21 bytes that claim 4 GiB of floats: refused before the parser, over both ways, and in every form."""
    server, asking, _ = serving()
    crash = bytes.fromhex("0a130a110a0161120c120a0affffffff0f00000000")
    request = asking.request()
    request.model_spec.signature_name = "serving_default"
    request.inputs.clear()
    request.inputs["examples"].dtype = 7
    request.inputs["examples"].tensor_shape.dim.add(size=1)
    request.inputs["examples"].string_val.append(crash)
    with pytest.raises(grpc.RpcError, match=r"(?s)INVALID_ARGUMENT.*0: its 21 bytes are no tf\.Example"):
        asking.predictions.Predict(request, timeout=PATIENCE)
    url = f"http://{server.rest_address}/v1/models/small:predict"
    packed = {"b64": base64.b64encode(crash).decode()}
    for body in ({"instances": [packed]}, {"instances": [{"examples": packed}]}, {"inputs": [packed]}):
        answer = httpx.post(url, json=body, timeout=PATIENCE)
        assert (answer.status_code, "are no tf.Example" in answer.json()["error"]) == (400, True)
        assert str(base_path) not in answer.text
    assert asking.version() == 1


def test_what_is_no_number_is_no_version(serving: Serving, base_path: Path, other_exported: Path) -> None:
    for name in ("2.partial", "tmp-3", "v4", "-5", "٦"):
        shutil.copytree(other_exported, base_path / name)
    (base_path / "models.config").write_text("")
    _, asking, _ = serving()
    assert asking.states() == {1: "AVAILABLE"}


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        ("", [10]),
        ("model_version_policy { latest {} }", [10]),
        ("model_version_policy { latest { num_versions: 2 } }", [10, 9]),
        ("model_version_policy { all {} }", [10, 9, 1]),
        ("model_version_policy { specific { versions: 1 versions: 10 versions: 8 } }", [10, 1]),
    ],
)
def test_policies(base_path: Path, policy: str, chosen: list[int]) -> None:
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    from noisy_gru.serving.local_server.configuration import served_models

    message = text_format.Parse(config(base_path, policy), model_server_config_pb2.ModelServerConfig())
    assert served_models(message)["small"].policy.choose([9, 1, 10]) == chosen


def test_labels_of_a_config_file_follow_the_file(serving: Serving, publish: Publish, base_path: Path) -> None:
    publish(2)
    file = base_path.parent / "models.config"
    all_of_them = "model_version_policy { all {} }"
    file.write_text(config(base_path, all_of_them, 'version_labels { key: "stable" value: 1 }'))
    _, asking, log = serving(config_file=file, poll_seconds=0.05)
    assert (asking.version(label="stable"), asking.version()) == (1, 2)
    file.write_text(config(base_path, all_of_them, 'version_labels { key: "stable" value: 2 }'))
    until(lambda: asking.version(label="stable") == 2)
    file.write_text("no config at all")
    until(lambda: any("is invalid; the server keeps its configuration" in line for line in log))
    assert asking.version(label="stable") == 2


def test_a_label_for_a_version_that_is_still_to_come(serving: Serving, publish: Publish, base_path: Path) -> None:
    file = base_path.parent / "models.config"
    file.write_text(config(base_path, labels='version_labels { key: "canary" value: 2 }'))
    server, asking, _ = serving(config_file=file)
    with pytest.raises(grpc.RpcError, match=r"Servable not found for request: Specific\(small, 2\)"):
        asking.predict(label="canary")
    publish(2)
    server.models.sync()
    assert asking.version(label="canary") == 2
