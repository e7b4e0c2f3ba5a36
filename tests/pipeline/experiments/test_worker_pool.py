"""Processes that train: as many as fit, the same results, gone with the one that started them."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.pipeline.experiments.engine import Parallel, ResultStore, run_trials
from noisy_gru.pipeline.experiments.variants import Variant, scaled
from noisy_gru.pipeline.experiments.worker_pool import WorkerPool, available_bytes, fitting
from noisy_gru.pipeline.runs.progress import LiveProgress
from noisy_gru.schema.errors import ConfigError, UserError
from noisy_gru.trainer.config import TrainerConfig
from tests.patience import until

TRAINER = TrainerConfig()
VARIANTS = [Variant("x0", scaled(TRAINER, 0.0)), Variant("x1", TRAINER), Variant("x10", scaled(TRAINER, 10.0))]
# A worker whose trainings are sums; what it does by the way, its environment says.
WORKER = """
import logging, os, sys, time
from pathlib import Path
from noisy_gru.pipeline.experiments.worker import main
from noisy_gru.schema.errors import ConfigError

def load(common):
    folder = Path(common["folder"])
    def train(job):
        stddev, seed = job["model"]["layers"][0]["stddev"], job["seed"]
        (folder / f"{stddev}-{seed}-{os.getpid()}").touch()
        while (folder / "wait").exists():
            time.sleep(0.01)
        kind = common["odd"].get(str(stddev))
        if kind == "refused":
            raise ConfigError("the loss became nan")
        if kind == "failed":
            raise ValueError("no disk")
        if kind == "killed":
            os.kill(os.getpid(), 9)
        logging.getLogger("noisy_gru.progress").info("e", extra={"event": {"kind": "epoch", "epoch": 1, "epochs": 2}})
        return {"metrics": {"accuracy": seed + stddev}}
    return train

main(load)
"""


class Bench:
    """An experiment in processes."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.stream = io.StringIO()
        self.events: list[tuple[str, dict[str, Any]]] = []

    def run(self, most: int | None = 2, required: list[str] | None = None, **odd: str) -> Any:
        common = {
            "folder": str(self.folder),
            "odd": {name.removeprefix("s").replace("_", "."): kind for name, kind in odd.items()},
        }
        store = ResultStore(self.folder / "results")
        command = [sys.executable, "-c", WORKER]
        with WorkerPool(common, lambda key, event: self.events.append((key, dict(event))), command) as pool:
            return run_trials(
                VARIANTS, range(5, 7), store, _never, LiveProgress(self.stream), shown="accuracy",
                required=required or ["x1"], parallel=Parallel(pool, most),
            )  # fmt: skip

    @property
    def trained(self) -> list[tuple[str, str]]:
        """Standard deviation and process of each training."""
        names = [path.name.split("-") for path in self.folder.iterdir() if path.is_file() and path.name != "wait"]
        return [(stddev, process) for stddev, _, process in names]


def _never(trainer: TrainerConfig) -> Any:
    raise AssertionError("trained in this process")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_results_are_those_of_one_after_the_other(bench: Bench, tmp_path: Path):
    trials = bench.run()
    serial = run_trials(
        VARIANTS, range(5, 7), ResultStore(tmp_path / "serial"),
        lambda trainer: {"metrics": {"accuracy": trainer.seed + trainer.model.layers[0].stddev}},
        LiveProgress(io.StringIO()), shown="accuracy",
    )  # fmt: skip
    assert trials.results == serial.results
    assert trials.complete_seeds == [5, 6]
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names == {path.name for path in (tmp_path / "serial").iterdir()}
    assert len(bench.trained) == 6
    assert len({process for _, process in bench.trained}) == 2
    assert len(bench.events) == 6
    lines = bench.stream.getvalue().splitlines()
    assert sum("✓" in line for line in lines) == 6
    assert lines[-1].startswith("✓   6/6 ")
    # What is there is not trained again.
    assert bench.run().results == serial.results
    assert len(bench.trained) == 6


def test_the_first_training_says_how_many_fit(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    from noisy_gru.pipeline.experiments import engine

    peaks: list[int] = []
    monkeypatch.setattr(engine, "fitting", lambda peak: peaks.append(peak) or 3)
    assert len(bench.run(most=None).results) == 6
    (peak,) = peaks
    assert 5e6 < peak < 5e9
    assert "3 at a time: one takes " in bench.stream.getvalue()
    assert len({process for _, process in bench.trained}) <= 3


def test_a_variant_that_can_not_be_trained_is_left_out(bench: Bench):
    trials = bench.run(s1_0="refused")
    assert trials.failed == {"x10": "the loss became nan"}
    assert trials.complete_seeds == [5, 6]
    other = Bench(bench.folder / "other")
    other.folder.mkdir()
    with pytest.raises(ConfigError, match="the loss became nan"):
        other.run(required=["x10"], s1_0="refused")


@pytest.mark.parametrize(
    ("kind", "words"), [("failed", "x10 seed 5: ValueError: no disk"), ("killed", "x10 seed 5: the process .* code -9")]
)
def test_a_process_that_fails_ends_the_experiment_and_the_rest_is_kept(bench: Bench, kind, words):
    with pytest.raises(UserError, match=words):
        bench.run(most=1, s1_0=kind)
    assert len(list((bench.folder / "results").iterdir())) == 2
    before = len(bench.trained)
    assert bench.run(most=2).complete_seeds == [5, 6]
    assert len(bench.trained) == before + 4


def test_processes_end_with_the_one_that_started_them(bench: Bench):
    """Killed with -9 in the middle of two trainings; then it goes on."""
    (bench.folder / "wait").touch()
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from pathlib import Path\n"
        "from tests.pipeline.experiments.test_worker_pool import Bench\n"
        f"Bench(Path({str(bench.folder)!r})).run()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3], start_new_session=True)
    until(lambda: len(bench.trained) >= 2 or parent.poll() is not None)
    assert parent.poll() is None
    parent.kill()
    parent.wait()
    until(lambda: not any(_is_running(int(process)) for _, process in bench.trained))
    assert list((bench.folder / "results").iterdir()) == []
    (bench.folder / "wait").unlink()
    assert bench.run().complete_seeds == [5, 6]


def _is_running(process: int) -> bool:
    """Whether a process works; one that nobody has waited for yet does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("peak", "cores", "available", "expected"),
    [(100, 8, 1000, 8), (100, 4, 250, 3), (100, 4, 100, 1), (100, 4, 0, 1), (0, 4, 1000, 1), (500, 16, 10_000, 16)],
)
def test_how_many_fit(peak, cores, available, expected):
    assert fitting(peak, cores, available) == expected


def test_available_memory(tmp_path: Path):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    1234 kB\n")
    assert available_bytes(tmp_path / "meminfo") == 1234 * 1024
    assert available_bytes(tmp_path / "none") == 0
    (tmp_path / "old").write_text("MemTotal: 9 kB\n")
    assert available_bytes(tmp_path / "old") == 0
