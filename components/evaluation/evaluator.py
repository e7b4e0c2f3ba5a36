"""TFX's Evaluator with this project's metrics, and a blessing that also needs the paired comparisons."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.evaluator import constants as tfx_constants
from tfx.components.evaluator import executor as tfx_executor
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter
from tfx.utils import json_utils, path_utils

from noisy_gru.components.artifacts import IDENTITY, METRICS, is_present
from noisy_gru.components.evaluation.comparisons import judge
from noisy_gru.components.evaluation.config import EvaluationConfig
from noisy_gru.components.evaluation.constant_baselines import TRAIN_STATISTICS, train_constants
from noisy_gru.components.evaluation.evaluation_summary import FIRST_STATES, read_evaluation
from noisy_gru.components.evaluation.extractors import EXTRACTORS
from noisy_gru.components.evaluation.recorded_answers import ANSWERS, read_answers
from noisy_gru.components.evaluation.recorded_outputs import recorded
from noisy_gru.components.evaluation.tfma_config import SPLIT, eval_config
from noisy_gru.components.evaluation.verdict import write_verdict
from noisy_gru.components.window_reading.source import windows_of
from noisy_gru.registry.candidate import Candidate
from noisy_gru.registry.model_identity import model_identity
from noisy_gru.registry.published_versions import fingerprint, hash_files
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import PublishError
from noisy_gru.trainer.decision import Decision
from noisy_gru.trainer.export.artifact_files import DECISION_FILE, KERAS_FOLDER
from noisy_gru.trainer.label_decisions import LabelDecisions, decision_of

STATISTICS = "statistics"
DATASET = "dataset"
EVALUATION = "evaluation_config"
TRANSFORM_GRAPH = "transform_graph"
_OURS = (STATISTICS, TRANSFORM_GRAPH)
_BASELINE = standard_component_specs.BASELINE_MODEL_KEY
_EVALUATION = standard_component_specs.EVALUATION_KEY
_BLESSING = standard_component_specs.BLESSING_KEY
logger = logging.getLogger("noisy_gru.evaluation")


class EvaluatorSpec(standard_component_specs.EvaluatorSpec):
    """TFX's, with the statistics of the train split, Transform's graph, and the settings of the comparisons."""

    PARAMETERS = {  # noqa: RUF012
        **standard_component_specs.EvaluatorSpec.PARAMETERS,
        DATASET: ExecutionParameter(type=str),
        EVALUATION: ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        **standard_component_specs.EvaluatorSpec.INPUTS,
        STATISTICS: ChannelParameter(type=standard_artifacts.ExampleStatistics, optional=True),
        TRANSFORM_GRAPH: ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
    }


class Executor(tfx_executor.Executor):
    """TFX's executor, with the model of `LatestBlessed` as baseline, and the paired comparisons.

    A baseline that is marked as absent is as none at all. A model that is published already is measured beside itself,
    but is not compared: a run with nothing new must not be refused.
    """

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Evaluates; see TFX.

        The artifact ``evaluation`` gets TFMA's files, the models' answers for each sequence (``answers/``),
        ``verdict.json`` and ``first_states.json``. The blessing is positive if TFMA found no bound missed and the
        verdict passes.
        """
        dataset = DatasetConfig.model_validate_json(exec_properties[DATASET])
        evaluation = EvaluationConfig.model_validate_json(exec_properties[EVALUATION])
        present = [artifact for artifact in input_dict.get(_BASELINE, []) if is_present(artifact)]
        for artifact in present:
            _check_copy(artifact)
        rest = {key: value for key, value in input_dict.items() if key not in (_BASELINE, *_OURS)}
        folder = Path(artifact_utils.get_single_uri(output_dict[_EVALUATION]))
        with recorded(folder / ANSWERS, dataset.task), windows_of(rest) as read:
            given = {key: value for key, value in exec_properties.items() if key not in (DATASET, EVALUATION)}
            super().Do(
                read | ({_BASELINE: present} if present else {}),
                output_dict,
                given | {"custom_extractors": EXTRACTORS},
            )
        if present and _is_same(rest[standard_component_specs.MODEL_KEY][0], present[0]):
            evaluation = evaluation.model_copy(update={"compare": None})
        statistics = [Path(each.uri) / TRAIN_STATISTICS for each in input_dict.get(STATISTICS, [])]
        constants = train_constants(statistics[0], dataset.task) if statistics else {}
        verdict = judge(read_answers(folder / ANSWERS), dataset, evaluation, constants)
        decision = _decision(rest[standard_component_specs.MODEL_KEY][0])
        if decision is not None:
            verdict = dataclasses.replace(verdict, decision=dataclasses.asdict(decision), shortfall=decision.shortfall)
        write_verdict(verdict, folder)
        _measure_first_states(input_dict, folder, dataset.seed)
        logger.info("%d comparisons with seed %d", len(verdict.comparisons), verdict.seed)
        blessing = artifact_utils.get_single_instance(output_dict[_BLESSING])
        # The blessing goes to the Pusher, so that the version carries what it could do when it was published.
        blessing.set_string_custom_property(METRICS, json.dumps(read_evaluation(folder).metrics))
        if not verdict.passed:
            _withhold(blessing)


def _measure_first_states(input_dict: dict[str, Any], folder: Path, seed: int) -> None:
    """Write ``first_states.json``; nothing without Transform's graph."""
    if not input_dict.get(TRANSFORM_GRAPH):
        return
    from noisy_gru.components.serving_gate.probe_sequences import read_examples
    from noisy_gru.trainer.experiments.exported_first_states import exported_first_states, to_json

    model = path_utils.serving_model_path(input_dict[standard_component_specs.MODEL_KEY][0].uri)
    uris = artifact_utils.get_split_uris(input_dict[standard_component_specs.EXAMPLES_KEY], SPLIT)
    examples = [example for uri in uris for example in read_examples(Path(uri))]
    graph = artifact_utils.get_single_uri(input_dict[TRANSFORM_GRAPH])
    found = exported_first_states(model, graph, examples, seed=seed)
    for start, reason in found["not_measured"].items():
        logger.info("first states: %s is not measured: %s", start, reason)
    (folder / FIRST_STATES).write_text(to_json(found), encoding="utf-8")


def _decision(model: Any) -> Decision | LabelDecisions | None:
    """Return the threshold, or those of several labels, that the Trainer chose; None without `task.threshold`."""
    file = Path(model.uri) / KERAS_FOLDER / DECISION_FILE
    return decision_of(file.read_text(encoding="utf-8")) if file.is_file() else None


def _withhold(blessing: Any) -> None:
    """Turn a positive blessing of TFMA's thresholds into a negative one."""
    folder = Path(blessing.uri)
    (folder / tfx_constants.BLESSED_FILE_NAME).unlink(missing_ok=True)
    (folder / tfx_constants.NOT_BLESSED_FILE_NAME).touch()
    blessing.set_int_custom_property(tfx_constants.ARTIFACT_PROPERTY_BLESSED_KEY, tfx_constants.NOT_BLESSED_VALUE)


def _check_copy(artifact: Any) -> None:
    """Check the baseline's copy, which may come from an earlier run through the cache."""
    copy = Path(path_utils.serving_model_path(artifact.uri))
    version, _, published = artifact.get_string_custom_property(IDENTITY).partition(" ")
    if published and fingerprint(hash_files(copy)) != published:
        raise PublishError(
            f"{copy}: this copy of version {version} isn't what was published any more, so nothing is compared with "
            f"it. Delete {artifact.uri}, and run it again."
        )


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two model artifacts hold the same model, however often it was exported."""
    first, second = (Candidate(Path(path_utils.serving_model_path(each.uri)), model_identity) for each in (one, other))
    return first.fingerprint == second.fingerprint or first.identity == second.identity


class Evaluator(base_beam_component.BaseBeamComponent):
    """Measure a model on the test split, compare it, and bless it or not; see `build_evaluator`."""

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, spec: EvaluatorSpec) -> None:
        super().__init__(spec=spec)


def build_evaluator(
    *,
    examples: types.BaseChannel,
    model: types.BaseChannel,
    dataset: DatasetConfig,
    evaluation: EvaluationConfig,
    baseline_model: types.BaseChannel | None = None,
    schema: types.BaseChannel | None = None,
    statistics: types.BaseChannel | None = None,
    transform_graph: types.BaseChannel | None = None,
    fingerprint: str = "",
) -> Evaluator:
    """Build the step that measures a model on the test split and blesses it or not.

    Args:
        examples: raw examples, with the split `test`.
        model: the candidate.
        dataset: of the model.
        evaluation: what to measure and to ask for.
        baseline_model: the output of `LatestBlessed`.
        schema: of the raw examples.
        statistics: of the raw examples; without them there is no comparison with the train split's mean and median.
        transform_graph: Transform's, to measure the model from other first states; without it they aren't.
        fingerprint: of the source, part of TFX's cache key.

    Raises:
        ConfigError: if ``evaluation`` names a metric that the task hasn't.
    """
    given: dict[str, Any] = {
        "examples": examples,
        "model": model,
        "baseline_model": baseline_model if evaluation.compare is not None else None,
        "schema": schema,
        STATISTICS: statistics,
        TRANSFORM_GRAPH: transform_graph,
    }
    return Evaluator(
        EvaluatorSpec(
            **{name: channel for name, channel in given.items() if channel is not None},
            eval_config=eval_config(dataset, evaluation, fingerprint),
            example_splits=json_utils.dumps([SPLIT]),
            fairness_indicator_thresholds=json_utils.dumps(None),
            evaluation_config=evaluation.model_dump_json(),
            dataset=json.dumps(dataset.model_dump(mode="json"), sort_keys=True),
            evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
            blessing=types.Channel(type=standard_artifacts.ModelBlessing),
        )
    )
