"""A process that only reads a Keras file, as the serving gate in its own pod does, knows all layers."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import noisy_gru.trainer

READER = """
import sys
import noisy_gru.trainer.export.saved_model
from keras.saving import get_custom_objects
sys.stdout.write(" ".join(get_custom_objects()))
"""


def registered() -> Iterator[str]:
    """The classes in the source that a Keras file may name; a schedule is of the optimizer, which it doesn't hold."""
    for file in Path(next(iter(noisy_gru.trainer.__path__))).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.ClassDef):
                continue
            decorated = any("register_keras_serializable" in ast.unparse(each) for each in node.decorator_list)
            if decorated and not any("LearningRateSchedule" in ast.unparse(base) for base in node.bases):
                yield f"noisy_gru>{node.name}"


@pytest.mark.slow
def test_reading_a_keras_file_registers_every_layer():
    expected = set(registered())
    assert {"noisy_gru>MeanOfMembers", "noisy_gru>NoisyGRU"} <= expected
    found = subprocess.run([sys.executable, "-c", READER], check=True, capture_output=True, text=True).stdout
    assert expected <= set(found.split())
