"""The sections of a comparison's page: the ranking, and what was varied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noisy_gru.pipeline.report.blocks import Block, Chart, Section, Table
from noisy_gru.pipeline.report.charts import interval_chart

_SHOWN = 40


def comparison_sections(report: Mapping[str, Any]) -> list[Section]:
    """Return the sections of a report from ``comparison_report``, as JSON."""
    variants = report["variants"]
    if not variants:
        return []
    return [
        Section("ranking", "Ranking", _ranking(report)),
        Section("varied", "What was varied", [_varied(variants), _metrics(variants)]),
    ]


def _ranking(report: Mapping[str, Any]) -> list[Block]:
    metric, variants = report["metric"], report["variants"]
    rows = []
    for each in variants:
        difference = each["difference"] or {}
        head = [each[key] for key in ("rank", "name", "mean", "spread")]
        bounds = [difference.get(key) for key in ("mean", "low", "high")]
        rows.append([*head, *bounds, *(each[key] for key in ("outcome", "epochs", "seconds", "parameters"))])
    columns = ["rank", "variant", metric, "spread", "difference", "low", "high", "verdict"]
    columns += ["epochs", "seconds", "weights"]
    note = f"difference: from the configured variant, with its interval ({report['intervals']}); spread: between seeds."
    blocks: list[Block] = [Table("Variants by their mean", columns, rows, note)]
    others = [each for each in variants if each["difference"] is not None]
    if others:
        names = [f"{each['rank']}. {each['name']}" for each in others[:_SHOWN]]
        more = f" The first {_SHOWN} of {len(others)}." if len(others) > _SHOWN else ""
        better = "larger" if report["best"] == "max" else "smaller"
        caption = f"{metric}, difference from the configured variant; {better} is better. {report['intervals']}.{more}"
        svg = interval_chart(names, [each["difference"] for each in others[:_SHOWN]], x=f"difference of {metric}")
        blocks.append(Chart("Differences", caption, svg))
    return blocks


def _varied(variants: list[dict[str, Any]]) -> Table:
    keys = list(dict.fromkeys(key for each in variants for key in each["values"]))
    rows = [(each["name"], *(_cell(each["values"].get(key)) for key in keys)) for each in variants]
    return Table("Values of each variant", ["variant", *keys], rows, "Without a value: as configured, or null.")


def _cell(value: Any) -> Any:
    return str(value) if isinstance(value, list | dict) else value


def _metrics(variants: list[dict[str, Any]]) -> Table:
    names = list(dict.fromkeys(name for each in variants for name in each["metrics"]))
    rows = [(each["name"], *(each["metrics"].get(name) for name in names)) for each in variants]
    return Table("All metrics on eval, means over the seeds", ["variant", *names], rows)
