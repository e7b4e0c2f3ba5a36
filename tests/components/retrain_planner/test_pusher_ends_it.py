"""The Pusher notes the end of a retraining that the planner began. The dry run on Kubeflow has a published one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from noisy_gru.registry.retraining_attempts import Attempt, append_attempt, read_attempts

# TFX, Beam and ML Metadata warn of their own use of what they deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_a_refused_model_ends_the_retraining_of_its_run_alone(tmp_path):
    from tfx.types import standard_artifacts

    from noisy_gru.components.pusher.executor import Executor

    def artifact(kind: Any, name: str) -> Any:
        made = kind()
        made.uri = str(tmp_path / name)
        (tmp_path / name).mkdir()
        return made

    blessing = artifact(standard_artifacts.ModelBlessing, "blessing")
    blessing.set_int_custom_property("blessed", 0)
    inputs = {"model": [artifact(standard_artifacts.Model, "model")], "model_blessing": [blessing]}
    model_dir = tmp_path / "serving" / "m"
    for run in ("r1", "r2"):
        append_attempt(model_dir, Attempt(at="2026-04-01T03:00:00+00:00", event="started", run_id=run))
    for number, run in enumerate(("by-hand", "r2", "r2")):
        executor = Executor(None)
        context: Any = SimpleNamespace(pipeline_run_id=run, pipeline_info=None)
        executor._context = context
        pushed = artifact(standard_artifacts.PushedModel, f"pushed-{number}")
        executor.Do(inputs, {"pushed_model": [pushed]}, {"serving_dir": str(tmp_path / "serving"), "model_name": "m"})
        assert pushed.get_int_custom_property("pushed") == 0
    events = read_attempts(model_dir)
    assert [(event.event, event.run_id) for event in events] == [
        ("started", "r1"),
        ("started", "r2"),
        ("refused", "r2"),
    ]
    assert events[-1].reason == "not published: the Evaluator did not bless it"
