"""Run one step inside its container: ``python -m noisy_gru.kubeflow.entrypoint --executor_class_path …``.

KFP's launcher has downloaded the inputs and starts this; it uploads what is in the outputs' folders and reads the
output file afterwards. Besides what TFX's entrypoint does, this one

- runs the component's driver (the backend runs none), and merges the properties that it sets into the outputs;
- maps URIs to the launcher's folders and back;
- removes what an earlier try left in the outputs, and makes no folders for TFX's executors, which make their own;
- exits with 1 and a message with a remedy where a user can mend the cause.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import uuid
from collections.abc import Sequence
from typing import Any

from noisy_gru.pipeline.runs.process_setup import prepare_process

EXIT_FAILED = 1
logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step; print errors to standard error, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m noisy_gru.kubeflow.entrypoint", allow_abbrev=False)
    parser.add_argument("--executor_class_path", required=True, help="Class of the executor.")
    parser.add_argument("--json_serialized_invocation_args", required=True, help="KFP's ExecutorInput.")
    parser.add_argument("--json_serialized_inputs_spec_args", default="{}", help="Types of the parameters.")
    parser.add_argument("--driver_class_path", default=None, help="Class of the driver.")
    parser.add_argument("--artifact_types", required=True, help="Classes of inputs and outputs by name, as JSON.")
    parser.add_argument("--page", default="", help="What the step shows on the page of the run.")
    parser.add_argument("--pipeline_name", default="", help="For lineage.")
    arguments, rest = parser.parse_known_args(argv)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname).1s %(name)s: %(message)s"
    )
    from noisy_gru.pipeline.runs.step_errors import error_message, is_expected

    prepare_process()
    try:
        run_step(arguments, rest)
    except Exception as error:
        if not is_expected(error):
            raise
        logger.debug("the step failed", exc_info=error)
        print(f"error: {error_message(error)}", file=sys.stderr, flush=True)
        return EXIT_FAILED
    return 0


def run_step(arguments: argparse.Namespace, flags: Sequence[str]) -> None:
    """Run driver and executor, and write the ExecutorOutput.

    Args:
        arguments: of the command line.
        flags: the rest of it: Beam's, for a step that runs Beam.

    Raises:
        UserError: or whatever the executor raises.
    """
    from tfx.dsl.components.base import base_beam_executor, base_executor
    from tfx.proto.orchestration import pipeline_pb2
    from tfx.utils import import_utils

    from noisy_gru.kubeflow.step.parameters import long_forms
    from noisy_gru.kubeflow.step.step_io import clear_outputs, read_input, write_output
    from noisy_gru.pipeline.runs.beam_type_cache import cache_beam_types

    cache_beam_types()
    step = read_input(
        arguments.json_serialized_invocation_args,
        arguments.json_serialized_inputs_spec_args,
        json.loads(arguments.artifact_types),
    )
    step.output_file.unlink(missing_ok=True)
    executor_class: Any = import_utils.import_class_by_path(arguments.executor_class_path)
    clear_outputs(step.outputs, make_folders=not executor_class.__module__.startswith("tfx."))
    with tempfile.TemporaryDirectory(prefix="step-") as folder:
        properties = long_forms(step.properties)
        if arguments.driver_class_path:
            _drive(import_utils.import_class_by_path(arguments.driver_class_path), step, properties)
        info: Any = pipeline_pb2
        context: dict[str, Any] = {
            "tmp_dir": folder,
            "unique_id": os.environ.get("KFP_POD_NAME") or uuid.uuid4().hex,
            "pipeline_info": info.PipelineInfo(id=arguments.pipeline_name),
            "pipeline_run_id": step.run_id,
        }
        if issubclass(executor_class, base_beam_executor.BaseBeamExecutor):
            made: Any = executor_class.Context(beam_pipeline_args=list(flags), **context)
        else:
            made = base_executor.BaseExecutor.Context(extra_flags=list(flags), **context)
        logger.info("running %s with %s", arguments.executor_class_path, properties)
        executor_class(made).Do(step.inputs, step.outputs, properties)
    write_output(step, arguments.page)


def _drive(driver_class: Any, step: Any, properties: dict[str, Any]) -> None:
    """Run a driver: it changes properties (a span, patterns) and sets properties of the outputs."""
    from tfx.orchestration import data_types_utils
    from tfx.orchestration.portable import data_types

    info = data_types.ExecutionInfo(input_dict=step.inputs, output_dict=step.outputs, exec_properties=dict(properties))
    driver_output = driver_class(None).run(info)
    for name, value in driver_output.exec_properties.items():
        properties[name] = data_types_utils.get_metadata_value(value)
    for name, artifacts in driver_output.output_artifacts.items():
        for mine, driven in zip(step.outputs[name], artifacts.artifacts, strict=True):
            for key, value in driven.properties.items():
                mine.mlmd_artifact.properties[key].CopyFrom(value)
            for key, value in driven.custom_properties.items():
                mine.mlmd_artifact.custom_properties[key].CopyFrom(value)


if __name__ == "__main__":
    sys.exit(main())
