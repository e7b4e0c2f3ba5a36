"""Vocabularies whose values may hold line ends: escaped inside Transform's graph, and read back unescaped.

    ids = tft.apply_vocabulary(escape_line_ends(text), tft.vocabulary(escape_line_ends(text), vocab_filename="kinds"))
    read_vocabulary(transform, "kinds")  # [b"up\\n(late)", b"down"]

A vocabulary is a file of lines, and tf.Transform drops values with line ends: a class would be lost.
"""

# TensorFlow's type hints don't know tensors as arguments.

from __future__ import annotations

import re

import tensorflow as tf
import tensorflow_transform as tft

# In the order of escaping: the backslash first, so that it is never taken for one of the others.
_ESCAPES = ((r"\\", r"\\\\"), (r"\n", r"\\n"), (r"\r", r"\\r"))
_UNESCAPED = {b"\\\\": b"\\", b"\\n": b"\n", b"\\r": b"\r"}


def escape_line_ends(text: tf.Tensor) -> tf.Tensor:
    """Escape backslash, line feed and carriage return in strings of any shape, so that each is one line."""
    for pattern, rewrite in _ESCAPES:
        text = tf.strings.regex_replace(text, pattern, rewrite)
    return text


def unescape_line_ends(value: bytes) -> bytes:
    """Invert ``escape_line_ends``."""
    return re.sub(rb"\\[\\nr]", lambda match: _UNESCAPED[match[0]], value)


def read_vocabulary(transform: tft.TFTransformOutput, vocabulary: str) -> list[bytes]:
    """Return the values of a vocabulary, in the order of their ids."""
    return [unescape_line_ends(value) for value in transform.vocabulary_by_name(vocabulary)]
