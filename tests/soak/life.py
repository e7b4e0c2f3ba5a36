"""The days of a stretch, lived through, and what was seen: what the tests ask.

>>> for life in live(tmp_path, YEAR):  # doctest: +SKIP
...     print(life.reports)
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.runs.run_record import RunRecord
from tests.soak.disk_account import Account, explain
from tests.soak.expectations import Day, Stretch
from tests.soak.simulation import LOADS, MODEL, Report, Seen, Simulation


@dataclass
class Life:
    """What was simulated."""

    simulation: Simulation
    days: list[Day]
    seen: list[Seen]
    accounts: list[Account]

    @property
    def run_records(self) -> list[RunRecord]:
        """Of the machines' runs."""
        return [record for record in self.simulation.directory.records() if record.pipeline == MODEL]

    @property
    def reports(self) -> list[Report]:
        return [report for seen in self.seen for report in seen.reports]


def live(folder: Path, stretch: Stretch, days: int | None = None) -> Iterator[Life]:
    """Lives through the days, with a line for each, and gives them while all its files are still there.

    Args:
        folder: an empty one.
        stretch: the days.
        days: only the first so many.
    """
    with Simulation(folder, stretch.begins) as simulation:
        life = Life(simulation, [], [], [])
        configs = {MODEL: load_config(simulation.config), LOADS: load_config(simulation.loads)}
        keep = {name: config.retraining.keep.runs or 0 for name, config in configs.items()}
        for day in stretch.days[:days]:
            begun = time.monotonic()
            seen = simulation.live(day)
            life.days.append(_as_it_could_be(day, life, seen))
            life.seen.append(seen)
            full = day.happens in ("disk", "full") and not seen.skipped
            life.accounts.append(explain(simulation.directory.root, keep, not_pruned=[MODEL] if full else []))
            print(_line(day, seen, time.monotonic() - begun), file=sys.__stderr__, flush=True)
        counts = Counter(report.status for report in life.reports)
        print(f"{len(life.days)} days: {dict(counts)}", file=sys.__stderr__, flush=True)
        yield life


def _as_it_could_be(day: Day, life: Life, seen: Seen) -> Day:
    """What is expected where no disk could be mounted that could have been full."""
    unfilled = [past.number for past, then in zip(life.days, life.seen, strict=True) if then.skipped]
    if seen.skipped:
        return replace(day, outcomes=("gate",))
    return replace(day, outcomes=("rules",)) if day.number - 1 in unfilled else day


def _line(day: Day, seen: Seen, seconds: float) -> str:
    ends = ", ".join(report.status for report in seen.reports) or "nothing"
    loads = f"; loads: {', '.join(seen.loads)}" if seen.loads else ""
    was, becomes = (f"{accuracy:.4f}" if accuracy is not None else "none" for accuracy in (seen.was, seen.becomes))
    return f"day {day.number} {day.world} {day.happens or '-'}: {ends}; {was} -> {becomes}{loads}; {seconds:.0f} s"


def each(life: Life) -> Iterator[tuple[Day, Seen]]:
    return zip(life.days, life.seen, strict=True)
