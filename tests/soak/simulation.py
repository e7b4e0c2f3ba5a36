"""Lives through the days of a stretch: the supplier delivers, the scheduler retrains at night, and the model is asked.

>>> with Simulation(tmp_path, YEAR.begins) as simulation:  # doctest: +SKIP
...     seen = simulation.live(day)

Everything goes through the command line: ``noisy-gru retrain schedule`` under a clock that is moved, which starts the
retrainings of the machines; crontab's ``retrain run`` of the forecasting pipeline; and what a person types.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np

from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.registry.published_versions import published_versions, read_publication, withdrawn_versions
from noisy_gru.registry.training_record import read_training_record
from noisy_gru.saved_model.session import SessionModel
from tests.soak.expectations import Day
from tests.soak.process.soak_clock import WorldClock
from tests.soak.rules import Attempt, Situation
from tests.soak.stream import STEPS, deliver, deliver_week, held_out
from tests.soak.world import Disk, Scheduler, lines, noisy_gru

HERE = Path(__file__).parent
MODEL, LOADS = "machines", "loads"
# After the night in which a retraining is killed, so that it is not the newest run under the root any more.
LOADS_WEEKDAY = 5
_WINDOW = 2
_AHEAD = timedelta(days=7 * 365)
_IN_THE_NIGHT = ("publishing", "power", "killed", "asked", "second")


@dataclass(frozen=True)
class Report:
    """What a hook was given of a retraining, and how things stood before it."""

    content: Mapping[str, Any]
    before: Situation

    @property
    def status(self) -> str:
        """As ``RetrainResult.outcome``."""
        return self.content["status"]

    def verdicts(self, kind: str) -> set[str]:
        """The triggers, guards or alarms that were met."""
        reasons = (self.content["decision"] or {}).get("reasons", ())
        return {each["rule"] for each in reasons if each["kind"] == kind and each["met"]}


@dataclass(kw_only=True)
class Seen:
    """What happened on a day.

    Attributes:
        reports: of the machines' retrainings, in order.
        loads: statuses of the forecasting pipeline's.
        calls: when a process of the scheduler's began to retrain.
        before: versions in the morning, with a hash of all their files.
        after: the same in the evening.
        was: accuracy of the newest version in the morning, in the world of the day; None: there is none.
        becomes: the same in the evening.
        log: what the scheduler said.
        went_on: whether a training went on after its third epoch.
        second: exit code and words of a second run.
        skipped: why what should happen couldn't.
    """

    reports: list[Report] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    calls: list[datetime] = field(default_factory=list)
    before: dict[int, str] = field(default_factory=dict)
    after: dict[int, str] = field(default_factory=dict)
    was: float | None = None
    becomes: float | None = None
    log: str = ""
    went_on: bool = False
    second: Mapping[str, Any] | None = None
    skipped: str = ""


class Simulation:
    """Two pipelines that are left alone.

    Args:
        folder: an empty one; gets the configurations, the data, the root and what the processes say.
        begins: the first day.
    """

    def __init__(self, folder: Path, begins: datetime):
        self.folder, self.begins = folder, begins
        self.disk = Disk(folder / "root")
        self.directory = RunDirectory(folder / "root")
        self.model_dir = self.directory.serving / MODEL
        self.config, self.loads = folder / "config.yaml", folder / "loads.yaml"
        for name in ("config.yaml", "schema.pbtxt", "loads.yaml", "loads.pbtxt"):
            (folder / name).write_text((HERE / name).read_text().replace("REPORTS", str(folder / "reports.jsonl")))
        self.clock = WorldClock(folder)
        self.clock.set(begins + timedelta(hours=7))
        self.scheduler = Scheduler(folder, self.config, self.directory.root)
        self.origins: dict[int, dict[int, int]] = {}
        self.worlds: dict[int, str] = {}
        self._spans: dict[int, int] = {}
        self._last: Attempt | None = None
        self._reports = 0
        self._accuracies: dict[tuple[int, str], float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.scheduler.__exit__()
        self.disk.unmount()

    def live(self, day: Day) -> Seen:
        """One day and its night, up to six in the morning."""
        midnight = self.begins + timedelta(days=day.number)
        seen, logged, called = Seen(), len(self.scheduler.log), len(self._calls())
        self.scheduler.reach(midnight + timedelta(hours=8))
        seen.before, seen.was = self.versions(), self.accuracy(day)
        if day.happens == "rollback":
            self._type("runs", "rollback", "--root", self.directory.root, "--model", MODEL)
        elif day.happens == "approve":
            self._type("retrain", "run", self.config, "--root", self.directory.root, "--force")
            self._collect(seen)
        for arrival in day.arrives:
            deliver(self.folder / "spans", arrival.span, day.world, arrival.how, arrival.version)
            self._spans[arrival.span] = arrival.version
            self.worlds[arrival.span] = day.world
        self._night(day, midnight, seen)
        if day.number % 7 == LOADS_WEEKDAY:
            self._week(day, seen)
        seen.after, seen.becomes = self.versions(), self.accuracy(day)
        seen.log = self.scheduler.log[logged:]
        seen.calls = [datetime.fromisoformat(call["at"]) for call in self._calls()[called:]]
        return seen

    def _night(self, day: Day, midnight: datetime, seen: Seen) -> None:
        if day.happens in _IN_THE_NIGHT:
            (self.folder / "fault").write_text(day.happens)
        if day.happens in ("disk", "full"):
            seen.skipped = self.disk.why_not
            if not seen.skipped:
                self.disk.fill(left=day.happens == "disk")
        if day.happens == "ahead":
            self._reach(midnight + timedelta(hours=20) + _AHEAD, seen)
        for half_hours in range(21):
            self._reach(midnight + timedelta(hours=20, minutes=30 * half_hours), seen)
            if day.happens == "correction" and half_hours == 14:
                self._reach(midnight + timedelta(hours=25), seen)
        if day.happens in ("disk", "full") and not seen.skipped:
            self.disk.free()
        second = self.folder / "second.json"
        if second.exists():
            seen.second = json.loads(second.read_text())
            second.unlink()

    def _reach(self, moment: datetime, seen: Seen) -> None:
        self.scheduler.reach(moment)
        self._collect(seen)

    def _week(self, day: Day, seen: Seen) -> None:
        """The forecasting pipeline's turn, as crontab starts it."""
        deliver_week(self.folder / "weeks", day.number // 7)
        self._date()
        self._type("retrain", "run", self.loads, "--root", self.directory.root, "--json", codes=(0, 3))
        self._collect(seen)

    def _date(self) -> None:
        """Dates what an unfinished training left as the world does: pruning takes what was last touched years ago."""
        now = self.clock.now().timestamp()
        for path in self.directory.work.rglob("*"):
            os.utime(path, (now, now))

    def _type(self, *words: object, codes: tuple[int, ...] = (0, 3)) -> None:
        done = noisy_gru(self.folder, *words)
        assert done.returncode in codes, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])

    def _collect(self, seen: Seen) -> None:
        """What the hooks were given since."""
        reported = lines(self.folder / "reports.jsonl")
        for line in reported[self._reports :]:
            content = json.loads(line)
            if content["pipeline"] == LOADS:
                seen.loads.append(content["status"])
                continue
            seen.reports.append(Report(content, self._situation()))
            self._keep(content, seen)
        self._reports = len(reported)

    def _keep(self, content: Mapping[str, Any], seen: Seen) -> None:
        """What the next retraining will find."""
        window, version = self._window(), content["version"]
        if content["run_id"] is not None and content["status"] in ("published", "refused", "failed"):
            self._last = Attempt(content["status"], window, version)
        if content["status"] == "published":
            record = read_training_record(self.model_dir / str(version))
            assert record is not None, version
            self.origins[version] = {span.number: span.version or 0 for span in record.spans}
        if content["resumes"] and content["log"]:
            seen.went_on |= "resuming after epoch 3" in Path(content["log"]).read_text()

    def _window(self) -> dict[int, int]:
        return {span: self._spans[span] for span in sorted(self._spans)[-_WINDOW:]}

    def _situation(self) -> Situation:
        """How things stood before a retraining whose report is the newest."""
        standing = [version for version in self.origins if version in set(self._standing())]
        served, now = max(standing, default=None), self.clock.now()
        age = None
        if served is not None:
            published = datetime.fromisoformat(read_publication(self.model_dir / str(served)).published)
            age = now - published if published <= now else None
        return Situation(
            window=self._window(),
            served=None if served is None else self.origins[served],
            age=age,
            last=self._last,
            withdrawn=frozenset(withdrawn_versions(self.model_dir)),
        )

    def _standing(self) -> list[int]:
        return published_versions(self.model_dir) if self.model_dir.is_dir() else []

    def _calls(self) -> list[dict[str, Any]]:
        calls = [json.loads(line) for line in lines(self.folder / "calls.jsonl")]
        return [call for call in calls if call["parent"] in self.scheduler.pids]

    def versions(self) -> dict[int, str]:
        """What a server finds: each version with a hash of all its files."""
        return {version: _hash(self.model_dir / str(version)) for version in self._standing()}

    def accuracy(self, day: Day) -> float | None:
        """Of the newest version, on runs that nobody trained on, loaded as TF Serving loads it."""
        versions = self._standing()
        if not versions:
            return None
        key = (max(versions), day.world)
        if key not in self._accuracies:
            self._accuracies[key] = _accuracy(self.model_dir / str(key[0]), day.world)
        return self._accuracies[key]


def _accuracy(folder: Path, world: str) -> float:
    features, sites, verdicts = held_out(world)
    inputs = {"features": features, "lengths": np.full(len(features), STEPS), "site": sites}
    with SessionModel(folder, threads=1) as model:
        answers = model.run("serving_tensors", inputs)["label_bytes"]
    return float(np.mean(np.asarray(answers).astype(str) == verdicts))


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder)} {file.stat().st_size}\n".encode() + file.read_bytes())
    return digest.hexdigest()
