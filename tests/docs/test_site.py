"""The site that `make site` builds from docs/: every page in the navigation, every link and anchor right."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / ".venv-docs" / "bin" / "mkdocs"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not OWN.exists(), reason="mkdocs is not installed; `make site` installs it into .venv-docs"),
]


def build(configuration: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(OWN), "build", "--strict", "--config-file", str(configuration), "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "default"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_site_is_built_and_fetches_nothing(tmp_path: Path) -> None:
    built = build(ROOT / "mkdocs.yml", tmp_path)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(list((ROOT / "docs").rglob("*.md")))
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    decisions = {path.stem for path in (ROOT / "docs" / "decisions").glob("*.md")}
    assert {name for name in decisions if f"decisions/{name}.html" not in index} == set(), "not in the navigation"
    fetched = [
        found
        for page in pages
        for found in re.findall(r'<(?:script|img|iframe|link)\b[^>]*(?:src|href)="(https?://[^"]+)"', page.read_text())
    ]
    assert fetched == []


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    for folder in ("docs", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs" / "concepts.md").open("a") as page:
        page.write("\n[nowhere](architecture.md#no-such-anchor)\n")
    built = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert built.returncode != 0
    assert "no-such-anchor" in built.stdout + built.stderr
