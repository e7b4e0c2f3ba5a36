"""Explain each file under a root by a run or version that may be there, independently of pipeline/runs/pruning.py.

>>> account = explain(Path("runs/vowels"), {"vowels": 2})  # doctest: +SKIP
>>> account.leaks, account.missing  # doctest: +SKIP
([], [])

Reads run records and publications as JSON, and ML Metadata as SQL.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

# Rotated at 1 MB, and a night appends a hundredth of that.
_PLAN_LOG_BYTES = 1_100_000
_LIVE = 2
_RUN_OF_EXECUTION = """
SELECT Association.execution_id, Context.name FROM Association
JOIN Context ON Context.id = Association.context_id JOIN Type ON Type.id = Context.type_id
WHERE Type.name = 'pipeline_run'
"""
_USES = "SELECT Event.execution_id, Artifact.uri, Artifact.state FROM Event JOIN Artifact ON Artifact.id = artifact_id"


@dataclass
class Account:
    """Files under a root, explained.

    Attributes:
        kept: runs whose files may be there.
        makers: those among them whose version is in place or withdrawn.
        whole: runs that aren't recorded as pruned.
        bytes: of the files, by the run that made them; logs of plans as ``plan``, the rest of serving/ as ``serving``.
        leaks: files that no kept run and no version needs, and why.
        missing: artifacts that a kept run used and that are gone.
    """

    kept: set[str]
    makers: set[str]
    whole: set[str]
    bytes: Counter[str] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def explain(root: Path, keep: Mapping[str, int], *, not_pruned: Collection[str] = ()) -> Account:
    """Explain every file of artifacts/, logs/, work/ and serving/.

    Args:
        root: of the runs, none of which is in progress.
        keep: ``retraining.keep.runs`` of each pipeline.
        not_pruned: pipelines whose newest run may have ended without pruning, as on a full disk.
    """
    records = [json.loads(path.read_text()) for path in sorted((root / "runs").glob("*.json"))]
    publications = {
        path.parent: json.loads(path.read_text()) for path in (root / "serving").glob("*/*/publication.json")
    }
    makers = {each["lineage"]["run"] for each in publications.values()}
    kept, unfinished = set(makers), False
    for pipeline, number in keep.items():
        own = [record for record in records if record["pipeline"] == pipeline]
        # Who was killed or stopped prunes nothing; the run that resumes it does.
        cut_off = 0
        while cut_off < len(own) and own[-1 - cut_off]["status"] in ("killed", "interrupted"):
            cut_off += 1
        unfinished |= cut_off > 0
        kept |= {record["run_id"] for record in own[-(number + cut_off + (pipeline in not_pruned)) :]}
    whole = {record["run_id"] for record in records if not record["pruned"]}
    account = Account(kept, makers, whole)
    _artifacts(root, publications.values(), account)
    for path in _files(root / "logs"):
        plan = path.name in ("plan.log", "plan.log.1")
        account.bytes["plan" if plan else path.stem] += path.stat().st_size
        if path.stat().st_size > _PLAN_LOG_BYTES if plan else path.stem not in kept:
            account.leaks.append(f"{path}: a log of no kept run, or too large")
    if not unfinished:
        account.leaks += [f"{path}: no training is unfinished" for path in (root / "work").iterdir()]
    for path in _files(root / "serving"):
        account.bytes["serving"] += path.stat().st_size
        folder = root.joinpath(*path.relative_to(root).parts[:3])
        if folder in publications:
            inside = path.relative_to(folder).as_posix()
            known = inside == "publication.json" or inside in publications[folder]["files"]
        else:
            known = len(path.relative_to(root).parts) <= 3
        if not known:
            account.leaks.append(f"{path}: of no version")
    return account


def _artifacts(root: Path, publications: Collection[dict], account: Account) -> None:
    with closing(sqlite3.connect(f"file:{root / 'metadata.sqlite'}?mode=ro", uri=True)) as database:
        runs = dict(database.execute(_RUN_OF_EXECUTION).fetchall())
        uses = database.execute(_USES).fetchall()
    needed = defaultdict(set)
    for execution, uri, state in uses:
        if runs.get(execution) in account.kept:
            needed[Path(uri)].add(runs[execution])
            # A blessing, or a pushed model, is a folder as well.
            if state == _LIVE and not Path(uri).exists():
                account.missing.append(f"{uri}: used by run {runs[execution]}")
    for each in publications:
        origins = [each["model_uri"], *(value for value in each["lineage"].values() if "/" in value)]
        for uri in origins:
            needed[Path(uri)].add(each["lineage"]["run"])
            if not Path(uri).exists():
                account.missing.append(f"{uri}: version {each['version']} was made of it")
    for path in _files(root / "artifacts"):
        parts = path.relative_to(root / "artifacts").parts
        system = parts[1] == ".system"
        number = parts[3] if system else parts[2]
        run = runs.get(int(number)) if number.isdigit() else None
        account.bytes[run or "nobody"] += path.stat().st_size
        folder = root.joinpath("artifacts", *parts[: 4 if system else 3])
        if run not in account.kept and folder not in needed:
            account.leaks.append(f"{path}: of execution {number} of run {run}, which no rule keeps")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
