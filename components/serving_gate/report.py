"""Report of the gate's checks, as JSON and as text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class GateCheck:
    """One check.

    Attributes:
        name: what was checked.
        found: what came out, in words.
        problems: why the model is refused; empty if it passed.
        numbers: what was measured.
        headline: its part of the report's one line; empty for none.
        distributions: of what was measured often, by name: `edges` and `counts`.
    """

    name: str
    found: str
    problems: list[str] = field(default_factory=list)
    numbers: Mapping[str, float] = field(default_factory=dict)
    headline: str = ""
    distributions: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the check passed."""
        return not self.problems


@dataclass(frozen=True)
class GateReport:
    """All checks of a model, and what its answers depend on, as `importance_account` has it."""

    model: str
    checks: list[GateCheck]
    importance: dict[str, Any] | None = None

    @property
    def blessed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def problems(self) -> list[str]:
        """Why the model is refused."""
        return [problem for check in self.checks for problem in check.problems]

    @property
    def summary(self) -> str:
        """The outcome in one line."""
        if not self.blessed:
            return f"refused: {'; '.join(self.problems)}"
        return f"loads as in TF Serving; {', '.join(check.headline for check in self.checks if check.headline)}"

    def as_dict(self) -> dict[str, Any]:
        """Return the content of ``report.json``."""
        checks = [{**asdict(check), "numbers": _finite(check.numbers), "passed": check.passed} for check in self.checks]
        return {
            "blessed": self.blessed,
            "model": self.model,
            "summary": self.summary,
            "problems": self.problems,
            "checks": checks,
            "importance": self.importance,
        }

    def text(self) -> str:
        """Return the content of ``report.txt``."""
        lines = [f"TF Serving {'can serve' if self.blessed else 'must not get'} {self.model}", ""]
        for check in self.checks:
            lines.append(f"{'passed ' if check.passed else 'REFUSED'}  {check.name}: {check.found}")
            lines += [f"           - {problem}" for problem in check.problems]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """Write both files into ``folder``."""
        (folder / "report.json").write_text(json.dumps(self.as_dict(), indent=2) + "\n")
        (folder / "report.txt").write_text(self.text())


def _finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """Replace infinities, which JSON can't hold."""
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def read_report(folder: Path) -> dict[str, Any]:
    """Return the content of ``report.json``: `blessed`, `model`, `summary`, `problems`, `checks`, `importance`."""
    return json.loads((folder / "report.json").read_text())
