"""The sections of a noise report's page: differences from each first state, in pictures and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noisy_gru.pipeline.experiments.noise_report import CONFIGURED, NONE
from noisy_gru.pipeline.experiments.wording import decimals_of, interval_text, measure_title
from noisy_gru.pipeline.report.blocks import Block, Chart, Section, Sentences, Table
from noisy_gru.pipeline.report.charts import interval_chart

_BASES = (("against_none", NONE, "no noise"), ("against_configured", CONFIGURED, "the configured noise"))
_BOUNDS = ("mean", "low", "high")
_LESS_IS_BETTER = ("loss", "nll", "ece")


def noise_sections(report: Mapping[str, Any]) -> list[Section]:
    """Return the sections of a report from ``noise_report``, as JSON."""
    scales = report["scales"]
    if not scales:
        return []
    measures = list(scales[0]["measures"])
    return [
        Section("differences", "Differences from no noise", [_chart(report, name) for name in measures]),
        Section("table", "Table", [_table(report, *each) for each in _BASES]),
        Section("varied", "What was varied", [_varied(scales), *_remarks(report)]),
    ]


def _chart(report: Mapping[str, Any], measure: str) -> Chart:
    scales = report["scales"]
    title = measure_title(measure, report["metric"])
    others = [each for each in scales if each["measures"][measure]["against_none"] is not None]
    intervals = [each["measures"][measure]["against_none"] for each in others]
    svg = interval_chart([each["name"] for each in others], intervals, x=f"{title}: difference from {NONE}")
    return Chart(title, f"{report['intervals']}.{_better(measure, report)}", svg, _numbers(scales, measure))


def _better(measure: str, report: Mapping[str, Any]) -> str:
    if "epochs" in measure:
        return ""
    largest = measure not in _LESS_IS_BETTER and report["best"] == "max"
    return " Larger is better." if largest else " Smaller is better."


def _numbers(scales: list[dict[str, Any]], measure: str) -> Table:
    columns = ["variant", "mean", "spread"]
    columns += [
        f"against {words}{'' if bound == 'mean' else f', {bound}'}" for _, _, words in _BASES for bound in _BOUNDS
    ]
    rows = []
    for each in scales:
        found = each["measures"][measure]
        bounds = [(found[key] or {}).get(bound) for key, _, _ in _BASES for bound in _BOUNDS]
        rows.append((each["name"], found["mean"], found["spread"], *bounds))
    return Table("Numbers", columns, rows, folded=True)


def _table(report: Mapping[str, Any], key: str, base: str, words: str) -> Table:
    """Return the table that the terminal shows."""
    (reference,) = (each for each in report["scales"] if each["name"] == base)
    others = [each for each in report["scales"] if each["name"] != base]
    rows = []
    for name, found in reference["measures"].items():
        decimals = 2 if "epochs" in name else decimals_of(found["mean"] or 0.0)
        cells = [interval_text(each["measures"][name][key], decimals) for each in others]
        rows.append((measure_title(name, report["metric"]), found["mean"], found["spread"], *cells))
    columns = ["measure", base, "spread", *(each["name"] for each in others)]
    return Table(f"Against {words}", columns, rows, f"Intervals: {report['intervals']}; spread: between seeds.")


def _varied(scales: list[dict[str, Any]]) -> Table:
    layers = max(len(each["stddev"]) for each in scales)
    rows = [(each["name"], each["scale"], each["kind"], *each["stddev"]) for each in scales]
    columns = ["variant", "factor on stddev", "kind", *(f"stddev of layer {place}" for place in range(1, layers + 1))]
    return Table("Noise of each variant", columns, rows)


def _remarks(report: Mapping[str, Any]) -> list[Block]:
    level, auto = report["level"], report["auto"]
    lines = [f"epochs to level: until the eval loss is {level['loss']:.4g}: {level['definition']}."]
    for name, seeds in level["never_reached"].items():
        if seeds:
            lines.append(f"{name}: never reached with seed {', '.join(map(str, seeds))}; counted as all epochs.")
    for start, reason in report["not_measured"].items():
        lines.append(f"Not measured: {measure_title(start, report['metric'])}: {reason}.")
    if auto is not None:
        lines.append(f"model.stddev: auto would choose {auto['scale']} of these scales.")
    return [Sentences(lines)]
