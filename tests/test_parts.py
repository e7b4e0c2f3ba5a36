"""The package in parts: an empty environment with what `pip install` of the base, or of an extra, brings along.

No index is asked: the packages are links to those of this environment, and pip, without an index, takes the wheel only
if they are all that it asks for.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from packaging.requirements import Requirement

import noisy_gru
from noisy_gru.compat.extras import MissingExtraError, missing_extra, require

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"tensorflow", "tfx", "apache-beam", "keras", "ml-metadata", "scipy", "kfp", "onnx", "aiohttp", "matplotlib"}
LARGEST_BASE = 400e6  # bytes
CONFIG = """\
name: small
schema: schema.pbtxt
data: {files: [rows/*.csv], entity: id, time: {column: t}, features: [a, b]}
task: {kind: classification, label: way}
"""


class Environment:
    """An environment of its own, and what is installed in it."""

    def __init__(self, folder: Path, wheel: Path, extra: str) -> None:
        venv.create(folder, with_pip=False)
        self._bin = folder / "bin"
        (site,) = folder.glob("lib/python3.*/site-packages")
        self.packages: set[str] = set()
        wanted = [
            Requirement(line)
            for line in importlib.metadata.PathDistribution(_unpacked(wheel, folder)).requires or []
            if (marker := Requirement(line).marker) is None or marker.evaluate({"extra": extra})
        ]
        self.size = sum(self._link(requirement, site) for requirement in wanted)
        # Without an index pip refuses unless every requirement is there.
        target = f"{wheel}[{extra}]" if extra else str(wheel)
        self._pip("install", "--no-index", "--quiet", target)
        self._pip("check")

    def _link(self, requirement: Requirement, site: Path) -> int:
        name = requirement.name.lower().replace("_", "-")
        if name in self.packages:
            return 0
        self.packages.add(name)
        distribution = importlib.metadata.distribution(name)
        size = 0
        for file in distribution.files or []:
            if ".." in file.parts or "__pycache__" in file.parts:
                continue
            original = Path(str(distribution.locate_file(file)))
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            if not (site / file).exists():
                (site / file).symlink_to(original)
                size += original.stat().st_size
        extras = requirement.extras or {""}
        for line in distribution.requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                size += self._link(needed, site)
        return size

    def _pip(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", str(self._bin / "python"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, *command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        """A program of the environment; nothing of the one of the tests is on its path."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        program, *arguments = map(str, command)
        return subprocess.run(
            [str(self._bin / program), *arguments], cwd=cwd, env=variables, capture_output=True, text=True, check=False
        )


def _unpacked(wheel: Path, folder: Path) -> Path:
    shutil.unpack_archive(wheel, folder / "wheel", "zip")
    return next((folder / "wheel").glob("*.dist-info"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    names = [path.readlink().name for path in (ROOT / "noisy_gru").iterdir() if path.is_symlink()]
    source = folder / "source"
    for name in ("noisy_gru", "requirements", *names):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(source)], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("base"), wheel, "")


@pytest.fixture(scope="module")
def root(exported: tuple[Path, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a published model `small`."""
    folder = tmp_path_factory.mktemp("root")
    shutil.copytree(exported[0], folder / "serving" / "small" / "4")
    return folder


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Any]:
    from noisy_gru.serving.local_server import LocalServer

    with LocalServer({"small": root / "serving" / "small"}) as running:
        yield running


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration, and rows of 20 sequences as CSV and TFRecord."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"id": np.repeat([f"s{place}" for place in range(20)], 4), "t": np.tile(np.arange(4), 20)})
    frame.assign(a=random.normal(size=80), b=random.normal(size=80)).to_csv(tmp_path / "new.csv", index=False)
    return tmp_path / "config.yaml"


def answers(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_the_base_is_small(base: Environment) -> None:
    assert base.packages & (HEAVY | {"grpcio", "tensorflow-serving-api"}) == set()
    assert base.size < LARGEST_BASE


def test_the_base_predicts_over_rest(base: Environment, server: Any, root: Path, config: Path, tmp_path: Path) -> None:
    url = f"http://{server.rest_address}"
    done = base.run("noisy-gru", "predict", config, "new.csv", "--server", url, "--format", "jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    here = noisy_gru.predict(config, tmp_path / "new.csv", root=root).answers
    assert len(here) == 20
    for answer, other in zip(here, answers(done.stdout), strict=True):
        assert other == pytest.approx(answer, abs=1e-6)  # REST goes through decimals


def test_the_base_imports_no_more_than_it_installs(
    base: Environment, server: Any, config: Path, tmp_path: Path
) -> None:
    code = (
        "from noisy_gru import Client, load_config; dataset = load_config('config.yaml').dataset\n"
        f"client = Client('http://{server.rest_address}', dataset=dataset, model_name='small')\n"
        "print(client.predict('new.csv').to_pandas().shape, client.status()[0].version)"
    )
    done = base.run("python", "-c", code, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("(20, 5) 4\n", "")


def test_the_extra_grpc_predicts_without_tensorflow(
    wheel: Path, server: Any, root: Path, config: Path, tmp_path: Path
) -> None:
    environment = Environment(tmp_path / "grpc", wheel, "grpc")
    assert environment.packages & HEAVY == set()
    where = ("--server", server.grpc_address, "--format", "jsonl")
    done = environment.run("noisy-gru", "predict", config, "new.csv", *where, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert answers(done.stdout) == noisy_gru.predict(config, tmp_path / "new.csv", root=root).answers


NEEDS = [
    (("run", "CONFIG"), "noisy-gru run needs TFX", "pipeline"),
    (("retrain", "run", "CONFIG"), "noisy-gru retrain run needs TFX", "pipeline"),
    (("retrain", "schedule", "CONFIG", "--cron", "0 3 * * *"), "noisy-gru retrain schedule needs TFX", "pipeline"),
    (("serve", "CONFIG", "--root", "ROOT", "--stand-in"), "needs", "pipeline"),
    (("predict", "CONFIG", "new.csv", "--root", "ROOT"), "without --server needs TensorFlow", "pipeline"),
    (("predict", "CONFIG", "new.csv", "--server", "127.0.0.1:1"), "transport grpc", "grpc"),
    (("kubeflow", "compile", "CONFIG"), "noisy-gru kubeflow needs the SDK of Kubeflow Pipelines", "kubeflow"),
    (("kubeflow", "status"), "noisy-gru kubeflow needs the SDK of Kubeflow Pipelines", "kubeflow"),
]


@pytest.mark.parametrize(("command", "message", "extra"), NEEDS, ids=[" ".join(command[:2]) for command, *_ in NEEDS])
def test_a_command_names_the_extra_that_it_needs(
    base: Environment, root: Path, config: Path, tmp_path: Path, command: tuple[str, ...], message: str, extra: str
) -> None:
    japanese_vowels = ROOT / "examples" / "japanese_vowels" / "config.yaml"
    paths = {"CONFIG": config if command[0] in ("predict", "serve") else japanese_vowels, "ROOT": root}
    done = base.run("noisy-gru", *(paths.get(word, word) for word in command), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr
    assert done.stderr.endswith(f"pip install 'noisy-gru-tfx[{extra}]'\n")


@pytest.mark.parametrize("command", [("--help",), ("run", "--help"), ("kubeflow", "compile", "--help")])
def test_help_needs_no_extra(base: Environment, tmp_path: Path, command: tuple[str, ...]) -> None:
    done = base.run("noisy-gru", *command, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_doctor_finds_no_problem_in_the_base(base: Environment, tmp_path: Path) -> None:
    done = base.run("noisy-gru", "doctor", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    found = dict(re.findall(r"note {5}(\S.*?) +not installed \(extra (\w+)\)\n", done.stdout))
    assert found == {
        "TFX": "pipeline",
        "TensorFlow": "pipeline",
        "tensorflow-serving-api": "pipeline",
        "Beam": "pipeline",
        "Keras 3": "pipeline",
        "MLMD": "pipeline",
        "gRPC": "grpc",
        "kfp": "kubeflow",
        "ONNX": "onnx",
        "openpyxl": "excel",
        "DuckDB": "sql",
        "MLflow's client": "tracking",
    }
    assert "pip install 'noisy-gru-tfx[pipeline]'" in done.stdout


def test_the_base_validates_and_proposes_a_configuration(base: Environment, tmp_path: Path) -> None:
    config = ROOT / "examples" / "japanese_vowels" / "config.yaml"
    assert base.run("noisy-gru", "validate", config, cwd=tmp_path).returncode == 0
    done = base.run("noisy-gru", "init", "--data", config.with_name("train.csv.gz"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "config.yaml").is_file()


def test_a_library_that_is_there_is_no_error() -> None:
    require("tfx", "this test")
    assert missing_extra(ModuleNotFoundError(name="tfx.components"), "this test") is None
    assert missing_extra(ModuleNotFoundError(name="of_somebody_else"), "this test") is None


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=r"^a test needs ONNX, which is not installed: pip install 'noisy-gru-tfx\[onnx\]'$"
    ):
        require("onnx", "a test")
    error = missing_extra(ModuleNotFoundError(name="apache_beam.io"), "a test")
    assert "needs Apache Beam" in str(error)
