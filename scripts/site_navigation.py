"""A hook of mkdocs.yml: the site's navigation lists every decision in docs/decisions/, by number."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: dict[str, Any]) -> None:
    """Fill the section "Decisions" of the navigation; MkDocs calls it when it has read its configuration."""
    docs = Path(config["docs_dir"])
    pages = sorted(path.relative_to(docs).as_posix() for path in (docs / "decisions").glob("*.md"))
    (section,) = (entry for entry in config["nav"] if isinstance(entry, dict) and "Decisions" in entry)
    section["Decisions"] = pages
