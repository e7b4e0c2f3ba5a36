"""What steps used, against work whose cost is known.

Each measurement has a process of its own: the meter counts the whole process and its children, and those of a test
worker (servers of other fixtures) come and go.
"""

from __future__ import annotations

import json
import subprocess
import sys

from noisy_gru.pipeline.runs.step_resources import disk_bytes

MIB = 2**20
BURN = "import time; end = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
# The meter samples children twice a second: they hold their memory until they were seen.
HOLD = "import sys; held = bytearray(120 * 2**20); held[::4096] = b'x' * len(held[::4096]); print(); sys.stdin.read()"


def measured(script: str) -> dict[str, float]:
    """Return what ``script`` puts into ``found``, run in a process that does nothing else."""
    head = "import json, subprocess, sys, time\nfrom noisy_gru.pipeline.runs.step_resources import ResourceMeter\n"
    code = f"{head}MIB, BURN, HOLD = {MIB}, {BURN!r}, {HOLD!r}\nfound = {{}}\n{script}\nprint(json.dumps(found))"
    ended = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(ended.stdout)


def test_cpu_of_this_process_and_of_children_that_ended() -> None:
    used = measured("""
meter = ResourceMeter()
time.sleep(0.05)
subprocess.run([sys.executable, "-S", "-c", BURN], check=True)
before = time.process_time()
while time.process_time() < before + 0.2:
    pass
found["cpu"] = meter.stop().cpu_seconds
""")
    assert 0.6 <= used["cpu"] < 5


def test_a_peak_is_seen_after_it_is_over_and_only_while_it_is_measured() -> None:
    peaks = measured("""
meter = ResourceMeter()
held = bytearray(200 * MIB)
held[::4096] = b"x" * len(held[::4096])
del held
found["high"] = meter.stop().peak_mb
found["low"] = ResourceMeter().stop().peak_mb
""")
    # 200 MiB are 209.7 MB; the interpreter itself may change a little between the two.
    assert 200 < peaks["high"] - peaks["low"] < 220


def test_memory_of_children_counts() -> None:
    peaks = measured("""
found["alone"] = ResourceMeter().stop().peak_mb
child = subprocess.Popen([sys.executable, "-S", "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
meter = ResourceMeter()
end = time.monotonic() + 60
while meter._children == 0 and time.monotonic() < end:
    time.sleep(0.05)
found["both"] = meter.stop().peak_mb
child.communicate(b"")
""")
    assert 120 < peaks["both"] - peaks["alone"] < 150


def test_bytes_on_disk(tmp_path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(b"1" * 1000)
    (tmp_path / "y").write_bytes(b"1" * 234)
    assert disk_bytes([tmp_path / "a", str(tmp_path / "y"), tmp_path / "gone"]) == 1234
