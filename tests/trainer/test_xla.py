"""When XLA compiles the step: by a rule on what is configured and how much there is to compute."""

from __future__ import annotations

from typing import Any

import pytest

from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.xla import XlaChoice, choose_xla


def choice(model: dict[str, Any] | None = None, xla: Any = "auto", **facts: Any) -> XlaChoice:
    trainer = TrainerConfig.model_validate({"model": model or {}, "training": {"xla": xla}})
    defaults = {"epochs": 50, "padded_steps": 40 * 20, "shapes": 1, "has_gpu": False, "is_shared": False}
    return choose_xla(trainer, **{**defaults, **facts})


def test_a_long_training_makes_up_for_the_compilation_and_a_short_one_does_not() -> None:
    # Three GRUs: 3 * 2 s to compile; 80 us for each of 3 * 800 * epochs time steps.
    assert choice(epochs=100) == XlaChoice(
        True, "about 19 s saved in 100 epochs against 6 s to compile 1 shapes", 19.2, 6.0
    )
    assert not choice(epochs=40).enabled
    assert not choice(epochs=100, shapes=8).enabled
    assert choice(epochs=100, shapes=8, padded_steps=8 * 800).enabled


def test_the_stack_counts_on_both_sides() -> None:
    both = choice({"bidirectional": True, "layers": [{"units": 8}] * 2}, epochs=100)
    assert (both.saved_seconds, both.compile_seconds) == (4 * 800 * 100 * 80e-6, 8.0)


@pytest.mark.parametrize(
    ("setting", "words"), [("on", "training.xla is on"), (True, "is on"), ("off", "is off"), (False, "is off")]
)
def test_the_configuration_decides(setting: Any, words: str) -> None:
    # YAML makes Booleans of on and off.
    found = choice(xla=setting, epochs=1 if words.endswith("on") else 10_000)
    assert found.enabled == words.endswith("on") and words in found.reason


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"has_gpu": True}, "cuDNN"),
        ({"is_shared": True}, "replicas"),
        ({"model": {"fused": False}}, "Keras' own loop"),
        ({"model": {"layers": [{"units": 4}, {"units": 4, "recurrent_dropout": 0.1}]}}, "Keras' own loop"),
    ],
)
@pytest.mark.parametrize("setting", ["auto", "on"])
def test_where_it_can_not_be_done_it_is_not(facts: Any, words: str, setting: str) -> None:
    found = choice(xla=setting, epochs=10_000, **facts)
    assert not found.enabled and words in found.reason
