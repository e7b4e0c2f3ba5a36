"""A MariaDB or PostgreSQL server of the test's own, on a port of this machine."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.patience import PATIENCE
from tests.ports import free_port

PASSWORD = "pass-word-of-tests"
# Debian installs servers where only root's path leads.
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


class DatabaseServer(Protocol):
    """A server that can be stopped and started again; ``port`` stays the same."""

    port: int

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def sql(self, text: str) -> list[str]: ...

    def kill_connections(self, user: str) -> int: ...


def mariadb() -> bool:
    return all(shutil.which(name, path=_PATH) for name in ("mariadbd", "mariadb-install-db", "mariadb"))


class MariaDb:
    """MariaDB under ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._process = folder, None
        folder.mkdir()
        self.port = free_port()
        # A socket's path may have 107 characters.
        self._socket = f"/tmp/noisy-gru-mariadb-{os.getpid()}-{self.port}.sock"
        self._call(
            "mariadb-install-db",
            f"--datadir={folder / 'data'}",
            f"--user={getpass.getuser()}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    shutil.which("mariadbd", path=_PATH) or "",
                    "--no-defaults",
                    f"--user={getpass.getuser()}",
                    f"--datadir={self._folder / 'data'}",
                    f"--socket={self._socket}",
                    f"--port={self.port}",
                    "--bind-address=127.0.0.1",
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(self._client("select 1"), capture_output=True, check=False).returncode:
            assert self._process.poll() is None and time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.2)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE)
            self._process = None

    def sql(self, text: str) -> list[str]:
        return subprocess.run(self._client(text), capture_output=True, check=True, text=True).stdout.split()

    def kill_connections(self, user: str) -> int:
        """End all connections of a user, as an administrator or a balancer would; return how many there were."""
        ids = self.sql(f"select id from information_schema.processlist where user = '{user}'")
        for each in ids:
            self.sql(f"kill connection {each}")
        return len(ids)

    def _client(self, text: str) -> list[str]:
        client = shutil.which("mariadb", path=_PATH) or ""
        return [client, "--no-defaults", "-S", self._socket, "-uroot", "-N", "-e", text]

    def _call(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [shutil.which(name, path=_PATH) or "", "--no-defaults", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def started_mariadb(folder: Path) -> Iterator[MariaDb]:
    server = MariaDb(folder)
    server.start()
    try:
        for host in ("localhost", "127.0.0.1"):
            server.sql(f"create user if not exists 'mlmd'@'{host}' identified by '{PASSWORD}'")
            server.sql(f"grant all on `mlmd%`.* to 'mlmd'@'{host}'")
        yield server
    finally:
        server.stop()


def postgresql() -> Path | None:
    """The folder of the newest PostgreSQL server's programs; Debian has them in none of the paths."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return max(found, key=lambda path: int(path.parent.name), default=None)


class PostgreSql:
    """PostgreSQL in a folder of its own: a server started by root runs as Debian's user `postgres`."""

    def __init__(self, programs: Path) -> None:
        self._programs, self._process = programs, None
        self._user = "postgres" if os.getuid() == 0 else None
        self.port = free_port()
        # Below /tmp: pytest's folders are closed for other users, and a socket's path may have 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="noisy-gru-postgresql-", dir="/tmp"))
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if self._user:
            for path in (self.folder, password):
                shutil.chown(path, self._user)
        self._call(
            "initdb",
            f"--pgdata={self.folder / 'data'}",
            "--username=postgres",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--no-sync",
        )

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._programs / "postgres"),
                    "-D",
                    str(self.folder / "data"),
                    "-p",
                    str(self.port),
                    "-k",
                    str(self.folder),
                    "-c",
                    "listen_addresses=127.0.0.1",
                    "-c",
                    "fsync=off",
                ],
                stdout=log,
                stderr=log,
                user=self._user,
                group=self._user,
                cwd="/",
            )
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(self._client("select 1"), capture_output=True, check=False, env=self._env).returncode:
            assert self._process.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.2)

    def stop(self) -> None:
        if self._process is not None:
            # Fast shutdown: ends the connections of clients, too.
            self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENCE)
            self._process = None

    def sql(self, text: str) -> list[str]:
        return subprocess.run(
            self._client(text), capture_output=True, check=True, text=True, env=self._env
        ).stdout.split()

    def kill_connections(self, user: str) -> int:
        """End all connections of a user, as an administrator or a balancer would; return how many there were."""
        return len(self.sql(f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{user}'"))

    @property
    def _env(self) -> dict[str, str]:
        return {**os.environ, "PGPASSWORD": PASSWORD}

    def _client(self, text: str) -> list[str]:
        client = str(self._programs / "psql")
        return [client, "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-tAc", text, "postgres"]

    def _call(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / name), *arguments],
            capture_output=True,
            text=True,
            check=False,
            user=self._user,
            group=self._user,
            cwd="/",
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def started_postgresql(programs: Path) -> Iterator[PostgreSql]:
    server = PostgreSql(programs)
    try:
        server.start()
        server.sql(f"create role mlmd login createdb password '{PASSWORD}'")
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder)
