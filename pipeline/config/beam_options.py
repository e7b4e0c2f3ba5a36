"""Check Beam's options with its own parser and validators, and the job server, before a run.

    >>> option_problems(config.beam)  # doctest: +SKIP
    ['beam.options.max_num_worker: Beam has no such option (did you mean max_num_workers?)']

Imports Beam only if there are options to check.
"""

from __future__ import annotations

import argparse
import difflib
import socket

from noisy_gru.pipeline.config.beam_config import BeamConfig, DataflowBeam, InProcessBeam, OptionValue, option_arguments
from noisy_gru.pipeline.config.beam_environment import LoopbackEnvironment
from noisy_gru.schema.errors import ConfigError

CONNECT_SECONDS = 5.0


def option_problems(beam: BeamConfig) -> list[str]:
    """Return the problems that Beam's parser and validators find in a section, each with its key."""
    if isinstance(beam, InProcessBeam) and not beam.options:
        return []
    parser = _beam_parser()
    problems = [
        f"beam.options.{name}: {problem}"
        for name, value in beam.options.items()
        if (problem := _problem(parser, name, value)) is not None
    ]
    return problems or [f"beam: {problem}" for problem in _validated(beam)]


def check_can_run_here(beam: BeamConfig) -> None:
    """Check that a run on this machine can use the runner.

    Raises:
        ConfigError: it can't, or the job server does not accept a connection.
    """
    if isinstance(beam, DataflowBeam):
        raise ConfigError(
            "beam.runner: workers of dataflow read and write gs:// alone, but a run keeps its artifacts in a folder of "
            "this machine. Use the script in docs/scale.md, which keeps the artifacts in gs://, or another runner for "
            "this run: --set beam={}"
        )
    if isinstance(beam, InProcessBeam) or beam.job_endpoint is None:
        return
    host, port = beam.job_endpoint.rsplit(":", 1)
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"beam.job_endpoint: expected a job server at {beam.job_endpoint}, found none ({error}). Start one "
            "(docs/scale.md), or run in process: --set beam={}"
        ) from error


def check_can_run_in_pods(beam: BeamConfig) -> None:
    """Check that steps in pods of their own, such as Kubeflow's, can use the runner.

    Raises:
        ConfigError: its workers can't read the files of the step.
    """
    if isinstance(beam, InProcessBeam) or isinstance(getattr(beam, "environment", None), LoopbackEnvironment):
        return
    raise ConfigError(
        f"beam.runner: the workers of {beam.runner} are on other machines, and a step on Kubeflow reads and writes a "
        "folder of its own pod, which they don't see. Expected in_process: give the step more cores (kubeflow.steps) "
        "and beam.workers; or run `noisy-gru run` on a volume that all machines mount (docs/scale.md)"
    )


def _beam_parser() -> argparse.ArgumentParser:
    """Return the parser of all options of Beam for Python."""
    from apache_beam.options.pipeline_options import PipelineOptions

    parsers: list[argparse.ArgumentParser] = []
    PipelineOptions([]).get_all_options(add_extra_args_fn=parsers.append)
    parsers[0].exit_on_error = False
    return parsers[0]


def _problem(parser: argparse.ArgumentParser, name: str, value: OptionValue) -> str | None:
    """Return the problem of one option, or None."""
    if value is False:
        off = f"no_{name}"
        return f"false has no effect; set {off}: true" if _knows(parser, f"--{off}") else None
    for argument in option_arguments({name: value}):
        try:
            _, unknown = parser.parse_known_args([argument])
        except argparse.ArgumentError as error:
            if error.message.startswith("ignored explicit argument"):
                return f"is a bare flag: expected true, found {value!r}"
            return f"{error.message}, found {value!r}"
        if unknown:
            close = difflib.get_close_matches(name, sorted(vars(parser.parse_args([]))), n=1)
            guess = f" (did you mean {close[0]}?)" if close else ""
            return f"Beam has no such option{guess}"
    return None


def _knows(parser: argparse.ArgumentParser, flag: str) -> bool:
    return not parser.parse_known_args([flag])[1]


def _validated(beam: BeamConfig) -> list[str]:
    """Return what Beam would refuse when a step starts. Sends no request to any service."""
    from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, StandardOptions
    from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
    from apache_beam.runners.runner import create_runner

    options = PipelineOptions([*beam.arguments(None), *option_arguments(beam.options)])
    validator = PipelineOptionsValidator(options, create_runner(options.view_as(StandardOptions).runner))
    # GoogleCloudOptions' own check would access the bucket with the user's credentials.
    offline = [view for view in validator.OPTIONS if "validate" in vars(view) and view is not GoogleCloudOptions]
    problems = [problem for view in offline for problem in options.view_as(view).validate(validator)]
    if isinstance(beam, DataflowBeam):
        cloud = options.view_as(GoogleCloudOptions)
        for name in ("temp_location", "staging_location"):
            problems += validator.validate_gcs_path(cloud, name) if getattr(cloud, name) else []
        problems += validator.validate_cloud_options(cloud)
    return problems
