"""Results of trainings, without training."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisy_gru.pipeline.experiments.engine import Trials
from noisy_gru.pipeline.experiments.variants import CONFIGURED, Variant, scaled
from noisy_gru.trainer.config import TrainerConfig

TRAINER = TrainerConfig()
SCALES = (0.0, 1.0, 10.0)
CONFIG = """\
name: tiny
schema: schema.pbtxt
data: {files: [rows.csv], entity: id, time: {column: t, kind: integer}, features: [a, b]}
task: {kind: classification, label: kind}
splits: {by: entity, eval: 0.3, test: 0.2}
model: {layers: [{units: 3, stddev: 0.1}]}
"""


def result(accuracy: float, carried: float, losses: list[float]) -> dict[str, Any]:
    return {
        "metrics": {"accuracy": accuracy, "loss": losses[-1], "nll": losses[-1], "ece": 0.1 * accuracy},
        "first_states": {"noise_x1": {"accuracy": accuracy}, "carried": {"accuracy": carried, "loss": 1 - carried}},
        "not_measured": {"burn_in_5": "the model reads both ways"},
        "history": {"val_loss": losses},
        "epochs": len(losses),
        "best_epoch": len(losses),
        "parameters": 1234,
        "seconds": 3.0,
    }


def noise_trials(pairs: int = 8, gain: float = 0.05) -> Trials:
    """Scale 10 gains from a carried state alone."""
    random = np.random.default_rng(0)
    results = {}
    for seed in range(pairs):
        base = 0.9 + 0.02 * random.standard_normal()
        for scale in SCALES:
            carried = base - 0.05 + (gain if scale == 10 else 0) + 0.004 * random.standard_normal()
            losses = [1.0, 0.5 - 0.01 * scale, 0.3]
            results[f"x{scale:g}", seed] = result(base + 0.001 * random.standard_normal(), carried, losses)
    variants = [Variant(f"x{scale:g}", scaled(TRAINER, scale), {"scale": scale}) for scale in SCALES]
    return Trials(variants, list(range(pairs)), results)


def compared(gains: dict[str, float], pairs: int = 5) -> Trials:
    """Variants by their gain in accuracy over the configured one."""
    random = np.random.default_rng(2)
    key = "model.layers.0.units"
    variants = [Variant(name, TRAINER, {} if name == CONFIGURED else {key: name}) for name in gains]
    results = {}
    for seed in range(pairs):
        base = 0.8 + 0.05 * random.standard_normal()
        for name, gain in gains.items():
            losses = [1.0, 0.5 + 0.1 * seed, 0.4][: 2 + seed % 2]
            results[name, seed] = result(base + gain + 0.004 * random.standard_normal(), 0.5, losses)
    return Trials(variants, list(range(pairs)), results)
