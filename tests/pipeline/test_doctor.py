"""The doctor names each fault; the faults are made by changing the environment, not by replacing the doctor's parts."""

from __future__ import annotations

import os
import py_compile
import stat
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from noisy_gru.pipeline import doctor


def script(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def set_free_bytes(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    block = 4096
    answer = SimpleNamespace(f_frsize=block, f_blocks=10**9, f_bfree=free // block, f_bavail=free // block)
    monkeypatch.setattr(os, "statvfs", lambda path: answer)


def set_version(monkeypatch: pytest.MonkeyPatch, distribution: str, version: str | None) -> None:
    real = metadata.version

    def fake(name: str) -> str:
        if name != distribution:
            return real(name)
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", fake)


def test_this_environment_has_no_problem(tmp_path: Path) -> None:
    findings = doctor.check_environment(tmp_path)
    assert [finding for finding in findings if finding.status == "problem"] == []
    names = [finding.name for finding in findings]
    assert len(set(names)) == len(names)
    assert all(finding.found and finding.meaning.endswith(".") for finding in findings)


@pytest.mark.parametrize(
    ("version", "status"),
    [((3, 10), "problem"), ((3, 11), "ok"), ((3, 12), "ok"), ((3, 13), "ok"), ((3, 14), "problem")],
)
def test_python(version: tuple[int, int], status: str) -> None:
    assert doctor.check_python(version).status == status


@pytest.mark.parametrize(
    ("answer", "status"), [("glibc 2.36", "problem"), ("glibc 2.38", "ok"), ("glibc 2.41", "ok"), (None, "problem")]
)
def test_glibc(monkeypatch: pytest.MonkeyPatch, answer: str | None, status: str) -> None:
    monkeypatch.setattr(os, "confstr", lambda name: answer)
    finding = doctor.check_glibc()
    assert finding.status == status
    if status == "problem":
        assert "2.38" in finding.meaning
        assert "make setup" in finding.meaning


def test_glibc_of_a_system_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise ValueError(f"unrecognized configuration name: {name}")

    monkeypatch.setattr(os, "confstr", unknown)
    assert doctor.check_glibc().status == "problem"


def test_old_cpp_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LIBSTDCXX", b"GLIBCXX_99.9.9")
    finding = doctor.check_cpp_runtime()
    assert finding.status == "problem"
    assert "GLIBCXX_99.9.9" in finding.meaning


TENSORFLOW = ("tensorflow", "TensorFlow", "trains and exports", "pipeline")


@pytest.mark.parametrize("version", ["1.17.0", None])
def test_a_wrong_or_missing_package_of_an_extra_that_is_there(
    monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    set_version(monkeypatch, "tensorflow", version)
    finding = doctor.check_package(*TENSORFLOW)
    assert finding.status == "problem"
    assert finding.found == (version or "not installed")
    assert "tensorflow==2.21" in finding.meaning
    assert "make setup" in finding.meaning


def test_a_package_of_an_extra_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    set_version(monkeypatch, "tfx", None)
    finding = doctor.check_package("tfx", "TFX", "runs the components", "pipeline")
    assert (finding.status, finding.found) == ("note", "not installed (extra pipeline)")
    assert finding.meaning.endswith("Expected tfx==1.21.0: pip install 'noisy-gru-tfx[pipeline]'.")


def test_packages_when_run_from_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISTRIBUTION", "noisy-gru-not-installed")
    assert doctor.check_package(*TENSORFLOW).status == "ok"


def test_legacy_keras_is_explained() -> None:
    assert doctor.check_keras({}).status == "ok"
    finding = doctor.check_keras({"TF_USE_LEGACY_KERAS": "1"})
    assert finding.status == "note"
    assert "TF_USE_LEGACY_KERAS=1" in finding.found
    assert "import keras" in finding.meaning


def test_keras_2_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    set_version(monkeypatch, "keras", "2.15.0")
    assert doctor.check_keras({}).status == "problem"


def test_mlmd_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_metadata", None)  # what Python does for a module that cannot be imported
    finding = doctor.check_mlmd()
    assert finding.status == "problem"
    assert "make setup" in finding.meaning


def test_forbidden_bytecode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forbidden = {"PYTHONDONTWRITEBYTECODE": "1"}
    assert doctor.check_bytecode({}).status == "ok"
    for name in [name for name in sys.modules if name == "tfx" or name.startswith("tfx.")]:
        monkeypatch.delitem(sys.modules, name)
    source = tmp_path / "tfx" / "__init__.py"
    source.parent.mkdir()
    source.touch()
    monkeypatch.syspath_prepend(tmp_path)
    finding = doctor.check_bytecode(forbidden)
    assert finding.status == "note"
    assert "three times" in finding.meaning
    py_compile.compile(str(source), doraise=True)
    assert doctor.check_bytecode(forbidden).status == "ok"


@pytest.mark.parametrize(("gib", "status"), [(1, "problem"), (3, "note"), (16, "ok")])
def test_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gib: int, status: str) -> None:
    values = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": gib * doctor.GIB // 4096}
    monkeypatch.setattr(os, "sysconf", values.__getitem__)
    monkeypatch.setattr(doctor, "CGROUP", tmp_path)
    finding = doctor.check_memory()
    assert (finding.status, finding.found) == (status, f"{gib}.0 GiB")


def test_a_containers_memory_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    unlimited = doctor.check_memory()
    (tmp_path / "memory.max").write_text(f"{doctor.GIB}\n")
    finding = doctor.check_memory()
    assert "container" not in unlimited.found
    assert (finding.status, finding.found) == ("problem", "1.0 GiB (the container's limit)")


def test_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    assert doctor.check_cores().status == "note"


@pytest.mark.parametrize(("gib", "status"), [(0.5, "problem"), (2, "note"), (50, "ok")])
def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gib: float, status: str) -> None:
    set_free_bytes(monkeypatch, int(gib * doctor.GIB))
    finding = doctor.check_disk(tmp_path / "not" / "made" / "yet")
    assert finding.status == status
    assert str(tmp_path) in finding.found
    assert "yet" not in finding.found


def test_a_small_disk_reaches_the_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_free_bytes(monkeypatch, 10**6)
    problems = [finding.name for finding in doctor.check_environment(tmp_path) if finding.status == "problem"]
    assert problems == ["disk"]


def test_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert doctor.check_gpu(tmp_path, {}).found == "none"
    (tmp_path / "nvidia0").touch()
    (tmp_path / "nvidiactl").touch()
    assert "hidden" in doctor.check_gpu(tmp_path, {"CUDA_VISIBLE_DEVICES": ""}).found
    set_version(monkeypatch, "nvidia-cudnn-cu12", None)
    finding = doctor.check_gpu(tmp_path, {})
    assert (finding.status, finding.found) == ("note", "1")
    assert "tensorflow[and-cuda]" in finding.meaning
    set_version(monkeypatch, "nvidia-cudnn-cu12", "9.3")
    assert doctor.check_gpu(tmp_path, {}).status == "ok"


@pytest.mark.parametrize(
    ("text", "status", "found"),
    [
        ("echo 27.1.0", "ok", "engine 27.1.0"),
        ("echo 'Cannot connect to the Docker daemon.' >&2; exit 1", "note", "client only: Cannot connect"),
        ("exit 1", "note", "client only: no reason given"),
    ],
)
def test_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, status: str, found: str) -> None:
    script(tmp_path, "docker", text)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = doctor.check_docker()
    assert finding.status == status
    assert finding.found.startswith(found)


def test_docker_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "docker").write_bytes(b"\x7fELF")  # a broken program
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.check_docker().status == "note"


def test_programs_that_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.check_docker().found == "not on the PATH"
    assert doctor.check_model_server().status == "note"
    script(tmp_path, "tensorflow_model_server", "exit 0")
    assert doctor.check_model_server().status == "ok"
