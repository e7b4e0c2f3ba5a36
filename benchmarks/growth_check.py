"""Compare what the pipeline's steps cost with recorded ratios, and name what got worse.

    python -m benchmarks.growth_check            # make bench-check
    python -m benchmarks.growth_check --record   # after a change that is meant to cost more, or less

Ratios, not times, so that the machine matters little: CPU seconds to those of pandas sorting the same rows in the same
run, peak memory to pandas' peak, bytes on disk to the source's. CPU seconds are the lowest of several rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.growth import measure, totals
from benchmarks.machine import describe

RECORDED = Path(__file__).with_name("growth_ratios.json")
RUNS = (("classification", 50_000), ("forecast", 20_000), ("wide", 5_000))
WORSE = 1.15
# Smaller costs are noise, whatever their ratio: CPU seconds, MB, bytes.
LEAST = {"cpu_s": 0.5, "peak_mb": 50.0, "disk_bytes": 200_000}


def ratios(case: str, rows: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return the ratios of each step, and of all, to the peer and the source; without those of small costs."""
    runs = [measure(case, rows) for _ in range(rounds)]
    by = {
        "cpu_s": min(run["peer"]["cpu_s"] for run in runs),
        "peak_mb": min(run["peer"]["peak_mb"] for run in runs),
        "disk_bytes": runs[0]["source_bytes"],
    }
    found: dict[str, dict[str, float]] = {}
    for name in [*runs[0]["steps"], "all"]:
        for key, least in LEAST.items():
            used = min((totals(run) if name == "all" else run["steps"][name])[key] for run in runs)
            if used >= least:
                found.setdefault(name, {})[key] = round(used / by[key], 3)
    return found


def worse(recorded: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return a line for each ratio that grew by more than 15 %, and for each cost that wasn't worth noting before."""
    lines = []
    for case, steps in found.items():
        for name, costs in steps.items():
            for key, ratio in costs.items():
                before = recorded.get(case, {}).get(name, {}).get(key)
                if before is None:
                    lines.append(f"{case} {name} {key}: {ratio:g}, not recorded before")
                elif ratio > WORSE * before:
                    lines.append(f"{case} {name} {key}: {ratio:g}, was {before:g} ({ratio / before - 1:+.0%})")
    return lines


def main() -> None:
    """Measure and compare; exit code 1 if something got worse."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--record", action="store_true", help="write the ratios to the file instead of comparing")
    options = parser.parse_args()
    found = {}
    for case, rows in RUNS:
        found[case] = ratios(case, rows, options.rounds)
        print(f"{case} {rows:,} rows: {found[case]['all']}", file=sys.stderr, flush=True)
    if options.record:
        RECORDED.write_text(json.dumps({"machine": describe(), "ratios": found}, indent=1) + "\n")
        return
    lines = worse(json.loads(RECORDED.read_text())["ratios"], found)
    print("\n".join(lines) or "nothing got worse by more than 15 %")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
