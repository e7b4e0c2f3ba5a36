"""Shows two runs side by side, for people."""

from __future__ import annotations

from typing import Any, TextIO

from rich.markup import escape
from rich.table import Table

from noisy_gru.pipeline.cli.runs_view import console_for
from noisy_gru.pipeline.runs.comparison import Difference, Number, RunComparison

_HASH = 12


def show_comparison(found: RunComparison, stream: TextIO) -> None:
    """Writes what differs, then all metrics, slices and durations."""
    console = console_for(stream)

    def section(title: str, rows: list[tuple[str, ...]], *headers: str) -> None:
        if not rows:
            return
        console.print(f"\n[bold]{title}[/]")
        shown = Table(box=None, pad_edge=False)
        for header in ("", *(headers or found.runs)):
            shown.add_column(header, no_wrap=True)
        for row in rows:
            shown.add_row(*(escape(cell) for cell in row))
        console.print(shown)

    for title, parts in (
        ("Outcome", found.outcome),
        ("Configuration", found.config),
        ("Data", found.data),
        ("Files, by sha256", [Difference(d.what, _short(d.first), _short(d.second)) for d in found.files]),
        ("Packages and source", found.packages),
    ):
        section(title, [(each.what, _text(each.first), _text(each.second)) for each in parts])
    if not (found.config or found.data or found.files or found.packages):
        console.print("\nconfiguration, data, packages and source are the same")
    section("Metrics", [_number(each) for each in found.metrics], *found.runs, "change")
    for name, metrics in found.slices.items():
        section(f"Slice {escape(name)}", [_number(each) for each in metrics], *found.runs, "change")
    steps = [
        (pair.name, *(f"{status or '-':<11} {seconds or 0:.1f} s" for status, seconds in sides))
        for pair in found.steps
        for sides in [((pair.first, pair.first_seconds), (pair.second, pair.second_seconds))]
    ]
    total = ("all", *(f"{'':<11} {seconds:.1f} s" for seconds in found.seconds))
    section("Steps", [*steps, total])


def _short(digest: Any) -> str | None:
    return None if digest is None else str(digest)[:_HASH]


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def _number(number: Number) -> tuple[str, ...]:
    sides = ("-" if each is None else f"{each:.6g}" for each in (number.first, number.second))
    return (number.name, *sides, "" if number.change is None else f"{number.change:+.3g}")
