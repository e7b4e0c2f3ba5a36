"""ML Metadata on MariaDB and PostgreSQL: runs at once, connections that are killed, restarts, and what errors say."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from noisy_gru.pipeline.config.pipeline_config import MetadataConfig
from noisy_gru.pipeline.runs import metadata_server
from noisy_gru.pipeline.runs.step_errors import error_message, is_expected
from noisy_gru.schema.errors import ConfigError
from tests.pipeline.runs.database_server import (
    PASSWORD,
    DatabaseServer,
    mariadb,
    postgresql,
    started_mariadb,
    started_postgresql,
)

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module", params=["mysql", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def server(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    if kind == "postgresql":
        if (programs := postgresql()) is None:
            pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
        with started_postgresql(programs) as running:
            yield running
        return
    if not mariadb():
        pytest.skip("mariadbd is not installed (apt-get install mariadb-server)")
    with started_mariadb(tmp_path_factory.mktemp("mariadb") / "server") as running:
        yield running


@pytest.fixture
def config(kind: Any, server: DatabaseServer, monkeypatch: pytest.MonkeyPatch) -> MetadataConfig:
    monkeypatch.setenv("MLMD_PASSWORD", PASSWORD)
    # MLMD makes the database.
    return MetadataConfig(
        kind=kind,
        host="127.0.0.1",
        port=server.port,
        database=f"mlmd_{uuid.uuid4().hex[:12]}",
        user="mlmd",
        password_env="MLMD_PASSWORD",
    )


Run = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def run(config: MetadataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run(run_id, inside=…)`` runs two real steps; ``inside`` is called by the executor of each; how they ended."""
    from tfx.components.schema_gen.import_schema_gen import executor
    from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
    from tfx.orchestration.pipeline import Pipeline

    from noisy_gru.pipeline.runs.local_runner import LocalRunner, connection_config

    hooks: dict[str, Callable[[str], None]] = {}
    do = executor.Executor.Do

    def watched(self: Any, given: Any, output: Any, properties: Any) -> None:
        do(self, given, output, properties)
        for name, hook in hooks.items():
            if f"/{name}/" in properties["schema_file"]:
                hook(Path(properties["schema_file"]).stem)

    monkeypatch.setattr(executor.Executor, "Do", watched)

    def go(run_id: str, inside: Callable[[str], None] = lambda step: None, text: str = "x") -> list[tuple[str, str]]:
        hooks[text] = inside
        folder = tmp_path / text
        folder.mkdir(exist_ok=True)
        steps = []
        for name in ("first", "second"):
            (folder / f"{name}.pbtxt").write_text(f'feature {{ name: "{text}" type: FLOAT }}\n')
            steps.append(ImportSchemaGen(schema_file=str(folder / f"{name}.pbtxt")).with_id(name))
        steps[1].add_upstream_node(steps[0])
        ended: list[tuple[str, str]] = []
        observer: Any = SimpleNamespace(
            started=lambda *_: None, finished=lambda result: ended.append((result.name, result.status))
        )
        LocalRunner(run_id, observer).run(
            Pipeline(
                pipeline_name="pumps",
                pipeline_root=str(tmp_path / f"artifacts-{text}"),
                components=steps,
                metadata_connection_config=connection_config(config, tmp_path / "unused.sqlite"),
                enable_cache=True,
            )
        )
        return ended

    return go


COMPLETE = [("first", "complete"), ("second", "complete")]
CACHED = [("first", "cached"), ("second", "cached")]


def test_a_killed_connection_and_a_restart_in_a_step_cost_nothing(
    run: Run, server: DatabaseServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    killed: list[int] = []

    def inside(step: str) -> None:
        if step == "first":
            killed.append(server.kill_connections("mlmd"))
        else:
            server.stop()
            server.start()

    assert run("r1", inside) == COMPLETE
    assert run("r2") == CACHED
    assert not (tmp_path / "unused.sqlite").exists()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(PASSWORD.encode() in content for content in written)
    assert PASSWORD not in caplog.text


def test_two_runs_at_once_on_an_empty_server(run: Run) -> None:
    ended: dict[str, Any] = {}

    def go(name: str) -> None:
        try:
            ended[name] = run(f"run-{name}", text=name)
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            ended[name] = error

    threads = [threading.Thread(target=go, args=[name]) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == dict.fromkeys("abc", COMPLETE)
    assert run("again-a", text="a") == CACHED


def test_a_server_that_stays_away_ends_the_run_with_its_address(
    run: Run, server: DatabaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata_server, "PATIENCE_SECONDS", 1.0)

    def inside(step: str) -> None:
        if step == "second":
            server.stop()

    try:
        with pytest.raises(Exception) as error:
            run("r1", inside)
    finally:
        server.start()
    message = error_message(error.value)
    assert is_expected(error.value)
    assert f"127.0.0.1:{server.port}" in message and "run it again" in message
    assert PASSWORD not in str(error.value) and PASSWORD not in message
    assert run("r2") == [("first", "cached"), ("second", "complete")]


def test_a_server_that_comes_back_later_than_tfx_waits_costs_nothing(run: Run, server: DatabaseServer) -> None:
    def inside(step: str) -> None:
        server.stop()
        later.start()

    later = threading.Timer(12, server.start)
    assert run("r1", lambda step: inside(step) if step == "second" else None) == COMPLETE
    later.join()


@pytest.mark.parametrize(
    "printed",
    [
        "mysql_query failed: errno: Lost connection to MySQL server during query, error: Lost connection",
        "mysql_query failed: errno: MySQL server has gone away, error: MySQL server has gone away",
        "PostgreSQL metadata source error: FATAL:  terminating connection due to administrator command\nserver closed",
        "PostgreSQL metadata source error: ",
    ],
)
def test_a_connection_that_is_lost_in_a_call_is_explained(printed: str) -> None:
    from ml_metadata import errors

    error = errors.InternalError(printed)
    assert is_expected(error)
    assert error_message(error).startswith("the server of ML Metadata ended the connection: run it again")


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ({"port": 9}, "metadata.host: the server at 127.0.0.1:9 can't be reached"),
        ({"host": "no-such-host.invalid"}, "metadata.host: the server at no-such-host.invalid:"),
        ({"user": "nobody"}, "metadata.user: "),
        ({"database": "other"}, "metadata.database: "),
    ],
)
def test_what_is_wrong_is_said_before_the_run_without_the_password(
    config: MetadataConfig, server: DatabaseServer, change: dict[str, Any], reported: str, tmp_path: Path
) -> None:
    from noisy_gru.pipeline.runs.local_runner import connection_config

    if config.kind == "postgresql" and "database" in change:
        server.sql(f"create role plain login password '{PASSWORD}'")
        change = {"user": "plain", **change}
    config = config.model_copy(update=change)
    with pytest.raises(ConfigError) as error:
        metadata_server.check_server(config, connection_config(config, tmp_path / "unused.sqlite"))
    assert reported in str(error.value) and PASSWORD not in str(error.value)


@pytest.mark.parametrize("wrong", ["wrong-secret", "wrong secret's \\ end"])
def test_a_wrong_password_is_not_shown(
    config: MetadataConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: str, capfd: Any
) -> None:
    from noisy_gru.pipeline.runs.local_runner import connection_config

    monkeypatch.setenv("MLMD_PASSWORD", wrong)
    with pytest.raises(ConfigError, match=r"metadata\.user: .*refuses mlmd.*MLMD_PASSWORD") as error:
        metadata_server.check_server(config, connection_config(config, tmp_path / "unused.sqlite"))
    assert "secret" not in str(error.value) + "".join(capfd.readouterr())
