"""Derive the schema that sequences are validated against from the configuration and the curated schema.pbtxt.

    >>> derive_schema(load_schema("schema.pbtxt"), config.dataset)  # doctest: +SKIP

The configuration says which columns there are, of what type and how many values: so it gives type, ``value_count``,
environments, and the domains of calendar features and ``steps``. The curated schema says what values may be: domains,
presence, constraints on distributions. Targets and naive forecasts take the domain of their column. Imports no
TensorFlow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.loading import Column, expected_columns, load_schema
from noisy_gru.schema.misspelling import is_misspelt

TRAINING = "TRAINING"
SERVING = "SERVING"
UPDATE = "noisy-gru schema update CONFIG"
MOST_NAMED = 8

# Generated code without types.
_pb2: Any = schema_pb2
# TFDV and Transform leave columns of these stages out; an optional one of the curated schema may have any.
UNUSED = (_pb2.PLANNED, _pb2.ALPHA, _pb2.DEPRECATED, _pb2.DISABLED, _pb2.DEBUG_ONLY)
_DOMAINS = {
    "FLOAT": ("float_domain",),
    "INT": ("int_domain",),
    "BYTES": ("string_domain", "domain", "natural_language_domain", "url_domain", "image_domain", "struct_domain"),
}


@dataclass(frozen=True)
class Overruled:
    """Fields of a curated entry that the configuration contradicts, and a clause that says so.

    A field of a field has both names, with a dot: ``float_domain.disallow_nan``.
    """

    name: str
    message: str
    fields: tuple[str, ...]

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Derivation:
    """A derived schema, and how the curated one differs from the configuration.

    Attributes:
        schema: ``schema_pb2.Schema`` with exactly the keys of a sequence's tf.Example.
        gone: entries of the curated schema that are no keys (any more), and no target's column.
        unbounded: columns of the data without an entry, whose values may be anything.
        overruled: statements of the curated schema that the configuration contradicts.
        problems: what a person has to correct, one sentence each.
        unrelated: a sentence if no entry is of the configuration, else None.
    """

    schema: Any
    gone: list[str]
    unbounded: list[str]
    overruled: list[Overruled]
    problems: list[str]
    unrelated: str | None

    @property
    def notes(self) -> list[str]:
        """What `validate` says of the curated schema, one line each."""
        notes = []
        if self.unbounded:
            notes.append(
                f"values of {_listed(self.unbounded)} are not bounded: no entry in the schema. "
                f"To add what the data holds: {UPDATE}"
            )
        if self.gone:
            notes.append(f"{_listed(self.gone)}: not in the configuration, so ignored. To remove: {UPDATE}")
        if self.overruled:
            some = "; ".join(map(str, self.overruled[:MOST_NAMED])) + (
                "; …" if len(self.overruled) > MOST_NAMED else ""
            )
            notes.append(f"the configuration decides over the schema: {some}. To clean up: {UPDATE}")
        return notes


def curated_columns(dataset: DatasetConfig) -> list[Column]:
    """Return the columns of the data whose values a curated schema describes: features, label, other targets."""
    found: dict[str, Column] = {}
    for column in expected_columns(dataset):
        if column.bounds is None and column.texts is None and column.name != "sequence_id":
            found.setdefault(column.source, replace(column, name=column.source, values_of=None))
    return list(found.values())


def derive(curated: Any, dataset: DatasetConfig) -> Derivation:
    """Derive the schema, and compare the curated one with the configuration."""
    columns = expected_columns(dataset)
    given = {feature.name: feature for feature in curated.feature}
    schema = _pb2.Schema()
    schema.CopyFrom(curated)
    del schema.feature[:]
    for environment in (TRAINING, SERVING):
        if environment not in schema.default_environment:
            schema.default_environment.append(environment)
    overruled: list[Overruled] = []
    for column in columns:
        schema.feature.append(_derived(column, given, overruled))
    known = {name for column in columns for name in (column.name, column.source)}
    gone = [name for name, feature in given.items() if name not in known and feature.lifecycle_stage not in UNUSED]
    # A target that is no feature may be described as such.
    features = {column.name for column in columns if column.is_feature}
    described = {column.source for column in columns if column.name in given} - features | set(given)
    curated_ones = curated_columns(dataset)
    unbounded = [column for column in curated_ones if column.name not in described]
    unrelated = None
    if gone and len(unbounded) == len(curated_ones):
        unrelated = (
            f"expected entries for columns of the configuration ({_listed([each.name for each in unbounded])}), found "
            f"only others: {_listed(gone)}. Is it the schema of another data set? If not: {UPDATE}"
        )
    problems = _problems(curated, unbounded, gone)
    return Derivation(schema, gone, [each.name for each in unbounded], overruled, problems, unrelated)


def derive_schema(curated: Any, dataset: DatasetConfig) -> Any:
    """Return the ``schema_pb2.Schema`` that the sequences of a data set are validated against.

    Args:
        curated: ``schema_pb2.Schema``, as ``load_schema`` returns it; left as it is.
        dataset: columns, lengths and task.
    """
    return derive(curated, dataset).schema


def check_schema(path: str | Path, dataset: DatasetConfig) -> Derivation:
    """Load a curated schema and derive that of a data set; raise ``ConfigError`` as `check_curated` does."""
    return check_curated(load_schema(path), path, dataset)


def check_curated(curated: Any, path: str | Path, dataset: DatasetConfig) -> Derivation:
    """Derive the schema of a data set from the curated one that ``path`` holds.

    Raises:
        ConfigError: the curated schema has names that seem misspelt, or twice; with every problem.
    """
    derivation = derive(curated, dataset)
    problems = derivation.problems or [each for each in [derivation.unrelated] if each]
    if problems:
        raise schema_error(path, problems)
    return derivation


def schema_error(path: str | Path, problems: list[str]) -> ConfigError:
    """Return the error that names all problems of a curated schema."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = "\n".join(f"  - {problem}" for problem in problems)
    return ConfigError(f"{path}: {count} in the schema\n{lines}")


def schema_text(schema: Any) -> str:
    """Return a schema in text form; the same text for the same schema."""
    return text_format.MessageToString(schema, as_utf8=True)


def _derived(column: Column, given: dict[str, Any], overruled: list[Overruled]) -> Any:
    """Return the entry of a key: what is curated of its values, and what the configuration says."""
    feature = _pb2.Feature()
    if (entry := given.get(column.name)) is not None:
        feature.CopyFrom(entry)
    feature.name = column.name
    _set_type(feature, column, overruled)
    _set_count(feature, column, overruled)
    if feature.lifecycle_stage in UNUSED or feature.deprecated:
        stage = _pb2.LifecycleStage.Name(feature.lifecycle_stage) if not feature.deprecated else "deprecated"
        message = f"{column.name} is {stage}, but the configuration uses it"
        overruled.append(Overruled(column.name, message, ("lifecycle_stage", "deprecated")))
        feature.ClearField("lifecycle_stage")
        feature.ClearField("deprecated")
    if feature.WhichOneof("presence_constraints") is None:
        feature.presence.min_fraction, feature.presence.min_count = 1.0, 1
    _set_environments(feature, column, overruled)
    _set_domain(feature, column, given, overruled)
    return feature


def _set_type(feature: Any, column: Column, overruled: list[Overruled]) -> None:
    kind = _pb2.FeatureType.Value(column.type)
    if feature.type not in (_pb2.TYPE_UNKNOWN, kind):
        received = _pb2.FeatureType.Name(feature.type)
        message = f"{column.name} has type {received}, but is a {column.meaning} ({column.type})"
        overruled.append(Overruled(column.name, message, ("type",)))
    feature.type = kind
    domain = feature.WhichOneof("domain_info")
    if domain is None or domain in _DOMAINS[column.type]:
        return
    if (column.type, domain) == ("FLOAT", "int_domain"):
        # TFDV's inference writes it for a column of whole numbers.
        ends = feature.int_domain
        low, high = ends.min if ends.HasField("min") else None, ends.max if ends.HasField("max") else None
        feature.float_domain.SetInParent()
        if low is not None:
            feature.float_domain.min = low
        if high is not None:
            feature.float_domain.max = high
        return
    message = f"{column.name} has a {domain}, which bounds no values of type {column.type}"
    overruled.append(Overruled(column.name, message, (domain,)))
    feature.ClearField(domain)


def _set_count(feature: Any, column: Column, overruled: list[Overruled]) -> None:
    shape = feature.WhichOneof("shape_type")
    if shape is not None:
        found = _lengths(feature, shape)
        if found is not None and found != (column.least, column.most):
            wanted = f"{column.least}" if column.least == column.most else f"{column.least} to {column.most}"
            message = f"{column.name} has {wanted} value{'' if wanted == '1' else 's'}, not {_range(found)}"
            overruled.append(Overruled(column.name, message, (shape,)))
        feature.ClearField(shape)
    feature.value_count.min, feature.value_count.max = column.least, column.most


def _lengths(feature: Any, shape: str) -> tuple[int | None, int | None] | None:
    """Return the fewest and most values that a curated entry states, None for no bound; None for a nested one."""
    if shape == "value_count":
        count = feature.value_count
        return count.min if count.HasField("min") else None, count.max if count.HasField("max") else None
    if shape == "shape":
        size = 1
        for dimension in feature.shape.dim:
            size *= dimension.size
        return size, size
    return None


def _range(found: tuple[int | None, int | None]) -> str:
    low, high = found
    if low == high and low is not None:
        return str(low)
    return f"{'any number' if low is None else low} to {'any number' if high is None else high}"


def _set_environments(feature: Any, column: Column, overruled: list[Overruled]) -> None:
    """A request to the served model has the features, and nothing else."""
    left_out = SERVING in feature.not_in_environment
    if column.is_feature and left_out:
        message = f"{column.name} is a feature, so a request has it: not_in_environment {SERVING} is ignored"
        overruled.append(Overruled(column.name, message, ("not_in_environment",)))
        kept = [each for each in feature.not_in_environment if each != SERVING]
        del feature.not_in_environment[:]
        feature.not_in_environment.extend(kept)
    elif not column.is_feature and not left_out:
        feature.not_in_environment.append(SERVING)
        kept = [each for each in feature.in_environment if each != SERVING]
        del feature.in_environment[:]
        feature.in_environment.extend(kept)


def _set_domain(feature: Any, column: Column, given: dict[str, Any], overruled: list[Overruled]) -> None:
    if column.type == "INT" and column.bounds is not None:
        low, high = map(int, column.bounds)
        if feature.HasField("int_domain") and (feature.int_domain.min, feature.int_domain.max) != (low, high):
            message = f"{column.name} is {low if low == high else f'{low} to {high}'}, by the lengths of sequences"
            overruled.append(Overruled(column.name, message, ("int_domain",)))
        feature.int_domain.min, feature.int_domain.max = low, high
        return
    if feature.WhichOneof("domain_info") is not None:
        if column.masked and feature.HasField("string_domain") and "" not in feature.string_domain.value:
            # A step without a label.
            feature.string_domain.value.append("")
        if column.masked and column.bounds is None and feature.float_domain.disallow_nan:
            message = (
                f"{column.name} may be NaN, a missing target, by data.policies.missing_target: mask (error refuses it)"
            )
            overruled.append(Overruled(column.name, message, ("float_domain.disallow_nan",)))
            feature.float_domain.ClearField("disallow_nan")
        return
    if column.bounds is not None and column.type == "FLOAT":
        domain = feature.float_domain
        domain.min = column.bounds[0]
        if math.isfinite(column.bounds[1]):
            domain.max = column.bounds[1]
        domain.disallow_nan, domain.disallow_inf = not column.masked, True
    elif column.texts is not None:
        feature.string_domain.value.extend(column.texts)
    elif column.source != column.name and column.source in given:
        base = _pb2.Feature()
        base.CopyFrom(given[column.source])
        _set_type(base, column, [])
        if base.WhichOneof("domain_info") == "float_domain":
            feature.float_domain.CopyFrom(base.float_domain)
            # A baseline is NaN where a window has no value a season before.
            feature.float_domain.ClearField("disallow_nan")


def _problems(curated: Any, unbounded: list[Column], gone: list[str]) -> list[str]:
    names = [feature.name for feature in curated.feature]
    problems = [
        f"{name or '(an entry without a name)'}: stands {names.count(name)} times in the schema; keep one entry"
        for name in dict.fromkeys(names)
        if names.count(name) > 1 or not name
    ]
    for column in unbounded:
        for other in gone:
            if is_misspelt(column.name, other):
                problems.append(
                    f"{column.name}: not in the schema ({column.meaning}, type: {column.type}); did you mean {other}? "
                    f"Correct the name in the configuration or in the schema; or remove the entry {other}"
                )
    return problems


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
