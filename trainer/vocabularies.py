"""Vocabularies with line ends in their words: escape_line_ends inside Transform's graph, and read back as they were.

    ids = tft.apply_vocabulary(escape_line_ends(text), tft.vocabulary(escape_line_ends(text), vocab_filename="kinds"))
    read_vocabulary(transform, "kinds")  # [b"up\\n(late)", b"down"]

A vocabulary is a file of lines, and tf.Transform leaves out what would be two of them: a class would be gone.
"""

# TensorFlow's type hints don't know tensors as arguments.
# pyright: reportArgumentType=false

from __future__ import annotations

import re

import tensorflow as tf
import tensorflow_transform as tft

# In the order of escaping: the backslash first, so that it is never taken for one of the others.
_ESCAPES = ((r"\\", r"\\\\"), (r"\n", r"\\n"), (r"\r", r"\\r"))
_UNESCAPED = {b"\\\\": b"\\", b"\\n": b"\n", b"\\r": b"\r"}


def escape_line_ends(text: tf.Tensor) -> tf.Tensor:
    """Strings of any shape in one line each: backslash, line feed and carriage return as two characters."""
    for pattern, rewrite in _ESCAPES:
        text = tf.strings.regex_replace(text, pattern, rewrite)
    return text


def unescape_line_ends(word: bytes) -> bytes:
    """The string that ``escape_line_ends`` made this word of."""
    return re.sub(rb"\\[\\nr]", lambda found: _UNESCAPED[found[0]], word)


def read_vocabulary(transform: tft.TFTransformOutput, vocabulary: str) -> list[bytes]:
    """The words of a vocabulary, in the order of their ids."""
    return [unescape_line_ends(word) for word in transform.vocabulary_by_name(vocabulary)]
