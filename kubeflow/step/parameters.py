"""Pipeline parameters on Kubeflow: their names, and the conversion of their short forms.

TFX wants protocol buffers as JSON where a person wants to write a number: 500 steps are a ``TrainArgs``. A data URI
marks the content of a file: a file of the compiling machine is not on the cluster. ``configuration`` takes it there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from noisy_gru.schema.errors import ConfigError

DATA_ROOT = "data_root"
SPAN = "span"
STEPS = "steps"
SERVING_DIR = "serving_dir"
BASE_MODEL = "base_model"
FORCE = "force"
IMAGE = "image"
RUN_ID = "pipeline_run_id"

# Execution property of TFX's components that holds a short form.
TRAIN_ARGS = "train_args"
_DATA_URI = "data:text/plain;base64,"


def is_rewritten(text: str) -> bool:
    """Return whether a text changes on its way to a step, because it is in arguments of pods on that way.

    Argo fills in what is in double braces, and Kubernetes makes ``$$`` to ``$`` and fills in ``$(NAME)``; a placeholder
    of KFP's driver is meant.

        >>> is_rewritten("a$$b.csv"), is_rewritten("US$ 5"), is_rewritten("{{$.pipeline_job_uuid}}")
        (True, False, False)
    """
    return "$$" in text or "$(" in text or ("{{" in text and not text.startswith("{{$"))


def as_data_uri(content: bytes) -> str:
    """Return a file's content as a URI that holds it (RFC 2397)."""
    return _DATA_URI + base64.b64encode(content).decode("ascii")


def from_data_uri(text: str) -> bytes | None:
    """Return the content of a URI of ``as_data_uri``; None for any other text."""
    return base64.b64decode(text.removeprefix(_DATA_URI)) if text.startswith(_DATA_URI) else None


def long_forms(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Execution properties as TFX's executors read them.

    Args:
        properties: as they arrived.

    Raises:
        ConfigError: a number of steps is none.
    """
    result = dict(properties)
    if TRAIN_ARGS in result:
        number = _number(result[TRAIN_ARGS], STEPS)
        if not isinstance(number, str):
            result[TRAIN_ARGS] = json.dumps({"num_steps": number} if number else {})
    return result


def _number(value: Any, name: str) -> int | str | None:
    """Return a whole number, None for nothing, or the text if it is JSON already."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return value
    if value in ("", None):
        return None
    try:
        number = int(value)
    except ValueError:
        number = -1
    if number < 0 or number != float(value):
        raise ConfigError(f"parameter {name}: expected a whole number of at least 0, or nothing. Received: {value!r}")
    return number
