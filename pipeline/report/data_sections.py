"""The sections on the data: what was read, what each feature is like, some sequences."""

from __future__ import annotations

from typing import Any

from noisy_gru.pipeline.report.blocks import Block, Chart, Facts, Sentences, Table, columns_table
from noisy_gru.pipeline.report.charts import bar_chart, stacked_histograms, stacked_lines

_HISTOGRAMS_SHOWN = 8
_BARS_SHOWN = 24


def data_blocks(data: dict[str, Any]) -> list[Block]:
    """Return the blocks of the section on the rows and sequences."""
    rows = data["rows"]
    facts: list[tuple[str, Any]] = [("rows read", rows["read"]), ("rows kept", rows["kept"])]
    facts += [("rows quarantined", rows["quarantined"]["total"]), ("rows dropped", rows["dropped"]["total"])]
    facts += [("rows merged", data["rows_merged"]), ("steps filled in", data["steps_filled"])]
    facts += [("entities", data["entities"]), ("in several splits", data["entities_in_several_splits"])]
    blocks: list[Block] = [Facts([(name, value) for name, value in facts if value is not None])]
    blocks.append(Table("Sequences by split", ["split", "sequences", "from", "to"], _splits(data)))
    if reasons := _reasons(data):
        blocks.append(Table("Set aside, by reason", ["what", "reason", "count"], reasons))
    if data["imputed"]:
        cells = [
            (column, reason, count) for reason, by in data["imputed"].items() for column, count in sorted(by.items())
        ]
        blocks.append(Table("Cells taken as missing", ["column", "reason", "cells"], cells))
    if data.get("rejected"):
        blocks.append(_rejected(data["rejected"]))
    if data["labels"]:
        blocks += _labels(data["labels"], data.get("labels_of", "sequences"))
    if quantiles := data["lengths"].get("quantiles"):
        names = {"0": "shortest", "0.5": "median", "1": "longest"}
        cells = [(names.get(part, f"{float(part):.0%} quantile"), value) for part, value in quantiles.items()]
        blocks.append(Table("Steps of a sequence", ["quantile", "steps"], [*cells, ("mean", data["lengths"]["mean"])]))
    if data["spans"]:
        spans = [(each["span"], each["rows"], each["files"]) for each in data["spans"]]
        blocks.append(Table("Spans", ["span", "rows", "files"], spans, folded=len(spans) > 12))
    if data.get("precision"):
        blocks.append(Sentences(data["precision"], "Precision"))
    for sequence in data.get("cut") or []:
        blocks.append(sequence_chart(f"A sequence of {sequence['split']}: {sequence['id']}", sequence))
    return [block for block in blocks if not (isinstance(block, Table) and not block.rows)]


def sequence_chart(title: str, sequence: dict[str, Any], caption: str = "") -> Chart:
    """Return the chart of a sequence, its numeric features below each other."""
    columns = {
        name: values
        for name, values in sequence["columns"].items()
        if len(values) > 1 and not any(isinstance(each, str) for each in values)
    }
    left_out = sequence["columns_left_out"]
    label = "" if sequence["label"] is None else f" Label: {sequence['label']}."
    more = f" {left_out} more features aren't drawn." if left_out else ""
    longest = max(map(len, columns.values()), default=0)
    svg = stacked_lines(columns, x="step") if columns else ""
    padded = {"step": list(range(longest))}
    padded |= {name: [*values, *[None] * (longest - len(values))] for name, values in columns.items()}
    text = f"{caption} {sequence['steps']} steps.{label}{more}".strip()
    return Chart(title, text, svg, columns_table("Numbers", padded))


def feature_blocks(features: dict[str, Any]) -> list[Block]:
    """Return the blocks of the section on the features' statistics and drift."""
    splits, listed = features["splits"], features["features"]
    blocks: list[Block] = []
    if features["drift"]:
        blocks += _drift(features["drift"])
    others = [split for split in splits if split != "train"]
    numbers = [each for each in listed if each["kind"] == "number"]
    rows = [
        (
            each["name"],
            split,
            *(each["splits"][split].get(key) for key in ("values", "missing", "mean", "std", "min", "median", "max")),
            each["distance"].get(split),
        )
        for each in numbers
        for split in splits
        if split in each["splits"]
    ]
    names = ["feature", "split", "values", "missing", "mean", "std", "min", "median", "max", "distance"]
    note = "missing: part of the values. distance: Jensen-Shannon divergence from train, 0 (equal) to 1."
    far = sorted(numbers, key=lambda each: -max(each["distance"].values(), default=0.0))
    if others and numbers:
        shown = far[:_BARS_SHOWN]
        bars = {split: [each["distance"].get(split) for each in shown] for split in others}
        svg = bar_chart([each["name"] for each in shown], bars, x="distance from train")
        caption = "How far each feature lies from train, the furthest first; 0 is equal, 1 is apart."
        blocks.append(Chart("Distance from train", caption, svg))
    drawn = [each for each in far if len(each.get("edges") or []) > 1][:_HISTOGRAMS_SHOWN]
    if drawn:
        svg = stacked_histograms([(each["name"], each["edges"], each["shares"]) for each in drawn])
        blocks.append(Chart("Distributions", f"Shares of the values by split, of {_of(drawn, numbers)} features.", svg))
    if rows:
        blocks.append(Table("Numbers by split", names, rows, note, folded=len(rows) > 12))
    categories = [each for each in listed if each["kind"] == "category"]
    cells = [
        (each["name"], split, *map(counted.get, ("values", "distinct", "missing")), each["distance"].get(split))
        for each in categories
        for split, counted in each["splits"].items()
    ]
    note = "distance: largest difference of a share from train."
    columns = ["feature", "split", "values", "distinct", "missing", "distance"]
    blocks.append(Table("Categories by split", columns, cells, note))
    return [block for block in blocks if not (isinstance(block, Table) and not block.rows)]


def _of(shown: list[Any], of: list[Any]) -> str:
    return f"all {len(of)}" if len(shown) == len(of) else f"{len(shown)} of {len(of)}"


def _drift(drift: dict[str, Any]) -> list[Block]:
    columns = ["feature", "measure", "distance", "p-value", "drifted"]
    rows = [
        (each["feature"], each["measure"] or each["change"], each["distance"], each["p_value"], each["drifted"])
        for each in drift["features"]
    ]
    note = f"A p-value of at most {drift.get('false_alarm_rate')} counts. Compared: {drift.get('compared', '')}."
    lines = [drift["text"]] if drift["text"] else []
    table = Table("New data against what the published model was trained on", columns, rows, note)
    return [Sentences(lines, "Drift", "warning" if drift["met"] else "plain"), table]


def _splits(data: dict[str, Any]) -> list[tuple[Any, ...]]:
    times = data["time"]
    return [
        (split, count, *(times.get(split) or (None, None))) for split, count in data["sequences"]["by_split"].items()
    ]


def _reasons(data: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [
        (f"{of} {what}", reason, count)
        for of in ("rows", "sequences")
        for what in ("quarantined", "dropped")
        for reason, count in data[of][what].items()
        if reason != "total"
    ]


def _rejected(rejected: dict[str, list[dict[str, Any]]]) -> Table:
    rows = [
        (reason, each.get("file"), each.get("row"), each.get("sequence_id"), str(each.get("problem", "")))
        for reason, examples in rejected.items()
        for each in examples
    ]
    return Table("Examples of what was set aside", ["reason", "file", "row", "sequence", "problem"], rows)


def _labels(labels: dict[str, dict[str, int]], unit: str) -> list[Block]:
    order = [split for split in ("train", "eval", "test") if split in labels]
    labels = {split: labels[split] for split in (*order, *(each for each in labels if each not in order))}
    names = sorted({name for counts in labels.values() for name in counts})
    columns: dict[str, list[Any]] = {"label": names}
    columns |= {split: [counts.get(name, 0) for name in names] for split, counts in labels.items()}
    table = columns_table("Numbers", columns)
    if len(names) > _BARS_SHOWN:
        return [Table("Labels by split", table.columns, table.rows, folded=True)]
    series = {split: [counts.get(name, 0) for name in names] for split, counts in labels.items()}
    caption = f"{unit.capitalize()} of each class."
    return [Chart("Labels by split", caption, bar_chart(names, series, x=unit), table)]
