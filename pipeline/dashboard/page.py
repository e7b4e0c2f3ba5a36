"""HTML of the dashboard's pages: the report's blocks and style in the dashboard's frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from noisy_gru.pipeline.report.blocks import Link, Section
from noisy_gru.pipeline.report.page import page_environment

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Field:
    """An input of a form; ``options`` are those of a select."""

    name: str
    value: str
    label: str = ""
    kind: Literal["text", "select", "hidden"] = "text"
    options: Sequence[str] = ()


@dataclass(frozen=True)
class Form:
    """A form with one button."""

    action: str
    button: str
    fields: Sequence[Field]
    method: Literal["get", "post"] = "get"


def dashboard_page(
    title: str,
    sections: Sequence[Section],
    *,
    crumbs: Sequence[Link] = (),
    forms: Sequence[Form] = (),
    pages: Sequence[Link] = (),
    live: str = "",
) -> str:
    """Return a page.

    Args:
        title: heading and title.
        sections: content.
        crumbs: links beside those to the overview and the runs.
        forms: those that ask are shown above the sections, those that change something below.
        pages: links to the pages before and after.
        live: address of the sections, to be asked for each second; empty: they stay as they are.
    """
    template = page_environment(_TEMPLATES).get_template("dashboard.html.j2")
    return template.render(title=title, sections=sections, crumbs=crumbs, forms=forms, pages=pages, live=live)


def sections_html(sections: Sequence[Section]) -> str:
    """Return sections alone, which take the place of those of a page."""
    return page_environment(_TEMPLATES).get_template("sections.html.j2").render(sections=sections)
