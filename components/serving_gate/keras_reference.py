"""Reference outputs of the Keras model, which an exported model must equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.components.serving_gate.probe import Outputs
from noisy_gru.components.serving_gate.probe_plan import ProbePlan
from noisy_gru.trainer.decision import Decision
from noisy_gru.trainer.label_decisions import LabelDecisions

Answer = Callable[[list[bytes]], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Reference:
    """The reference of an exported model.

    Attributes:
        from_examples: answers serialized tf.Examples with Keras, parsed as the export parses them.
        from_training: answers them with Keras, parsed as training parses them.
        parameters: values of the model's weights and of Transform's variables; None if that isn't known.
        scale: of `predictions`, in the units of the data.
        decision: of a classification with a threshold.
        rounded: whether the exported model rounds its answers (`task.output: {integer: true}`); these here are not.
        relative: bool [K], which targets are forecast as logarithms, so that large predictions differ by more.
    """

    from_examples: Answer
    from_training: Answer
    parameters: int | None = None
    scale: np.ndarray | float = 1.0
    decision: Decision | LabelDecisions | None = None
    rounded: bool = False
    relative: np.ndarray | bool = False


@dataclass(frozen=True)
class Expected:
    """Reference outputs of a probe plan.

    Attributes:
        problem: why there is none, in words; empty if there is one.
        reference: that side, if there is one.
        from_examples: its answers, or why it had none, for each batch.
        from_training: the same for the plan's held-out sequences, parsed as training parses them.
    """

    problem: str = ""
    reference: Reference | None = None
    from_examples: dict[str, Outputs | str] = field(default_factory=dict)
    from_training: Outputs | str = ""


def expected_answers(load: Callable[[], Reference], plan: ProbePlan) -> Expected:
    """Compute the reference outputs of a plan. Errors are part of the result, not raised."""
    try:
        reference = load()
    except Exception as error:  # noqa: BLE001 (whatever is wrong with the Keras side, the report has to say it)
        problem = f"the Keras model could not be loaded to compare with: {type(error).__name__}: {error}"
        return Expected(problem)
    return Expected(
        "",
        reference,
        {part.name: _answers_or_error(reference.from_examples, part.examples) for part in plan.parts},
        _answers_or_error(reference.from_training, plan.held_out) if plan.held_out else "",
    )


def _answers_or_error(ask: Answer, examples: list[bytes]) -> Outputs | str:
    try:
        return dict(ask(examples))
    except Exception as error:  # noqa: BLE001 (whatever is wrong with the Keras side, the report has to say it)
        return f"{type(error).__name__}: {error}"


def keras_reference(serving_model: str, transform_graph: str) -> Reference:
    """Return the reference of a model of the Trainer.

    Args:
        serving_model: folder of the SavedModel in the model artifact, beside which the Keras file is.
        transform_graph: Transform's output of that name.
    """
    import tensorflow as tf
    import tensorflow_transform as tft

    from noisy_gru.components.serving_gate.training_path import TrainingPath
    from noisy_gru.components.serving_gate.variables_audit import read_variables
    from noisy_gru.trainer.export.saved_model import load_for_parity, target_scale

    served = load_for_parity(serving_model, transform_graph)
    rounded = served.numbers.bounds.integer
    # A number half way between two would be rounded either way: what is compared with is the number itself.
    served.numbers = served.numbers.unrounded
    scale = target_scale(served)
    model: Any = served.model
    # A graph of its own in the other one, so that the way of training finds it traced.
    served.predict = tf.function(lambda inputs: model(inputs, training=False), autograph=False)
    # With free shapes one trace is enough, however many batches are asked.
    traced: Any = tf.function(
        served.from_examples,
        autograph=False,
        input_signature=[tf.TensorSpec([None], tf.string)],
    )

    def from_examples(examples: list[bytes]) -> dict[str, Any]:
        answers: dict[str, Any] = traced(tf.constant(examples))
        return {name: tensor.numpy() for name, tensor in answers.items()}

    transform = read_variables(Path(transform_graph) / tft.TFTransformOutput.TRANSFORM_FN_DIR)
    return Reference(
        from_examples,
        TrainingPath(transform_graph, served, served.predict).answer,
        model.count_params() + sum(variable.values for variable in transform),
        1.0 if scale is None else scale,
        served.decision,
        rounded,
        np.array(served.layout.logged_targets) if any(served.layout.logged_targets) else False,
    )
