"""File patterns as the shell has them, and names that hold their characters but mean themselves.

    >>> escaped("proj [v2]/a*b.csv")
    'proj [[]v2]/a[*]b.csv'
    >>> unescaped("proj [[]v2]/a[*]b.csv")
    'proj [v2]/a*b.csv'
    >>> is_literal("proj [[]v2]"), is_literal("[ab].csv")
    (True, False)

An escape is a set of one character, which Python's, TensorFlow's and Beam's patterns all understand.
"""

from __future__ import annotations

import glob
import os.path
import re

from noisy_gru.schema.errors import ConfigError

_SPECIAL = re.compile(r"[*?\[]|\{(?=(?:SPAN|VERSION|YYYY|MM|DD)\b)")
_ESCAPE = re.compile(r"\[([*?\[{])\]")
# A bracket that a place for spans stands in begins no set: a set holds characters.
_AROUND_PLACE = re.compile(r"\[(?=[^\]\[/]*\{(?:SPAN|VERSION|YYYY|MM|DD)\b)")
_LISTED = 3


def escape(name: str) -> str:
    """A pattern that matches this name alone."""
    return _SPECIAL.sub(r"[\g<0>]", name)


def unescape(pattern: str) -> str:
    """A pattern as people write the name that it means."""
    return _ESCAPE.sub(r"\1", pattern)


def is_literal(pattern: str) -> bool:
    """Whether a pattern matches one name alone."""
    return not _SPECIAL.search(_ESCAPE.sub("", pattern))


def local_glob(pattern: str) -> list[str]:
    """The local paths that a pattern matches, sorted; ``**`` stands for any number of folders."""
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207


def absolute_pattern(pattern: str, folder: str) -> str:
    """A pattern from the root of the file system on, with names that are there as they are written (`escape_existing`).

    Args:
        pattern: relative to ``folder``, or absolute; ``~`` is the user's folder.
        folder: an absolute path, which means itself.

    Raises:
        ConfigError: as `escape_existing` says.
    """
    return escape_existing(os.path.normpath(os.path.join(escape(folder), os.path.expanduser(pattern))))  # noqa: PTH111, PTH118


def escape_existing(pattern: str) -> str:
    """A pattern of local files in which every name that is there exactly as it is written means itself.

    Raises:
        ConfigError: a name with ``*`` or ``?`` is there, and others that it matches as a pattern are there, too.
    """
    parts = _AROUND_PLACE.sub("[[]", pattern).split("/")
    for place, part in enumerate(parts):
        if not is_literal(part):
            parts[place] = _part_as_meant("/".join(parts[:place]), part, "/" if place else "")
    return "/".join(parts)


def _part_as_meant(folder: str, part: str, slash: str) -> str:
    wild = "*" in part or "?" in part
    if part == "**" or (wild and not is_literal(folder)):
        return part
    itself = escape(part)
    if not local_glob(f"{folder}{slash}{itself}"):
        return part
    if wild:
        others = [name for name in map(os.path.basename, local_glob(f"{folder}{slash}{part}")) if name != part]
        if others:
            named = ", ".join(others[:_LISTED]) + (" and others" if len(others) > _LISTED else "")
            raise ConfigError(
                f"{unescape(folder)}{slash}{part}: is the name of something that is there, and as a pattern it "
                f"matches {named}, too. Write {itself} for the one, or rename it"
            )
    return itself
