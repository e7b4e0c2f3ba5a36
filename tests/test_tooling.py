"""One version everywhere; pre-commit runs what `make lint` runs; workflows name files and targets that are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def found(pattern: str, path: Path) -> set[str]:
    return set(re.findall(pattern, path.read_text(encoding="utf-8")))


def recipe(target: str) -> list[str]:
    """The commands of a target, without make's @."""
    lines = re.search(rf"(?m)^{target}:[^\n]*\n((?:\t[^\n]*\n)+)", MAKEFILE)
    assert lines is not None
    return [line.strip().removeprefix("@") for line in lines[1].splitlines()]


def test_one_version() -> None:
    (version,) = found(r'version="([^"]+)"', ROOT / "setup.py")
    assert found(r"ARG VERSION=(\S+)", ROOT / "kubeflow" / "Dockerfile") == {version}
    assert re.findall(r"(?m)^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))[0] == version
    tags = {
        tag
        for path in [*(ROOT / "kubeflow" / "manifests").rglob("*.yaml"), *(ROOT / "docs").glob("*.md")]
        for tag in found(r"(?:noisy-gru-tfx:|newTag: )v?(\d[\w.]*)", path)
    }
    assert tags == {version}


def test_pre_commit_runs_what_make_lint_runs() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local", "a hook from elsewhere would need the network, and have a version of its own"
    hooks: list[dict[str, Any]] = repository["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    lint = [line.replace("$(PYTHON)", ".venv/bin/python").removesuffix(" .") for line in recipe("lint")]
    assert [hook["entry"] for hook in hooks] == lint


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_name_what_is_there(path: Path) -> None:
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    commands = "\n".join(step.get("run", "") for job in jobs.values() for step in job["steps"])
    assert [name for name in re.findall(r"\brequirements/[\w-]+\.txt", commands) if not (ROOT / name).exists()] == []
    assert set(re.findall(r"(?m)(?:^|\()make ([a-z-]+)", commands)) <= found(r"(?m)^([a-z-]+):", ROOT / "Makefile")


def test_every_lock_is_audited() -> None:
    audit = (ROOT / ".github" / "workflows" / "audit.yml").read_text(encoding="utf-8")
    commands = audit[audit.index("pip-audit --disable-pip") :]
    audited = set(re.findall(r"-r requirements/([a-z]+)\.txt", commands))
    for loop in re.findall(r"for name in ([a-z ]+); do", commands):
        audited |= set(loop.split())
    assert audited == {path.stem for path in (ROOT / "requirements").glob("*.txt")}


@settings(max_examples=1, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.none())
def test_a_property_test_with_health_checks_of_its_own_is_not_timed_either(_: None) -> None:
    """What tests/conftest.py adds: on a machine under load, too_slow would fail one run in many."""
    own: Any = settings.default
    assert own.deadline is None
    assert {HealthCheck.too_slow, HealthCheck.function_scoped_fixture} <= {*own.suppress_health_check}
