"""What has to happen on each day, as two tables: 60 spans for ``make soak``, and a few with the same faults.

The columns: the day; the world that day (``stream.WORLDS``); what arrives: a span, with what is wrong with it or a
later version; what else happens, such as a kill; the triggers that are met; the outcome; and how well the model
that is served then does before and after the night.
"""

from __future__ import annotations

from dataclasses import dataclass

# Of 200 runs; chance is 0.5, and a model of the world before a change does worse.
GOOD, POOR = 0.95, 0.6
SHORT_FORMS = {"first": "first_model", "spans": "new_spans", "age": "max_age"}


@dataclass(frozen=True)
class Arrival:
    """A span, or a later version of it, and what is wrong with it."""

    span: int
    how: str
    version: int


@dataclass(frozen=True, kw_only=True)
class Day:
    """A day and what is expected of it.

    Attributes:
        number: from 0 on.
        world: that the day's data is from.
        arrives: the spans.
        happens: nothing, where it is empty; where the first process of the night is killed (``trainer``,
            ``publishing``), or asked to end by a SIGTERM (``asked``); that the night's clock is seven years ahead
            (``ahead``); that a person takes the newest version back in the morning (``rollback``), or starts a second
            run at once (``second``).
        met: triggers; None where there can't be a plan.
        outcome: as ``RetrainResult.outcome``.
        was: ``good`` or ``poor``: the model that is served in the morning; empty: there is none.
        becomes: the one in the evening.
    """

    number: int
    world: str
    arrives: tuple[Arrival, ...]
    happens: str
    met: tuple[str, ...] | None
    outcome: str
    was: str
    becomes: str

    @property
    def dies(self) -> str:
        """Where the first process of the night ends, or empty."""
        return self.happens if self.happens in ("trainer", "asked", "publishing") else ""


# What is in the window but can't be trained on holds everything up until the supplier sends it again.
SHORT = """
0 A 0             publishing first       published -    good
1 A 0             -          -           not-due   good good
2 A 1             -          -           not-due   good good
3 B 2             trainer    spans,drift published poor good
4 B 3:corrupt     -          no-plan     failed    good good
5 B 3v2,4:site    -          spans,drift failed    good good
6 B 4v2,5:swapped -          spans,drift refused   good good
7 B -             -          spans,drift not-due   good good
8 B 5v2,6:column  -          no-plan     failed    good good
9 B 6v2,7:empty   -          no-plan     failed    good good
"""

# Window of two spans, due with two new ones. After a change the model has seen both worlds, so that the next span has
# drifted from that, too. A version that was published under a clock seven years ahead has no age that is known, and is
# due with the next span. A dry spell ends with a model that is too old for the one span that waits. The refused night
# is not repeated until other data is there.
YEAR = """
0  A 0          -          first   published -    good
1  A 1          -          -       not-due   good good
2  A 2          -          spans   published good good
3  A 3          -          -       not-due   good good
4  A 4          -          spans   published good good
5  A 5          -          -       not-due   good good
6  A 6          -          spans   published good good
7  A -          -          -       not-due   good good
8  A 6          -          -       not-due   good good
9  A 7          -          -       not-due   good good
10 A 8          -          spans   published good good
11 A 9          -          -       not-due   good good
12 A 10:corrupt -          no-plan failed    good good
13 A 10v2,11    -          spans   published good good
14 A 12         -          -       not-due   good good
15 A 13         -          spans   published good good
16 A 14         -          -       not-due   good good
17 A 15         -          spans   published good good
18 B 16         -          drift   published poor good
19 B 17         -          drift   published good good
20 B 18         -          -       not-due   good good
21 B 19         -          spans   published good good
22 B 20         -          -       not-due   good good
23 B 21         -          spans   published good good
24 B 22         -          -       not-due   good good
25 B 23         trainer    spans   published good good
26 B 24         -          -       not-due   good good
27 B 25         -          spans   published good good
28 B 26:empty   -          no-plan failed    good good
29 B 26v2,27    -          spans   published good good
30 B 28         -          -       not-due   good good
31 B 29         -          spans   published good good
32 B 30         -          -       not-due   good good
33 B 31         -          spans   published good good
34 B 32:column  -          no-plan failed    good good
35 B 32v2,33    -          spans   published good good
36 B 34         -          -       not-due   good good
37 B 35         -          spans   published good good
38 B 36         -          -       not-due   good good
39 B -          -          -       not-due   good good
40 B -          -          -       not-due   good good
41 B -          -          -       not-due   good good
42 B -          -          -       not-due   good good
43 B -          -          -       not-due   good good
44 B -          -          -       not-due   good good
45 B -          -          -       not-due   good good
46 B -          -          -       not-due   good good
47 B -          -          age     published good good
48 B 37         -          -       not-due   good good
49 B 38         -          spans   published good good
50 B 39         -          -       not-due   good good
51 B 40         -          spans   published good good
52 C 41         trainer    drift   published poor good
53 C 42         -          drift   published good good
54 C 43         -          -       not-due   good good
55 C 44         -          spans   published good good
56 C 45         -          -       not-due   good good
57 C 46:site    -          spans   failed    good good
58 C 46v2,47    -          spans   published good good
59 C 48         -          -       not-due   good good
60 C 49         -          spans   published good good
61 C 50         -          -       not-due   good good
62 C 51:swapped -          spans   refused   good good
63 C -          -          spans   not-due   good good
64 C 51v2,52    -          spans   published good good
65 C 53         -          -       not-due   good good
66 C 54         -          spans   published good good
67 C 55         -          -       not-due   good good
68 C 56         publishing spans   published good good
69 C 57         -          -       not-due   good good
70 C 58         -          spans   published good good
71 C 59         -          -       not-due   good good
72 C 60         asked      spans   published good good
73 C 61         -          -       not-due   good good
74 C 62         ahead      spans,age published good good
75 C 63         -          age     published good good
76 C 64         -          -       not-due   good good
77 C 65         -          spans   published good good
78 C -          rollback   spans   not-due   good good
79 C 66         -          spans   published good good
80 C 67         second     -       not-due   good good
"""


def days(table: str) -> list[Day]:
    """The days of a table."""
    return [_day(line) for line in table.strip().splitlines()]


def _day(line: str) -> Day:
    number, world, arrives, happens, met, outcome, was, becomes = ("" if each == "-" else each for each in line.split())
    triggers = tuple(SHORT_FORMS.get(each, each) for each in met.split(",") if each)
    return Day(
        number=int(number),
        world=world,
        arrives=tuple(_arrival(each) for each in arrives.split(",") if each),
        happens=happens,
        met=None if met == "no-plan" else triggers,
        outcome=outcome.replace("-", " "),
        was=was,
        becomes=becomes,
    )


def _arrival(text: str) -> Arrival:
    name, _, how = text.partition(":")
    span, _, version = name.partition("v")
    return Arrival(int(span), how, int(version or 1))
