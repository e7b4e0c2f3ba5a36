"""Fields of text-format messages are found at their place; protobuf's own parser and printer are the oracle."""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2

from noisy_gru.pipeline.schema_file.text_fields import fields_of

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
# What a person may write between tokens.
SPACE = st.sampled_from([" ", "\n", "\t", ' # a { "comment\n', "\n# don't }\n\n"])


@st.composite
def schemas(draw) -> tuple[Any, str]:
    """A message, and a text of it as a person may write it."""
    message = schema_pb2.Schema()
    for name in draw(st.lists(TEXT, max_size=4)):
        feature = message.feature.add(name=name)
        if draw(st.booleans()):
            feature.float_domain.min = draw(st.floats(-9, 9, width=32))
        if draw(st.booleans()):
            feature.string_domain.value.extend(draw(st.lists(TEXT, max_size=3)))
        feature.not_in_environment.extend(draw(st.lists(TEXT, max_size=2)))
    message.default_environment.extend(draw(st.lists(TEXT, max_size=2)))
    printed = text_format.MessageToString(message, as_utf8=draw(st.booleans()), use_short_repeated_primitives=True)
    parts = re.findall(r"\"(?:\\.|[^\"\\])*\"|[{}\[\],]|[^\s{}\[\],\"]+", printed)
    text = ""
    for part in parts:
        if part == "{" and draw(st.booleans()):
            part = ": {"
        text += draw(SPACE) + part
    return message, text


@given(schemas())
def test_each_field_is_found_once_at_its_place(drawn):
    message, text = drawn
    assert text_format.Parse(text, schema_pb2.Schema()) == message
    again = schema_pb2.Schema()
    fields = list(fields_of(text))
    for field in fields:
        part = text_format.Parse(text[field.start : field.stop].rstrip(","), schema_pb2.Schema())
        assert [each.name for each, _ in part.ListFields()] == [field.name]
        again.MergeFrom(part)
    assert again == message
    # Nothing but space and comments is between them.
    between = "".join(
        text[one:two]
        for one, two in zip(
            [0, *(each.stop for each in fields)], [*(each.start for each in fields), len(text)], strict=True
        )
    )
    assert re.sub(r"#[^\n]*", "", between).strip() == ""
    for field in fields:
        if field.name == "feature":
            entry = text_format.Parse(text[slice(*field.inner)], schema_pb2.Feature())
            inner = list(fields_of(text, *field.inner))
            assert {each.name for each in inner} == {each.name for each, _ in entry.ListFields()}


def test_forms_that_a_person_may_write():
    text = """feature: < name: 'a' 'b'; type : FLOAT, float_domain { min: - 1 } >,
    default_environment: ["X", "Y"]; feature { name: "}" } # {
    """
    assert [field.name for field in fields_of(text)] == ["feature", "default_environment", "feature"]
    first = next(fields_of(text))
    assert [field.name for field in fields_of(text, *first.inner)] == ["name", "type", "float_domain"]
