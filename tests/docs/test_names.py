"""What the documents name is in the tree: paths, file names, `noisy_gru.…` names, links, commands."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from noisy_gru.kubeflow.commands import app as kubeflow_app
from noisy_gru.pipeline.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "kubeflow").glob("*.md")])
# The changelog names what was there in its time.
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
BUILT = {"__pycache__", "site", "build", "dist", "runs", "demo-run", "shared"}
TOP = {path.name for path in ROOT.iterdir() if path.name not in BUILT and path.name != ".git"}
# Names that begin like a module's and are none: an entry point group, a logger, artifact types.
NO_MODULES = {"noisy_gru.commands", "noisy_gru.progress", "noisy_gru.IngestionReport"}
# Text in backticks that looks like a path of the tree, and names a metric or a part of a configuration.
NO_PATHS = {"data/day-", "serving/accepted"}

every_page = pytest.mark.parametrize("page", [*CURRENT, *NOTEBOOKS], ids=lambda page: str(page.relative_to(ROOT)))


def named_paths(text: str) -> Iterator[str]:
    """What stands in backticks and begins with a folder or file at the top of the tree."""
    for token in re.findall(r"`([^`\s]+)`", text):
        path = re.sub(r":\d+$", "", token.rstrip("/"))
        if path.split("/")[0] in TOP and not re.search(r"[<{…=]", path):
            yield path


def named_files(text: str) -> set[str]:
    """Source files in backticks that are named without their folder."""
    return set(re.findall(r"`([\w.-]+\.(?:py|in|sh))`", text))


@functools.cache
def file_names() -> set[str]:
    return {path.name for top in TOP - {".venv", ".venv-docs"} for path in [ROOT / top, *(ROOT / top).rglob("*")]}


@functools.cache
def defined(module: Path) -> set[str]:
    """The names at the top of a module, also those that it imports for type checkers and gives when they are used."""
    names: set[str] = set()
    top = ast.parse(module.read_text(encoding="utf-8")).body
    for node in [*top, *(inner for each in top if isinstance(each, ast.If) for inner in each.body)]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((each.asname or each.name).split(".")[0] for each in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(each.id for each in targets if isinstance(each, ast.Name))
    return names


def resolves(dotted: str) -> bool:
    """Whether it is a room's folder, a module, or a name that a module has at its top."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:end])
        module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if module.exists() or path.is_dir():
            rest = parts[end:]
            return not rest or (module.exists() and rest[0] in defined(module))
    return False


@every_page
def test_every_path_exists(page: Path) -> None:
    paths = {path for path in named_paths(page.read_text(encoding="utf-8")) if not path.startswith(tuple(NO_PATHS))}
    assert [path for path in sorted(paths) if not list(ROOT.glob(path))] == []


@every_page
def test_every_source_file_named_without_its_folder_exists(page: Path) -> None:
    assert named_files(page.read_text(encoding="utf-8")) - file_names() == set()


@every_page
def test_every_dotted_name_resolves(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    names = set(re.findall(r"(?<![\w/])noisy_gru(?:\.[A-Za-z_]\w*)+", text)) - NO_MODULES
    for module, imported in re.findall(r"from (noisy_gru[\w.]*) import ([\w, ]+)", text):
        names |= {f"{module}.{name.strip()}" for name in imported.split(",")}
    assert [name for name in sorted(names) if not resolves(name)] == []


@every_page
def test_every_module_that_is_started_exists(page: Path) -> None:
    started = re.findall(r"python3? -m ((?:benchmarks|examples|noisy_gru)[\w.]*)", page.read_text(encoding="utf-8"))
    started += re.findall(r"python3? ((?:benchmarks|examples|scripts)/[\w/]+)\.py", page.read_text(encoding="utf-8"))
    assert [name for name in started if not resolves(name.replace("/", "."))] == []


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    files = {target.split("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)}
    assert [name for name in sorted(files) if not (page.parent / name).exists()] == []


@functools.cache
def commands() -> dict[str, bool]:
    """Every command and group by what is typed, and whether it is a group."""
    roots = {"noisy-gru": typer.main.get_command(app), "noisy-gru kubeflow": typer.main.get_command(kubeflow_app)}
    return {name: group for root, command in roots.items() for name, group in below(command, root)}


def below(command: Any, name: str) -> Iterator[tuple[str, bool]]:
    inner = getattr(command, "commands", None)
    yield name, inner is not None
    for word, each in (inner or {}).items():
        yield from below(each, f"{name} {word}")


def unknown_commands(text: str) -> Iterator[str]:
    for words in re.findall(r"(?m)(?:`|!|^    )noisy-gru((?: [a-z][a-z-]+)+)", text):
        name = "noisy-gru"
        for word in words.split():
            if not commands()[name]:
                break
            name = f"{name} {word}"
            if name not in commands():
                yield name
                break


@every_page
def test_every_command_exists(page: Path) -> None:
    assert list(unknown_commands(page.read_text(encoding="utf-8"))) == []


def test_what_is_not_there_is_found() -> None:
    text = "`trainer/no_such_file.py` and `serving/client/client.py:12`, `runs/<id>/run.json`, `serving_one.py`"
    assert list(named_paths(text)) == ["trainer/no_such_file.py", "serving/client/client.py"]
    assert named_files(text) == {"serving_one.py"} and "client.py" in file_names()
    assert resolves("noisy_gru.trainer.layers.noisy_gru.NoisyGRU") and resolves("noisy_gru.serving.Client")
    assert not resolves("noisy_gru.trainer.layers.NoSuchLayer") and not resolves("noisy_gru.no_room")
    assert list(
        unknown_commands("`noisy-gru runs rollback x`, `noisy-gru kubeflow dry-run`, `noisy-gru runs undo`")
    ) == ["noisy-gru runs undo"]
