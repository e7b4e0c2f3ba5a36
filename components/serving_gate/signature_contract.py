"""Contract of the signatures (docs/architecture.md), and a model's deviations from it."""

from __future__ import annotations

from collections.abc import Mapping

from noisy_gru.saved_model.session import Signature, TensorSpec
from noisy_gru.saved_model.tensor_names import STATIC_FEATURES, static_tensor_names, tensor_names
from noisy_gru.schema.config import ClassificationConfig, DatasetConfig, ForecastingConfig
from noisy_gru.schema.interval_config import levels_of
from noisy_gru.schema.task_config import has_step_targets, is_multi_label, is_per_step, targets_of

# As in trainer/features.py, which imports TensorFlow.
DEFAULT = "serving_default"
TENSORS = "serving_tensors"
STEP = "serving_step"
EXAMPLES = "examples"
LENGTHS = "lengths"
STATE = "state"

# dtype, and for each axis None (must be free), a number (must be it), "any", or "fixed" (must be a number).
Promise = tuple[str, tuple[int | str | None, ...]]


def promised_inputs(dataset: DatasetConfig, *, serving_step: bool = False) -> dict[str, dict[str, Promise]]:
    """Return the inputs of each signature."""
    tensors: dict[str, Promise] = {
        "features": ("float32", (None, None, len(dataset.data.numeric))),
        LENGTHS: ("int64", (None,)),
    }
    tensors |= dict.fromkeys(tensor_names(dataset.data).values(), ("string", (None, None)))
    if dataset.data.static_numeric:
        tensors[STATIC_FEATURES] = ("float32", (None, len(dataset.data.static_numeric)))
    tensors |= dict.fromkeys(static_tensor_names(dataset.data).values(), ("string", (None,)))
    promised: dict[str, dict[str, Promise]] = {DEFAULT: {EXAMPLES: ("string", (None,))}, TENSORS: tensors}
    if serving_step:
        promised[STEP] = {**tensors, STATE: ("float32", (None, "fixed"))}
    return promised


def promised_outputs(dataset: DatasetConfig) -> dict[str, Promise]:
    """Return the outputs, the same in every signature but for the state that `serving_step` gives as well."""
    task = dataset.task
    if has_step_targets(task):
        return {"predictions": ("float32", (None, None, len(targets_of(task)))), LENGTHS: ("int64", (None,))}
    if is_per_step(task):
        return {
            "probabilities": ("float32", (None, None, "any")),
            "class_id": ("int64", (None, None)),
            "label_bytes": ("string", (None, None)),
            "labels_bytes": ("string", (None, "any")),
            LENGTHS: ("int64", (None,)),
        }
    if isinstance(task, ClassificationConfig):
        return {
            "probabilities": ("float32", (None, "any")),
            "class_id": ("int64", (None,)),
            "label_bytes": ("string", (None,)),
            "labels_bytes": ("string", (None, "any")),
        }
    targets = len(targets_of(task))
    if is_multi_label(task):
        return {
            "probabilities": ("float32", (None, targets)),
            "answers": ("int64", (None, targets)),
            "labels_bytes": ("string", (None, targets)),
        }
    shape = (len(task.horizons), targets) if isinstance(task, ForecastingConfig) else (targets,)
    promised: dict[str, Promise] = {"predictions": ("float32", (None, *shape))}
    if levels := levels_of(task):
        promised["quantiles"] = ("float32", (None, *shape, len(levels)))
    return promised


def broken_promises(
    signatures: Mapping[str, Signature], dataset: DatasetConfig, *, serving_step: bool = False
) -> list[str]:
    """Return the deviations of ``signatures`` from the contract; empty if there are none."""
    problems = []
    for name, inputs in promised_inputs(dataset, serving_step=serving_step).items():
        if name not in signatures:
            had = ", ".join(sorted(signatures)) or "none"
            why = ", which model.serving_step asks for," if name == STEP else ""
            problems.append(f"the signature {name}{why} is missing; the model has {had}")
            continue
        outputs = promised_outputs(dataset)
        if STATE in inputs:
            # What comes out goes in again, so both have the same size.
            outputs[STATE] = ("float32", (None, state_size(signatures) or "fixed"))
        problems += _differences(f"{name}: input", inputs, signatures[name].inputs)
        problems += _differences(f"{name}: output", outputs, signatures[name].outputs)
    return problems


def state_size(signatures: Mapping[str, Signature]) -> int:
    """Return the size of a stream's state in `serving_step`; 0 if the signature doesn't fix it."""
    spec = signatures[STEP].inputs.get(STATE) if STEP in signatures else None
    return spec.shape[-1] or 0 if spec is not None and spec.shape else 0


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
    return all(_axis_fits(want, have) for want, have in zip(promised, given, strict=True))


def _axis_fits(want: int | str | None, have: int | None) -> bool:
    if want == "fixed":
        return have is not None
    # A free axis may stand where the promise is a number: the model then accepts or gives that number at run time.
    return want == "any" or have is None or have == want


def _shown(shape: tuple[int | str | None, ...] | None) -> str:
    if shape is None:
        return "unknown"
    words = {"fixed": "a number", None: "free"}
    return "[" + ", ".join(words.get(axis, str(axis)) for axis in shape) + "]"  # type: ignore[arg-type]
