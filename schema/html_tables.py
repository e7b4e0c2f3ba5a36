"""Tables and lists in HTML, for notebooks and the pages of steps: all text is escaped, and nothing is fetched.

>>> html_table(["class", "sequences"], [("<b>", 12)])
'<table><tr><th>class</th><th>sequences</th></tr><tr><td>&lt;b&gt;</td><td class="number">12</td></tr></table>'
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def html_heading(text: str) -> str:
    """Return a line in bold."""
    return f"<p><b>{html.escape(text)}</b></p>"


def html_list(sentences: Iterable[str]) -> str:
    """Return sentences as an HTML list."""
    return f"<ul>{''.join(f'<li>{html.escape(sentence)}</li>' for sentence in sentences)}</ul>"


def html_table(columns: Sequence[str], rows: Iterable[Sequence[str | float | None]], title: str = "") -> str:
    """Return a table: texts, whole numbers, and others with four digits; None for an empty cell."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    heading = f"<h2>{html.escape(title)}</h2>" if title else ""
    return f"{heading}<table><tr>{head}</tr>{body}</table>"


def _cell(value: str | float | None) -> str:
    if isinstance(value, str) or value is None:
        return f"<td>{html.escape(value or '')}</td>"
    return f'<td class="number">{f"{value:d}" if isinstance(value, int) else f"{value:.4g}"}</td>'
