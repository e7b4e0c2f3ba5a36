"""The evaluation of predicted numbers: regressions, and forecasts by horizon, series and hour, with their intervals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from noisy_gru.pipeline.report.blocks import Block, Chart, Facts, Table, columns_table
from noisy_gru.pipeline.report.charts import bar_chart, histogram, line_chart, scatter_chart, small_line_charts

_HORIZONS_AS_BARS = 8  # more are a line
_MODELS = {"candidate": "this model", "published": "published model", "last": "last value", "seasonal": "last season"}


def window_chart(title: str, case: dict[str, Any], notes: str = "") -> Chart:
    """Return the forecast of a window beside what came, a chart for each target."""
    horizons, ends = case["horizons"], "low" in case
    charts = [
        (target, {"came": (horizons, case["came"][target]), "forecast": (horizons, case["forecast"][target])})
        for target in case["came"]
    ]
    columns = {"horizon": horizons}
    for target in case["came"]:
        keys = ("came", "forecast", *(("low", "high") if ends else ()))
        columns |= {f"{target} {key}": case[key][target] for key in keys}
    table = Table("Numbers", list(columns), list(zip(*columns.values(), strict=True)))
    bands = {target: ((horizons, case["low"][target]), case["high"][target]) for target in case["came"]} if ends else {}
    svg = small_line_charts(charts, x="horizon", bands=bands) if len(horizons) > 1 else ""
    area = " The area is between the lowest and the highest quantile." if ends and svg else ""
    return Chart(title, f"{notes}Forecast and what came; {case['error']:.3g} times the mean error.{area}", svg, table)


def regression_blocks(found: dict[str, Any]) -> list[Block]:
    """Return the blocks of a regression, of each target by itself where there are several."""
    if "targets" not in found:
        return [*_interval(found.get("interval")), *_pairs(found["pairs"]), *_residuals(found["residuals"])]
    blocks: list[Block] = []
    for each in found["targets"]:
        named = [*_interval(each.get("interval")), *_pairs(each["pairs"]), *_residuals(each["residuals"])]
        blocks += [_of_target(block, each["target"]) for block in named]
    return blocks


def _of_target(block: Block, target: str) -> Block:
    """Return a block of one of several targets, with the target's name in it."""
    if isinstance(block, Chart):
        return replace(block, title=f"{target}: {block.title[:1].lower()}{block.title[1:]}")
    if isinstance(block, Facts):
        return replace(block, items=[(f"{target}: {name}", value) for name, value in block.items])
    return block


def forecasting_blocks(found: dict[str, Any]) -> list[Block]:
    """Return the blocks of a forecast: windows, series, and the errors of each target."""
    blocks: list[Block] = [
        window_chart(f"Window {window['id']}", window, f"{window['why'].capitalize()}. ")
        for window in found.get("windows") or []
    ]
    for each in found["targets"]:
        target = each["target"]
        for came in each.get("came") or []:
            places = list(range(len(came["came"])))
            names = [name for name in ("came", "candidate", "published") if name in came]
            lines = {_MODELS.get(name, name): (places, came[name]) for name in names}
            title = f"{target} of {came['series']}, {came['horizon']} steps ahead"
            table = columns_table(
                "Numbers", {"last input": came["last_input"], **{n: v for n, (_, v) in lines.items()}}
            )
            svg = line_chart(lines, x="window", y=target)
            blocks.append(Chart(title, "What came, and what was forecast for it, of the last windows.", svg, table))
        blocks += _errors(target, "horizon", each["by_horizon"], "Error by horizon")
        blocks += [*(_of_target(block, target) for block in _interval(each.get("interval")))]
        blocks += _coverage(target, each["by_horizon"])
        if each["by_hour"]:
            hours = [hour["hour"] for hour in each["by_hour"]]
            errors = [hour["mae"] for hour in each["by_hour"]]
            columns = {"hour": hours, "answers": [hour["answers"] for hour in each["by_hour"]], "mae": errors}
            svg = line_chart({"": (hours, errors)}, x="hour of the day that is forecast", y="mean absolute error")
            table = columns_table("Numbers", columns)
            blocks.append(Chart(f"{target}: error by hour", "In the time zone of the data.", svg, table))
        if each.get("by_series"):
            blocks += _errors(target, "series", each["by_series"], "Error by series, the worst first")
        blocks += [_of_target(block, target) for block in (*_pairs(each["pairs"]), *_residuals(each["residuals"]))]
    return blocks


def _interval(found: dict[str, Any] | None) -> list[Block]:
    """Return what the interval of the outermost quantiles covers; nothing without intervals."""
    if found is None:
        return []
    facts = [(f"inside the {found['coverage']:.4g} interval", found["covered"]), ("mean width of it", found["width"])]
    return [Facts(facts)]


def _coverage(target: str, rows: list[dict[str, Any]]) -> list[Block]:
    """Return coverage by horizon; nothing without intervals, or of one horizon."""
    known = [(each["horizon"], each["interval"]) for each in rows if each.get("interval")]
    if len(known) < 2:
        return []
    horizons = [horizon for horizon, _ in known]
    covered, width = ([found[key] for _, found in known] for key in ("covered", "width"))
    expected = known[0][1]["coverage"]
    lines = {"covered": (horizons, covered), "expected": (horizons, [expected] * len(known))}
    columns = {
        "horizon": horizons,
        "covered": covered,
        "width": width,
        "answers": [each["answers"] for _, each in known],
    }
    caption = f"Which part of what came is between the lowest and the highest quantile; {expected:.4g} should be."
    svg = line_chart(lines, x="horizon", y="part covered")
    return [Chart(f"{target}: coverage by horizon", caption, svg, columns_table("Numbers", columns))]


def _errors(target: str, key: str, rows: list[dict[str, Any]], title: str) -> list[Block]:
    models = {str(name): _MODELS.get(str(name), str(name)) for name in rows[0]["mae"]} if rows else {}
    names = [str(each[key]) for each in rows]
    more = [name for name in ("windows", "bias") if rows and name in rows[0]]
    cells = [(each[key], *(each["mae"][name] for name in models), *(each[name] for name in more)) for each in rows]
    table = Table("Numbers", [key, *models.values(), *more], cells)
    if len(rows) < 2:
        return [Table(f"{target}: {title.lower()}", table.columns, table.rows)]
    series = {label: [each["mae"][name] for each in rows] for name, label in models.items()}
    caption = "Mean absolute error of this model, and of what it is compared with."
    if key == "horizon" and len(rows) > _HORIZONS_AS_BARS:
        lines = {label: ([each[key] for each in rows], values) for label, values in series.items()}
        svg = line_chart(lines, x="horizon", y="mean absolute error")
    else:
        svg = bar_chart(names, series, x="mean absolute error")
    return [Chart(f"{target}: {title.lower()}", caption, svg, table)]


def _pairs(pairs: dict[str, Any]) -> list[Block]:
    if not pairs["true"]:
        return []
    svg = scatter_chart(pairs["true"], pairs["predicted"], x="true", y="predicted")
    columns = {"true": pairs["true"], "predicted": pairs["predicted"]}
    caption = f"{len(pairs['true'])} of {pairs['of']} answers; on the dotted line both are equal."
    return [Chart("Predicted against true", caption, svg, columns_table("Numbers", columns))]


def _residuals(residuals: dict[str, Any]) -> list[Block]:
    if not residuals["count"]:
        return []
    edges, counts = residuals["edges"], residuals["counts"]
    columns = {"from": edges[:-1], "to": edges[1:], "answers": counts}
    svg = histogram(edges, counts, x="predicted less true", y="answers")
    facts: list[tuple[str, Any]] = [("mean residual", residuals["mean"])]
    facts += [(f"{float(part):.0%} quantile", value) for part, value in residuals["quantiles"].items()]
    return [Chart("Residuals", "Predicted less true.", svg, columns_table("Numbers", columns)), Facts(facts)]
