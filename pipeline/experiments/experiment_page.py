"""The page of an experiment: one HTML file that needs nothing else, drawn as the report of a run is.

>>> experiment_page(report, command="compare", name="compare-20260101-120000", config=config)[:15]  # doctest: +SKIP
'<!DOCTYPE html>'
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import yaml

from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.experiments.comparison_sections import comparison_sections
from noisy_gru.pipeline.experiments.noise_sections import noise_sections
from noisy_gru.pipeline.experiments.wording import LUCK
from noisy_gru.pipeline.report.artifacts import plain
from noisy_gru.pipeline.report.blocks import Block, Chart, Facts, Lines, Section, Sentences, columns_table
from noisy_gru.pipeline.report.charts import SERIES, line_chart, small_line_charts
from noisy_gru.pipeline.report.page import sections_page
from noisy_gru.pipeline.runs.run_record import timestamp

FORMAT = 1
_NOT_YET = "No seed is complete for all variants yet"
_MOST_PANELS = 12


def experiment_page(
    report: Mapping[str, Any], *, command: str, name: str, config: PipelineConfig, now: datetime | None = None
) -> str:
    """Return the page of a report of `noisy-gru noise` or `noisy-gru compare`.

    Args:
        report: from ``noise_report`` or ``comparison_report``; all of it is in the page as JSON.
        command: `noise` or `compare`.
        name: of the experiment.
        config: that was varied.
        now: the time that the page says; None: that of the clock.
    """
    found = plain(report)
    configured = config.trainer.model_dump(mode="json", include={"model", "training"}, exclude_defaults=True)
    account = {
        "format": FORMAT,
        "run": {
            "run_id": name,
            "command": f"noisy-gru {command}",
            "pipeline": config.name,
            "started": timestamp(now or datetime.now(UTC)),
            "seconds": None,
        },
        "outcome": {
            "status": "complete" if found["is_complete"] else "incomplete",
            "headline": found["verdict"] or _NOT_YET,
        },
        "configuration": configured,
        "report": found,
    }
    # By rank, which also tells names apart that are too long for a chart.
    titles = {each["name"]: f"{each['rank']}. {each['name']}" for each in found.get("variants", [])}
    results = noise_sections(found) if command == "noise" else comparison_sections(found)
    sections = [
        *results,
        Section("learning", "Learning", _learning_blocks(found["learning"], titles)),
        Section("experiment", "What was trained", _experiment_blocks(found, configured)),
    ]
    return sections_page(account, Section("outcome", "Outcome", _top_blocks(found)), sections)


def _top_blocks(report: Mapping[str, Any]) -> list[Block]:
    trainings = report["trainings"]
    facts = [
        ("metric", f"{report['metric']} on {report['split']}, {report['best']} is best"),
        ("seeds", len(report["seeds"])),
        ("trainings", trainings["finished"]),
        ("seconds of all trainings", trainings["seconds"]),
    ]
    blocks: list[Block] = [Facts(facts)]
    left = len(report["seeds_asked_for"]) - len(report["seeds"])
    if left:
        blocks.append(Sentences([f"{left} seeds are left: run it again to go on."], tone="warning"))
    if report["suggestion"] is not None:
        lines = "\n".join(f"--set '{each}'" for each in report["suggestion"]["set"])
        blocks.append(Lines("What the configuration then says", report["suggestion"]["yaml"]))
        blocks.append(Lines("As options", lines, folded=True))
    if len(report["seeds"]) > 1:
        blocks.append(Sentences([f"{LUCK[0].upper()}{LUCK[1:]}."], tone="grey"))
    return blocks


def _learning_blocks(curves: Mapping[str, Any], titles: Mapping[str, str]) -> list[Block]:
    """Return the eval loss by epoch: the medians in one chart, then each variant with its range."""
    ordered = [name for name in titles if name in curves] or list(curves)
    if not ordered:
        return []
    first = ordered[: len(SERIES)]
    more = f" The first {len(first)} of {len(ordered)} variants." if len(ordered) > len(first) else ""
    together = {titles.get(name, name): (curves[name]["epoch"], curves[name]["median"]) for name in first}
    columns = {"variant": [name for name in ordered for _ in curves[name]["epoch"]]}
    for key, word in (("epoch", "epoch"), ("median", "median"), ("low", "least"), ("high", "largest"), ("seeds", "n")):
        columns[word] = [value for name in ordered for value in curves[name][key]]
    numbers = columns_table("Numbers", columns)
    panels, bands = [], {}
    for name in ordered[:_MOST_PANELS]:
        curve, title = curves[name], titles.get(name, name)
        panels.append((title, {"median": (curve["epoch"], curve["median"])}))
        bands[title] = ((curve["epoch"], curve["low"]), curve["high"])
    shown = f" The first {len(panels)} of {len(ordered)} variants." if len(ordered) > len(panels) else ""
    stopped = "Trainings that stopped early count up to their last epoch (n: how many are left)."
    return [
        Chart(
            "Eval loss by epoch",
            f"Median over the seeds. {stopped}{more}",
            line_chart(together, x="epoch", y="eval loss"),
            numbers,
        ),
        Chart(
            "Each variant",
            f"Eval loss by epoch: median over the seeds, and the area from the least to the largest.{shown}",
            small_line_charts(panels, x="epoch", bands=bands),
        ),
    ]


def _experiment_blocks(report: Mapping[str, Any], configured: Mapping[str, Any]) -> list[Block]:
    seeds = ", ".join(map(str, report["seeds"])) or "none"
    facts = [
        ("complete seeds", seeds),
        ("seeds asked for", ", ".join(map(str, report["seeds_asked_for"]))),
        ("trainings asked for", report["trainings"]["asked_for"]),
        ("intervals", report["intervals"]),
    ]
    blocks: list[Block] = [Facts(facts)]
    if report["failed"]:
        failed = [f"{name}: {error}" for name, error in report["failed"].items()]
        blocks.append(Sentences(failed, "Left out", "warning"))
    lines = yaml.safe_dump(dict(configured), sort_keys=False, width=100, allow_unicode=True).rstrip()
    blocks.append(Lines("The configuration that was varied, where it differs from the defaults", lines, folded=True))
    return blocks
