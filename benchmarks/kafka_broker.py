"""A Kafka broker on loopback, in KRaft mode: one process that is broker and controller.

    python -m benchmarks.kafka_broker        # until Ctrl-C; prints the address

`scripts/fetch_kafka.sh` fetches the jars.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

JARS = Path(__file__).parents[1] / ".build" / "kafka"
START_SECONDS = 180
_CLUSTER = "4L6g3nShT-eMCtK--X86sw"
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:{controller}
listeners=PLAINTEXT://localhost:{port},CONTROLLER://localhost:{controller}
advertised.listeners=PLAINTEXT://localhost:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
"""


def missing() -> str | None:
    """Return why no broker can be started here; None if one can."""
    if not JARS.is_dir():
        return f"{JARS} is missing: `make test-kafka` fetches it"
    return None if shutil.which("java") else "java is missing: on Debian, apt-get install openjdk-17-jre-headless"


@dataclass
class KafkaBroker:
    """A broker that may be stopped, killed and started again; its data stay."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"localhost:{self.port}"

    def start(self) -> None:
        """Start the broker, and wait until it answers."""
        with (self.folder / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(
                _java("kafka.Kafka", str(self.folder / "server.properties")), stdout=log, stderr=log, cwd=self.folder
            )
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            if "Kafka Server started" in self._log_of_this_start():
                return
            time.sleep(0.2)
        raise RuntimeError(f"Kafka did not start within {START_SECONDS} s:\n{self._log_of_this_start()[-3000:]}")

    def _log_of_this_start(self) -> str:
        return (self.folder / "broker.log").read_text(errors="replace").rpartition("KafkaConfig values")[2]

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send a signal, and wait until the broker has ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextmanager
def kafka_broker(folder: Path | None = None) -> Iterator[KafkaBroker]:
    """Yield a running broker with its data in a folder; by default a temporary one."""
    with tempfile.TemporaryDirectory(prefix="kafka-") as temporary:
        work = folder or Path(temporary)
        port, controller = _free_ports(2)
        text = _PROPERTIES.format(port=port, controller=controller, data=work / "data")
        (work / "server.properties").write_text(text)
        subprocess.run(
            _java("kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(work / "server.properties")),
            check=True,
            capture_output=True,
            cwd=work,
        )
        broker = KafkaBroker(work, port)
        try:
            broker.start()
            yield broker
        finally:
            broker.stop()


def _java(name: str, *arguments: str) -> list[str]:
    simple = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=info"]
    return ["java", "-Xmx512m", *simple, "-cp", f"{JARS}{os.sep}*", name, *arguments]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


if __name__ == "__main__":
    with kafka_broker() as running:
        print(running.address, flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()
