"""Print the reports of experiments as tables."""

from __future__ import annotations

from typing import Any, TextIO

from rich.markup import escape
from rich.table import Table

from noisy_gru.pipeline.cli.runs_view import console_for
from noisy_gru.pipeline.experiments.noise_report import CONFIGURED, NONE
from noisy_gru.pipeline.experiments.wording import LUCK, decimals_of, footer, interval_text, measure_title


def show_comparison(report: dict[str, Any], stream: TextIO) -> None:
    """Print a comparison as a table."""
    console = console_for(stream)
    if not report["seeds"]:
        console.print("no seed is complete for all variants yet: run it again to go on, with more --budget")
        return
    table = Table(box=None, pad_edge=False)
    for header in ("", "variant", report["metric"], "spread", "against the configured", "", "epochs", "s", "weights"):
        table.add_column(header, justify="left" if header in ("variant", "against the configured", "") else "right")
    decimals = decimals_of(report["variants"][0]["mean"])
    for each in report["variants"]:
        table.add_row(
            str(each["rank"]),
            escape(each["name"]),
            f"{each['mean']:.{decimals}f}",
            "" if each["spread"] is None else f"{each['spread']:.2g}",
            escape(interval_text(each["difference"], decimals)),
            each["outcome"],
            f"{each['epochs']:.0f}",
            f"{each['seconds']:.0f}",
            f"{each['parameters']:,}",
        )
    console.print(table)
    _show_failed(console, report)
    console.print(footer(report))
    if len(report["seeds"]) > 1:
        console.print(LUCK)
    _show_verdict(console, report)


def _show_verdict(console: Any, report: dict[str, Any]) -> None:
    console.print(f"\n[bold]{escape(report['verdict'])}[/]")
    if report["suggestion"] is not None:
        console.print(escape(report["suggestion"]["yaml"]))


def _show_failed(console: Any, report: dict[str, Any]) -> None:
    for name, error in report["failed"].items():
        console.print(escape(f"left out: {name}: {error}"))


def show_noise(report: dict[str, Any], stream: TextIO) -> None:
    """Print a noise report: a table against no noise, one against the configured noise, and the verdict."""
    console = console_for(stream)
    if not report["seeds"]:
        console.print("no seed is complete for all scales yet: run it again to go on, with more --budget")
        return
    scales = [each for each in report["scales"] if each["kind"] is None]
    kinds = [each for each in report["scales"] if each["kind"] is not None]
    for title, key, base, rows in (
        ("Against no noise", "against_none", NONE, scales),
        ("Kinds, against no noise", "against_none", NONE, kinds),
        ("Against the configured noise", "against_configured", CONFIGURED, scales),
        ("Kinds, against the configured noise", "against_configured", CONFIGURED, kinds),
    ):
        others = [each for each in rows if each["name"] != base]
        if not others:
            continue
        table = Table(box=None, pad_edge=False)
        table.add_column(title)
        (reference,) = (each for each in report["scales"] if each["name"] == base)
        table.add_column(f"{base} (spread)", justify="right")
        for each in others:
            table.add_column(each["name"], no_wrap=True)
        for name, measure in reference["measures"].items():
            spread = "" if measure["spread"] is None else f" ({measure['spread']:.2g})"
            decimals = 2 if "epochs" in name else decimals_of(measure["mean"])
            cells = [escape(interval_text(each["measures"][name][key], decimals)) for each in others]
            value = f"{measure['mean']:.{decimals}f}{spread}"
            table.add_row(escape(measure_title(name, report["metric"])), value, *cells)
        console.print(table)
        console.print("")
    level = report["level"]
    console.print(f"epochs to level: until the eval loss is {level['loss']:.4g}, 90 % of its way down without noise")
    for name, seeds in level["never_reached"].items():
        if seeds:
            console.print(f"  {name}: never reached with seed {', '.join(map(str, seeds))}; counted as all epochs")
    for start, reason in report["not_measured"].items():
        console.print(escape(f"not measured: {measure_title(start, report['metric'])}: {reason}"))
    _show_failed(console, report)
    if report["auto"] is not None:
        console.print(f"model.stddev: auto would choose {report['auto']['scale']} of these scales")
    console.print(footer(report))
    _show_verdict(console, report)
