"""The rooms import downwards only, no file or folder is in a circle, and a fingerprint covers what its rooms import."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import takewhile
from pathlib import Path, PurePosixPath

import pytest

from noisy_gru.pipeline.fingerprint import ALL_ROOMS, MODEL_ROOMS

ROOT = Path(__file__).resolve().parents[1]
# The table in CONTRIBUTING.md says the same.
MAY_IMPORT = {
    "schema": set(),
    "compat": {"schema"},
    "storage": {"schema"},
    "saved_model": {"schema"},
    "trainer": {"schema", "compat", "saved_model"},
    "data": {"schema", "storage", "saved_model"},
    "registry": {"schema", "storage", "data", "trainer"},
    "components": {"schema", "compat", "storage", "data", "registry", "trainer", "saved_model"},
    "serving": {"schema", "compat", "storage", "data", "registry", "saved_model"},
    "pipeline": {"schema", "compat", "storage", "data", "registry", "trainer", "saved_model", "components", "serving"},
    "kubeflow": {"schema", "compat", "storage", "data", "components", "pipeline"},
}


def modules() -> dict[str, Path]:
    """The file of each module, by its dotted name."""
    files = (path for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py"))
    named = ((path, path.relative_to(ROOT).with_suffix("").parts) for path in files)
    return {".".join(("noisy_gru", *parts)).removesuffix(".__init__"): path for path, parts in named}


def imported(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """The modules of ours that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("noisy_gru."):
            yield from (name if (name := f"{node.module}.{each.name}") in known else node.module for each in node.names)
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.startswith("noisy_gru."))


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: {each for each in imported(path, known) if each != name} for name, path in known.items()}


def test_every_link_is_a_room_of_the_table() -> None:
    assert {path.name for path in (ROOT / "noisy_gru").iterdir() if path.is_symlink()} == set(MAY_IMPORT)


def test_a_room_imports_what_the_table_names(graph: dict[str, set[str]]) -> None:
    room = {name: name.split(".")[1] for name in graph}
    wrong = [
        f"{name} -> {other}"
        for name, others in graph.items()
        for other in others
        if room[other] != room[name] and room[other] not in MAY_IMPORT[room[name]]
    ]
    assert wrong == []


def test_the_table_has_an_order() -> None:
    TopologicalSorter(MAY_IMPORT).prepare()


def test_no_file_is_in_a_circle(graph: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {' -> '.join(error.args[1])}")


def test_no_two_folders_are_in_a_circle(graph: dict[str, set[str]]) -> None:
    """A folder and the one that it is in are one place: `trainer/module.py` starts what `trainer/export/` ends."""
    folder = {name: PurePosixPath(path.relative_to(ROOT).as_posix()).parent for name, path in modules().items()}
    between: dict[PurePosixPath, set[PurePosixPath]] = {}
    for name, others in graph.items():
        for other in others:
            here, there = folder[name], folder[other]
            if here != there and here not in there.parents and there not in here.parents:
                between.setdefault(here, set()).add(there)
    try:
        TopologicalSorter(between).prepare()
    except CycleError as error:
        pytest.fail(f"these folders import each other: {' -> '.join(map(str, error.args[1]))}")


@pytest.mark.parametrize("rooms", [MODEL_ROOMS, ALL_ROOMS])
def test_a_fingerprint_covers_all_that_its_rooms_import(rooms: tuple[str, ...], graph: dict[str, set[str]]) -> None:
    needed = {
        other.split(".")[1]
        for name, others in graph.items()
        for other in others
        if name.split(".")[1] in rooms and other.count(".") > 0
    }
    assert needed <= set(rooms)


def test_the_table_in_contributing_is_this_one() -> None:
    lines = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    first = lines.index("| room | what | may import |") + 2
    rows = (line.strip("|").split("|") for line in takewhile(lambda line: line.startswith("|"), lines[first:]))
    read = {room.strip(" `/"): names.strip() for room, _, names in rows}
    assert {room: set() if names == "-" else set(names.split(", ")) for room, names in read.items()} == MAY_IMPORT


def reachable(arrows: Mapping[str, set[str]], room: str) -> set[str]:
    return {each for other in arrows[room] for each in {other} | reachable(arrows, other)}


def test_the_picture_in_architecture_has_these_arrows() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn: dict[str, set[str]] = {room: set() for room in MAY_IMPORT}
    for start, end in re.findall(r"(?m)^  (\w+) --> (\w+)$", page):
        drawn[start].add(end)
    for room, others in drawn.items():
        assert others <= MAY_IMPORT[room]
        assert reachable(drawn, room) == reachable(MAY_IMPORT, room)
