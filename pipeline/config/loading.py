"""Load a configuration from YAML: apply overrides, resolve paths, report all problems at once.

>>> config = load_config("examples/japanese_vowels/config.yaml", ["training.epochs=3"])  # doctest: +SKIP
"""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from noisy_gru.pipeline.config.config_errors import Place, Problem, problems_of
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.file_patterns import absolute_pattern

Lines = dict[Place, int]


class ConfigFileError(ConfigError):
    """An invalid configuration: the file, and each problem with its line and key."""

    def __init__(self, source: str, problems: list[str]):
        self.source = source
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{source}: {count} in the configuration\n" + "\n".join(f"  - {each}" for each in problems))


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> PipelineConfig:
    """Load the configuration in a YAML file.

    Args:
        path: YAML file.
        overrides: ``key=value`` each; dots separate keys, a number is an index into a list, values are YAML.

    Returns:
        The configuration; file patterns and the schema's path are absolute (or have a scheme, such as ``gs://``).

    Raises:
        ConfigFileError: the file can't be read, is not YAML or is invalid; with all problems.
    """
    path = Path(path)
    content, lines = _read(path)
    invalid = []
    for override in overrides:
        problem = _apply(content, lines, override)
        if problem:
            invalid.append(problem)
    try:
        config = PipelineConfig.model_validate(content)
    except ValidationError as error:
        problems = sorted(problems_of(error, content), key=lambda problem: _line(problem, lines) or 0)
        raise ConfigFileError(str(path), invalid + [_with_line(problem, lines) for problem in problems]) from error
    if invalid:
        raise ConfigFileError(str(path), invalid)
    return _with_absolute_paths(config, path.absolute().parent)


def _line(problem: Problem, lines: Lines) -> int | None:
    """Return the line of the key, or of the section that lacks it; 0 for an override."""
    for length in range(len(problem.place), 0, -1):
        if problem.place[:length] in lines:
            return lines[problem.place[:length]]
    return None


def _with_line(problem: Problem, lines: Lines) -> str:
    line = _line(problem, lines)
    if line is None:
        return str(problem)
    return f"line {line}: {problem}" if line else f"--set {problem}"


class _Loader(yaml.SafeLoader):
    """SafeLoader, used node by node, so that lines and duplicate keys are known."""


def _read(path: Path) -> tuple[dict[str, Any], Lines]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigFileError(str(path), [f"can't be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigFileError(str(path), [f"is not UTF-8 text: {error.reason} at byte {error.start}"]) from error
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            lines: Lines = {}
            duplicates: list[str] = []
            if node is not None:
                _collect_lines(node, (), lines, duplicates)
            content = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ConfigFileError(str(path), [_syntax(error)]) from error
    if not isinstance(content, dict):
        received = "nothing" if content is None else f"a {'list' if isinstance(content, list) else 'single value'}"
        raise ConfigFileError(
            str(path), [f"expected a mapping with keys such as name, data and task, found {received}"]
        )
    if duplicates:
        raise ConfigFileError(str(path), duplicates)
    return content, lines


def _syntax(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = getattr(error, "problem", None) or str(error)
    context = getattr(error, "context", None)
    return f"{where}not YAML: {problem}{f' ({context})' if context else ''}"


def _collect_lines(node: yaml.Node, place: Place, lines: Lines, duplicates: list[str]) -> None:
    """Collect the line of every key, and duplicate keys (of which YAML keeps the last)."""
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            key = key_node.value
            here = (*place, key)
            line = key_node.start_mark.line + 1
            if here in lines:
                name = ".".join(map(str, here))
                duplicates.append(f"line {line}: {name}: is already given in line {lines[here]}; keep one of them")
            lines[here] = line
            _collect_lines(value_node, here, lines, duplicates)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*place, index)] = item.start_mark.line + 1
            _collect_lines(item, (*place, index), lines, duplicates)


def _apply(content: dict[str, Any], lines: Lines, override: str) -> str | None:
    """Set one value in place; return the problem, or None."""
    key, equals, text = override.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        return f"--set {override}: expected key=value, for example --set training.epochs=5"
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return f"--set {override}: the value is not YAML: {getattr(error, 'problem', None) or error}"
    target: Any = content
    place: Place = ()
    for position, name in enumerate(names):
        last = position == len(names) - 1
        if isinstance(target, list):
            if not name.isdigit() or int(name) >= len(target):
                return (
                    f"--set {override}: {'.'.join(map(str, place))} is a list of {len(target)}, "
                    f"so expected an index from 0 to {len(target) - 1}, found {name}"
                )
            step: str | int = int(name)
        elif isinstance(target, dict):
            step = name
        else:
            return f"--set {override}: {'.'.join(map(str, place))} is {target!r}, which has no keys; set it as a whole"
        place = (*place, step)
        container: Any = target
        if last:
            container[step] = value
            for known in [known for known in lines if known[: len(place)] == place]:
                del lines[known]
            lines[place] = 0
        else:
            if isinstance(target, dict) and target.get(name) is None:
                container[step] = {}
                lines.setdefault(place, 0)
            target = container[step]
    return None


def _with_absolute_paths(config: PipelineConfig, folder: Path) -> PipelineConfig:
    def absolute(pattern: str) -> str:
        return pattern if "://" in pattern else absolute_pattern(pattern, str(folder))

    def path(text: str) -> str:
        return os.path.normpath(folder / Path(text).expanduser())

    files = config.data.files
    resolved = (
        {split: [absolute(each) for each in patterns] for split, patterns in files.items()}
        if isinstance(files, dict)
        else [absolute(each) for each in files]
    )
    sql = config.data.sql
    if sql is not None:
        scheme, _, database = sql.connection.partition(":")
        located = f"{scheme}:{path(database)}" if database else sql.connection
        sql = sql.model_copy(update={"connection": located, "results": path(sql.results)})
    data = config.data.model_copy(update={"files": resolved, "sql": sql})
    schema = config.schema_path if "://" in config.schema_path else path(config.schema_path)
    evaluation = config.evaluation
    if evaluation.reference is not None:
        reference = evaluation.reference.model_copy(
            update={"files": [absolute(each) for each in evaluation.reference.files]}
        )
        evaluation = evaluation.model_copy(update={"reference": reference})
    score = config.score
    if score is not None and score.files is not None:
        score = score.model_copy(update={"files": [absolute(each) for each in score.files]})
    return config.model_copy(update={"data": data, "evaluation": evaluation, "score": score, "schema_path": schema})
