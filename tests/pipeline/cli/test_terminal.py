"""What reaches the terminal and what the log: output of libraries at every level, and the live record."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

from noisy_gru.pipeline.runs.progress import LiveProgress, ProgressHandler, event_text
from noisy_gru.pipeline.runs.run_record import StepRecord

END_OF_OUTPUT = "end of output"
NOISE = """
import logging, os, subprocess, sys
from pathlib import Path
from noisy_gru.pipeline.runs.output_redirection import output_to

print("before")
kept = sys.stderr
try:
    with output_to(Path(sys.argv[1])) as (out, err):
        print("printed")
        print("printed to error", file=sys.stderr)
        os.write(1, b"written to 1\\n")
        os.write(2, b"written to 2\\n")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        logging.getLogger("lib").info("logged")
        library_stream = sys.stderr
        out.write("told\\n")
        err.write("told as progress\\n")
        if len(sys.argv) > 2:
            raise ValueError("broken")
except ValueError as error:
    print(error)
library_stream.write("late\\n")
library_stream.flush()
logging.getLogger("lib").warning("after")
print("after")
"""


@pytest.mark.parametrize("arguments", [[], ["fail"]])
def test_only_what_is_told_reaches_the_terminal(tmp_path, arguments):
    log = tmp_path / "run.log"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", NOISE, str(log), *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n") == ["before", "told", *(["broken"] if arguments else []), "after", ""]
    assert done.stderr == "told as progress\nlate\nafter\n"
    logged = log.read_text()
    for text in ("printed\n", "printed to error\n", "written to 1\n", "written to 2\n", "from a child\n"):
        assert text in logged
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ I lib: logged$", logged, re.MULTILINE)


def test_plain_lines_without_a_terminal():
    out, now = StringIO(), [0.0]
    live = LiveProgress(out, clock=lambda: now[0])
    handler = ProgressHandler(live)
    logger = logging.getLogger("noisy_gru.progress")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        live.started("Trainer", 8, 11)
        for epoch in (1, 2, 3):
            event = {"kind": "epoch", "epoch": epoch, "epochs": 3, "metrics": {"loss": 0.12345, "learning_rate": 1e-3}}
            logger.info("…", extra={"event": event})
            now[0] += 6
        logger.info("no event")
        now[0] += 30
        logger.info("…", extra={"event": event})  # nothing new
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    live.finished(StepRecord(name="Trainer", status="complete", seconds=12.34, summary="[3 epochs]"))
    live.started("Evaluator", 9, 11)
    live.finished(StepRecord(name="Evaluator", status="cached", seconds=0.1, summary="accuracy 0.9"))
    live.started("Pusher", 10, 11)
    live.finished(StepRecord(name="Pusher", status="failed", seconds=0.1))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines == [
        "   8/11 Trainer              starts",
        "   8/11 Trainer              epoch 3/3  loss 0.1235",
        "✓  8/11 Trainer                12.3 s  [3 epochs]",
        "   9/11 Evaluator            starts",
        "=  9/11 Evaluator              cached  accuracy 0.9",
        "  10/11 Pusher               starts",
        "✗ 10/11 Pusher                  0.1 s",
    ]


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"kind": "epoch", "epoch": 1, "epochs": 5, "metrics": {"loss": 2.0}}, "epoch 1/5  loss 2"),
        ({"trial": 2, "trials": 4}, "trial 2/4"),
        (
            {
                "kind": "batch",
                "epoch": 2,
                "epochs": 5,
                "batch": 8,
                "batches": 9,
                "seconds": 1.234,
                "metrics": {"loss": 2},
                "remaining_seconds": 400.0,
                "soonest_seconds": 20.0,
            },
            "epoch 2/5  batch 8/9  1.23 s/epoch  20 s to 7 min left  loss 2",
        ),
        (
            {"epoch": 4, "epochs": 5, "seconds": 12.0, "remaining_seconds": 12.0},
            "epoch 4/5  12 s/epoch  about 12 s left",
        ),
        ({"epoch": 5, "epochs": 5, "seconds": 12.0, "remaining_seconds": 0.0}, "epoch 5/5  12 s/epoch"),
        ({"message": "version 7"}, "version 7"),
        ({"kind": "training"}, "training"),
        ({}, ""),
    ],
)
def test_events_as_text(event, text):
    assert event_text(event) == text


@pytest.mark.skipif(not Path("/dev/ptmx").exists(), reason="needs pseudo terminals")
def test_a_terminal_gets_a_spinner_and_nothing_that_libraries_print(capsys):
    main, side = os.openpty()
    with os.fdopen(main, "rb", buffering=0) as screen, os.fdopen(side, "w") as stream:
        live = LiveProgress(stream)
        live.started("Trainer", 1, 2)
        live.advanced({"epoch": 1, "epochs": 9})
        print("a library speaks")
        live.finished(StepRecord(name="Trainer", status="complete", seconds=1))
        stream.write(END_OF_OUTPUT)
        stream.flush()
        # One read returns what the kernel has passed on so far, which need not be all.
        shown = ""
        while END_OF_OUTPUT not in shown:
            shown += screen.read(65536).decode()
    assert "epoch 1/9" in shown
    assert "\x1b[" in shown
    assert "a library speaks" not in shown
    assert capsys.readouterr().out == "a library speaks\n"


TICKS = """
import io, logging, os, sys
from noisy_gru.pipeline.runs import progress
from noisy_gru.pipeline.runs.run_record import StepRecord
progress.LIVE_INTERVAL = progress.PLAIN_INTERVAL = 0.01
log = io.StringIO()
logging.getLogger().addHandler(logging.StreamHandler(log))
logging.getLogger().handlers[0].setLevel(logging.INFO)
live = progress.LiveProgress(sys.stderr)
seen = iter(range(1, 1000))
looked = __import__("threading").Event()
def text():
    number = next(seen)
    if number == 21:
        looked.set()  # the line of the look before has been shown
    return "" if number == 1 else f"{number} of many sequences, in a line that is longer than the terminal is wide"
with progress.events_shown(live):
    live.started("StatisticsGen", 3, 11)
    live.watch(text)
    looked.wait()
    live.finished(StepRecord(name="StatisticsGen", status="complete", seconds=1))
    live.started("Trainer", 7, 11)
    logger = logging.getLogger("noisy_gru.progress")
    logger.debug("batch", extra={"event": {"epoch": 1, "batch": 2}})
    logger.info("epoch", extra={"event": {"epoch": 1}})
    live.stop()
assert log.getvalue() == "epoch\\n", log.getvalue()
assert not logger.isEnabledFor(logging.DEBUG)
"""


def _shown_on_a_terminal(columns: int, **environment: str) -> str:
    """What a child writes to a pseudo terminal until it ends."""
    import fcntl
    import struct
    import termios

    main, side = os.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    cleared = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "TERM")}
    child = subprocess.Popen(
        [sys.executable, "-c", TICKS], stdin=subprocess.DEVNULL, stderr=side, env=cleared | environment
    )
    os.close(side)
    shown = b""
    with os.fdopen(main, "rb", buffering=0) as screen:
        while True:
            try:
                part = screen.read(65536)
            except OSError:  # the child has closed its side
                break
            if not part:
                break
            shown += part
    assert child.wait() == 0, shown.decode()
    return shown.decode()


@pytest.mark.skipif(not Path("/dev/ptmx").exists(), reason="needs pseudo terminals")
def test_a_watched_step_has_one_live_line():
    shown = _shown_on_a_terminal(60, TERM="xterm")
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown))
    live = [line for line in lines if "of many" in line]
    assert live
    assert all(len(line) <= 60 and "\u2026" in line and re.search(r"\d:\d\d:\d\d", line) for line in live), live
    # Each of them is written over the one before.
    assert "many" not in re.sub(r"\r[^\n]*", "", shown).replace("\x1b[2K", "")


@pytest.mark.skipif(not Path("/dev/ptmx").exists(), reason="needs pseudo terminals")
def test_no_color_and_dumb_terminals():
    colours = r"\x1b\[[0-9;]*3[0-9][0-9;]*m"
    assert re.search(colours, _shown_on_a_terminal(60, TERM="xterm"))
    assert not re.search(colours, _shown_on_a_terminal(60, TERM="xterm", NO_COLOR="1"))
    plain = _shown_on_a_terminal(60, TERM="dumb")
    assert "\x1b" not in plain
    assert re.search(r"\d of many sequences", plain)


def test_a_watched_step_without_a_terminal_has_plain_lines():
    done = subprocess.run([sys.executable, "-c", TICKS], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert lines[0].split() == ["3/11", "StatisticsGen", "starts"]
    # A look at which there is nothing to say has no line.
    assert re.fullmatch(r" *3/11 StatisticsGen +([2-9]|\d\d+) of many sequences.*", lines[1])
    assert "\x1b" not in done.stderr


def test_a_log_on_a_full_disk_gives_the_terminal_back():
    """What Linux's /dev/full does with every write."""
    code = """
import sys
from pathlib import Path
from noisy_gru.pipeline.runs.output_redirection import output_to
with output_to(Path("/dev/full")) as (out, err):
    for _ in range(3):
        sys.stdout.write("printed, without an end of line")
        print("told", file=err)
print("after")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "after\n", "told\n" * 3)
