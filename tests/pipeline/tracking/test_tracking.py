"""What MLflow's server, a collector of OpenTelemetry and Prometheus' own parser read of a run."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.config.tracking_config import OpenTelemetryConfig, TrackingConfig
from noisy_gru.pipeline.runs.after_run import track_run
from noisy_gru.pipeline.runs.check_log import RetrainCheck, append_check
from noisy_gru.pipeline.runs.run_record import StepRecord
from noisy_gru.pipeline.tracking.run_values import parameters_of
from noisy_gru.pipeline.tracking.tracking import track
from tests.pipeline.tracking.tracked_run import CONFIG, run_of
from tests.ports import free_port

pytestmark = pytest.mark.slow


def test_prometheus_own_parser_reads_the_file(tmp_path: Path) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    run_of(tmp_path / "root")
    later = {"run_id": "20260402-030000-000000", "started": "2026-04-02T03:00:00Z", "finished": "2026-04-02T03:00:01Z"}
    directory, record = run_of(tmp_path / "root", **later, status="failed", version=None, seconds=1.0)
    check = RetrainCheck(at="2026-04-03T03:00:00Z", pipeline="odd", outcome="not due")
    append_check(directory.root, check)
    assert track(TrackingConfig.model_validate({"prometheus": {"folder": str(tmp_path)}}), record, directory) == []
    text = (tmp_path / "noisy_gru_odd.prom").read_text()
    found = {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "pipeline")): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert all('pipeline="odd"' in line for line in text.splitlines() if not line.startswith("#"))
    at = {name: datetime.fromisoformat(time).timestamp() for name, time in later.items() if name != "run_id"}
    expected = {
        ("noisy_gru_run_status", "failed"): 1.0,
        ("noisy_gru_run_status", "succeeded"): 0.0,
        ("noisy_gru_run_start_timestamp_seconds",): at["started"],
        ("noisy_gru_run_end_timestamp_seconds",): at["finished"],
        ("noisy_gru_run_duration_seconds",): 1.0,
        # Of the run before: this one published nothing.
        ("noisy_gru_published_timestamp_seconds",): datetime.fromisoformat("2026-04-01T03:01:30Z").timestamp(),
        ("noisy_gru_published_version",): 4.0,
        ("noisy_gru_step_duration_seconds", "Trainer"): 60.25,
        ("noisy_gru_step_peak_memory_bytes", "Trainer"): 7e8,
        ("noisy_gru_step_cpu_seconds", "Pusher"): 0.25,
        ("noisy_gru_metric", "accuracy"): 0.875,
        ("noisy_gru_rows", "read"): 900.0,
        ("noisy_gru_rows", "quarantined"): 20.0,
        ("noisy_gru_retrain_check_timestamp_seconds",): datetime.fromisoformat(check.at).timestamp(),
        ("noisy_gru_retrain_check_outcome", "not due"): 1.0,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert ("noisy_gru_metric", "pr_auc") not in found
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".prom"] == ["root"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client")
    directory, record = run_of(tmp_path / "root")
    (problem,) = track(
        TrackingConfig.model_validate({"prometheus": {"folder": str(tmp_path / "none")}}), record, directory
    )
    assert problem.startswith("tracking.prometheus.folder: ")
    assert problem.endswith("No such file or directory")


class _Collector(BaseHTTPRequestHandler):
    """Keeps what is sent to it."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, dict(self.headers), body))  # type: ignore[attr-defined]
        self.send_response(self.server.answer)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), _Collector)
    server.received, server.answer = [], 200
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_collector_gets_a_span_for_each_step(tmp_path: Path, collector: Any) -> None:
    """Read with OpenTelemetry's own messages; the times are those of the record."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    import gzip

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    directory, record = run_of(tmp_path)
    config = TrackingConfig(
        opentelemetry=OpenTelemetryConfig(endpoint=f"http://127.0.0.1:{collector.server_port}/otlp/")
    )
    assert track(config, record, directory) == []
    assert track(config, record, directory) == []
    bodies = []
    for path, headers, body in collector.received:
        assert path == "/otlp/v1/traces"
        bodies.append(gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body)
    traces = [ExportTraceServiceRequest.FromString(body) for body in bodies]
    (resource,) = traces[0].resource_spans
    attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (attributes["service.name"], attributes["host.name"]) == ("noisy-gru", "here")
    trainer, pusher, run = resource.scope_spans[0].spans
    began = round(datetime.fromisoformat(record.started).timestamp()) * 10**9
    assert (run.name, run.start_time_unix_nano, run.end_time_unix_nano) == ("run odd", began, began + 90 * 10**9)
    assert (trainer.name, trainer.start_time_unix_nano - began) == ("Trainer", 2_500_000_000)
    assert trainer.end_time_unix_nano - began == 62_750_000_000
    # A step of an earlier release's record: it began when the one before ended.
    assert (pusher.start_time_unix_nano - began, pusher.end_time_unix_nano - began) == (62_750_000_000, 63_250_000_000)
    assert {trainer.parent_span_id, pusher.parent_span_id} == {run.span_id}
    assert run.parent_span_id == b""
    again = traces[1].resource_spans[0].scope_spans[0].spans
    assert [(each.trace_id, each.span_id) for each in again] == [
        (each.trace_id, each.span_id) for each in (trainer, pusher, run)
    ]


@pytest.mark.parametrize("status", ["failed", "refused"])
def test_only_a_failure_is_an_error(tmp_path: Path, status: Any) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.trace import StatusCode

    from noisy_gru.pipeline.tracking.run_trace import spans

    step = StepRecord(name="Trainer", status="failed" if status == "failed" else "complete", seconds=1)
    _, record = run_of(tmp_path, status=status, error="row 7: 'Jane Doe'", version=None, steps=[step])
    codes = {span.name: span.status.status_code for span in spans(record)}
    wanted = StatusCode.ERROR if status == "failed" else StatusCode.UNSET
    assert codes == {"Trainer": wanted, "run odd": wanted}
    assert "Jane" not in " ".join(span.to_json() for span in spans(record))


def test_a_collector_that_refuses_and_one_that_is_not_there(tmp_path: Path, collector: Any) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    directory, record = run_of(tmp_path)
    collector.answer = 400
    config = TrackingConfig(opentelemetry=OpenTelemetryConfig(endpoint=f"http://127.0.0.1:{collector.server_port}"))
    (problem,) = track(config, record, directory)
    assert problem.startswith("tracking.opentelemetry: the collector did not accept the trace: ")
    assert "400" in problem


def test_without_an_address_the_variables_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("mlflow", "opentelemetry.exporter.otlp.proto.http"):
        pytest.importorskip(package)
    for name in [name for name in os.environ if name.startswith(("OTEL_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    directory, record = run_of(tmp_path)
    problems = track(TrackingConfig.model_validate({"mlflow": {}, "opentelemetry": {}}), record, directory)
    assert [problem.split(":")[0] for problem in problems] == ["tracking.opentelemetry", "tracking.mlflow"]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in problems[0]
    assert "MLFLOW_TRACKING_URI" in problems[1]


def test_parameters_have_the_keys_of_set() -> None:
    assert dict(parameters_of(CONFIG)) == {
        "name": "odd",
        "model.layers.0.units": "8",
        "model.layers.0.stddev": "0.1",
        "data.files.0": "a.csv",
    }


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow's own server, on loopback with SQLite."""
    program = os.environ.get("NOISY_GRU_MLFLOW")
    if program is None:
        pytest.skip("needs MLflow's server: `pip install mlflow` elsewhere, and NOISY_GRU_MLFLOW=…/bin/mlflow")
    folder = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    command = [program, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    log = (folder / "log").open("w")
    process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        until = time.monotonic() + 300
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=60).is_success:
                    break
            except httpx.HTTPError:
                pass
            assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait()
        log.close()


def test_mlflow_has_the_run_its_metrics_and_the_model(tmp_path: Path, mlflow_server: str) -> None:
    """Asked over REST, as its page asks; a run that is tracked twice is there once."""
    config = {**CONFIG, "tracking": {"mlflow": {"uri": mlflow_server, "registered_model": "odd-model"}}}
    directory, record = run_of(tmp_path, config=config)
    directory.report_file(record.run_id).write_text("<p>report</p>")
    assert track_run(directory, record, 300) is None
    again = CliRunner().invoke(app, ["runs", "track", "latest", "--root", str(tmp_path)])
    assert again.exit_code == 0, again.output

    def post(path: str, **content: Any) -> Any:
        return httpx.post(f"{mlflow_server}/api/2.0/mlflow/{path}", json=content, timeout=60).raise_for_status().json()

    def get(method: str, **query: Any) -> Any:
        return httpx.get(f"{mlflow_server}/api/2.0/mlflow/{method}", params=query, timeout=60).raise_for_status().json()

    experiment = get("experiments/get-by-name", experiment_name="odd")["experiment"]["experiment_id"]
    (run,) = post("runs/search", experiment_ids=[experiment])["runs"]
    info, data = run["info"], run["data"]
    assert (info["run_name"], info["status"]) == (record.run_id, "FINISHED")
    began = round(datetime.fromisoformat(record.started).timestamp() * 1000)
    assert (int(info["start_time"]), int(info["end_time"])) == (began, began + 90_000)
    assert {each["key"]: each["value"] for each in data["params"]}["model.layers.0.units"] == "8"
    metrics = {each["key"]: each["value"] for each in data["metrics"]}
    assert metrics["test/accuracy"] == 0.875
    assert metrics["baseline/accuracy"] == 0.5
    assert metrics["seconds/Trainer"] == 60.25
    assert "test/pr_auc" not in metrics
    history = get("metrics/get-history", run_id=info["run_id"], metric_key="training/loss")["metrics"]
    assert [(int(each.get("step", 0)), each["value"]) for each in history] == [(1, 1.5), (2, 0.75)]
    files = {each["path"] for each in get("artifacts/list", run_id=info["run_id"])["files"]}
    assert files == {f"{record.run_id}.html", f"{record.run_id}.json", "model"}
    (version,) = get("model-versions/search", filter="name='odd-model'")["model_versions"]
    assert {each["key"]: each["value"] for each in version["tags"]} == {"noisy_gru.version": "4"}
    assert version["run_id"] == info["run_id"]
    (graph,) = get("artifacts/list", run_id=info["run_id"], path="model")["files"]
    assert (graph["path"], int(graph["file_size"])) == ("model/saved_model.pb", 5)


def test_a_server_that_is_not_there_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        directory, record = run_of(tmp_path, config={**CONFIG, "tracking": {"mlflow": {"uri": uri}}})
        problem = track_run(directory, record, 300)
    assert problem is not None
    assert problem.startswith("error: tracking.mlflow: ")
    assert uri.removeprefix("http://").split(":")[0] in problem
