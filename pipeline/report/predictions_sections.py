"""The section of a page on predictions, from ``predictions_account``."""

from __future__ import annotations

from typing import Any

from noisy_gru.pipeline.report.blocks import Block, Chart, Facts, Table, columns_table
from noisy_gru.pipeline.report.charts import bar_chart, histogram, line_chart

MOST_BARS = 30
MOST_NUMBERS = 6


def prediction_blocks(content: dict[str, Any]) -> list[Block]:
    """Return the blocks of the section on predictions."""
    files = content["files"]
    facts = [("predictions", content["predictions"]), ("files", len(files) if len(files) > 1 else files[0])]
    if content["units"]:
        facts.append(("units", content["units"]))
    blocks: list[Block] = [Facts(facts)]
    if len(content["versions"]) > 1:
        blocks.append(Table("By version of the model", ["version", "predictions"], [*content["versions"].items()]))
    if "labels" in content:
        return [*blocks, *_classes(content)]
    if "forecasts" in content:
        blocks += [_forecast(each, content["horizons"]) for each in content["forecasts"]]
        blocks += [_one_series(each, content["horizons"]) for each in content["series"] or []]
    shown = content["numbers"][:MOST_NUMBERS]
    blocks += [_distribution(each, content["units"]) for each in shown]
    cells = [(each["name"], each["mean"], each["min"], each["max"]) for each in content["numbers"]]
    blocks.append(Table("All numbers", ["number", "mean", "least", "largest"], cells, folded=len(cells) > MOST_NUMBERS))
    return blocks


def _classes(content: dict[str, Any]) -> list[Block]:
    labels = content["labels"]
    shown = dict([*labels.items()][:MOST_BARS])
    more = f" The {len(shown)} most frequent of {len(labels)}." if len(labels) > len(shown) else ""
    numbers = columns_table("Numbers", {"class": [*labels], "predictions": [*labels.values()]})
    svg = bar_chart([*shown], {"predictions": [*shown.values()]}, x="predictions")
    blocks: list[Block] = [Chart("Predicted classes", f"How often each class is predicted.{more}", svg, numbers)]
    if "numbers" in content:  # of several labels
        cells = [(each["name"], each["mean"], each["min"], each["max"]) for each in content["numbers"]]
        blocks += [_distribution(each, "probability") for each in content["numbers"][:MOST_NUMBERS]]
        return [*blocks, Table("Probabilities", ["label", "mean", "least", "largest"], cells)]
    edges, counts = content["confidence"]["edges"], content["confidence"]["counts"]
    caption = f"The probability of the predicted class: mean {content['mean_confidence']:.3f}."
    numbers = columns_table("Numbers", {"from": edges[:-1], "to": edges[1:], "predictions": counts})
    svg = histogram(edges, counts, x="probability", y="predictions")
    blocks.append(Chart("How sure the model is", caption, svg, numbers))
    if content["unsure"]:
        cells = [(each["id"], each["label"], each["probability"]) for each in content["unsure"]]
        blocks.append(Table("Least sure", ["sequence", "predicted", "probability"], cells))
    return blocks


def _forecast(forecast: dict[str, Any], horizons: list[int]) -> Chart:
    lines = {"mean": (horizons, forecast["mean"])}
    lines |= {name: (horizons, values) for name, values in forecast["spread"].items()}
    numbers = columns_table("Numbers", {"horizon": horizons, **{name: values for name, (_, values) in lines.items()}})
    caption = "The forecasts of all sequences: their mean, and below which so many of them are."
    return Chart(f"{forecast['target']} by horizon", caption, _lines(lines, forecast["target"]), numbers)


def _one_series(series: dict[str, Any], horizons: list[int]) -> Chart:
    lines = {name: (horizons, values) for name, values in series["lines"].items()}
    numbers = columns_table("Numbers", {"horizon": horizons, **series["lines"]})
    return Chart(f"Forecast of {series['id']}", f"{len(horizons)} horizons.", _lines(lines, "forecast"), numbers)


def _lines(lines: dict[str, tuple[list[int], list[float]]], y: str) -> str:
    if len(next(iter(lines.values()))[0]) > 1:
        return line_chart(lines, x="horizon", y=y)
    return bar_chart([*lines], {y: [values[0] for _, values in lines.values()]}, x=y)


def _distribution(number: dict[str, Any], units: str | None) -> Chart:
    edges, counts = number["edges"], number["counts"]
    numbers = columns_table("Numbers", {"from": edges[:-1], "to": edges[1:], "predictions": counts})
    caption = f"Mean {number['mean']:.4g}, from {number['min']:.4g} to {number['max']:.4g}."
    x = f"{number['name']} ({units})" if units else number["name"]
    return Chart(f"Distribution of {number['name']}", caption, histogram(edges, counts, x=x, y="predictions"), numbers)
