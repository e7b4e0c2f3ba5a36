"""The scale of the noise with `model.stddev: auto`: one model for each, and the best on eval is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.callbacks.progress import report
from noisy_gru.trainer.config import scaled
from noisy_gru.trainer.experiments.first_states import measure_first_states
from noisy_gru.trainer.experiments.starts import CARRIED, OWN, FirstStates
from noisy_gru.trainer.training_context import TrainingContext
from noisy_gru.trainer.warm_start.warm_start import Trained


@dataclasses.dataclass(frozen=True)
class NoiseScale:
    """The chosen scale, and its finished training.

    Attributes:
        context: with the layers' stddev times the scale.
        trained: the model of that scale.
        record: for training.json: `scale`, `stddev` of each layer, `tried` (scale, both losses and their sum), and
            `left_out` (why, by scale).
    """

    context: TrainingContext
    trained: Trained
    record: dict[str, Any]


def choose_scale(context: TrainingContext, train: Callable[[TrainingContext, str], Trained]) -> NoiseScale:
    """Train one model for each of `model.stddev_scales`, with the same seed, and choose the best on eval.

    The best has the smallest sum of two losses: from the first state that is served, and from a wrong one, the last
    state of another sequence of eval. Of equal ones the smaller scale is chosen.

    Args:
        context: of the training, with `model.stddev: auto`.
        train: from a context and a name to its finished training.

    Raises:
        ConfigError: the eval split holds fewer than two sequences, or no scale could be trained.
    """
    if len(context.eval) < 2:
        raise ConfigError(
            "model.stddev: auto compares scales of the noise on the eval split, which needs two sequences or more; it "
            f"holds {len(context.eval)}. Give splits.eval (or eval_from_train) a larger share, or set model.stddev: "
            "layers."
        )
    trainer = context.custom_config.trainer
    scales = sorted(set(trainer.model.stddev_scales))
    tried: list[dict[str, float]] = []
    left_out: dict[str, str] = {}
    best: tuple[float, TrainingContext, Trained] | None = None
    for place, scale in enumerate(scales, 1):
        custom_config = dataclasses.replace(context.custom_config, trainer=scaled(trainer, scale))
        own = dataclasses.replace(context, custom_config=custom_config)
        report(
            f"noise x{scale:g}: scale {place} of {len(scales)} of model.stddev: auto",
            kind="noise_scale",
            scale=scale,
            number=place,
            scales=len(scales),
        )
        try:
            trained = train(own, f"stddev_x{scale:g}")
        except ConfigError as error:
            # Such as a loss that is not finite.
            left_out[f"{scale:g}"] = str(error)
            continue
        starts = FirstStates(tuple(layer.stddev for layer in trainer.model.layers), noise_scales=())
        measured, _ = measure_first_states(trained.model, own, starts, seed=trainer.seed)
        clean, wrong = (measured[start]["loss"] for start in (OWN, CARRIED))
        tried.append({"scale": scale, "loss": clean, "loss_carried_start": wrong, "sum": clean + wrong})
        if best is None or clean + wrong < best[0]:
            best = clean + wrong, own, trained
    if best is None:
        raise ConfigError(
            "model.stddev: auto could train with none of model.stddev_scales: "
            + "; ".join(f"x{scale}: {reason}" for scale, reason in left_out.items())
        )
    chosen = min(tried, key=lambda each: each["sum"])
    for row in best[2].history.rows:
        row["stddev_scale"] = chosen["scale"]
    layers = best[1].custom_config.trainer.model.layers
    record = {
        "scale": chosen["scale"],
        "stddev": [each.stddev for each in layers],
        "tried": tried,
        "left_out": left_out,
    }
    shown = ", ".join(f"x{each['scale']:g} {each['loss']:.4g} + {each['loss_carried_start']:.4g}" for each in tried)
    report(
        f"noise x{chosen['scale']:g} is kept; loss on eval as served + from another sequence's state: {shown}",
        kind="noise_scale_chosen",
        **record,
    )
    return NoiseScale(best[1], best[2], {"kind": "auto", **record})
