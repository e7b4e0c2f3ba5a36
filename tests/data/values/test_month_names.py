"""Names of months in several languages, as CLDR 46 has them: in full, shortened, with and without accents and dots."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from noisy_gru.data.arrow import pa
from noisy_gru.data.values.month_names import WORD, month_of
from noisy_gru.data.values.time_detection import detect_time_format
from noisy_gru.data.values.time_formats import formatted_times

WIDE = {
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "de_AT": "Jänner Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "sv": "januari februari mars april maj juni juli augusti september oktober november december",
    "da": "januar februar marts april maj juni juli august september oktober november december",
    "nb": "januar februar mars april mai juni juli august september oktober november desember",
}
ABBREVIATED = {
    "de": "Jan. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez.",
    "de_plain": "Jan Feb Mrz Apr Mai Jun Jul Aug Sep Okt Nov Dez",
    "fr": "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
    "es": "ene feb mar abr may jun jul ago sept oct nov dic",
    "it": "gen feb mar apr mag giu lug ago set ott nov dic",
    "pt": "jan. fev. mar. abr. mai. jun. jul. ago. set. out. nov. dez.",
    "nl": "jan feb mrt apr mei jun jul aug sep okt nov dec",
    "sv": "jan. feb. mars apr. maj juni juli aug. sep. okt. nov. dec.",
    "da": "jan. feb. mar. apr. maj jun. jul. aug. sep. okt. nov. dec.",
    "nb": "jan. feb. mars apr. mai juni juli aug. sep. okt. nov. des.",
}


@pytest.mark.parametrize(
    "names", [*WIDE.values(), *ABBREVIATED.values()], ids=[*WIDE, *(f"{each}_short" for each in ABBREVIATED)]
)
def test_all_names_are_read(names):
    for form in (str, str.upper, str.title):
        assert [month_of(form(name)) for name in names.split()] == list(range(1, 13))


@pytest.mark.parametrize("word", ["ma", "jui", "AM", "PM", "Mon", "Sat", "Montag", "T", "", "marz0", "januaries"])
def test_other_words_are_no_months(word):
    assert month_of(word) is None


def test_an_English_column_is_of_short_names_or_of_full_ones():
    cells = pa.array(["05 January 2024", "05 Jan 2024", "05 May 2024"])
    assert formatted_times(cells, "%d %b %Y")[1].tolist() == [True, False, False]
    assert formatted_times(cells, "%d %B %Y")[1].tolist() == [False, True, False]


def test_English_names():
    names = pd.date_range("2025-01-01", periods=12, freq="MS")
    assert [month_of(name) for name in names.strftime("%b")] == list(range(1, 13))
    assert [month_of(name) for name in names.strftime("%B")] == list(range(1, 13))


@pytest.mark.parametrize(("names", "code"), [*((each, "%B") for each in WIDE.values()),
                                             *((each, "%b") for each in ABBREVIATED.values())])  # fmt: skip
@pytest.mark.parametrize(
    ("written", "pattern"),
    [("{d:02d}. {m} {y}", "%d. %b %Y"), ("{d} {m} {y}", "%d %b %Y"), ("{m} {d}, {y} 06:30", "%b %d, %Y %H:%M")],
)
def test_columns_are_detected_and_read(names, code, written, pattern):
    days = pd.date_range("2024-01-05", periods=40, freq="9D")
    clock = pd.Timedelta(minutes=390 if "06:30" in written else 0)
    cells = [written.format(d=day.day, m=names.split()[day.month - 1], y=day.year) for day in days]
    found = detect_time_format(cells)
    assert found is not None and found.format is not None and found.sure
    for spelled in (found.format, pattern.replace("%b", code)):
        values, bad = formatted_times(pa.array(cells), spelled)
        assert not bad.any()
        np.testing.assert_array_equal(values, (days + clock).as_unit("ns").asi8)


def test_a_word_that_is_no_month_is_unusable():
    _, bad = formatted_times(pa.array(["5 Mai 2024", "5 Foo 2024", "5 jui 2024", "Mai 5 2024"]), "%d %b %Y")
    assert bad.tolist() == [False, True, True, True]
    assert re.fullmatch(WORD, "févr.")
