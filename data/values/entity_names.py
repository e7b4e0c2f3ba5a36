"""Names of entities of several columns: their texts joined, so that they can be told apart again.

>>> join_names([pa.array(["north", "a|b"]), pa.array(["tea", "tea"])]).to_pylist()
['north|tea', 'a\\|b|tea']
>>> split_name("a\\|b|tea")
['a|b', 'tea']
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from noisy_gru.data.arrow import pc
from noisy_gru.data.values.parsing import Array

SEPARATOR = "|"
_PARTS = re.compile(r"(?:[^\\|]|\\.)*", re.DOTALL)


def join_names(columns: Sequence[Array]) -> Any:
    """Join the texts of each row; null where one is missing. One column stays as it is."""
    if len(columns) == 1:
        return columns[0]
    escaped = [pc.replace_substring_regex(column, r"([\\|])", r"\\\1") for column in columns]
    return pc.binary_join_element_wise(*escaped, SEPARATOR)


def split_name(name: str) -> list[str]:
    """Return the texts that ``join_names`` joined."""
    parts, place = [], 0
    while True:
        match = _PARTS.match(name, place)
        end = len(name) if match is None else match.end()
        parts.append(re.sub(r"\\(.)", r"\1", name[place:end], flags=re.DOTALL))
        if end >= len(name):
            return parts
        place = end + 1


def names_by_column(names: Sequence[str], columns: Sequence[str]) -> dict[str, list[str]]:
    """Return the text of each column of entities' names [N], by column."""
    if len(columns) == 1:
        return {columns[0]: list(names)}
    rows = [split_name(name) for name in names] if columns else []
    return {column: [row[place] for row in rows] for place, column in enumerate(columns)}
