"""The image's Dockerfile, read without an engine: its stages, what it copies, as whom it runs, what it locks."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "kubeflow" / "Dockerfile"
LOCKS = ROOT / "requirements"
ROOMS = (
    "noisy_gru",
    "schema",
    "compat",
    "storage",
    "saved_model",
    "trainer",
    "data",
    "registry",
    "components",
    "serving",
    "pipeline",
    "kubeflow",
)
INSTRUCTIONS = {"ARG", "FROM", "RUN", "ENV", "WORKDIR", "COPY", "LABEL", "USER", "HEALTHCHECK", "CMD"}


@dataclass
class Stage:
    """A stage: what it begins with, and its instructions in order."""

    source: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [argument for name, argument in self.steps if name == instruction]


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its argument, continued lines put together."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def stages() -> dict[str, Stage]:
    """The stages by name, in order."""
    found: dict[str, Stage] = {}
    current: Stage | None = None
    for name, argument in instructions():
        if name == "FROM":
            source, word, stage = argument.split()
            assert word == "AS"
            current = found[stage] = Stage(source)
        elif current is not None:
            current.steps.append((name, argument))
    return found


def lineage(name: str) -> list[Stage]:
    """A stage and those that it begins with, the first one first."""
    found = stages()
    stage = found[name]
    return [*(lineage(stage.source) if stage.source in found else []), stage]


def steps_of(name: str, instruction: str) -> list[str]:
    return [argument for stage in lineage(name) for argument in stage.all(instruction)]


def copies() -> list[tuple[str | None, list[str]]]:
    """Each COPY: the stage it is from, and the paths."""
    found = []
    for name, argument in instructions():
        if name == "COPY":
            words = argument.split()
            origin = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
            found.append((origin, words[:-1]))
    return found


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path at the top of the tree out: the last line that fits decides."""
    result = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        if fnmatch.fnmatchcase(path, pattern) or path.startswith(f"{pattern}/"):
            result = not line.startswith("!")
    return result


def pins(lock: str) -> dict[str, set[str]]:
    """Name to versions, each with its marker where it has one: another Python may get another version."""
    found: dict[str, set[str]] = {}
    for requirement in requirements(lock):
        name, version = requirement.splitlines()[0].removesuffix("\\").strip().split("==", 1)
        found.setdefault(name, set()).add(version)
    return found


def requirements(lock: str) -> list[str]:
    """The packages with their hashes."""
    return re.split(r"\n(?=[A-Za-z0-9])", (LOCKS / lock).read_text())[1:]


def test_the_stages_are_those_that_the_comments_promise() -> None:
    found = stages()
    assert list(found)[-1] == "cpu", "a build without --target makes the last one"
    assert "gpu" in found
    first = next(iter(found.values()))
    assert first.source == "${BASE}"
    assert instructions()[0] == ("ARG", "BASE=debian:trixie-slim")
    assert {name for name, _ in instructions()} <= INSTRUCTIONS
    for stage in list(found.values())[1:]:
        assert stage.source in found


def test_what_is_copied_is_there_and_not_ignored() -> None:
    for origin, sources in copies():
        for source in sources:
            if origin is not None:
                assert origin in stages()
                continue
            assert [*ROOT.glob(source)], source
            assert not ignored(source.rstrip("/")), source
    copied = {source.rstrip("/") for origin, sources in copies() for source in sources if origin is None}
    assert {"noisy_gru", *ROOMS} <= copied
    assert "requirements/*.in" in copied, "setup.py reads them"


@pytest.mark.parametrize("path", [".git", ".venv", "demo-run", "runs", "tests", "examples", "benchmarks", ".env"])
def test_the_rest_of_the_clone_stays_out(path: str) -> None:
    assert ignored(path)


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_what_runs_is_no_root_and_holds_no_compiler(name: str) -> None:
    user = steps_of(name, "USER")[-1]
    assert re.fullmatch(r"[1-9][0-9]*:0", user), "a number, so that runAsNonRoot can be checked"
    ran = " ".join(steps_of(name, "RUN"))
    for word in ("g++", "-dev", "pip", "installer"):
        assert word not in ran
    assert [each for each in steps_of(name, "COPY") if not each.startswith("--from=build")] == []
    after = [step for stage in lineage(name) for step in stage.steps]
    assert "RUN" not in [step for step, _ in after[after.index(("USER", user)) :]]


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_what_runs_says_what_it_is_and_whether_it_works(name: str) -> None:
    labels = " ".join(steps_of(name, "LABEL"))
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels
    assert json.loads(steps_of(name, "CMD")[-1]) == ["noisy-gru", "--help"]
    assert len(steps_of(name, "HEALTHCHECK")) == 1


@pytest.mark.slow
def test_the_health_check_is_a_command_that_works() -> None:
    check = json.loads(steps_of("cpu", "HEALTHCHECK")[-1].split(" CMD ")[1])
    assert check[0] == "python"
    subprocess.run([sys.executable, *check[1:]], check=True, timeout=PATIENCE, capture_output=True)


def test_nothing_is_fetched_but_through_locks_and_the_distribution() -> None:
    text = DOCKERFILE.read_text()
    assert "http://" not in text and "https://" not in text
    installs = [part for run in steps_of("build", "RUN") for part in run.split("&&") if " install " in part]
    packages = [part for part in installs if "pip install" in part]
    assert len(packages) == 3
    for part in packages:
        assert "--require-hashes" in part or "--offline --no-deps" in part
    for part in set(installs) - set(packages):
        assert shlex.split(part)[0] == "apt-get"


def test_bytecode_is_compiled_because_the_user_may_not_write_it() -> None:
    for name in ("build", "build-gpu"):
        for run in stages()[name].all("RUN"):
            if "uv pip install" in run:
                assert "--compile-bytecode" in run
    assert "PYTHONDONTWRITEBYTECODE" not in DOCKERFILE.read_text()


@pytest.mark.parametrize("lock", ["requirements.txt", "gpu.txt"])
def test_the_images_locks_hold_the_versions_that_are_tested(lock: str) -> None:
    tested, installed = pins("dev.txt"), pins(lock)
    differing = {name for name in installed.keys() & tested.keys() if installed[name] != tested[name]}
    assert differing == set()
    extra = installed.keys() - tested.keys()
    assert all(name.startswith("nvidia-") for name in extra)
    assert bool(extra) is (lock == "gpu.txt")
    assert {"tfx", "tensorflow", "kfp", "ml-metadata"} <= installed.keys()
    assert not {"pytest", "ruff", "pyright"} & installed.keys()
    text = (LOCKS / lock).read_text()
    assert "index-url" not in text and "://" not in text
    for requirement in requirements(lock):
        assert "--hash=sha256:" in requirement


def test_the_locks_are_made_by_the_one_command() -> None:
    recipe = (ROOT / "Makefile").read_text().split("\nlock:", 1)[1].split("\n\n", 1)[0]
    for part in ("-o requirements/dev.txt", "for name in requirements gpu;", "-o requirements/$$name.txt"):
        assert part in recipe
    assert recipe.count("--generate-hashes") == recipe.count("pip compile")
