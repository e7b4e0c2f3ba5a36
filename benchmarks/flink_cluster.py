"""A Flink cluster on loopback: JobManager, TaskManagers, Beam's job server, and the worker pool of the Python code.

    python -m benchmarks.flink_cluster        # until Ctrl-C; prints the section `beam` of a configuration

`scripts/fetch_flink.sh` fetches the jars. Flink itself computes the memory of its
processes, as its own scripts ask it to.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

JARS = Path(__file__).parents[1] / ".build" / "flink"
START_SECONDS = 300
# What Flink opens to itself on Java 17 (env.java.opts.all of its config.yaml).
_OPENED = "lang net io nio lang.reflect text time util util.concurrent util.concurrent.atomic util.concurrent.locks"
_JAVA = [
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    *(f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in _OPENED.split()),
]
_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
appender.console.name = console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss,SSS} %-5p %-60c - %m%n
"""


def missing() -> str | None:
    """Return why no cluster can be started here; None if one can."""
    for path in (JARS / "job-server.jar", JARS / "flink" / "bin" / "bash-java-utils.jar"):
        if not path.exists():
            return f"{path} is missing: `make test-flink` fetches it"
    return None if shutil.which("java") else "java is missing: on Debian, apt-get install openjdk-17-jre-headless"


@dataclass
class FlinkCluster:
    """A running cluster.

    ``task_managers`` are its TaskManagers' processes, ``rest`` is the port of the JobManager's REST interface,
    ``job_endpoint`` the address of Beam's job server, ``pool`` that of the worker pool.
    """

    folder: Path
    rest: int
    slots: int
    settings: dict[str, Any]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    task_managers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    job_endpoint: str = ""
    pool: str = ""

    def beam(self, **keys: Any) -> dict[str, Any]:
        """Return the section `beam` of a configuration that runs here, with further keys."""
        environment = {"kind": "external", "address": self.pool}
        return {"runner": "flink", "job_endpoint": self.job_endpoint, "environment": environment, **keys}

    def get(self, path: str) -> Any:
        """Return what the REST interface of the JobManager answers."""
        with urllib.request.urlopen(f"http://localhost:{self.rest}/{path}", timeout=30) as answer:
            return json.load(answer)

    def cancel(self, job: str) -> None:
        """Ask the JobManager to cancel a job."""
        request = urllib.request.Request(f"http://localhost:{self.rest}/jobs/{job}?mode=cancel", method="PATCH")
        urllib.request.urlopen(request, timeout=30).close()

    def jobs(self) -> list[dict[str, Any]]:
        """Return all jobs, in the order in which they came."""
        return sorted(self.get("jobs/overview")["jobs"], key=lambda job: job["start-time"])

    def log(self, name: str) -> str:
        """Return the log of a process."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def resident(self) -> dict[str, int]:
        """Return the resident bytes of each server, and of the largest Python worker (``sdk_worker``)."""
        found = {name: _status(process.pid).get("VmRSS", 0) for name, process in self.processes.items()}
        pool = self.processes["pool"].pid
        workers = [_status(int(each.name)) for each in Path("/proc").glob("[0-9]*")]
        found["sdk_worker"] = max((each.get("VmRSS", 0) for each in workers if each.get("PPid") == pool), default=0)
        return found

    def cpu_seconds(self) -> float:
        """Return the processor seconds of all processes so far, of Python workers that have ended, too."""
        ticks = 0
        for process in self.processes.values():
            with suppress(OSError):
                ticks += sum(map(int, Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def start_task_managers(self, count: int) -> None:
        """Start more TaskManagers, and wait until the JobManager knows them."""
        command = _flink(self.folder, "TM", _TASK_MANAGER)
        for _ in range(count):
            self.task_managers.append(self._start(f"taskmanager-{len(self.task_managers) + 1}", command))
        for name in [f"taskmanager-{number + 1}" for number in range(len(self.task_managers))][-count:]:
            self._wait(name, lambda name=name: "Successful registration at resource manager" in self.log(name))

    def _start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as stream:
            process = subprocess.Popen(command, stdout=stream, stderr=stream)
        self.processes[name] = process
        return process

    def _wait(self, name: str, ready: Any) -> Any:
        """Return what ``ready`` returns as soon as it is neither an error nor nothing."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.processes[name].poll() is None:
            try:
                if found := ready():
                    return found
            except OSError:
                pass
            time.sleep(0.2)
        raise RuntimeError(f"{name} did not start within {START_SECONDS} s:\n{self.log(name)[-3000:]}")

    def _has_logged(self, name: str, pattern: str) -> str:
        found = self._wait(name, lambda: re.search(pattern, self.log(name)))
        return f"localhost:{found.group(1)}"

    def start(self, task_managers: int) -> None:
        """Start all processes, and wait until each has answered."""
        text = "".join(f"{name}: {value}\n" for name, value in self.settings.items())
        (self.folder / "flink-conf.yaml").write_text(text)
        (self.folder / "log4j.properties").write_text(_LOG4J)
        self._start("jobmanager", _flink(self.folder, "JM", _JOB_MANAGER))
        self._wait("jobmanager", lambda: "flink-version" in self.get("overview"))
        self.start_task_managers(task_managers)
        server = ["java", "-Xmx1g", "-jar", str(JARS / "job-server.jar"), f"--flink-master=localhost:{self.rest}"]
        ports = ["--job-port=0", "--artifact-port=0", "--expansion-port=-1"]
        self._start("jobserver", [*server, *ports, f"--artifacts-dir={self.folder / 'artifacts'}"])
        self._start("pool", [sys.executable, "-m", "noisy_gru.compat.worker_pool", "--port=0"])
        self.job_endpoint = self._has_logged("jobserver", r"JobService started on \S+:(\d+)")
        self.pool = self._has_logged("pool", r"worker pool on localhost:(\d+)")

    def stop(self) -> None:
        """End all processes."""
        for process in reversed(self.processes.values()):
            process.terminate()  # the pool ends its workers
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def flink_cluster(
    task_managers: int = 2, slots: int = 2, folder: Path | None = None, **settings: Any
) -> Iterator[FlinkCluster]:
    """Start a cluster, and end it with the block.

    Args:
        task_managers: their number.
        slots: of each TaskManager.
        folder: for logs and temporary files; None: a temporary one.
        settings: of Flink, by their names with `_` for `.` and `__` for `-`.

    Raises:
        RuntimeError: jars are missing, or a process did not start; with the end of its log.
    """
    reason = missing()
    if reason is not None:
        raise RuntimeError(reason)
    rpc, rest, blobs = _free_ports(3)
    with tempfile.TemporaryDirectory(prefix="flink-") as temporary:
        folder = folder or Path(temporary)
        keys = {
            "jobmanager.rpc.address": "localhost",
            "jobmanager.rpc.port": rpc,
            "jobmanager.bind-host": "localhost",
            "jobmanager.memory.process.size": "1600m",
            "blob.server.port": blobs,
            "rest.address": "localhost",
            "rest.bind-address": "localhost",
            "rest.port": rest,
            "taskmanager.host": "localhost",
            "taskmanager.bind-host": "localhost",
            "taskmanager.numberOfTaskSlots": slots,
            "taskmanager.memory.process.size": "2400m",
            # Each exchange of a batch job reserves 512 buffers unless told otherwise: StatisticsGen and Evaluator have
            # more of them at a time than a small TaskManager has memory for (docs/scale.md).
            "taskmanager.network.sort-shuffle.min-buffers": 64,
            "taskmanager.memory.network.min": "512m",
            "taskmanager.memory.network.max": "512m",
            # Else all tasks of a job are on the first TaskManager that has the slots.
            "cluster.evenly-spread-out-slots": "true",
            # A lost TaskManager is noticed by two heartbeats that are refused.
            "heartbeat.interval": 3000,
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 3,
            "restart-strategy.fixed-delay.delay": "1 s",
            "io.tmp.dirs": folder,
            "web.tmpdir": folder,
            **{name.replace("__", "-").replace("_", "."): value for name, value in settings.items()},
        }
        cluster = FlinkCluster(folder, rest, slots, keys)
        try:
            cluster.start(task_managers)
            yield cluster
        finally:
            cluster.stop()


def _flink(folder: Path, kind: str, main: str) -> list[str]:
    """Return the command of one of Flink's processes, with the memory that Flink computes from its configuration."""
    utilities = f"{JARS}/flink/bin/bash-java-utils.jar:{JARS}/flink/lib/*"
    ask = ["java", "-cp", utilities, "org.apache.flink.runtime.util.bash.BashJavaUtils"]
    answer = subprocess.run(
        [*ask, f"GET_{kind}_RESOURCE_PARAMS", "--configDir", str(folder)], capture_output=True, text=True, check=True
    )
    lines = [line.partition("BASH_JAVA_UTILS_EXEC_RESULT:")[2] for line in answer.stdout.splitlines()]
    memory, dynamic = [line.split() for line in lines if line]
    logging = f"-Dlog4j.configurationFile={folder / 'log4j.properties'}"
    command = ["java", *_JAVA, *memory, logging, "-cp", f"{JARS}/flink/lib/*", main, "--configDir", str(folder)]
    return [*command, *dynamic]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _status(pid: int) -> dict[str, int]:
    """Return the parent and the resident bytes of a process (``PPid``, ``VmRSS``); nothing of one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    found = re.findall(r"^(PPid|VmRSS):\s*(\d+)( kB)?$", lines, re.MULTILINE)
    return {name: int(value) * (1024 if unit else 1) for name, value, unit in found}


def main() -> None:
    """Run a cluster until it is interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with flink_cluster() as cluster:
        print(f"--set 'beam={json.dumps(cluster.beam(parallelism=2))}'", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("stopping")


if __name__ == "__main__":
    main()
