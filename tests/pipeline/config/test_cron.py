"""Cron expressions: what is taken, what becomes of crontab's for each scheduler, what is refused."""

from __future__ import annotations

import pytest

from noisy_gru.pipeline.config.cron import cron_times, six_fields


@pytest.mark.parametrize(
    "given",
    [
        # The examples in the documentation of the parser that Kubeflow's scheduler uses, and in kfp's own.
        "0 30 * * * *",
        "0 0 9 ? * 2-6",
        "0 */15 * * * *",
        "0 0 0 1 JAN sun",
        "0,30 0 8-18/2 * * MON-FRI",
        "@daily",
        "@every 1h30m",
    ],
)
def test_six_fields_and_descriptors_stay_as_they_are(given: str) -> None:
    assert six_fields(given) == given


@pytest.mark.parametrize(
    ("given", "six"),
    [("0 3 * * 1", "0 0 3 * * 1"), ("  */5 *  * * *", "0 */5 * * * *"), ("30 2 1,15 * ?", "0 30 2 1,15 * ?")],
)
def test_five_fields_get_a_zero_in_front(given: str, six: str) -> None:
    assert six_fields(given) == six


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "has 0 fields"),
        ("* * * *", "has 4 fields: expected six"),
        ("0 0 0 1 1 ? 2027", "has 7 fields"),
        ("60 * * * * *", "'60' is not a valid second; expected 0 to 59"),
        ("61 * * * *", "'61' is not a valid minute"),
        ("0 24 * * *", "'24' is not a valid hour; expected 0 to 23"),
        ("0 0 0 * *", "'0' is not a valid day of the month; expected 1 to 31"),
        ("0 0 * FOO *", "'FOO' is not a valid month; expected 1 to 12 or JAN to DEC"),
        ("0 0 * * 7", "expected 0 to 6 or SUN to SAT, .*; Sunday is 0"),
        ("0 0 * * FRI-MON", "'FRI-MON' is not a valid day of the week"),
        ("5-1 * * * *", "'5-1' is not a valid minute"),
        ("*/0 * * * *", "'.*/0' is not a valid minute"),
        ("*-3 * * * *", "is not a valid minute"),
        ("1,,2 * * * *", "'' is not a valid minute"),
        ("@reboot", "expected one of @yearly"),
        ("@every", "expected one of @yearly"),
        ("@every soon", "expected one of @yearly"),
    ],
)
def test_what_the_scheduler_could_not_read_is_refused_in_words(given: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        six_fields(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0 3 * * 1", {"seconds": (0,), "minutes": (0,), "hours": (3,), "weekdays": (1,), "either_day": False}),
        ("*/20 8-18/4 * * *", {"minutes": (0, 20, 40), "hours": (8, 12, 16)}),
        ("50/5 * * * *", {"minutes": (50, 55)}),
        ("30 0 0 1,15 jan,JUL ?", {"seconds": (30,), "days": (1, 15), "months": (1, 7), "either_day": False}),
        ("0 0 * * MON-WED,SAT", {"weekdays": (1, 2, 3, 6)}),
        ("0 0 13 * FRI", {"days": (13,), "weekdays": (5,), "either_day": True}),
        # A field that begins with a star restricts, too, but does not make it either of both.
        ("0 0 */2 * FRI", {"days": tuple(range(1, 32, 2)), "weekdays": (5,), "either_day": False}),
        ("@weekly", {"minutes": (0,), "hours": (0,), "weekdays": (0,)}),
        ("0 0 29 2 *", {"days": (29,), "months": (2,)}),
        ("0 0 31 2 MON", {"days": (31,), "months": (2,), "either_day": True}),
    ],
)
def test_times_as_numbers(given: str, expected: dict[str, object]) -> None:
    times = cron_times(given)
    assert {name: getattr(times, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("@every 6h", "only Kubeflow's scheduler takes @every; write, for example, 0 \\*/6 \\* \\* \\*"),
        ("0 0 31 2,4 *", "none of its months has such a day"),
        ("0 24 * * *", "'24' is not a valid hour"),
    ],
)
def test_times_that_our_scheduler_could_not_keep_are_refused(given: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cron_times(given)
