"""A picture of a run for messages: the loss and the metrics of its training by epoch, as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_MOST = 2
_WIDTH, _HEIGHT, _DPI = 6.0, 2.4, 100
_NOT_DRAWN = ("epoch", "learning_rate")


def history_picture(history: Mapping[str, Sequence[float | None]], title: str) -> bytes | None:
    """Return the loss and one metric by epoch on train and eval, side by side; None if there is no history.

    Args:
        history: columns of ``history.csv``.
        title: above them.
    """
    names = [name for name in history if not name.startswith(("val_", "stddev_")) and name not in _NOT_DRAWN]
    names = sorted(names, key=lambda name: name != "loss")[:_MOST]
    if not names:
        return None
    # A name may be called $x$.
    with matplotlib.rc_context({"text.parse_math": False, "font.size": 9}):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        figure.suptitle(title)
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            for label, key in (("train", name), ("eval", f"val_{name}")):
                if key in history:
                    values = [float("nan") if value is None else value for value in history[key]]
                    axes.plot(range(1, len(values) + 1), values, label=label, marker="." if len(values) < 3 else "")
            axes.set(xlabel="epoch", title=name)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend(frameon=False)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=_DPI)
    return file.getvalue()
