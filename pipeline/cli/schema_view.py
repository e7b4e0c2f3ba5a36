"""Print the derived schema of a configuration as a table."""

from __future__ import annotations

import math
from typing import Any, TextIO

from rich.markup import escape
from rich.table import Table

from noisy_gru.pipeline.cli.runs_view import console_for
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.derivation import SERVING
from noisy_gru.schema.loading import expected_columns

_MOST_VALUES = 8


def columns_of(schema: Any, dataset: DatasetConfig) -> list[dict[str, Any]]:
    """Return the columns of a derived schema, in the form that ``schema show --json`` prints."""
    domains = {domain.name: domain for domain in schema.string_domain}
    features = {feature.name: feature for feature in schema.feature}
    return [
        {
            "name": column.name,
            "type": column.type,
            "kind": column.meaning,
            "min_values": column.least,
            "max_values": column.most,
            "domain": _domain(features[column.name], domains),
            "presence": _presence(features[column.name]),
            "environments": [
                each for each in schema.default_environment if each not in features[column.name].not_in_environment
            ],
        }
        for column in expected_columns(dataset)
    ]


def print_columns(columns: list[dict[str, Any]], stream: TextIO) -> None:
    """Print the table."""
    table = Table(box=None, pad_edge=False)
    for heading in ("column", "type", "kind", "values", "domain", "presence", "in requests"):
        table.add_column(heading)
    for column in columns:
        low, high = column["min_values"], column["max_values"]
        presence = column["presence"]
        table.add_row(
            escape(column["name"]),
            column["type"],
            escape(column["kind"]),
            str(low) if low == high else f"{low} to {high}",
            escape(_domain_text(column["domain"])),
            "" if presence is None else f"{presence['min_fraction']:.0%}",
            "yes" if SERVING in column["environments"] else "no",
        )
    console_for(stream).print(table)


def _domain(feature: Any, domains: dict[str, Any]) -> dict[str, Any] | None:
    kind = feature.WhichOneof("domain_info")
    if kind is None:
        return None
    if kind in ("float_domain", "int_domain"):
        domain = getattr(feature, kind)
        found = {end: getattr(domain, end) for end in ("min", "max") if domain.HasField(end)}
        found = {end: value for end, value in found.items() if math.isfinite(value)}
        flags = ("disallow_nan", "disallow_inf") if kind == "float_domain" else ()
        return found | {flag: True for flag in flags if getattr(domain, flag)}
    if kind == "string_domain" or feature.domain in domains:
        domain = feature.string_domain if kind == "string_domain" else domains[feature.domain]
        mass = feature.distribution_constraints.min_domain_mass
        return {"values": list(domain.value), "min_domain_mass": mass}
    return {"kind": kind}


def _domain_text(domain: dict[str, Any] | None) -> str:
    if domain is None:
        return "not bounded"
    if "values" in domain:
        shown = ", ".join(value or "(empty)" for value in domain["values"][:_MOST_VALUES])
        more = len(domain["values"]) - _MOST_VALUES
        return f"{shown} and {more} more" if more > 0 else shown
    if "kind" in domain:
        return domain["kind"]
    low, high = domain.get("min"), domain.get("max")
    parts = [f"{'-∞' if low is None else f'{low:g}'} to {'∞' if high is None else f'{high:g}'}"]
    parts += [f"no {name}" for name, flag in (("NaN", "disallow_nan"), ("infinity", "disallow_inf")) if flag in domain]
    return ", ".join(parts)


def _presence(feature: Any) -> dict[str, Any] | None:
    if feature.WhichOneof("presence_constraints") != "presence":
        return None
    return {"min_fraction": feature.presence.min_fraction, "min_count": feature.presence.min_count}
