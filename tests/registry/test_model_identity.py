"""The identity of a model: equal for what computes the same, exported wherever; another one for every change of it.

What is equal and what is not, is known by construction: all exports are of one function, or of it with one change.
"""

# TensorFlow's type hints know neither resources nor tensors as arguments.
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.registry.model_identity import model_identity
from noisy_gru.registry.published_versions import fingerprint, hash_files

pytestmark = pytest.mark.slow

UNITS = 4


def export(
    folder: Path,
    *,
    weight: float = 0.0,
    swapped_weights: bool = False,
    sites: tuple[str, ...] = ("north", "south"),
    kinds: tuple[str, ...] = ("red", "blue"),
    labels: tuple[str, ...] = ("good", "bad"),
    mean: float = 0.5,
    centered: float = 0.0,
    noise: float = 0.0,
    activation: str = "tanh",
    keep: float = 1.0,
    name: str = "x",
    extra: bool = False,
    prefix: str = "model",
    before: int = 0,
) -> None:
    """A loop over time with two weights of one shape and two vocabularies, as a SavedModel.

    ``prefix`` is of the variables' names, and ``before`` counts functions that were traced first: they have no part.
    Nor has ``noise``, a relative one of the statistics, of which the second mean is ``centered``.
    """
    import numpy as np
    import tensorflow as tf

    for number in range(before):
        tf.function(lambda value, number=number: value + number).get_concrete_function(tf.TensorSpec([], tf.int32))
    random = np.random.default_rng(1)
    first, second = random.normal(size=(2, UNITS, UNITS)).astype(np.float32)
    first[0, 0] += weight
    if swapped_weights:
        first, second = second, first

    def table(words: tuple[str, ...], which: str) -> Any:
        file = folder.with_name(f"{folder.name}-{which}.txt")
        file.write_text("\n".join(words) + "\n")
        whole, line = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        source = tf.lookup.TextFileInitializer(str(file), tf.string, whole, tf.int64, line)
        return tf.lookup.StaticHashTable(source, -1)

    saved = tf.Module()
    saved.used = [tf.Variable(first, name=f"{prefix}/first"), tf.Variable(second, name=f"{prefix}/second")]
    saved.tables = [table(sites, "site"), table(kinds, "kind")]
    deviations = np.array([0.1, 1.0, 1e3, 1e-3])
    means = np.array([mean, centered, 1.7e9, -2e-4]) + noise * deviations
    variances = deviations**2 * (1 + noise)
    act: Callable[[Any], Any] = getattr(tf.math, activation)

    def answer(features: Any, site: Any, kind: Any) -> dict[str, Any]:
        def step(time: Any, state: Any) -> tuple[Any, Any]:
            return time + 1, keep * act(scaled[time] + state @ saved.used[0])

        scaled = tf.cast((tf.cast(features, tf.float64) - means) / tf.sqrt(tf.constant(variances)), tf.float32)
        start = tf.zeros([1, UNITS])
        _, state = tf.while_loop(lambda time, _: time < tf.shape(features)[0], step, [0, start])
        known = tf.cast(saved.tables[0].lookup(site) + 10 * saved.tables[1].lookup(kind), tf.float32)
        score = state @ saved.used[1] + known[:, None]
        return {"score": score, "labels_bytes": tf.constant(labels)}

    inputs = [
        tf.TensorSpec([None, UNITS], tf.float32, name=name),
        *(tf.TensorSpec([None], tf.string, name=each) for each in ("site", "kind")),
    ]
    signatures = {"serving_default": tf.function(answer, input_signature=inputs)}
    if extra:
        signatures["other"] = tf.function(answer, input_signature=inputs)
    tf.saved_model.save(saved, str(folder), signatures=signatures)


CHANGES: dict[str, dict[str, Any]] = {
    "one weight, by one unit in the last place": {"weight": 1e-7},
    "two weights of one shape swapped": {"swapped_weights": True},
    "another word": {"sites": ("north", "east")},
    "another order of words": {"sites": ("south", "north")},
    "a word more": {"kinds": ("red", "blue", "green")},
    "two vocabularies swapped": {"sites": ("red", "blue"), "kinds": ("north", "south")},
    "labels": {"labels": ("bad", "good")},
    "a mean of Transform": {"mean": 0.5000001},
    "a mean near zero": {"centered": 1e-6},
    "all statistics": {"noise": 1e-6},
    "a function inside the loop": {"activation": "sigmoid"},
    "a constant inside the loop": {"keep": 0.999},
    "the name of an input": {"name": "y"},
    "a signature more": {"extra": True},
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The model, and its identity."""
    folder = tmp_path_factory.mktemp("here") / "model"
    export(folder)
    return folder, model_identity(folder)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_an_export_of_another_process_is_the_same_model(here: tuple[Path, str], seed: str, tmp_path: Path) -> None:
    code = (
        "import sys, json; from pathlib import Path\n"
        "from tests.registry.test_model_identity import export\n"
        "from noisy_gru.registry.model_identity import model_identity\n"
        "export(Path(sys.argv[1]), prefix='m' + sys.argv[2], before=int(sys.argv[2]) * 7)\n"
        "print(json.dumps(model_identity(Path(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "elsewhere"), seed],
        env={**os.environ, "PYTHONHASHSEED": seed},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        check=True,
    )
    folder, identity = here
    assert json.loads(done.stdout.splitlines()[-1]) == identity == model_identity(tmp_path / "elsewhere")
    assert identity.startswith("1:")
    # The bytes aren't the same: else this would prove nothing.
    assert fingerprint(hash_files(tmp_path / "elsewhere")) != fingerprint(hash_files(folder))


@pytest.mark.parametrize("noise", [1e-15, -3e-15, 2e-14])
def test_the_last_bits_of_transforms_statistics_have_no_part(
    here: tuple[Path, str], noise: float, tmp_path: Path
) -> None:
    """As Beam adds them up in another order: seen in two runs of one configuration, with equal weights."""
    export(tmp_path / "again", noise=noise)
    assert model_identity(tmp_path / "again") == here[1]


def test_every_change_makes_another_model(here: tuple[Path, str], tmp_path: Path) -> None:
    known = {here[1]: "none"}
    for number, (what, change) in enumerate(CHANGES.items()):
        export(tmp_path / str(number), **change)
        identity = model_identity(tmp_path / str(number))
        assert identity not in known, f"{what} is as {known[identity]}"
        known[identity] = what


def test_what_keras_exports_has_an_identity(exported: Any, export_model: Callable[..., Any], tmp_path: Path) -> None:
    """An ExportArchive has other objects and other names; GRU, Dense and the reading of examples are in it."""
    folder, _ = exported
    export_model(tmp_path / "again")
    export_model(tmp_path / "other", seed=1)
    assert model_identity(folder).startswith("1:")
    assert model_identity(tmp_path / "again") == model_identity(folder) != model_identity(tmp_path / "other")


def test_what_is_no_saved_model_is_told_by_its_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    assert model_identity(tmp_path) == f"files:{fingerprint(hash_files(tmp_path))}"
    assert "its files decide" in caplog.text
