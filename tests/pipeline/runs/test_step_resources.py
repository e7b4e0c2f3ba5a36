"""What steps used, against work whose cost is known."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

from noisy_gru.pipeline.runs.step_resources import ResourceMeter, disk_bytes

MIB = 2**20
BURN = "import time; end = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
HOLD = "import time; held = bytearray(120 * 2**20); held[::4096] = b'x' * len(held[::4096]); time.sleep(2)"


def test_cpu_of_this_process_and_of_children_that_ended() -> None:
    meter = ResourceMeter()
    time.sleep(0.05)
    subprocess.run([sys.executable, "-S", "-c", BURN], check=True)
    before = time.process_time()
    while time.process_time() < before + 0.2:
        pass
    used = meter.stop()
    assert 0.6 <= used.cpu_seconds < 5


def test_a_peak_is_seen_after_it_is_over_and_only_while_it_is_measured() -> None:
    first = ResourceMeter()
    held = np.ones(200 * MIB // 8)
    del held
    high = first.stop().peak_mb
    low = ResourceMeter().stop().peak_mb
    assert high is not None and low is not None
    # 200 MiB are 209.7 MB; the rest of the process may change a little between the two.
    assert 150 < high - low < 260


def test_memory_of_children_counts() -> None:
    alone = ResourceMeter().stop().peak_mb
    meter = ResourceMeter()
    subprocess.run([sys.executable, "-S", "-c", HOLD], check=True)
    both = meter.stop().peak_mb
    assert alone is not None and both is not None
    assert both - alone > 110


def test_bytes_on_disk(tmp_path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(b"1" * 1000)
    (tmp_path / "y").write_bytes(b"1" * 234)
    assert disk_bytes([tmp_path / "a", str(tmp_path / "y"), tmp_path / "gone"]) == 1234
