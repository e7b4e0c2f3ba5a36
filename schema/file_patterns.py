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
from pathlib import Path

from noisy_gru.schema.errors import ConfigError

_SPECIAL = re.compile(r"[*?\[]|\{(?=(?:SPAN|VERSION|YYYY|MM|DD)\b)")
_ESCAPE = re.compile(r"\[([*?\[{])\]")
# A bracket around a {SPAN} placeholder is literal: a set holds single characters.
_AROUND_PLACE = re.compile(r"\[(?=[^\]\[/]*\{(?:SPAN|VERSION|YYYY|MM|DD)\b)")
_PLACE = re.compile(r"\{(?:SPAN|VERSION|YYYY|MM|DD)(?::[^}]*)?\}")
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

    A bracket beside a wildcard or a placeholder for spans is a character, too, where such names exist.

    Raises:
        ConfigError: a name with ``*`` or ``?`` exists, and so do other names that it matches as a pattern; or a bracket
            is a character of some names, and a set for others.
    """
    parts = _AROUND_PLACE.sub("[[]", pattern).split("/")
    for place, part in enumerate(parts):
        if not is_literal(part):
            folder, slash = "/".join(parts[:place]), "/" if place else ""
            parts[place] = _brackets_as_meant(folder, _part_as_meant(folder, part, slash), slash)
    return "/".join(parts)


def _brackets_as_meant(folder: str, part: str, slash: str) -> str:
    pieces = re.split(f"({_ESCAPE.pattern.replace('(', '(?:')})", part)
    literal = "".join(piece if place % 2 else piece.replace("[", "[[]") for place, piece in enumerate(pieces))
    if literal == part:
        return part
    names = local_glob(_PLACE.sub("[0-9]*", f"{folder}{slash}{literal}"))
    if not names:
        return part
    others = sorted(set(local_glob(_PLACE.sub("[0-9]*", f"{folder}{slash}{part}"))) - set(names))
    if others:
        raise ConfigError(
            f"{unescape(folder)}{slash}{part}: matches {Path(names[0]).name}, where the bracket is a character, "
            f"and {Path(others[0]).name}, where it is a set of characters. Write {literal} for the former, or "
            "rename them"
        )
    return literal


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
