"""Names of months in other languages than English, in full or shortened: German, French, Spanish, Italian …

>>> month_of("Mär."), month_of("févr."), month_of("noon")
(3, 2, None)
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Words with letters of Latin languages, in a form that Python's re and RE2 read alike.
WORD = "[A-Za-z\u00c0-\u024f]+\\.?"
ENGLISH = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip
_LEAST = 3  # letters of a shortened name
# %b reads no January, nor %B Jan: a column is of one of them.
_AS_THEY_ARE = {*ENGLISH, *(name[:_LEAST] for name in ENGLISH)}
# As CLDR has them, without accents.
_NAMES = (
    "january february march april may june july august september october november december",
    "januar februar marz april mai juni juli august september oktober november dezember",  # German
    "janner feber maerz april mai juni juli august september oktober november dezember",  # Austrian
    "janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre",  # French
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",  # Spanish
    "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",  # Italian
    "janeiro fevereiro marco abril maio junho julho agosto setembro outubro novembro dezembro",  # Portuguese
    "januari februari maart april mei juni juli augustus september oktober november december",  # Dutch
    "januari februari mars april maj juni juli augusti september oktober november december",  # Swedish
    "januar februar marts april maj juni juli august september oktober november december",  # Danish
    "januar februar mars april mai juni juli august september oktober november desember",  # Norwegian
)
_SHORT = {"mrz": 3, "mrt": 3}  # German, Dutch


@lru_cache(maxsize=4096)
def month_of(word: str) -> int | None:
    """Return the number of a month, 1 to 12, from its name or the first three letters of it or more; None for none."""
    text = unicodedata.normalize("NFKD", word.rstrip(".").lower())
    text = "".join(each for each in text if not unicodedata.combining(each))
    if text in _SHORT:
        return _SHORT[text]
    if len(text) < _LEAST:
        return None
    found = {number for names in _NAMES for number, name in enumerate(names.split(), 1) if name.startswith(text)}
    return found.pop() if len(found) == 1 else None


def in_english(text: str, *, full: bool) -> str:
    """Return a text with the names of months in English, in full or as three letters."""

    def named(match: re.Match[str]) -> str:
        number = None if match[0].title() in _AS_THEY_ARE else month_of(match[0])
        if number is None:
            return match[0]
        return ENGLISH[number - 1] if full else ENGLISH[number - 1][:_LEAST]

    return re.sub(WORD, named, text)
