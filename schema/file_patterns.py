"""Shell-style file patterns, and the escaping of names that contain pattern characters.

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
# A bracket around a {SPAN} placeholder is literal: a set holds single characters.
_AROUND_PLACE = re.compile(r"\[(?=[^\]\[/]*\{(?:SPAN|VERSION|YYYY|MM|DD)\b)")
_LISTED = 3


def escape(name: str) -> str:
    """Return a pattern that matches exactly this name."""
    return _SPECIAL.sub(r"[\g<0>]", name)


def unescape(pattern: str) -> str:
    """Return a pattern without its escapes, as people write it."""
    return _ESCAPE.sub(r"\1", pattern)


def is_literal(pattern: str) -> bool:
    """Whether a pattern matches exactly one name."""
    return not _SPECIAL.search(_ESCAPE.sub("", pattern))


def local_glob(pattern: str) -> list[str]:
    """Return the local paths that match a pattern, sorted; ``**`` matches any number of folders."""
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207


def absolute_pattern(pattern: str, folder: str) -> str:
    """Return an absolute pattern in which names that exist as written are escaped (`escape_existing`).

    Args:
        pattern: relative to ``folder``, or absolute; ``~`` is the user's folder.
        folder: an absolute path, taken literally.

    Raises:
        ConfigError: see `escape_existing`.
    """
    return escape_existing(os.path.normpath(os.path.join(escape(folder), os.path.expanduser(pattern))))  # noqa: PTH111, PTH118


def escape_existing(pattern: str) -> str:
    """Escape the parts of a local pattern that exist as files or folders under exactly that name.

    Raises:
        ConfigError: a name with ``*`` or ``?`` exists, and so do other names that it matches as a pattern.
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
                f"{unescape(folder)}{slash}{part}: is the name of an existing file, and as a pattern also matches "
                f"{named}. Write {itself} for that file alone, or rename it"
            )
    return itself
