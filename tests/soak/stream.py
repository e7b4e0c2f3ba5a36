"""The seeded stream of spans: runs of machines, good or bad, in a world that changes twice, with all that goes wrong.

A run's `trend` rises or falls. In each world one of both is good, and `level` lies elsewhere, so that the old model's
answers become wrong on the day that drift can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

STEPS = 6
RUNS = 120
SITES = ("north", "south")
NUMERIC = ("level", "trend")


@dataclass(frozen=True)
class World:
    """Where `level` lies, and which way a good run goes."""

    level: float
    rising_is_good: bool


WORLDS = {"A": World(0.0, True), "B": World(8.0, False), "C": World(-8.0, True)}


def runs(world: str, seed: int, name: str, count: int = RUNS) -> pd.DataFrame:
    """Rows of `run`, `t`, `level`, `trend`, `site` and `verdict`, as the world is."""
    random, here = np.random.default_rng(seed), WORLDS[world]
    way = np.resize([1.0, -1.0], count)
    t = np.tile(np.arange(STEPS), count)
    good = (way > 0) == here.rising_is_good
    return pd.DataFrame(
        {
            "run": np.repeat([f"{name}-{index:03}" for index in range(count)], STEPS),
            "t": t,
            "level": here.level + random.normal(0, 1, count * STEPS),
            "trend": 0.4 * t * np.repeat(way, STEPS) + random.normal(0, 0.3, count * STEPS),
            "site": np.repeat(random.choice(SITES, count), STEPS),
            "verdict": np.repeat(np.where(good, "good", "bad"), STEPS),
        }
    ).round(4)


def held_out(world: str, day: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the served model is asked on a day, in the units of the data: features, sites, and the right verdicts."""
    frame = runs(world, 10_000 + day, f"held-out-{day}", 200)
    features = frame[[*NUMERIC]].to_numpy(np.float32).reshape(-1, STEPS, len(NUMERIC))
    sites = frame["site"].to_numpy(object).reshape(-1, STEPS)
    return features, sites, frame["verdict"].to_numpy()[::STEPS]


def deliver(folder: Path, span: int, world: str, how: str = "", version: int = 1) -> Path:
    """Writes a span, as the supplier would: complete when it gets its name.

    Args:
        folder: of all spans.
        span: its number.
        world: as it was on the day.
        how: what is wrong with it: nothing, ``corrupt`` (a fifth of the rows is torn), ``empty`` (no rows),
            ``column`` (one vanished), ``site`` (one that the schema doesn't know), ``swapped`` (the verdicts).
        version: a later one takes the place of an earlier one.
    """
    frame = runs(world, span, f"span{span}")
    if how == "empty":
        frame = frame.iloc[:0]
    elif how == "column":
        frame = frame.drop(columns="trend")
    elif how == "site":
        frame.loc[frame["run"].str.endswith(("0", "5")), "site"] = "west"
    elif how == "swapped":
        frame["verdict"] = frame["verdict"].map({"good": "bad", "bad": "good"})
    lines = frame.to_csv(index=False).splitlines()
    if how == "corrupt":
        lines[1::5] = [line[: line.index(",") + 3] + "#" for line in lines[1::5]]
    place = folder / str(span) / f"v{version}" / "rows.csv"
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_suffix(".partial")
    partial.write_text("\n".join(lines) + "\n")
    return partial.replace(place)
