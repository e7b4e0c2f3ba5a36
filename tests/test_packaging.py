"""Wheel, sdist and editable install hold every room in the one package, and need no network to be built."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
ROOMS = tuple(sorted(path.name for path in (ROOT / "noisy_gru").iterdir() if path.is_symlink()))
OTHERS = ("noisy_gru", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "requirements")
EXTRAS = ("grpc", "pipeline", "kubeflow", "onnx", "excel", "sql", "tracking", "kafka", "wandb", "statsforecast")
LEFTOVERS = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
# Without `site`, this environment's own editable install cannot stand in for what is being tested.
BARE = [sys.executable, "-I", "-S"]


def run(command: list[str], cwd: Path) -> str:
    """The output; when the command fails, its words are in the test's report."""
    answer = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, f"{command} failed:\n{answer.stdout}{answer.stderr}"
    return answer.stdout


def build_wheel(source: Path, folder: Path) -> Path:
    flags = ["--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check"]
    run([sys.executable, "-m", "pip", "wheel", *flags, "--wheel-dir", str(folder), str(source)], cwd=folder)
    return next(folder.glob("*.whl"))


def call_backend(hook: str, source: Path, folder: Path) -> Path:
    call = f"import sys; from setuptools import build_meta; build_meta.{hook}(sys.argv[1])"
    run([sys.executable, "-c", call, str(folder)], cwd=source)
    return next(folder.iterdir())


def files_of(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def normal(requirement: str) -> tuple[str, ...]:
    """A requirement's name, and its bounds in one order: tools write them in several."""
    name = re.split("[<>=]", requirement, maxsplit=1)[0]
    return name, *sorted(requirement.removeprefix(name).split(","))


def wanted(name: str) -> set[str]:
    """What a file of requirements/ asks for, with those that it includes."""
    found: set[str] = set()
    for line in (ROOT / "requirements" / f"{name}.in").read_text().splitlines():
        if line.startswith("-r "):
            found |= wanted(line.removeprefix("-r ").removesuffix(".in"))
        elif line and not line.startswith("#"):
            found.add(line)
    return found


def requires(metadata: Message, extra: str) -> set[tuple[str, ...]]:
    """What an extra installs; ``""``: what every installation does."""
    found = set()
    for value in metadata.get_all("Requires-Dist") or []:
        requirement, _, marker = str(value).partition("; extra == ")
        if marker.strip("\"'") == extra:
            found.add(normal(requirement.replace(" ", "")))
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged: building leaves files behind, and the tree is to stay as it is."""
    folder = tmp_path_factory.mktemp("packaging") / "source"
    folder.mkdir()
    for name in (*ROOMS, *OTHERS):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=LEFTOVERS, symlinks=True)
        else:
            shutil.copy(ROOT / name, folder / name)
    (folder / "schema" / "some_data_set").mkdir()
    (folder / "schema" / "some_data_set" / "schema.pbtxt").write_text("feature { name: 'x' }\n")
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_holds_every_file_of_every_room(source: Path, wheel: Path) -> None:
    expected = {
        f"noisy_gru/{path.relative_to(source)}"
        for room in ROOMS
        for path in (source / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | {"noisy_gru/__init__.py", "noisy_gru/py.typed"}
    found = files_of(wheel)
    assert expected - found == set(), (
        "missing in the wheel: a package needs an __init__.py, a data file a name in setup.py's DATA"
    )
    assert found - expected == set(), "in the wheel, but in no room"
    assert "noisy_gru/schema/some_data_set/schema.pbtxt" in found


def test_each_room_at_the_top_of_the_tree_has_its_link() -> None:
    assert {"pipeline", "components", "trainer", "schema", "kubeflow"} <= set(ROOMS)
    for room in ROOMS:
        assert (ROOT / "noisy_gru" / room).resolve() == ROOT / room
        assert (ROOT / "noisy_gru" / room).readlink() == Path("..") / room, "it works wherever the clone is"


def test_the_wheel_leaves_the_name_kubeflow_to_others(wheel: Path) -> None:
    assert "noisy_gru/kubeflow/__init__.py" not in files_of(wheel)
    assert {name.split("/")[0] for name in files_of(wheel)} == {"noisy_gru"}


def test_metadata(wheel: Path) -> None:
    metadata = metadata_of(wheel)
    assert metadata["Name"] == "noisy-gru-tfx"
    assert requires(metadata, "") == {normal(line) for line in wanted("base")}
    assert set(metadata.get_all("Provides-Extra") or []) == {*EXTRAS, "all"}
    for extra in EXTRAS:
        assert requires(metadata, extra) == {normal(line) for line in wanted(extra)}
    locked = [extra for extra in EXTRAS if extra not in ("wandb", "statsforecast")]
    assert requires(metadata, "all") == {normal(line) for extra in locked for line in wanted(extra)}
    assert normal(str(metadata["Requires-Python"])) == normal(">=3.11,<3.14")
    assert metadata["License-File"] == "LICENSE"


def test_the_command_is_there(installed: Path) -> None:
    text = next(installed.glob("*.dist-info/entry_points.txt")).read_text()
    assert "noisy-gru = noisy_gru.pipeline.cli.main:main" in text


def test_rooms_import_from_another_folder(installed: Path, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r})\n"
        f"import importlib\n"
        f"for room in {ROOMS!r}: print(list(importlib.import_module('noisy_gru.' + room).__path__)[0])"
    )
    assert run([*BARE, "-c", code], tmp_path).split() == [str(installed / "noisy_gru" / room) for room in ROOMS]


@pytest.mark.parametrize("place", ["tree", "wheel"])
def test_the_kubeflow_package_of_others_keeps_its_name(
    source: Path, installed: Path, tmp_path: Path, place: str
) -> None:
    theirs = tmp_path / "kubeflow" / "__init__.py"
    theirs.parent.mkdir()
    theirs.touch()
    ours = source if place == "tree" else installed
    # Ours first on the path: a folder without __init__.py still gives way to a package.
    code = f"import sys; sys.path[:0] = [{str(ours)!r}, {str(tmp_path)!r}]\nimport kubeflow; print(kubeflow.__file__)"
    assert run([*BARE, "-c", code], tmp_path).strip() == str(theirs)


def test_the_sdist_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "sdist").mkdir()
    (tmp_path / "wheel").mkdir()
    sdist = call_backend("build_sdist", source, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"LICENSE", "README.md", "setup.py", *(f"requirements/{name}.in" for name in ("base", *EXTRAS))} <= names
    assert files_of(build_wheel(sdist, tmp_path / "wheel")) == files_of(wheel)


def test_the_editable_install_leads_to_the_tree(source: Path, tmp_path: Path) -> None:
    (tmp_path / "wheel").mkdir()
    (tmp_path / "site").mkdir()
    with zipfile.ZipFile(call_backend("build_editable", source, tmp_path / "wheel")) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        f"import site; site.addsitedir({str(tmp_path / 'site')!r})\n"
        f"import importlib\n"
        f"for room in {ROOMS!r}: print(list(importlib.import_module('noisy_gru.' + room).__path__)[0])"
    )
    assert run([*BARE, "-c", code], tmp_path).split() == [str(source / "noisy_gru" / room) for room in ROOMS]
