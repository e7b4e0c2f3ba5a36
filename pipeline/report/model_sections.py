"""The sections on the model: training, evaluation by task, slices, worst cases."""

from __future__ import annotations

from typing import Any

from noisy_gru.pipeline.report.blocks import Block, Chart, Facts, Sentences, Table, columns_table
from noisy_gru.pipeline.report.charts import line_chart, matrix_chart, small_line_charts
from noisy_gru.pipeline.report.data_sections import sequence_chart
from noisy_gru.pipeline.report.number_sections import forecasting_blocks, regression_blocks, window_chart

_METRICS_DRAWN = 3
# What the training was set to, epoch by epoch.
_NOISE = "stddev_"  # beginning of the names of the noise's columns
_SETTINGS = {"learning_rate": "Learning rate", "stddev_factor": "Scale of the noise"}


def training_blocks(training: dict[str, Any]) -> list[Block]:
    """Return the blocks of the section on the training."""
    names = {
        "epochs": "epochs",
        "best_epoch": "best epoch",
        "parameters": "parameters",
        "seconds": "seconds",
        "seed": "seed",
        "learning_rate": "learning rate, highest",
    }
    facts: list[tuple[str, Any]] = [(label, training.get(key)) for key, label in names.items()]
    facts.append(("schedule", (training.get("schedule") or {}).get("kind")))
    facts += [(f"noise of layer {place}", value) for place, value in enumerate(training["noise"], 1)]
    choice = training.get("noise_choice") or {}
    facts.append(("noise chosen or adapted", choice.get("kind")))
    facts.append(("factor on the layers' stddev", choice.get("scale")))
    facts.append(("noise schedule", (training.get("noise_schedule") or {}).get("kind")))
    seconds = training["epoch_seconds"]
    if seconds:
        facts.append(("seconds of an epoch, median", sorted(seconds)[len(seconds) // 2]))
    blocks: list[Block] = [Facts([(name, value) for name, value in facts if value is not None])]
    history = dict(training["history"])
    epochs = history.pop("epoch", None) or []
    plain = [name for name in history if not name.startswith(("val_", _NOISE)) and name not in _SETTINGS]
    plain = sorted(plain, key=lambda name: name != "loss")[:_METRICS_DRAWN]
    charts = []
    for name in plain:
        lines = {"train": (epochs, history[name])}
        if f"val_{name}" in history:
            lines["eval"] = (epochs, history[f"val_{name}"])
        charts.append((name, lines))
    if charts and epochs:
        svg = small_line_charts(charts, x="epoch")
        table = columns_table("Numbers", {"epoch": epochs, **history})
        caption = f"Loss and metrics by epoch; the weights are those of epoch {training['best_epoch']}."
        blocks.append(Chart("Loss and metrics", caption, svg, table))
    for name, title in _SETTINGS.items():
        if len(set(history.get(name, []))) > 1:
            svg = line_chart({name: (epochs, history[name])}, x="epoch", y=name.replace("_", " "))
            table = columns_table("Numbers", {"epoch": epochs, name: history[name]})
            blocks.append(Chart(title, "At the end of each epoch." if "rate" in name else "In each epoch.", svg, table))
    layers = {name: (epochs, history[name]) for name in history if name.removeprefix(_NOISE).isdigit()}
    if layers and epochs:
        svg = line_chart(layers, x="epoch", y="standard deviation")
        table = columns_table("Numbers", {"epoch": epochs, **{name: history[name] for name in layers}})
        blocks.append(Chart("Noise of the layers", "Mean over the units, at the end of each epoch.", svg, table))
    if tried := choice.get("tried"):
        keys = ["scale", "loss", "loss_carried_start", "sum"]
        rows = [[each[key] for key in keys] for each in tried]
        blocks.append(Table("Scales of the noise on eval", ["scale", "as served", "carried start", "sum"], rows))
    if len(seconds) > 1:
        columns = {"epoch": list(range(2, len(seconds) + 2)), "seconds": seconds}
        svg = line_chart({"seconds": (columns["epoch"], seconds)}, x="epoch", y="seconds")
        caption = "Seconds of each epoch; the first isn't measured."
        blocks.append(Chart("Time of an epoch", caption, svg, columns_table("Numbers", columns)))
    warm = training.get("warm_start")
    if warm:
        notes = "Started from a published model's weights." if warm.get("used") else "Started with new weights."
        blocks.append(Sentences([notes, *(warm.get("reasons") or [])], "Warm start"))
    return blocks


def evaluation_blocks(evaluation: dict[str, Any]) -> list[Block]:
    """Return the blocks of the section on the evaluation."""
    metrics, published = evaluation["metrics"], evaluation["published"]
    rows = [(name, value, *([published.get(name)] if published else [])) for name, value in metrics.items()]
    columns = ["metric", "this model", *(["published model"] if published else [])]
    blocks: list[Block] = [
        Table("Metrics on the test split", columns, rows),
        *_first_states(evaluation["first_states"]),
    ]
    if evaluation.get("note"):
        blocks.append(Sentences([evaluation["note"]], tone="grey"))
    by_task = {
        "classification": _classification,
        "regression": regression_blocks,
        "forecasting": forecasting_blocks,
    }
    return blocks + (by_task[evaluation["kind"]](evaluation) if evaluation["kind"] else [])


def _first_states(found: dict[str, Any] | None) -> list[Block]:
    """Return the metric from three first states, and why one isn't measured."""
    if found is None:
        return []
    starts = {
        "clean": "its own, as served",
        "noisy_start": "noise, as large as in training",
        "carried_start": "another sequence's last state",
    }
    rows = [(notes, found[key]) for key, notes in starts.items() if found[key] is not None]
    blocks: list[Block] = []
    if rows:
        note = f"Of {found['sequences']} sequences: what a model loses that isn't told where a sequence begins."
        blocks.append(Table("From other first states", ["first state", found["metric"]], rows, note))
    reasons = [f"{starts[key]}: not measured: {reason}." for key, reason in found["not_measured"].items()]
    if not rows:
        reasons = [f"From other first states: not measured: {next(iter(found['not_measured'].values()), '')}."]
    return [*blocks, Sentences(reasons, tone="grey")] if reasons else blocks


def slice_blocks(evaluation: dict[str, Any]) -> list[Block]:
    """Return a table of the first metrics of each slice; nothing without slices."""
    slices = evaluation["slices"]
    names = list(dict.fromkeys(name for values in slices.values() for name in values))
    rows = [(where, *(values.get(name) for name in names)) for where, values in slices.items()]
    return [Table("Metrics by slice", ["slice", *names], rows)] if rows else []


def worst_blocks(worst: dict[str, Any]) -> list[Block]:
    """Return the worst cases, each with its sequence."""
    blocks: list[Block] = []
    for number, case in enumerate(worst["cases"], 1):
        title, facts = f"{number}. {case['id']}", []
        if "forecast" in case:
            blocks.append(window_chart(title, case))
            caption = "What the model read."
        else:
            facts = [("target", case["target"])] if "target" in case else []
            facts += [("true", case["label"]), ("answer", case["answer"]), ("error", case["error"])]
            caption = f"True: {case['label']}, answered: {case['answer']}."
        if case["sequence"] is not None:
            blocks.append(sequence_chart(title, {**case["sequence"], "label": None}, caption))
        if facts:
            blocks.append(Facts([("sequence", case["id"]), *facts]))
    return blocks


def _classification(found: dict[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    if matrix := found.get("confusion"):
        names, counts = matrix["classes"], matrix["counts"]
        table = Table("Numbers", ["true", *names], [(name, *row) for name, row in zip(names, counts, strict=True)])
        svg = matrix_chart(names, counts, x="answered", y="true")
        caption = "Rows: the true class; columns: the answer. The shade is the part of the row."
        blocks.append(Chart("Confusion matrix", caption, svg, table))
    keys = ["class", "sequences", "answered", "right", "recall", "precision", "f1"]
    rows = [[each[key] for key in keys] for each in found["by_class"]]
    titles = ["steps" if key == "sequences" and found.get("of_steps") else key for key in keys]
    of_labels = found.get("of_labels", False)
    if of_labels:
        titles[0], titles[1] = "label", "sequences with it"
    blocks.append(Table("By label" if of_labels else "By class", titles, rows))
    if curves := found.get("curves"):
        areas = [(each["class"], each["roc_auc"], each["average_precision"]) for each in curves]
        first = "label" if of_labels else "class against the rest"
        blocks.append(Table("Areas below the curves", [first, "ROC", "precision-recall"], areas))
        for title, key, x, y in (
            ("ROC", "roc", "false_positive_rate", "recall"),
            ("Precision and recall", "precision_recall", "recall", "precision"),
        ):
            lines = {each["class"]: (each[key][x], each[key][y]) for each in curves[:6]}
            caption = "Each class against the rest." if len(curves) > 1 else f"Class {curves[0]['class']}."
            caption = "Each label by itself." if of_labels else caption
            svg = line_chart(lines, x=x.replace("_", " "), y=y, diagonal=key == "roc")
            points = [(name, *point) for name, (across, up) in lines.items() for point in zip(across, up, strict=True)]
            table = Table("Numbers", [titles[0], x.replace("_", " "), y], points)
            blocks.append(Chart(title, caption, svg, table))
    if calibrated := found.get("calibration"):
        bins = calibrated["bins"]
        columns = {key: [each[key] for each in bins] for key in ("from", "to", "answers", "confidence", "right")}
        svg = line_chart({"": (columns["confidence"], columns["right"])}, x="confidence", y="part right", diagonal=True)
        error = calibrated["expected_calibration_error"]
        caption = "How often answers of a confidence are right; on the dotted line they are as sure as they are right."
        blocks.append(Chart("Calibration", caption, svg, columns_table("Numbers", columns)))
        blocks.append(Facts([("expected calibration error", error)]))
    elif "curves" not in found:
        line = "Curves and calibration need probabilities, which this run didn't record: more than 50 classes, or an "
        blocks.append(Sentences([f"{line}earlier release."], tone="grey"))
    return blocks
