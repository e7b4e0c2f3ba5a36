"""The public names: what type checkers see of them, what importing them loads, and what they do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import noisy_gru
from noisy_gru.schema.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
FACES = ("", ".data", ".pipeline", ".schema", ".serving", ".trainer.callbacks", ".trainer.layers")
CONFIG = """\
name: small
schema: schema.pbtxt
data: {files: [rows/*.csv], entity: id, time: {column: t}, features: [a, b]}
task: {kind: classification, label: way}
"""
SCHEMA = "".join(
    f'feature {{ name: "{name}" type: {kind} }}\n'
    for name, kind in [("a", "FLOAT"), ("b", "FLOAT"), ("sequence_id", "BYTES"), ("steps", "INT"), ("way", "BYTES")]
)
USES = """\
from noisy_gru import AsyncClient, Client, NoisyGRU, load_config, predict, run, validate
from noisy_gru.data import read_for_prediction
from noisy_gru.schema import DatasetConfig
from noisy_gru.serving import ServingError
from noisy_gru.trainer.callbacks import StddevSchedule
reveal_type(run)
reveal_type(predict("config.yaml", "new.csv").to_pandas())
reveal_type(validate("config.yaml", set=["training.epochs=1"]))
reveal_type(load_config("config.yaml").dataset)
reveal_type(Client("127.0.0.1:1", dataset=load_config("x").dataset, model_name="m"))
reveal_type(AsyncClient)
reveal_type(NoisyGRU(8))
reveal_type(StddevSchedule("cosine"))
reveal_type(read_for_prediction([], load_config("x").dataset).ids)
reveal_type(DatasetConfig)
reveal_type(ServingError("no").code)
"""
REVEALED = [
    "(config: str | PathLike[str], *, root: str | PathLike[str] | None = None, set: Sequence[str] = (), "
    "span: str = LATEST, debug: bool = False) -> RunRecord",
    "DataFrame",
    "list[str]",
    "DatasetConfig",
    "Client",
    "type[AsyncClient]",
    "NoisyGRU",
    "StddevSchedule",
    "list[str]",
    "type[DatasetConfig]",
    "str",
]


def checked(source: str, folder: Path) -> list[dict[str, Any]]:
    """What Pyright says of a file outside of the tree."""
    (folder / "uses.py").write_text(source)
    settings = {"extraPaths": [str(ROOT)], "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [shutil.which("pyright", path=str(Path(sys.executable).parent)), "--pythonpath", sys.executable]
    done = subprocess.run([*map(str, command), "--outputjson"], cwd=folder, capture_output=True, text=True, check=False)
    return json.loads(done.stdout)["generalDiagnostics"]


@pytest.mark.slow
def test_type_checkers_see_the_types(tmp_path: Path) -> None:
    found = checked(USES, tmp_path)
    assert [each["message"] for each in found if each["severity"] == "error"] == []
    types = [each["message"].partition(" is ")[2].strip('"') for each in found if each["severity"] == "information"]
    assert types == REVEALED


@pytest.mark.slow
def test_type_checkers_find_a_name_that_is_not_there(tmp_path: Path) -> None:
    (problem,) = checked("from noisy_gru import Klient\n", tmp_path)
    assert '"Klient" is unknown import symbol' in problem["message"]


@pytest.mark.parametrize("face", FACES)
def test_importing_a_face_loads_no_library(face: str) -> None:
    code = (
        f"import sys; before = set(sys.modules); import noisy_gru{face}\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["noisy_gru"]


def test_the_functions_load_no_tensorflow() -> None:
    code = (
        "import sys; from noisy_gru import Client, load_config, predict, run, validate\n"
        "print(*{'tensorflow', 'tfx', 'apache_beam', 'keras', 'grpc', 'ml_metadata'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.slow
@pytest.mark.parametrize("face", FACES)
def test_every_public_name_is_there(face: str) -> None:
    module = sys.modules.get(f"noisy_gru{face}") or __import__(f"noisy_gru{face}", fromlist=["x"])
    assert module.__all__ == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nonesuch'"):
        module.nonesuch  # noqa: B018


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.mark.slow
def test_predict_here_and_from_a_server_answer_alike(exported: tuple[Path, Any], config: Path, tmp_path: Path) -> None:
    from noisy_gru.serving.local_server import LocalServer

    root = tmp_path / "root"
    shutil.copytree(exported[0], root / "serving" / "small" / "3")
    rows = pd.DataFrame({"id": np.repeat(["x", "y"], 3), "t": [0, 1, 2] * 2, "a": np.arange(6.0), "b": np.ones(6)})
    here = noisy_gru.predict(config, rows, root=root)
    with LocalServer({"small": root / "serving" / "small"}) as server:
        there = noisy_gru.predict(noisy_gru.load_config(config), rows, server=f"http://{server.rest_address}")
        over_grpc = noisy_gru.predict(config, rows, server=server.grpc_address, version=3)
    frame = here.to_pandas()
    assert frame["sequence_id"].tolist() == ["x", "y"]
    pd.testing.assert_frame_equal(over_grpc.to_pandas(), frame)
    pd.testing.assert_frame_equal(there.to_pandas(), frame, atol=1e-6, check_dtype=False)


def test_run_and_validate_check_the_configuration_first(config: Path, tmp_path: Path) -> None:
    for call in (noisy_gru.validate, noisy_gru.run):
        with pytest.raises(ConfigError, match=r"rows/\*\.csv"):
            call(config)
        with pytest.raises(ConfigError, match="entityy"):
            call(config, set=["data.entityy=1"])
    assert not (tmp_path / "runs").exists()


def test_run_gives_the_run_what_it_was_given(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole run is tested with the command: here, that the function is the same run."""
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "1.csv").write_text("id,t,a,b,way\nx,0,1,1,up\n")
    (tmp_path / "schema.pbtxt").write_text(SCHEMA)
    given: dict[str, Any] = {}
    monkeypatch.setattr(
        "noisy_gru.pipeline.runs.running.run_config", lambda loaded, **options: given.update(options, loaded=loaded)
    )
    noisy_gru.run(config, root=str(tmp_path / "root"), set=["seed=7"])
    assert (given["root"], given["config_path"], given["overrides"]) == (tmp_path / "root", config, ["seed=7"])
    assert given["loaded"].seed == 7
    noisy_gru.run(config)
    assert given["root"] == Path("runs/small")
