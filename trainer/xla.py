"""Whether XLA compiles the training step: it makes a step faster, and costs seconds for each shape of a batch.

    choice = choose_xla(trainer, epochs=50, padded_steps=9 * 30, shapes=1, has_gpu=False, is_shared=False)
    choice.enabled, choice.reason

`training.xla: auto` depends on the configuration and the data alone, never on a clock: a training is compiled in the
same way on any CPU, and after an interruption.
"""

from __future__ import annotations

import dataclasses

from noisy_gru.trainer.config import TrainerConfig

# Seconds, measured (docs/performance.md): saved by XLA at each time step of each GRU, forwards and backwards together,
# for stacks of 16 to 256 units in batches of 32 to 256; and for compiling a GRU for one shape.
_SAVED = 80e-6
_COMPILING = 2.0
# The estimates are rough, and a wasted compilation is worse than a slower step.
_MARGIN = 1.5


@dataclasses.dataclass(frozen=True)
class XlaChoice:
    """The decision, and its reason.

    Attributes:
        enabled: whether XLA compiles the step.
        reason: for the log.
        saved_seconds: estimated savings in the whole training; 0 if XLA can't be used.
        compile_seconds: estimated cost.
    """

    enabled: bool
    reason: str
    saved_seconds: float = 0.0
    compile_seconds: float = 0.0

    def as_dict(self) -> dict[str, object]:
        return dataclasses.asdict(self)


def choose_xla(
    trainer: TrainerConfig, *, epochs: int, padded_steps: int, shapes: int, has_gpu: bool, is_shared: bool
) -> XlaChoice:
    """Decide whether XLA compiles the steps of a training.

    Args:
        trainer: its configuration, with `training.xla`.
        epochs: most epochs.
        padded_steps: padded time steps of the batches of an epoch together.
        shapes: number of batch shapes.
        has_gpu: whether there is a GPU, where cuDNN runs the GRUs.
        is_shared: whether a strategy shares the batches among replicas.
    """
    model, setting = trainer.model, trainer.training.xla
    if setting == "off":
        return XlaChoice(False, "training.xla is off")
    obstacle = ""
    if has_gpu:
        obstacle = "cuDNN runs the GRUs on the GPU, which XLA can't compile"
    elif is_shared:
        obstacle = "the batches are shared among replicas"
    elif not model.fused or any(layer.recurrent_dropout for layer in model.layers):
        obstacle = "Keras' own loop is used (model.fused: false, or recurrent_dropout)"
    if obstacle:
        return XlaChoice(False, obstacle)
    grus = len(model.layers) * (2 if model.bidirectional else 1)
    # Segments are fewer, and the decoder is one step for each layer.
    loops = padded_steps // (model.segment or 1)
    saved = round(_SAVED * grus * loops * epochs, 1)
    cost = round(_COMPILING * grus * shapes, 1)
    if setting == "on":
        return XlaChoice(True, "training.xla is on", saved, cost)
    enabled = saved > _MARGIN * cost
    reason = f"about {saved:.0f} s saved in {epochs} epochs against {cost:.0f} s to compile {shapes} shapes"
    return XlaChoice(enabled, reason, saved, cost)
