"""A MariaDB server of the test's own, on a port of this machine."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.patience import PATIENCE
from tests.ports import free_port

PASSWORD = "pass-word-of-tests"
# Debian installs servers where only root's path leads.
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def mariadb() -> bool:
    return all(shutil.which(name, path=_PATH) for name in ("mariadbd", "mariadb-install-db", "mariadb"))


class MariaDb:
    """A server that can be stopped and started again; ``port`` stays the same."""

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
