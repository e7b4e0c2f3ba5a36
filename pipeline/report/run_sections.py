"""The sections on the run itself: outcome, comparisons, plan, gates, lineage, resources."""

from __future__ import annotations

from typing import Any

from noisy_gru.pipeline.report.blocks import Block, Chart, Facts, Sentences, Table, columns_table
from noisy_gru.pipeline.report.charts import bar_chart, histogram


def outcome_blocks(outcome: dict[str, Any]) -> list[Block]:
    """Return the blocks at the top: why, against what and by how much, what to do next."""
    blocks: list[Block] = []
    if outcome["reasons"]:
        blocks.append(Sentences(outcome["reasons"], "Why", "warning"))
    decisive = outcome["decisive"]
    if decisive:
        against = "the published model" if decisive["against"] == "published" else f"baseline {decisive['against']}"
        if decisive["against"] == "published" and outcome["compared_with"]:
            against = f"version {outcome['compared_with']}"
        facts = [("metric", decisive["metric"]), ("this model", decisive["candidate"]), (against, decisive["other"])]
        bounds = f"{decisive['confidence'] * 100:.4g} % on each side"
        facts += [("better by", decisive["difference"]), (f"at least ({bounds})", decisive["lower"])]
        facts.append((f"at most ({bounds})", decisive["upper"]))
        blocks += [Facts(facts), Sentences([decisive["text"]])]
    if outcome["warnings"]:
        blocks.append(Sentences(outcome["warnings"], "Worth a look", "warning"))
    if outcome["next"]:
        blocks.append(Sentences(outcome["next"], "What to do next"))
    if outcome["plan"]:
        rows = [(each["rule"], each["kind"], each["met"], each["text"]) for each in outcome["plan"]["reasons"]]
        blocks.append(Sentences([outcome["plan"]["summary"]], "The decision to retrain"))
        blocks.append(Table("Rules", ["rule", "kind", "met", "why"], rows, folded=True))
    return blocks


def comparison_blocks(outcome: dict[str, Any]) -> list[Block]:
    """Return all comparisons, with the published model and the naive baselines; nothing without one."""
    keys = ["metric", "slice", "against", "passed", "required", "candidate", "other", "difference", "lower", "upper"]
    keys += ["sequences", "clusters"]
    rows = [[each[key] for key in keys] for each in outcome["comparisons"]]
    names = ["independent" if key == "clusters" else "better by" if key == "difference" else key for key in keys]
    note = "better by: how much better this model is, with the bounds of a paired bootstrap."
    return [Table("Comparisons", names, rows, note)] if rows else []


def reference_blocks(reference: dict[str, Any]) -> list[Block]:
    """Return the verdict on the reference set."""
    facts = [(name, value) for name, value in reference.items() if name != "text" and value is not None]
    return [Sentences([reference["text"]], tone="plain" if reference["accepted"] else "warning"), Facts(facts)]


def gate_blocks(gate: dict[str, Any]) -> list[Block]:
    """Return the serving gate's checks and numbers."""
    rows = [(each["name"], each["passed"], each["found"]) for each in gate["checks"]]
    numbers = [
        (each["name"], name.replace("_", " "), value)
        for each in gate["checks"]
        for name, value in (each["numbers"] or {}).items()
    ]
    blocks: list[Block] = [Sentences(gate["problems"], "Problems", "warning")] if gate["problems"] else []
    blocks.append(Table("Checks of the served graph", ["check", "passed", "found"], rows))
    blocks += [Table("Measured", ["check", "number", "value"], numbers)] if numbers else []
    return blocks + [block for each in gate["checks"] if each["name"] == "latency" for block in _latency(each)]


def _latency(check: dict[str, Any]) -> list[Block]:
    """Return a histogram for one sequence and one for a batch; nothing for a run of an earlier release."""
    numbers, blocks = check["numbers"] or {}, []
    batch = f"{numbers.get('batch_size', 0):g} sequences"
    for name, what in (("single", "one sequence"), ("batch", batch)):
        found = (check.get("distributions") or {}).get(f"{name}_ms")
        if not found or len(found["counts"]) < 2:
            continue
        edges, counts = found["edges"], found["counts"]
        marks = {each: numbers[f"{name}_{each}_ms"] for each in ("p50", "p90", "p99")}
        svg = histogram(edges, counts, x="milliseconds", y="calls", marks=marks, log=True)
        said = ", ".join(f"{each} {value:.3g} ms" for each, value in marks.items())
        columns = {"from, ms": edges[:-1], "to, ms": edges[1:], "calls": counts}
        caption = f"{said}; {numbers[f'{name}_calls']:g} calls, without network or queue."
        blocks.append(Chart(f"Latency of {what}", caption, svg, columns_table("Numbers", columns)))
    return blocks


def lineage_blocks(lineage: dict[str, Any]) -> list[Block]:
    """Return where the model comes from."""
    keys = ("version", "published_path", "compared_with", "config_path", "config_hash", "seed", "source", "schema")
    # A version names something: no commas in it.
    facts = [(key.replace("_", " "), str(lineage[key])) for key in (*keys, "replay_of") if lineage[key] is not None]
    blocks: list[Block] = [Facts(facts)]
    if lineage["overrides"]:
        blocks.append(Sentences(lineage["overrides"], "Overrides"))
    rows = [(each["name"], each["rows"], each["bytes"], each["span"], each["sha256"]) for each in lineage["files"]]
    if rows:
        blocks.append(Table("Input files", ["file", "rows", "bytes", "span", "sha256"], rows, folded=len(rows) > 8))
    packages = list(lineage["packages"].items())
    blocks.append(Table("Packages", ["package", "version"], packages, folded=True))
    uris = [
        (step, name, uri) for step, outs in lineage["artifacts"].items() for name, each in outs.items() for uri in each
    ]
    blocks.append(Table("Artifacts", ["step", "output", "folder"], uris, folded=True))
    return [block for block in blocks if not (isinstance(block, Table) and not block.rows)]


def resource_blocks(resources: dict[str, Any]) -> list[Block]:
    """Return what each step took."""
    keys = ["name", "status", "seconds", "cpu_seconds", "peak_mb", "disk_bytes", "summary"]
    steps = resources["steps"]
    rows = [[each[key] for key in keys] for each in steps]
    names = ["step", "status", "seconds", "processor seconds", "peak memory, MB", "bytes written", "summary"]
    blocks: list[Block] = [Facts([("seconds of the run", resources["seconds"])])]
    if steps:
        seconds = {"seconds": [each["seconds"] for each in steps]}
        svg = bar_chart([each["name"] for each in steps], seconds, x="seconds")
        columns = {"step": [each["name"] for each in steps], **seconds}
        blocks.append(Chart("Time of each step", "Wall-clock seconds.", svg, columns_table("Numbers", columns)))
        blocks.append(Table("Steps", names, rows))
    return blocks
