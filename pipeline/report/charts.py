"""Charts as SVG for a page: text stays text, colours are the page's (CSS variables), nothing is fetched.

>>> line_chart({"loss": ([1, 2], [0.5, 0.3])}, x="epoch", y="loss").startswith("<svg")  # doctest: +SKIP
True
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.patches
import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure

# Stand-ins, which the page's CSS gives a colour for light, dark and print.
INK, GRID = "#010203", "#010204"
SERIES = ("#010211", "#010212", "#010213", "#010214", "#010215", "#010216")
_VARIABLES = {INK: "--ink", GRID: "--grid", **{each: f"--series-{place}" for place, each in enumerate(SERIES, 1)}}
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "date.converter": "concise",
    "svg.hashsalt": "report",  # equal accounts give equal pages
    "text.parse_math": False,  # a class may be called $x$
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    **{f"{name}.color": INK for name in ("text", "xtick", "ytick")},
    **{f"axes.{name}": INK for name in ("edgecolor", "labelcolor", "titlecolor")},
}
_NAME = 28
# In inches. At the width of a phone the text is as large as it is set.
_WIDTH = 5.2
_ZOOM = 1.6  # pixels of a wide page for each point of the drawing
_BAND = 0.8  # of a stacked chart's unit
_SMALL = 8
Line = tuple[Sequence[Any], Sequence[Any]]


def line_chart(lines: Mapping[str, Line], *, x: str, y: str, mark: float | None = None, diagonal: bool = False) -> str:
    """Draw lines by name; ``mark`` is a vertical line, ``diagonal`` that of chance or of a perfect answer."""

    def draw(axes: Any) -> None:
        if diagonal:
            axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        _draw_lines(axes, lines)
        if mark is not None:
            axes.axvline(mark, color=INK, linewidth=0.8, linestyle="--")
        axes.set(xlabel=x, ylabel=y)
        _whole_ticks(axes, lines)
        _legend(axes, len(lines))

    return _drawn(draw)


def small_line_charts(
    charts: Sequence[tuple[str, Mapping[str, Line]]],
    *,
    x: str,
    bands: Mapping[str, tuple[Line, Sequence[Any]]] | None = None,
) -> str:
    """Draw charts below each other with a common x axis, each with its title.

    ``bands`` are areas by title: the line below, and the vertical values of the one above.
    """

    def draw(figure: Any) -> None:
        grid = np.atleast_1d(figure.subplots(len(charts), 1, sharex=True))
        for axes, (title, lines) in zip(grid, charts, strict=True):
            if band := (bands or {}).get(title):
                (places, low), high = band
                ends = [[np.nan if each is None else each for each in values] for values in (low, high)]
                axes.fill_between(places, *ends, color=SERIES[1], alpha=0.25, linewidth=0)
            _draw_lines(axes, lines)
            axes.set_title(short(title), fontsize=_SMALL, loc="left", pad=2)
            axes.tick_params(labelsize=_SMALL)
            _legend(axes, len(lines))
        grid[-1].set_xlabel(x)
        _whole_ticks(grid[-1], {title: line for _, lines in charts for title, line in lines.items()})
        height = 0.4 + 1.3 * len(charts)
        figure.subplots_adjust(left=0.13, right=0.98, top=1 - 0.25 / height, bottom=0.5 / height, hspace=0.3)

    return _figure(draw, height=0.4 + 1.3 * len(charts))


def bar_chart(names: Sequence[str], values: Mapping[str, Sequence[float | None]], *, x: str) -> str:
    """Draw horizontal bars, of each name one for each series."""

    def draw(axes: Any) -> None:
        places, height = np.arange(len(names)), 0.8 / max(len(values), 1)
        for number, (label, lengths) in enumerate(values.items()):
            numbers = [np.nan if each is None else each for each in lengths]
            axes.barh(places + number * height, numbers, height, label=short(label), color=SERIES[number % len(SERIES)])
        axes.set_yticks(places + 0.4 - height / 2, [short(name) for name in names])
        axes.set_ylim(len(names) - 0.1, -height / 2 - 0.1)
        axes.set_xlabel(x)
        axes.grid(axis="y", visible=False)
        if len(values) > 1:  # above the bars, which it would cover
            place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.1}
            axes.legend(fontsize=_SMALL, ncols=len(values), **place)

    left = 0.3 + 0.07 * max((len(short(name)) for name in names), default=0)
    top = 0.3 if len(values) > 1 else 0.12
    height = 0.58 + top + 0.22 * len(names) * max(1.0, 0.6 * len(values))
    return _drawn(draw, height=height, left=left, top=top)


def interval_chart(names: Sequence[str], intervals: Sequence[Mapping[str, float | None]], *, x: str) -> str:
    """Draw a bar of each name, up to the `mean` of its interval, and a line from its `low` to its `high`, if known."""

    def draw(axes: Any) -> None:
        places = np.arange(len(names))
        mean, low, high = (np.array([each[key] for each in intervals], float) for key in ("mean", "low", "high"))
        axes.barh(places, mean, 0.7, color=SERIES[0], alpha=0.6)
        axes.hlines(places, low, high, color=INK, linewidth=1.4)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6))  # small differences have long labels
        axes.set_yticks(places, [short(name) for name in names])
        axes.invert_yaxis()
        axes.set_xlabel(x)
        axes.grid(axis="y", visible=False)

    left = 0.3 + 0.07 * max((len(short(name)) for name in names), default=0)
    return _drawn(draw, height=0.7 + 0.22 * len(names), left=left)


def histogram(
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    x: str,
    y: str,
    marks: Mapping[str, float] | None = None,
    log: bool = False,
) -> str:
    """Draw counts between edges; ``marks`` are vertical lines by name, ``log`` makes the axis logarithmic."""

    def draw(axes: Any) -> None:
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=SERIES[0])
        for number, (name, place) in enumerate((marks or {}).items(), 1):
            axes.axvline(place, color=SERIES[number % len(SERIES)], linestyle="--", label=short(name))
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
            axes.xaxis.set_minor_formatter(
                matplotlib.ticker.LogFormatter(labelOnlyBase=False, minor_thresholds=(1, 0.3))
            )
        axes.set(xlabel=x, ylabel=y)
        _legend(axes, 2 * len(marks or {}))

    return _drawn(draw, height=2.4)


def stacked_lines(columns: Mapping[str, Sequence[Any]], *, x: str) -> str:
    """Draw columns below each other in one chart, each between its own least and largest value, which its name has."""

    def draw(axes: Any) -> None:
        labels = []
        for number, (name, column) in enumerate(columns.items()):
            values = np.array([np.nan if each is None else each for each in column], float)
            low, high = _range(values)
            labels.append(f"{short(name, 14)}\n{low:.3g} … {high:.3g}")
            scaled = (values - low) / (high - low or 1.0) * _BAND + len(columns) - 1 - number
            axes.plot(scaled, color=SERIES[number % len(SERIES)], linewidth=1.2, marker="." if len(values) < 40 else "")
        _bands(axes, labels)
        axes.set_xlabel(x)

    return _drawn(draw, height=0.6 + 0.5 * len(columns), left=1.25)


def stacked_histograms(charts: Sequence[tuple[str, Sequence[float], Mapping[str, Sequence[float]]]]) -> str:
    """Draw distributions below each other in one chart: of each name the edges, and the shares by split."""
    names = list(dict.fromkeys(split for _, _, shares in charts for split in shares))

    def draw(axes: Any) -> None:
        labels = []
        for number, (name, edges, shares) in enumerate(charts):
            labels.append(f"{short(name, 14)}\n{edges[0]:.3g} … {edges[-1]:.3g}")
            most = max((max(values, default=0.0) for values in shares.values()), default=0.0) or 1.0
            places = np.linspace(0, 1, len(edges))
            for split, values in shares.items():
                colour = SERIES[names.index(split) % len(SERIES)]
                base = len(charts) - 1 - number
                heights = np.array(values) / most * _BAND + base
                axes.stairs(heights, places, baseline=base, color=colour, linewidth=1.2)
        for place, split in enumerate(names):
            axes.plot([], [], color=SERIES[place % len(SERIES)], label=short(split))
        _bands(axes, labels)
        axes.set_xticks([0, 1], ["least value", "largest"])
        axes.legend(fontsize=_SMALL, ncols=len(names), loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1)

    return _drawn(draw, height=0.7 + 0.5 * len(charts), left=1.25, top=0.3)


def scatter_chart(horizontal: Sequence[float], vertical: Sequence[float], *, x: str, y: str) -> str:
    """Draw points, and the diagonal on which both are equal."""

    def draw(axes: Any) -> None:
        both = [*horizontal, *vertical]
        axes.plot([min(both), max(both)], [min(both), max(both)], color=INK, linewidth=0.8, linestyle=":")
        axes.scatter(horizontal, vertical, s=7, color=SERIES[0], alpha=0.6, linewidths=0)
        axes.set(xlabel=x, ylabel=y)

    return _drawn(draw, height=3.6, width=4.2)


def matrix_chart(names: Sequence[str], counts: Sequence[Sequence[int]], *, x: str, y: str) -> str:
    """Draw a confusion matrix: rows by shade, numbers where there are few classes."""
    values = np.asarray(counts, float)
    shares = values / np.maximum(values.sum(axis=1, keepdims=True), 1)
    labels = [short(name, 12) for name in names]
    size = max(2.6, min(_WIDTH, 1.2 + 0.32 * len(names)))

    def draw(axes: Any) -> None:
        for (row, column), share in np.ndenumerate(shares):
            if share > 0:
                axes.add_patch(
                    matplotlib.patches.Rectangle(
                        (column - 0.5, row - 0.5), 1, 1, color=SERIES[0], alpha=0.12 + 0.6 * share, linewidth=0
                    )
                )
            if len(names) <= 20 and values[row, column]:
                axes.text(column, row, f"{int(values[row, column])}", ha="center", va="center", fontsize=_SMALL)
        axes.set_xticks(range(len(names)), labels, rotation=90 if max(map(len, labels)) > 3 else 0)
        axes.set_yticks(range(len(names)), labels)
        axes.set(xlabel=x, ylabel=y, xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5))
        axes.grid(visible=False)

    margin = 0.5 + 0.07 * max(map(len, labels))
    return _drawn(draw, height=size, width=size, left=margin, bottom=margin)


def short(name: object, length: int = _NAME) -> str:
    """Return a name that fits on a chart, without characters that XML doesn't know."""
    text = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in str(name))
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _draw_lines(axes: Any, lines: Mapping[str, Line]) -> None:
    for number, (name, (horizontal, vertical)) in enumerate(lines.items()):
        values = [np.nan if each is None else each for each in vertical]
        lonely = "o" if len(values) == 1 else ""
        axes.plot(
            horizontal, values, label=short(name), color=SERIES[number % len(SERIES)], marker=lonely, markersize=3
        )


def _whole_ticks(axes: Any, lines: Mapping[str, Line]) -> None:
    """No ticks between epochs or steps."""
    places = [place for horizontal, _ in lines.values() for place in horizontal]
    if places and all(isinstance(each, int | float) and each == int(each) for each in places):
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))


def _range(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)


def _bands(axes: Any, labels: Sequence[str]) -> None:
    axes.set_yticks([len(labels) - 1 - place + _BAND / 2 for place in range(len(labels))], labels, fontsize=7)
    axes.set_ylim(-0.1, len(labels))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def _legend(axes: Any, count: int) -> None:
    if count > 1:
        axes.legend(fontsize=_SMALL, ncols=2 if count > 4 else 1)


def _drawn(
    draw: Callable[[Any], None],
    *,
    height: float = 2.8,
    width: float = _WIDTH,
    left: float = 0.8,
    bottom: float = 0.5,
    top: float = 0.12,
) -> str:
    """Return a chart of one pair of axes, with margins in inches: a layout that is computed costs a second drawing."""
    frame = (left / width, bottom / height, 1 - (left + 0.15) / width, 1 - (bottom + top) / height)
    return _figure(lambda figure: draw(figure.add_axes(frame)), height=height, width=width)


def _figure(draw: Callable[[Any], None], *, height: float, width: float = _WIDTH) -> str:
    """Return an SVG element of what ``draw`` puts into a figure."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's own font lacks, and names may be of any script.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        figure = Figure(figsize=(width, height))
        draw(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_a_page(buffer.getvalue())


def _for_a_page(svg: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    # The figure around it has the description; its size follows the page's.
    head, rest = svg.split(">", 1)
    width = float(re.search(r' width="([0-9.]+)pt"', head)[1])  # type: ignore[index]
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    head = f'{head} style="max-width:{_ZOOM * width:.0f}px" aria-hidden="true" focusable="false"'
    return re.sub(r">\s+<", "><", f"{head}>{rest}").strip()
