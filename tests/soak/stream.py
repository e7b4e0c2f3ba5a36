"""The seeded data of the simulated year: spans of machine runs near noise, and weeks of an hourly load to forecast.

A run is good or bad. Its `trend` rises or falls by that, with so much noise that the best model there can be is right
in 85 of 100 cases. In each world one of both directions is good, and `level` lies elsewhere, so that the answers of the
old model become wrong on the day that drift can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

STEPS = 6
RUNS = 300
SITES = ("north", "south")
NUMERIC = ("level", "trend")
# Of a run's slope, in its standard deviations: Phi(1.04) = 0.85.
_DISTANCE = 1.04
_TENTH = 30
SENSORS = 8
_WEEK = 7 * 24


@dataclass(frozen=True)
class World:
    """Where `level` lies, and which direction is that of a good run."""

    level: float
    rising_is_good: bool


WORLDS = {"A": World(0.0, True), "B": World(8.0, False), "C": World(-8.0, True)}


def runs(world: str, seed: int, name: str, count: int = RUNS) -> pd.DataFrame:
    """Rows of `run`, `t`, `level`, `trend`, `site` and `verdict`, as the world is."""
    random, here = np.random.default_rng(seed), WORLDS[world]
    direction = np.resize([1.0, -1.0], count)
    t = np.tile(np.arange(STEPS), count)
    good = (direction > 0) == here.rising_is_good
    slope = 0.4 * (_DISTANCE * direction + random.normal(0, 1, count))
    return pd.DataFrame(
        {
            "run": np.repeat([f"{name}-{index:05}" for index in range(count)], STEPS),
            "t": t,
            "level": here.level + random.normal(0, 1, count * STEPS),
            "trend": t * np.repeat(slope, STEPS) + random.normal(0, 0.1, count * STEPS),
            "site": np.repeat(random.choice(SITES, count), STEPS),
            "verdict": np.repeat(np.where(good, "good", "bad"), STEPS),
        }
    ).round(4)


@lru_cache
def held_out(world: str, count: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs that nobody trains on, so many that an accuracy is known to 0.0025: features, sites, the right verdicts."""
    frame = runs(world, 10_000, "held-out", count)
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
            ``column`` (one vanished), ``site`` (one that the schema doesn't know), ``swapped`` (the verdicts),
            ``tenth`` (of the runs alone).
        version: a later one takes the place of an earlier one.
    """
    frame = runs(world, span, f"span{span}", _TENTH if how == "tenth" else RUNS)
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
    return _write(folder / str(span) / f"v{version}" / "rows.csv", lines)


def deliver_week(folder: Path, week: int) -> Path:
    """Writes a week of every sensor's hourly load: a daily wave, a level that wanders, noise."""
    random = np.random.default_rng(5_000 + week)
    hours = week * _WEEK + np.arange(_WEEK)
    frames = [
        pd.DataFrame(
            {
                "sensor": f"s{number}",
                "time": pd.Timestamp("2030-12-02") + pd.to_timedelta(hours, unit="h"),
                "load": 3 * np.sin(2 * np.pi * hours / 24) + random.normal(0, 1, _WEEK),
            }
        )
        for number in range(SENSORS)
    ]
    return _write(folder / str(week) / "rows.csv", pd.concat(frames).round(4).to_csv(index=False).splitlines())


def _write(place: Path, lines: list[str]) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_suffix(".partial")
    partial.write_text("\n".join(lines) + "\n")
    return partial.replace(place)
