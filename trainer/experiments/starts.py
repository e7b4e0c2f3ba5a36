"""Which first states a model is measured from, and their names. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

OWN = "zero"
CARRIED = "carried"


@dataclass(frozen=True)
class FirstStates:
    """What to start from, beside the model's own first states.

    Attributes:
        stddevs: of the first state of each layer, from the input up.
        noise_scales: factors on them.
        burn_in: numbers of steps.
    """

    stddevs: tuple[float, ...]
    noise_scales: tuple[float, ...] = (1.0,)
    burn_in: tuple[int, ...] = ()


def noise_name(scale: float) -> str:
    """Return the name of the start from noise of this scale."""
    return f"noise_x{scale:g}"


def burn_in_name(steps: int) -> str:
    """Return the name of the start in the middle of a sequence, after so many steps."""
    return f"burn_in_{steps}"
