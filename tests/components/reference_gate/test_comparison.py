"""Verdicts on losses whose intervals a normal approximation gives by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from noisy_gru.components.evaluation.config import ReferenceConfig
from noisy_gru.components.reference_gate.comparison import compare
from noisy_gru.components.reference_gate.verdict import read_reference_verdict, write_reference_verdict
from noisy_gru.schema.config import DatasetConfig

DATA = {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]}
CLASSES = DatasetConfig.model_validate({"data": DATA, "task": {"kind": "classification", "label": "y"}})
NUMBERS = DatasetConfig.model_validate({"data": DATA, "task": {"kind": "regression", "label": "y"}})
NAMES = [f"s{number}" for number in range(200)]


def _reference(**more: float) -> ReferenceConfig:
    return ReferenceConfig(files=["reference.csv"], **more)


def _wrong(*places: int) -> np.ndarray:
    losses = np.zeros(200)
    losses[list(places)] = 1.0
    return losses


def test_a_model_that_learned_swapped_labels_is_refused():
    verdict = compare(np.ones(200), np.zeros(200), NAMES, CLASSES, _reference(), "version 7")
    assert not verdict.accepted
    assert (verdict.metric, verdict.new, verdict.published, verdict.fall) == ("accuracy", 0.0, 1.0, 1.0)
    assert verdict.text.startswith(
        "accuracy is 0 on 200 sequences of evaluation.reference, 1 worse than the 1 of version 7; at 95% it is at most "
    )


def test_the_bound_decides_and_not_the_difference_alone():
    """10 of 200 answers get worse: by 0.05, and by 0.05 + 1.645 sqrt(0.05 * 0.95 / 200) = 0.075 at most."""
    new, published = _wrong(*range(10)), np.zeros(200)
    close = compare(new, published, NAMES, CLASSES, _reference(margin=0.09))
    assert close.accepted
    assert close.fall == pytest.approx(0.05)
    assert close.most == pytest.approx(0.075, abs=0.01)
    assert not compare(new, published, NAMES, CLASSES, _reference(margin=0.06)).accepted


def test_an_equal_and_a_better_model_pass():
    assert compare(_wrong(1, 2), _wrong(1, 2), NAMES, CLASSES, _reference(margin=0.02)).accepted
    better = compare(_wrong(1), _wrong(*range(1, 30)), NAMES, CLASSES, _reference(margin=0.0))
    assert better.accepted
    assert "0.14 better than" in better.text


def test_the_first_model_passes_and_says_so():
    verdict = compare(_wrong(1), None, NAMES, CLASSES, _reference())
    assert (verdict.accepted, verdict.published) == (True, None)
    assert verdict.text.endswith("there is no published model to compare with")


def test_too_few_sequences_show_nothing():
    verdict = compare(np.zeros(4), np.zeros(4), NAMES[:4], CLASSES, _reference())
    assert not verdict.accepted
    assert "4 independent sequences are too few to tell, at least 5 are needed" in verdict.text


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_errors_are_parts_of_the_published_models(unit):
    """Errors of |N(0, 1)| and 1.2 times them are 20 % apart whatever the unit; the pairs differ by 0.2 |N(0, 1)|."""
    published = np.abs(np.random.default_rng(1).normal(0, 1, 200)) * unit
    verdict = compare(1.2 * published, published, NAMES, NUMBERS, _reference(margin=0.25))
    assert verdict.metric == "mae"
    assert verdict.fall == pytest.approx(0.2)
    # Sd of |N| over its mean is 0.756: 0.2 + 1.645 * 0.2 * 0.756 / sqrt(200) = 0.218.
    assert verdict.most == pytest.approx(0.218, abs=0.01)
    assert verdict.accepted
    assert not compare(1.2 * published, published, NAMES, NUMBERS, _reference(margin=0.19)).accepted


def test_the_verdict_is_read_as_it_was_written(tmp_path):
    verdict = compare(_wrong(1), _wrong(2), NAMES, CLASSES, _reference())
    write_reference_verdict(tmp_path, verdict)
    assert read_reference_verdict(tmp_path) == verdict


@pytest.mark.parametrize("pattern", ["day-{SPAN}.csv", "{YYYY}-{MM}-{DD}.csv"])
def test_a_reference_set_has_no_spans(pattern):
    with pytest.raises(ValidationError, match="expected files that stay the same, without a span or a date"):
        ReferenceConfig(files=[pattern])
