"""What the serving section of a configuration refuses."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from noisy_gru.serving.config import ServingConfig


def test_the_measured_batch_has_to_fit_into_a_servers_batch() -> None:
    assert ServingConfig.model_validate({"budgets": {"batch_size": 64}, "batching": {"max_batch_size": 64}})
    with pytest.raises(ValidationError, match=r"batch_size \(65\) is larger than batching.max_batch_size \(64\)"):
        ServingConfig.model_validate({"budgets": {"batch_size": 65}, "batching": {"max_batch_size": 64}})


def test_the_pusher_is_told_of_versions_and_batching() -> None:
    given = {"versions": {"keep": 2, "rollout": "canary"}, "batching": {"max_batch_size": 64}}
    publishing = ServingConfig.model_validate(given).publishing
    assert (publishing.versions.keep, publishing.versions.rollout) == (2, "canary")
    assert publishing.batching.max_batch_size == 64
