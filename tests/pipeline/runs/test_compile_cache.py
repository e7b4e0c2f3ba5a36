"""XLA's executables from one process to the next, with TensorFlow itself, and with files that a run didn't leave."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from noisy_gru.compat.tensorflow import CACHE_OPTION, XLA_FLAGS
from noisy_gru.pipeline.runs import compile_cache as module
from noisy_gru.pipeline.runs.compile_cache import compile_cache

# Prints what a compiled function computed: 2^10 - 1, in a loop, after some eager tensors.
COMPILE = """
import sys
from pathlib import Path
from noisy_gru.pipeline.runs.compile_cache import compile_cache
with compile_cache(Path(sys.argv[1])):
    import tensorflow as tf
    from noisy_gru.compat.tensorflow import align_function_names
    tensors = [tf.constant(number) for number in range(int(sys.argv[2]))]
    align_function_names()
    once = tf.function(lambda n: tf.while_loop(lambda v: v < n, lambda v: (2 * v + 1,), (tf.constant(0),))[0],
                       jit_compile=True)
    print(int(once(tf.constant(1000))))
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has not imported TensorFlow, whose CPU is known."""
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.delenv(XLA_FLAGS, raising=False)
    monkeypatch.setattr(module, "_machine", lambda: "machine")


def compiled(folder: Path, tensors: int) -> str:
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(folder), str(tensors)],
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def executables(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*.pb")}


@pytest.mark.long
def test_the_next_process_loads_what_this_one_compiled(tmp_path: Path) -> None:
    folder = tmp_path / "work of [v2] xla"
    assert compiled(folder, 3) == "1023"
    (first,) = made = executables(folder)
    assert compiled(folder, 7) == "1023"
    assert executables(folder) == made

    # TensorFlow alone fails on such a file ("Can't parse …"), or runs what is in it.
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 0xFF
    first.write_bytes(content)
    assert compiled(folder, 0) == "1023"
    assert first.read_bytes() != bytes(content)


def test_only_what_a_run_recorded_that_ended_well_is_left(tmp_path: Path) -> None:
    own = tmp_path / "machine"
    with compile_cache(tmp_path):
        assert os.environ[XLA_FLAGS] == f"{CACHE_OPTION}'{own}'"
        (own / "good").write_bytes(b"1")
        (own / "torn").write_bytes(b"22")
        (own / "flipped").write_bytes(b"333")
    assert XLA_FLAGS not in os.environ
    (own / "torn").write_bytes(b"2")
    (own / "flipped").write_bytes(b"323")
    with pytest.raises(RuntimeError), compile_cache(tmp_path):
        assert {file.name for file in own.iterdir()} == {"good", "hashes.json"}
        (own / "of a failed run").write_bytes(b"4")
        raise RuntimeError
    with compile_cache(tmp_path):
        assert {file.name for file in own.iterdir()} == {"good", "hashes.json"}
    for record in ("", "[]", "{", '{"good": 1}'):
        (own / "good").write_bytes(b"1")
        (own / "hashes.json").write_text(record)
        with compile_cache(tmp_path):
            assert not (own / "good").exists()


def test_the_oldest_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 10)
    own = tmp_path / "machine"
    with compile_cache(tmp_path):
        for age, name in enumerate("abc"):
            (own / name).write_bytes(b"1234")
            os.utime(own / name, ns=(0, 10**9 * age))
    assert {file.name for file in own.iterdir()} == {"b", "c", "hashes.json"}


@pytest.mark.parametrize("flags", [f"{CACHE_OPTION}/elsewhere", "/a/file/of/flags"])
def test_flags_of_the_environment_win(flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(XLA_FLAGS, flags)
    with compile_cache(tmp_path):
        assert os.environ[XLA_FLAGS] == flags
    assert not list(tmp_path.iterdir())


def test_other_flags_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(XLA_FLAGS, "--tf_xla_clustering_debug")
    with compile_cache(tmp_path):
        assert os.environ[XLA_FLAGS] == f"--tf_xla_clustering_debug {CACHE_OPTION}'{tmp_path}/machine'"
    assert os.environ[XLA_FLAGS] == "--tf_xla_clustering_debug"


def test_a_place_that_cant_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "machine").write_text("")
    with compile_cache(tmp_path):
        assert XLA_FLAGS not in os.environ
