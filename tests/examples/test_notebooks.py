"""The notebooks run, cell by cell in a clean process, and are committed without outputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "examples" / "notebooks").glob("*.ipynb"))
# IPython reads what a notebook may hold besides Python, `!` commands; their exit code is in `_exit_code`.
RUN = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        source = "".join(cell["source"])
        shell.run_cell(source).raise_error()
        if shell.user_ns.pop("_exit_code", 0):
            sys.exit("a command of this cell failed:\\n" + source)
"""

every_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def run(notebook: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "IPYTHONDIR": str(folder / "ipython"),
        "TMPDIR": str(folder),
    }
    command = [sys.executable, "-c", RUN, str(notebook)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} == {"noisy_gru_layer", "own_data_to_served_model"}


@every_notebook
def test_no_outputs_are_committed(notebook: Path) -> None:
    cells = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert [cell for cell in cells if cell["outputs"] or cell["execution_count"] is not None] == []


@pytest.mark.slow
@pytest.mark.long
@every_notebook
def test_every_cell_runs(notebook: Path, tmp_path: Path) -> None:
    ended = run(notebook, tmp_path)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.parametrize("source", ["raise ValueError('no')", "!exit 3"])
def test_a_cell_that_fails_is_found(source: str, tmp_path: Path) -> None:
    notebook = tmp_path / "wrong.ipynb"
    cells = [{"cell_type": "code", "source": [line]} for line in (source, "print('went on')")]
    notebook.write_text(json.dumps({"cells": cells}))
    ended = run(notebook, tmp_path)
    assert ended.returncode != 0
    assert "went on" not in ended.stdout
