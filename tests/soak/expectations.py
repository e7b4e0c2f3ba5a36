"""What happens on each day of the simulated year, and how it has to end: 75 days for ``make soak``, and a few.

The columns: the day; the world that day (``stream.WORLDS``); what arrives: a span, with what is wrong with it, or a
later version; what else happens; and how the retrainings of the day end. Of those ``gate`` is decided by the comparison
with the served model, which near noise nobody can know before, and ``rules`` is whatever follows from the rules of the
configuration (``rules.py``), which depend on that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

# Its clocks go back on 22 December 2030 and forward on 26 January 2031, at 03:00 and 02:00.
ZONE = "Africa/Casablanca"
GATE = ("published", "refused")


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
        happens: nothing, where it is empty. In the night's Trainer, or as ``publishing`` when a version got its name,
            the machine goes down (``power``), the retraining is killed (``killed``), the scheduler is asked to end
            (``asked``), or a person starts another (``second``); the disk is almost full (``disk``) or full
            (``full``); the clock is seven years ahead for an hour (``ahead``), or set back by two hours after the
            night (``correction``). In the morning a person takes the newest version back (``rollback``) or has what
            is held trained on (``approve``).
        outcomes: of the day's retrainings, in order: statuses, ``gate`` or ``rules``.
    """

    number: int
    world: str
    arrives: tuple[Arrival, ...]
    happens: str
    outcomes: tuple[str, ...]


@dataclass(frozen=True)
class Stretch:
    """Days in a row.

    Attributes:
        begins: the first day, at midnight in UTC.
        days: all of them.
    """

    begins: datetime
    days: tuple[Day, ...]


_SHORT = """
0 A 0             publishing failed,published
1 A 1             -          rules
2 A 2             disk       failed
3 A 3:corrupt     -          failed
4 A 3v2,4:swapped -          held
5 A 4v2           killed     failed
6 A -             -          gate
7 A -             rollback   rules
"""

_YEAR = """
0  A 0            publishing failed,published
1  A 1            -          rules
2  A 2            -          rules
3  A 3,4          second     gate
4  A 5            -          rules
5  A -            -          rules
6  A 5            -          rules
7  A 6            -          rules
8  A 7:corrupt    -          failed
9  A 7v2,8        -          gate
10 A 9            -          rules
11 A 10           -          rules
12 A 11,12        asked      interrupted,gate
13 A 13           -          rules
14 A 15           -          rules
15 A 14           -          rules
16 A 16:swapped,17 -         held
17 A -            -          held
18 A 16v2         -          gate
19 A 18           -          rules
20 B 19           -          held
21 B -            approve    published,not-due
22 B 20           -          rules
23 B 21           -          rules
24 B 22,23        power      failed,gate
25 B 24           -          rules
26 B 25:empty     -          failed
27 B 25v2,26      -          gate
28 B 27           correction rules
29 B 28           -          rules
30 B 29:column    -          failed
31 B 29v2,30      disk       failed
32 B -            -          gate
33 B 31           rollback   rules
34 B 32           -          rules
35 B 33           -          rules
36 B -            -          rules
37 B -            -          rules
38 B -            -          rules
39 B -            -          rules
40 B -            -          rules
41 B -            -          rules
42 B -            -          rules
43 B -            -          rules
44 B -            -          rules
45 B -            -          rules
46 B 34           -          rules
47 B 35,36        killed     failed
48 B -            -          gate
49 B 37,38:site   -          failed
50 B 38v2         -          gate
51 B 39           ahead      rules,rules
52 B 40           -          rules
53 C 41           -          held
54 C -            approve    published,not-due
55 C 42           -          rules
56 C 43           -          rules
57 C 44,45:tenth  -          held
58 C -            approve    gate,rules
59 C 46,47        full       failed
60 C -            -          gate
61 C 48           -          rules
62 C 49,50        power      failed,gate
63 C 51           rollback   rules
64 C 52           -          rules
65 C 53:swapped,54 -         held
66 C -            approve    refused,rules
67 C 53v2         -          gate
68 C 55           -          rules
69 C 56,57        asked      interrupted,gate
70 C 58           -          rules
71 C 59           -          rules
72 C 60,61        second     gate
73 C 62           -          rules
74 C 63           -          rules
"""


def _days(table: str) -> tuple[Day, ...]:
    return tuple(_day(line) for line in table.strip().splitlines())


def _day(line: str) -> Day:
    number, world, arrives, happens, outcomes = ("" if each == "-" else each for each in line.split())
    return Day(
        number=int(number),
        world=world,
        arrives=tuple(_arrival(each) for each in arrives.split(",") if each),
        happens=happens,
        outcomes=tuple(each.replace("-", " ") for each in outcomes.split(",") if each),
    )


def _arrival(text: str) -> Arrival:
    name, _, how = text.partition(":")
    span, _, version = name.partition("v")
    return Arrival(int(span), how, int(version or 1))


# The clock goes forward in the second night.
SHORT = Stretch(datetime(2031, 1, 24, tzinfo=UTC), _days(_SHORT))
YEAR = Stretch(datetime(2030, 12, 10, tzinfo=UTC), _days(_YEAR))
