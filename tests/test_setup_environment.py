"""The set-up says what is wrong with a machine before it downloads anything, and knows when it has nothing to do.

Each test runs the real script in a small clone; faults are made by programs put first on the PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[1]
SMALL_DISK = "echo 'Filesystem 1024-blocks Used Available Capacity Mounted'; echo '/dev/x 9 9 2097152 9% /'"


class Clone:
    """A clone without rooms, and a folder of fake programs."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "my clone"
        self.programs = folder / "programs"
        self.programs.mkdir()
        for name in ("scripts", "requirements"):
            shutil.copytree(ROOT / name, self.root / name)
        for name in ("setup.py", "pyproject.toml"):
            shutil.copy(ROOT / name, self.root)

    def fake(self, name: str, text: str) -> None:
        (self.programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.programs / name).chmod(0o755)

    def set_up(self, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.programs}:{os.environ['PATH']}", "HOME": str(self.root.parent), **variables}
        command = ["bash", str(self.root / "scripts" / "setup_environment.sh")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE)

    def refusal(self, **variables: str) -> str:
        answer = self.set_up(**variables)
        assert answer.returncode == 1
        assert answer.stdout == ""
        assert not list(self.root.glob(".venv/bin/uv")), "it went on to install"
        return answer.stderr

    def pretend_it_was_set_up(self, folder: Path | None = None) -> Path:
        """What a finished set-up leaves, as far as the next one looks at it."""
        (self.root / ".venv" / "bin").mkdir(parents=True)
        (self.root / ".typing").mkdir()
        python = self.root / ".venv" / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        stamp = self.root / ".venv" / ".setup-stamp"
        lines = self.run_function('state "$(python_version .venv/bin/python)"').splitlines()
        lines[0] = f"folder {folder or self.root}"
        stamp.write_text("\n".join(lines) + "\n")
        return stamp

    def run_function(self, call: str) -> str:
        text = (self.root / "scripts" / "setup_environment.sh").read_text()
        head = text[text.index("readonly VENV") : text.index("up_to_date()")]
        command = ["bash", "-c", f"{head}\n{call}"]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.mark.parametrize(
    ("program", "text", "words"),
    [
        ("uname", "[ $1 = -m ] && echo aarch64 || echo Linux", "aarch64"),
        ("uname", "echo Darwin", "Darwin"),
        ("getconf", "exit 1", "glibc"),
    ],
)
def test_another_machine_is_told_what_is_supported(clone: Clone, program: str, text: str, words: str) -> None:
    clone.fake(program, text)
    message = clone.refusal()
    assert words in message
    assert "Supported: Linux on x86_64 with Python 3.11, 3.12 or 3.13." in message


def test_a_python_that_is_too_old(clone: Clone) -> None:
    clone.fake("old-python", "echo 3.10")
    message = clone.refusal(NOISY_GRU_PYTHON="old-python")
    assert "NOISY_GRU_PYTHON is old-python, Python 3.10; TFX 1.21 needs Python 3.11, 3.12 or 3.13" in message


def test_a_python_that_does_not_start(clone: Clone) -> None:
    assert "no Python that starts" in clone.refusal(NOISY_GRU_PYTHON="/no/such/python")


def test_no_suitable_python(clone: Clone) -> None:
    for name in ("python3.11", "python3.12", "python3.13"):
        clone.fake(name, "exit 127")
    clone.fake("python3", "echo 3.10")
    assert "python3 is 3.10" in clone.refusal()


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ('PRETTY_NAME="Debian GNU/Linux 11 (bullseye)"\nVERSION_CODENAME=bullseye', "Debian GNU/Linux 11"),
        ('PRETTY_NAME="Rocky Linux 9"\nID=rocky', "Rocky Linux 9"),
    ],
)
def test_an_old_glibc_on_an_unknown_system(clone: Clone, release: str, words: str) -> None:
    clone.fake("getconf", "echo glibc 2.31")
    file = clone.root / "os-release"
    file.write_text(release + "\n")
    message = clone.refusal(NOISY_GRU_PYTHON=sys.executable, NOISY_GRU_OS_RELEASE=str(file))
    assert words in message
    assert "glibc 2.31 is older than the 2.38" in message
    assert "Debian 12 and Ubuntu 22.04 work with" in message


def test_an_old_cpp_runtime(clone: Clone) -> None:
    clone.fake("getconf", "echo glibc 2.41")
    # Stands for an interpreter on such a system: right version, and the look at libstdc++ (read from `-`) fails.
    clone.fake("a-python", '[ "$1" = - ] && exit 1\necho 3.11')
    assert "GLIBCXX_3.4.33" in clone.refusal(NOISY_GRU_PYTHON="a-python")


def test_a_small_disk(clone: Clone) -> None:
    clone.fake("df", SMALL_DISK)
    assert "2 GB are free" in clone.refusal()


def test_a_path_that_library_search_paths_cannot_hold(clone: Clone) -> None:
    clone.root = clone.root.rename(clone.root.with_name("with:colon"))
    assert "colon" in clone.refusal()


def test_nothing_changed_nothing_done(clone: Clone) -> None:
    stamp = clone.pretend_it_was_set_up()
    before = stamp.stat().st_mtime_ns
    answer = clone.set_up()
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    assert stamp.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda clone: (clone.root / ".venv" / ".setup-stamp").unlink(), "did not finish"),
        (lambda clone: (clone.root / "requirements" / "dev.txt").write_text("x"), "locked packages"),
        (lambda clone: (clone.root / ".venv" / "bin" / "python").unlink(), "its interpreter does not start"),
        (lambda clone: clone.fake("getconf", "echo glibc 2.99"), "this one has 2.99"),
    ],
    ids=["interrupted", "other lock", "interpreter gone", "other system"],
)
def test_what_makes_the_environment_anew(clone: Clone, change: Callable[[Clone], object], words: str) -> None:
    clone.pretend_it_was_set_up()
    change(clone)
    clone.fake("df", SMALL_DISK)  # stops it before it installs
    message = clone.refusal()
    assert words in message
    assert "GB are free" in message


def test_several_reasons_at_once(clone: Clone) -> None:
    clone.pretend_it_was_set_up(folder=Path("/elsewhere/clone"))
    (clone.root / "requirements" / "dev.txt").write_text("x")
    (clone.root / ".venv" / "bin" / "python").unlink()
    clone.fake("df", SMALL_DISK)
    assert "GB are free" in clone.refusal()


def test_a_moved_clone_is_noticed(clone: Clone) -> None:
    clone.pretend_it_was_set_up(folder=Path("/elsewhere/clone"))
    clone.fake("df", SMALL_DISK)
    assert "it was made in /elsewhere/clone, and environments cannot be moved" in clone.refusal()


def test_a_changed_setup_py_installs_this_package_alone(clone: Clone) -> None:
    stamp = clone.pretend_it_was_set_up()
    (clone.root / "setup.py").write_text("# changed\n")
    uv = clone.root / ".venv" / "bin" / "uv"
    uv.write_text(f'#!/bin/sh\necho "$@" >> "{clone.root}/calls"\n')
    uv.chmod(0o755)
    before = stamp.read_text()
    answer = clone.set_up()
    assert answer.returncode == 0
    assert "setup.py" in answer.stderr
    calls = (clone.root / "calls").read_text().splitlines()
    assert len(calls) == 1
    assert "--no-deps" in calls[0]
    assert stamp.read_text() != before
    assert clone.set_up().stderr == ""


def test_failing_installers_are_heard(clone: Clone) -> None:
    clone.pretend_it_was_set_up()
    (clone.root / "setup.py").write_text("# changed\n")
    uv = clone.root / ".venv" / "bin" / "uv"
    uv.write_text("#!/bin/sh\necho the reason\nexit 2\n")
    uv.chmod(0o755)
    answer = clone.set_up()
    assert answer.returncode == 1
    assert "the reason" in answer.stderr
    assert "does not install" in answer.stderr
