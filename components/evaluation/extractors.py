"""`custom_extractors` of TFX's Evaluator. TFX reloads this module, so it holds no state."""

from __future__ import annotations

from typing import Any

import tensorflow_model_analysis as tfma

from noisy_gru.components.evaluation.recorded_outputs import recorder

EXTRACTORS = f"{__name__}.custom_extractors"
_tfma: Any = tfma


def custom_extractors(eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any) -> list[Any]:
    """Return TFMA's extractors and one that records their outputs."""
    given = _tfma.default_extractors(
        eval_shared_model=eval_shared_model, eval_config=eval_config, tensor_adapter_config=tensor_adapter_config
    )
    return [*given, recorder(has_baseline=isinstance(eval_shared_model, list) and len(eval_shared_model) > 1)]
