"""The section on what a model's answers depend on: features, and parts of the time."""

from __future__ import annotations

from typing import Any

from noisy_gru.pipeline.report.blocks import Block, Chart, Facts, Table
from noisy_gru.pipeline.report.charts import interval_chart

_SHOWN = 20
_WORDS = {
    "log_loss": "log loss",
    "accuracy": "accuracy",
    "mae": "mean absolute error",
    "relative_mae": "mean absolute error, in parts of each target's",
}


def importance_blocks(found: dict[str, Any]) -> list[Block]:
    """Return the chart of features, that of the time, and what they were measured on."""
    measure = found["measures"][0]
    word = _WORDS.get(measure, measure)
    of = f"{found['repeats']} exchanges between {found['sequences']} sequences of the test split"
    often = f"mean and {found['confidence'] * 100:.4g} % interval of {of}"
    ranked = sorted(found["features"], key=lambda each: -each[measure]["mean"])
    more = f" The {_SHOWN} largest of {len(ranked)}." if len(ranked) > _SHOWN else ""
    features = _chart(
        "Features",
        f"How much larger the {word} becomes where a feature's values come from other sequences: {often}. Of features "
        f"that say the same, none may seem important.{more}",
        [(each["name"], each) for each in ranked[:_SHOWN]],
        f"{word}, larger by",
        _table(found, "feature", [(each["name"], each["kind"], each) for each in ranked]),
    )
    names = [_time_name(each, found["lengths"]) for each in found["steps"]]
    steps = _chart(
        "Parts of the time",
        f"The same where all features of a part of each sequence's steps come from another one: {often}.",
        list(zip(names, found["steps"], strict=True)),
        f"{word}, larger by",
        _table(found, "part", [(name, "", each) for name, each in zip(names, found["steps"], strict=True)]),
    )
    whole = [(f"{_WORDS.get(name, name)} of these sequences", value) for name, value in found["whole"].items()]
    facts = Facts([*whole, ("seconds that it took", found["seconds"]), ("seed", found["seed"])])
    return [facts, *([features] if ranked else []), *([steps] if names else [])]


def _chart(title: str, caption: str, rows: list[tuple[str, Any]], x: str, table: Table) -> Chart:
    measure = table.columns[2]
    intervals = [each[measure] for _, each in rows]
    return Chart(title, caption, interval_chart([name for name, _ in rows], intervals, x=x), table)


def _table(found: dict[str, Any], first: str, rows: list[tuple[str, str, Any]]) -> Table:
    bounds = ("mean", "low", "high")
    columns = [
        f"{measure}{'' if bound == 'mean' else f', {bound}'}" for measure in found["measures"] for bound in bounds
    ]
    cells = [
        (name, kind, *(each[measure][bound] for measure in found["measures"] for bound in bounds))
        for name, kind, each in rows
    ]
    note = "How much worse each score becomes: losses and errors larger by, accuracy smaller by."
    return Table("Numbers", [first, "kind", *columns], cells, note, folded=True)


def _time_name(each: dict[str, Any], lengths: list[int]) -> str:
    begin, end = each["from"], each["to"]
    if begin >= 1:
        return "up to the horizon"
    if lengths[0] != lengths[1]:
        return f"{begin:.0%} to {end:.0%}"
    first, last = (int(part * lengths[0] + 1e-9) for part in (begin, end))
    return f"step {last}" if last - first == 1 else f"steps {first + 1} to {last}"
