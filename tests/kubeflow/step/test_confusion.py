"""Confusion matrices of recorded answers, against pandas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from noisy_gru.kubeflow.step.confusion import MOST_CLASSES, NO_ANSWER, confusion_matrix

CLASSES = st.sampled_from([b"a", b"b", "\N{LATIN SMALL LETTER U WITH DIAERESIS}".encode(), b"\xff", b""])


def recorded(pairs: list[tuple[bytes, bytes | None]]) -> dict[str, Any]:
    return {
        name: np.array([pair[place] for pair in pairs], dtype=object)
        for place, name in enumerate(("label", "candidate"))
    }


@given(st.lists(st.tuples(CLASSES, CLASSES | st.none()), min_size=1, max_size=30))
def test_counts_are_those_of_pandas(pairs: list[tuple[bytes, bytes | None]]) -> None:
    found = confusion_matrix(recorded(pairs))
    assert found is not None
    names, counts = found
    texts = [tuple(NO_ANSWER if name is None else name.decode("utf-8", "replace") for name in pair) for pair in pairs]
    frame = pd.DataFrame(texts, columns=["true", "predicted"])
    expected = pd.crosstab(frame["true"], frame["predicted"]).reindex(index=names, columns=names, fill_value=0)
    np.testing.assert_array_equal(counts, expected.to_numpy())
    assert counts.sum() == len(pairs)


def test_what_no_person_reads_is_left_out() -> None:
    assert confusion_matrix(recorded([])) is None
    many: list[tuple[bytes, bytes | None]] = [(str(number).encode(), b"0") for number in range(MOST_CLASSES + 1)]
    assert confusion_matrix(recorded(many)) is None
    assert confusion_matrix(recorded(many[:-1])) is not None
