"""Few lengths to pad to: against all choices there are, and on the lengths of a real data set."""

from __future__ import annotations

import csv
import gzip
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from noisy_gru.trainer.inputs import padded_lengths as lengths
from noisy_gru.trainer.inputs.padded_lengths import choose_padded_lengths

VOWELS = Path(__file__).parents[3] / "examples" / "japanese_vowels"


def padded_steps(longest: np.ndarray, chosen: tuple[int, ...]) -> int:
    return sum(min(length for length in chosen if length >= each) for each in longest)


@pytest.mark.parametrize("seed", range(30))
def test_no_other_choice_pads_less(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "_WORTH", 0.0)
    random = np.random.default_rng(seed)
    longest = random.integers(1, 15, size=random.integers(1, 12))
    for most in (1, 2, 3):
        others = itertools.combinations_with_replacement(sorted({*longest.tolist()}), most - 1)
        best = min(padded_steps(longest, (*other, longest.max())) for other in others)
        found = choose_padded_lengths(longest, most)
        assert padded_steps(longest, found) == best
        assert len(found) <= most and list(found) == sorted(set(found)) and found[-1] == longest.max()


def test_a_length_that_saves_little_is_left_out() -> None:
    assert choose_padded_lengths(np.array([99, 100, 100, 100]), 4) == (100,)
    assert choose_padded_lengths(np.array([50, 100, 100, 100]), 4) == (50, 100)


def test_empty_sequences_and_thousands_of_lengths() -> None:
    assert choose_padded_lengths(np.array([0, 0]), 4) == (1,)
    longest = np.arange(1, 100_001)
    chosen = choose_padded_lengths(longest, 4)
    assert chosen[-1] == 100_000 and len(chosen) == 4
    np.testing.assert_allclose(chosen, [25_000, 50_000, 75_000, 100_000], rtol=0.02)


@pytest.mark.parametrize("half", ["train", "test"])
def test_padding_wastes_less_than_15_percent_of_real_speech(half: str) -> None:
    with gzip.open(VOWELS / f"{half}.csv.gz", "rt") as file:
        steps = np.array(list(Counter(row["utterance"] for row in csv.DictReader(file)).values()))
    batch = 32
    # What `SequenceData` makes of one pool: the longest first, the last batch filled up.
    longest = np.maximum.reduceat(np.sort(steps)[::-1], np.arange(0, len(steps), batch))
    chosen = choose_padded_lengths(longest, 8)
    assert len(chosen) <= 5
    assert 1 - steps.sum() / (batch * padded_steps(longest, chosen)) < 0.15
