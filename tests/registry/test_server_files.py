"""The files that TF Serving is started with: read back as what reads them does."""

from __future__ import annotations

import http.server
import json
import re
import shlex
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf import wrappers_pb2 as _wrappers

from noisy_gru.registry.config import BatchingConfig, PublishingConfig
from noisy_gru.registry.labels import Labels, ServedVersions
from noisy_gru.registry.publish import publish
from noisy_gru.registry.rollout import promote, restore, rollback
from noisy_gru.registry.server_files import BATCHING_FLAGS, FILES, FLAGS, IMAGE, MARK, render
from tests.patience import PATIENCE

MODELS = [ServedVersions("pumps", Labels(stable=100, canary=300), 4), ServedVersions("vowels-2_b", Labels(7, 7), 2)]
CANARY = PublishingConfig.model_validate({"versions": {"rollout": "canary"}})
# Read in tensorflow_serving/servables/tensorflow/session_bundle_config.proto and config/monitoring_config.proto:
# message: {field: (number, type)}; a type with a dot is that message.
PROTOS = {
    "BatchingParameters": {
        "max_batch_size": (1, ".google.protobuf.Int64Value"),
        "batch_timeout_micros": (2, ".google.protobuf.Int64Value"),
        "max_enqueued_batches": (3, ".google.protobuf.Int64Value"),
        "num_batch_threads": (4, ".google.protobuf.Int64Value"),
        "thread_pool_name": (5, ".google.protobuf.StringValue"),
        "pad_variable_length_inputs": (7, "bool"),
    },
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, ".tensorflow.serving.PrometheusConfig")},
}


def message(name: str) -> Any:
    """An empty message of TF Serving that tensorflow-serving-api leaves out."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="test.proto", package="tensorflow.serving", syntax="proto3")
    file.dependency.append(_wrappers.DESCRIPTOR.name)
    for each, fields in PROTOS.items():
        proto = file.message_type.add(name=each)
        for field_name, (number, kind) in fields.items():
            field = proto.field.add(name=field_name, number=number, label=kinds.LABEL_OPTIONAL)
            if kind.startswith("."):
                field.type, field.type_name = kinds.TYPE_MESSAGE, kind
            else:
                field.type = {"bool": kinds.TYPE_BOOL, "string": kinds.TYPE_STRING}[kind]
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    _wrappers.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))()


def rendered(name: str) -> str:
    return render(name, MODELS, BatchingConfig())


@pytest.mark.slow
def test_models_config_is_a_model_server_config() -> None:
    from tensorflow_serving.config import model_server_config_pb2

    proto: Any = model_server_config_pb2
    config = text_format.Parse(rendered("models.config"), proto.ModelServerConfig())
    pumps, vowels = config.model_config_list.config
    assert (pumps.name, pumps.base_path, pumps.model_platform) == ("pumps", "/models/pumps", "tensorflow")
    assert pumps.model_version_policy.latest.num_versions == 4
    assert dict(pumps.version_labels) == {"stable": 100, "canary": 300}
    assert (vowels.name, dict(vowels.version_labels)) == ("vowels-2_b", {"stable": 7, "canary": 7})


def test_batching_config_is_batching_parameters() -> None:
    batching = BatchingConfig(max_batch_size=64, batch_timeout_micros=0, max_enqueued_batches=7, num_batch_threads=2)
    found = text_format.Parse(render("batching.config", MODELS, batching), message("BatchingParameters"))
    assert (found.max_batch_size.value, found.max_enqueued_batches.value, found.num_batch_threads.value) == (64, 7, 2)
    # A value of 0 has to be said, as TF Serving has another default.
    assert found.HasField("batch_timeout_micros")
    assert found.batch_timeout_micros.value == 0
    assert not found.pad_variable_length_inputs


def test_monitoring_config_turns_prometheus_on() -> None:
    found = text_format.Parse(rendered("monitoring.config"), message("MonitoringConfig"))
    assert found.prometheus_config.enable
    assert found.prometheus_config.path == "/monitoring/prometheus/metrics"


def _same(given: dict[str, Any], kind: str) -> Any:
    """The object that Kubernetes' own client makes of it, none of whose fields it dropped as unknown."""
    from kubernetes import client

    api: Any = client.ApiClient()
    made = api.deserialize(SimpleNamespace(data=json.dumps(given)), kind)
    assert api.sanitize_for_serialization(made) == given
    return made


def check_pod(pod: Any, container_name: str) -> None:
    """What a pod of TF Serving needs, and what it must not be able to do."""
    (container,) = pod.containers
    assert (container.name, container.image) == (container_name, IMAGE)
    assert container.command == ["tensorflow_model_server"]
    assert container.args == list(FLAGS)
    assert pod.security_context.run_as_non_root
    assert pod.security_context.run_as_user > 0
    assert not pod.automount_service_account_token
    assert not container.security_context.allow_privilege_escalation
    assert container.security_context.capabilities.drop == ["ALL"]
    (models, tmp) = container.volume_mounts
    assert (models.mount_path, models.read_only) == ("/models", True)
    assert {models.name, tmp.name} == {volume.name for volume in pod.volumes}
    assert container.startup_probe.http_get.path == container.readiness_probe.http_get.path == "/v1/models/pumps"
    assert container.startup_probe.period_seconds * container.startup_probe.failure_threshold == 600
    assert container.liveness_probe.tcp_socket
    assert {"cpu", "memory"} == set(container.resources.requests)
    ports = {port.name: port.container_port for port in container.ports}
    for probe in (container.startup_probe, container.readiness_probe):
        assert probe.http_get.port in (*ports, *ports.values())
        assert ports.get(probe.http_get.port, probe.http_get.port) == 8501


def test_kubernetes_yaml() -> None:
    claim, deployment, service = yaml.safe_load_all(rendered("kubernetes.yaml"))
    kinds = [(each["apiVersion"], each["kind"]) for each in (claim, deployment, service)]
    assert kinds == [("v1", "PersistentVolumeClaim"), ("apps/v1", "Deployment"), ("v1", "Service")]
    _same(claim, "V1PersistentVolumeClaim")
    made, exposed = _same(deployment, "V1Deployment"), _same(service, "V1Service")
    template = made.spec.template
    check_pod(template.spec, "serving")
    assert made.spec.selector.match_labels.items() <= template.metadata.labels.items()
    assert exposed.spec.selector.items() <= template.metadata.labels.items()
    assert template.spec.volumes[0].persistent_volume_claim.claim_name == claim["metadata"]["name"]
    ports = {port.name: port.container_port for port in template.spec.containers[0].ports}
    assert {port.target_port: port.port for port in exposed.spec.ports} == ports == {"grpc": 8500, "http": 8501}
    assert template.metadata.annotations["prometheus.io/path"] == "/monitoring/prometheus/metrics"
    assert template.metadata.annotations["prometheus.io/port"] == "8501"


@pytest.mark.parametrize(("file", "mode"), [("kserve.yaml", "Standard"), ("kserve-before-0.16.yaml", "RawDeployment")])
def test_kserve_yaml(file: str, mode: str) -> None:
    # KServe's pkg/constants/constants.go, v0.16.0:464-467: Standard is new there, and RawDeployment deprecated.
    assert f"# kubectl apply -f {file}\n" in rendered(file)
    service = yaml.safe_load(rendered(file))
    assert service["metadata"]["annotations"] == {"serving.kserve.io/deploymentMode": mode}
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", service["metadata"]["name"])
    # PredictorSpec is a PodSpec, inline, with KServe's own fields beside it.
    predictor = service["spec"]["predictor"]
    assert 0 < predictor.pop("minReplicas") <= predictor.pop("maxReplicas")
    check_pod(_same(predictor, "V1PodSpec"), "kserve-container")


def test_compose_yaml() -> None:
    compose = yaml.safe_load(rendered("compose.yaml"))
    assert set(compose) == {"services"}
    (service,) = compose["services"].values()
    assert set(service) == {
        *("image", "entrypoint", "command", "ports", "volumes", "user", "read_only", "tmpfs", "cap_drop"),
        *("security_opt", "restart", "healthcheck"),
    }
    assert (service["image"], service["entrypoint"], service["command"]) == (
        IMAGE,
        ["tensorflow_model_server"],
        list(FLAGS),
    )
    # Nothing outside of the machine reaches a server that asks nobody who they are.
    assert service["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    assert service["volumes"] == [".:/models:ro"]
    assert set(service["healthcheck"]) == {"test", "interval", "timeout", "start_period"}


@pytest.mark.parametrize(
    ("status", "state", "healthy"), [(200, "AVAILABLE", True), (200, "LOADING", False), (404, "nothing", False)]
)
def test_the_health_check_of_compose_asks_the_rest_port(status: int, state: str, healthy: bool) -> None:
    requested = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps({"model_version_status": [{"state": state}]}).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    kind, *command = yaml.safe_load(rendered("compose.yaml"))["services"]["serving"]["healthcheck"]["test"]
    assert kind == "CMD"
    here = [part.replace("8501", str(server.server_port)) for part in command]
    done = subprocess.run(here, check=False, timeout=PATIENCE)
    thread.join()
    server.server_close()
    assert requested == ["/v1/models/pumps"]
    assert (done.returncode == 0) is healthy


def test_without_a_server_compose_is_not_healthy() -> None:
    command = yaml.safe_load(rendered("compose.yaml"))["services"]["serving"]["healthcheck"]["test"][1:]
    here = [part.replace("/127.0.0.1/8501", "/127.0.0.1/1") for part in command]
    assert subprocess.run(here, check=False, capture_output=True).returncode != 0


def test_the_readme_holds_lines_to_copy() -> None:
    text = rendered("README.md")
    assert "| `pumps` | 100 | 300 | the newest 4 |" in text
    command = text[text.index("docker run") :].split("\n\n")[0].replace("\\\n", " ")
    words = shlex.split(command)
    assert words[:2] == ["docker", "run"]
    assert words[words.index(IMAGE) + 1 :] == list(FLAGS)
    for flag in BATCHING_FLAGS:
        assert flag in text
    paths = {flag.split("=", 1)[1] for flag in (*FLAGS, *BATCHING_FLAGS) if "/models/" in flag}
    assert {path.removeprefix("/models/") for path in paths} <= set(FILES)


@pytest.fixture
def push(model: Path, change: Callable[[Path], Path], tmp_path: Path) -> Callable[..., Any]:
    def _push(version: int, settings: PublishingConfig | None = None, name: str = "m") -> Any:
        return publish(change(model), tmp_path, name, settings=settings, clock=lambda: float(version))

    return _push


def test_every_file_is_written_whole_for_everyone_to_read(push: Callable[..., Any], tmp_path: Path) -> None:
    push(100)
    assert {child.name for child in tmp_path.iterdir() if child.is_file()} == {".lock", *FILES}
    for name in FILES:
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o644
        assert MARK in (tmp_path / name).read_text().splitlines()[0]


def test_several_models_are_served_from_one_folder(push: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "somebody-elses" / "1").mkdir(parents=True)
    push(100)
    push(200, CANARY, name="other")
    push(300, CANARY, name="other")
    text = (tmp_path / "models.config").read_text()
    assert re.findall('name: "(.*)"', text) == ["m", "other"]
    assert re.findall(r'"(canary|stable)" value: (\d+)', text) == [
        *(("canary", "100"), ("stable", "100")),
        *(("canary", "300"), ("stable", "200")),
    ]


def test_a_file_that_a_person_took_over_is_left_alone(push: Callable[..., Any], tmp_path: Path) -> None:
    push(100)
    mine = tmp_path / "compose.yaml"
    mine.write_text(mine.read_text().split("\n", 1)[1].replace("8501:8501", "9000:8501"))
    (tmp_path / "batching.config").write_text(f"# {MARK}\nold")
    assert push(200).left_alone == ["compose.yaml"]
    assert "9000:8501" in mine.read_text()
    assert "max_batch_size" in (tmp_path / "batching.config").read_text()
    assert rollback(tmp_path, "m").left_alone == ["compose.yaml"]


class Server:
    """What TF Serving makes of ``models.config`` and of the folders, as its ServerCore does it (ReloadConfig).

    A new configuration is taken as a whole or not at all: labels come first, and a label that exists may move to a
    version alone that is loaded already. Versions are loaded by the rule of the configuration that holds.
    """

    def __init__(self, serving: Path) -> None:
        self.folder = serving
        self.labels: dict[str, int] = {}
        self.rule = 0
        self.loaded: set[int] = set()
        self.read_config()
        self.look_for_versions()

    def read_config(self) -> bool:
        text = (self.folder / "models.config").read_text()
        labels = {name: int(value) for name, value in re.findall(r'key: "(\w+)" value: (\d+)', text)}
        for name, version in labels.items():
            if self.labels.get(name, version) != version and version not in self.loaded:
                return False
        self.labels = labels
        self.rule = int(re.findall(r"num_versions: (\d+)", text)[0])
        return True

    def look_for_versions(self) -> None:
        there = sorted(int(child.name) for child in (self.folder / "m").iterdir() if child.name.isdigit())
        self.loaded = set(there[-self.rule :])

    def requested(self) -> dict[str, int | None]:
        """The version that answers for each label; None: an error."""
        return {name: version if version in self.loaded else None for name, version in self.labels.items()}


def test_a_running_server_follows_every_change(push: Callable[..., Any], tmp_path: Path) -> None:
    push(100, CANARY)
    server = Server(tmp_path)

    def settle(polls: int = 2) -> dict[str, int | None]:
        """After every poll the stable label has an answer; in the end the file is what holds."""
        for _ in range(polls):
            server.read_config()
            server.look_for_versions()
            assert server.requested()["stable"] is not None
        assert server.read_config()
        return server.requested()

    assert settle() == {"stable": 100, "canary": 100}
    # Canaries come one after the other, and none is promoted.
    for version in (200, 300, 400):
        push(version, CANARY)
        assert settle() == {"stable": 100, "canary": version}
    promote(tmp_path, "m")
    assert settle() == {"stable": 400, "canary": 400}
    assert server.loaded == {300, 400}
    push(500, CANARY)
    assert settle() == {"stable": 400, "canary": 500}
    rollback(tmp_path, "m")
    assert settle() == {"stable": 400, "canary": 400}
    restore(tmp_path, "m", 500)
    assert settle() == {"stable": 400, "canary": 500}
    push(600)
    assert settle() == {"stable": 600, "canary": 600}
    push(700)
    assert settle() == {"stable": 700, "canary": 700}
    # Told before the folder goes, labels have moved when it does.
    rollback(tmp_path, "m", wait=1, sleep=lambda seconds: server.look_for_versions() or assert_read(server))
    assert settle() == {"stable": 600, "canary": 600}
    # A version that isn't loaded can't have the label at once; the server gets there by itself.
    rollback(tmp_path, "m", to=300)
    server.read_config()
    server.look_for_versions()
    assert server.read_config()
    assert server.requested() == {"stable": 300, "canary": 300}


def assert_read(server: Server) -> None:
    assert server.read_config()
