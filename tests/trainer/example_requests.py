"""Check of the request that `noisy-gru serve` prints: a served model takes it as JSON, and answers."""

import json
from typing import Any

import numpy as np

from noisy_gru.pipeline import local_serving
from noisy_gru.saved_model.session import SessionModel
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.serving.local_server.json_tensors import parse_request, request_inputs


def check_example_request(session: SessionModel, dataset: DatasetConfig, monkeypatch: Any, width: int) -> None:
    """Check the request for a model whose steps may have ``width`` features at most in it."""
    monkeypatch.setattr(local_serving, "_LONGEST_STEP", width)
    inputs = session.signatures["serving_tensors"].inputs
    request = parse_request(local_serving.example_request(inputs, dataset).encode())
    name = request.get("signature_name", "serving_default")
    assert name == ("serving_tensors" if width else "serving_default"), json.dumps(request)
    answers = session.run(name, request_inputs(request, session.signatures[name]))
    for values in answers.values():
        assert len(values) == 1
        assert values.dtype == object or np.isfinite(values).all()
