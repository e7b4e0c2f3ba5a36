"""Recognize a column name that is misspelt."""

from __future__ import annotations

import re


def is_misspelt(name: str, other: str) -> bool:
    """Return whether two names differ by a slip of the pen: in capitals, or by one edit in one word.

    Names of series such as lag_1 and lag_2, or tank_a and tank_b, don't: they are another column each.
    """
    if name.casefold() == other.casefold():
        return True
    words, others = (re.findall(r"[^\W\d_]+|[\W\d_]+", each.casefold()) for each in (name, other))
    if len(words) != len(others):
        return False
    different = [(one, two) for one, two in zip(words, others, strict=True) if one != two]
    if len(different) != 1:
        return False
    one, two = sorted(different[0], key=len)
    return len(one) >= _SHORTEST and one.isalpha() and two.isalpha() and _is_one_edit(one, two)


# Letters of a word in which one edit is a slip and not another word: tank and task are two, presure is none.
_SHORTEST, _SHORTEST_SUBSTITUTION = 4, 6


def _is_one_edit(short: str, long: str) -> bool:
    """Return whether a letter is left out, another one, or two neighbours have changed places."""
    start = next((at for at, (one, two) in enumerate(zip(short, long, strict=False)) if one != two), len(short))
    if len(short) < len(long):
        return short[start:] == long[start + 1 :]
    swapped = short[start : start + 2] == long[start : start + 2][::-1] and short[start + 2 :] == long[start + 2 :]
    return swapped or (len(short) >= _SHORTEST_SUBSTITUTION and short[start + 1 :] == long[start + 1 :])
