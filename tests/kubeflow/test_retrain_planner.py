"""The planner as the first step: what it decides gates all others, by the condition as the backend evaluates it.

`test_dry_run.py` runs the whole of it, after a yes and after a no.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from noisy_gru.components.retrain_planner.config import RulesConfig
from noisy_gru.kubeflow.compiler.conditions import IMPLICIT
from noisy_gru.kubeflow.emulator.conditions import holds
from noisy_gru.registry.retraining_attempts import outcomes, read_attempts

# TFX and ML Metadata warn of their own use of what they deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "japanese_vowels"
PLANNED = "kubeflow.planned=true"
CSV = "id,t,x,label\na,0,1.0,u\na,1,2.0,u\n"


def compiled(*settings: str, scheduled: bool = False) -> dict[str, Any]:
    from noisy_gru.kubeflow.compiler.compile import compile_config
    from noisy_gru.pipeline.config.loading import load_config

    config = load_config(EXAMPLE / "config.yaml", settings)
    return next(iter(yaml.safe_load_all(compile_config(config, scheduled=scheduled))))


def conditions(spec: dict[str, Any]) -> dict[str, str]:
    tasks = spec["root"]["dag"]["tasks"]
    return {name: task["triggerPolicy"]["condition"] for name, task in tasks.items() if "triggerPolicy" in task}


def gated(spec: dict[str, Any]) -> set[str]:
    """The tasks that don't run if those with a condition are skipped."""
    tasks = spec["root"]["dag"]["tasks"]
    skipped = set(conditions(spec))
    while True:
        more = {name for name, task in tasks.items() if skipped & set(task.get("dependentTasks", []))} - skipped
        if not more:
            return skipped
        skipped |= more


def test_all_other_steps_wait_for_the_decision() -> None:
    spec = compiled(PLANNED)
    tasks = spec["root"]["dag"]["tasks"]
    assert gated(spec) == set(tasks) - {"RetrainPlanner", "Configuration"}
    found = conditions(spec)
    # RunReport shows the plan, so its condition is on an input of its own.
    condition = found.pop("RunReport")
    for retrain in (0.0, 1.0):
        plan = {"artifacts": [{"metadata": {"retrain": retrain}}]}
        assert holds(condition, {"artifacts": {"plan": plan}}) == bool(retrain)
    assert set(found) == {"SequenceExampleGen", "ImportSchemaGen"}
    for name, condition in found.items():
        assert tasks[name]["dependentTasks"] == ["Configuration", "RetrainPlanner"]
        assert list(tasks[name]["inputs"]["artifacts"]) == [f"{IMPLICIT}RetrainPlanner.plan", "configuration"]
        for retrain in (0.0, 1.0):
            plan = {"artifacts": [{"metadata": {"retrain": retrain}}]}
            assert holds(condition, {"artifacts": {f"{IMPLICIT}RetrainPlanner.plan": plan}}) == bool(retrain)
    # The input of the condition is part of a task's cache key, so that no other task has it.
    for name in set(tasks) - set(found):
        inputs = spec["components"][name].get("inputDefinitions", {}).get("artifacts", {})
        assert not [key for key in inputs if key.startswith(IMPLICIT)]
        # RunReport shows the plan.
        assert ("RetrainPlanner" in tasks[name].get("dependentTasks", [])) == (name == "RunReport")


def test_an_importer_has_no_condition_since_the_backend_refuses_it() -> None:
    spec = compiled(PLANNED, "kubeflow.base_model=s3://bucket/model")
    importer = spec["root"]["dag"]["tasks"]["BaseModel"]
    assert not {"triggerPolicy", "dependentTasks"} & set(importer)
    assert set(importer["inputs"]) == {"parameters"}
    assert gated(spec) == set(spec["root"]["dag"]["tasks"]) - {"RetrainPlanner", "BaseModel", "Configuration"}


def test_steps_are_the_same_but_for_the_condition() -> None:
    planned, other = compiled(PLANNED), compiled("kubeflow.planned=false")
    for name in ("StatisticsGen", "Transform", "Trainer", "Evaluator"):
        assert planned["root"]["dag"]["tasks"][name] == other["root"]["dag"]["tasks"][name]
        assert planned["components"][name] == other["components"][name]


@pytest.mark.parametrize(
    ("settings", "scheduled", "planned"),
    [
        ((), False, False),
        ((), True, True),
        (("kubeflow.planned=false",), True, False),
        (("kubeflow.schedule={cron: 0 3 * * *}",), False, True),
        (("retraining.schedule={cron: 0 3 * * *}",), False, True),
        (("retraining.schedule={cron: 0 3 * * *}", "kubeflow.planned=false"), False, False),
    ],
)
def test_what_recurs_is_planned(settings: tuple[str, ...], scheduled: bool, planned: bool) -> None:
    spec = compiled(*settings, scheduled=scheduled)
    assert ("RetrainPlanner" in spec["root"]["dag"]["tasks"]) == planned
    assert ("force" in spec["root"]["inputDefinitions"]["parameters"]) == planned


@pytest.fixture
def ask(run_here: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """``ask(rules, force="false")`` runs the planner as a step; its answer."""
    from tfx.orchestration.data_types import RuntimeParameter

    from noisy_gru.components.retrain_planner.component import RetrainPlanner
    from noisy_gru.schema.config import DatasetConfig

    dataset = {
        "data": {
            "files": ["{SPAN}.csv"],
            "entity": "id",
            "time": {"column": "t"},
            "features": ["x"],
            "spans": {"window": "all"},
        },
        "task": {"kind": "classification", "label": "label"},
    }
    pods = iter(range(100))

    def _ask(rules: dict[str, Any], force: str = "false") -> Any:
        node = RetrainPlanner(
            input_base=RuntimeParameter(name="data_root", ptype=str, default="/mnt/data"),
            dataset=DatasetConfig.model_validate(dataset).model_dump_json(),
            serving_dir=RuntimeParameter(name="serving_dir", ptype=str, default="/mnt/serving"),
            model_name="m",
            rules=RulesConfig(**rules),
            force=RuntimeParameter(name="force", ptype=str, default="false"),
        )
        reported = {"data_root": str(tmp_path / "data"), "serving_dir": str(tmp_path / "serving"), "force": force}
        return run_here(node, parameters=reported, pod=f"pod-{next(pods)}")

    return _ask


def test_the_decision_is_told_and_its_beginning_noted(ask: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for span in (3, 4, 6):
        (tmp_path / "data" / f"{span}.csv").write_text(CSV)
    answer = ask({"drift": False})
    reported = answer.outputs["plan"]["metadata"]
    assert (answer.code, reported["retrain"], reported["spans"]) == (0, 1, "3-4,6")
    assert reported["reason"] == "due: no model is published yet"
    plan = json.loads((answer.folder("plan") / "plan.json").read_text())
    assert (plan["retrain"], plan["pipeline"], plan["newest_span"]) == (True, "tiny", 6)
    (started,) = read_attempts(tmp_path / "serving" / "m")
    assert (started.event, started.run_id, started.spans, started.data) == ("started", "run-1", "3-4,6", plan["data"])
    assert started.at == plan["decided_at"]
    assert datetime.fromisoformat(started.at).tzinfo is not None
    # A second try of the step in the same run isn't postponed by the first, which the same rules would ask for.
    again = ask({"drift": False, "cooldown": "1h", "after_failure": "wait"})
    assert again.outputs["plan"]["metadata"]["retrain"] == 1
    assert len(outcomes(read_attempts(tmp_path / "serving" / "m"))) == 1


def test_a_no_notes_nothing_and_an_order_overrides_it(ask: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "3.csv").write_text(CSV)
    model_dir = tmp_path / "serving" / "m"
    model_dir.mkdir(parents=True)
    event = {"at": datetime.now().astimezone().isoformat(), "event": "started", "run_id": "earlier"}
    (model_dir / "retraining.jsonl").write_text(json.dumps(event) + "\n")
    rules = {"drift": False, "cooldown": "1d"}
    answer = ask(rules)
    assert (answer.code, answer.outputs["plan"]["metadata"]["retrain"]) == (0, 0)
    assert answer.outputs["plan"]["metadata"]["reason"].startswith("postponed: the last attempt (earlier, failed)")
    assert len(read_attempts(model_dir)) == 1
    assert ask(rules, force="True").outputs["plan"]["metadata"]["retrain"] == 1
    assert len(read_attempts(model_dir)) == 2


def test_a_missing_span_or_another_word_fails_the_step(
    ask: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    assert ask({"drift": False}).code == 1
    assert "{SPAN}.csv matches no file" in capsys.readouterr().err
    (tmp_path / "data" / "3.csv").write_text(CSV)
    assert ask({"drift": False}, force="perhaps").code == 1
    assert "parameter force: expected true or false. Received: 'perhaps'" in capsys.readouterr().err
    assert read_attempts(tmp_path / "serving" / "m") == []
