"""What the processes that run steps are set to."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

REPORT = """
import atexit, gc, json, os, sys
sys.argv = ["noisy-gru", "--help"]
# Functions registered first are called last.
atexit.register(lambda: print("\\n" + json.dumps([
    os.environ["TF_CPU_ALLOCATOR_USE_BFC"], gc.get_threshold()[0] > 700, gc.get_freeze_count() > 0])))
from noisy_gru.pipeline.cli.main import main; main()
"""


@pytest.mark.parametrize(("given", "kept"), [({}, "1"), ({"TF_CPU_ALLOCATOR_USE_BFC": "0"}, "0")])
def test_the_command_line_sets_allocator_and_collector(given, kept):
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPU_ALLOCATOR_USE_BFC"} | given
    done = subprocess.run([sys.executable, "-c", REPORT], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [kept, True, True]
