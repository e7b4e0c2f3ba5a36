"""The signatures that docs/architecture.md promises to clients, and how a model's differ from them."""

from __future__ import annotations

from collections.abc import Mapping

from noisy_gru.schema.config import ClassificationConfig, DatasetConfig, ForecastingConfig
from noisy_gru.trainer.session import Signature, TensorSpec
from noisy_gru.trainer.tensor_names import tensor_names

DEFAULT = "serving_default"
TENSORS = "serving_tensors"

# dtype, and for each axis None (must be free), a number (must be it) or "any".
Promise = tuple[str, tuple[int | str | None, ...]]


def promised_inputs(dataset: DatasetConfig) -> dict[str, dict[str, Promise]]:
    """The inputs of each signature."""
    tensors: dict[str, Promise] = {
        "features": ("float32", (None, None, len(dataset.data.numeric))),
        "lengths": ("int64", (None,)),
    }
    tensors |= dict.fromkeys(tensor_names(dataset.data).values(), ("string", (None, None)))
    return {DEFAULT: {"examples": ("string", (None,))}, TENSORS: tensors}


def promised_outputs(dataset: DatasetConfig) -> dict[str, Promise]:
    """The outputs, the same in both signatures."""
    task = dataset.task
    if isinstance(task, ClassificationConfig):
        return {
            "probabilities": ("float32", (None, "any")),
            "class_id": ("int64", (None,)),
            "label_bytes": ("string", (None,)),
            "labels_bytes": ("string", (None, "any")),
        }
    if isinstance(task, ForecastingConfig):
        return {"predictions": ("float32", (None, len(task.horizons), len(task.targets)))}
    return {"predictions": ("float32", (None, 1))}


def broken_promises(signatures: Mapping[str, Signature], dataset: DatasetConfig) -> list[str]:
    """How ``signatures`` differ from the promised ones, in words; empty if they don't."""
    problems = []
    for name, inputs in promised_inputs(dataset).items():
        if name not in signatures:
            had = ", ".join(sorted(signatures)) or "none"
            problems.append(f"the signature {name} is missing; the model has {had}")
            continue
        problems += _differences(f"{name}: input", inputs, signatures[name].inputs)
        problems += _differences(f"{name}: output", promised_outputs(dataset), signatures[name].outputs)
    return problems


def _differences(where: str, promised: Mapping[str, Promise], given: Mapping[str, TensorSpec]) -> list[str]:
    problems = [f"{where} {name} is missing" for name in promised if name not in given]
    problems += [f"{where} {name} is not in the contract" for name in given if name not in promised]
    for name, (dtype, shape) in promised.items():
        spec = given.get(name)
        if spec is None:
            continue
        if spec.dtype != dtype:
            problems.append(f"{where} {name} has the dtype {spec.dtype}; expected {dtype}")
        if not _fits(shape, spec.shape):
            problems.append(f"{where} {name} has the shape {_shown(spec.shape)}; expected {_shown(shape)}")
    return problems


def _fits(promised: tuple[int | str | None, ...], given: tuple[int | None, ...] | None) -> bool:
    if given is None or len(given) != len(promised):
        return False
    pairs = list(zip(promised, given, strict=True))
    # A free axis may stand where the promise is a number: the model then accepts or gives that number at run time.
    return all(want == "any" or have is None or have == want for want, have in pairs)


def _shown(shape: tuple[int | str | None, ...] | None) -> str:
    return (
        "unknown" if shape is None else "[" + ", ".join("free" if axis is None else str(axis) for axis in shape) + "]"
    )
