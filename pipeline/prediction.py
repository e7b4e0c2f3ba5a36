"""Asks a published model about files: the reading of training, the loading of TF Serving, one line for each sequence.

    >>> unused = predict_files(config, ["new.csv"], root=Path("runs/vowels"), out=None)  # doctest: +SKIP

Imports no TensorFlow: the SavedModel is loaded in a Session, as a server does.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from noisy_gru.components.pusher.published import versions
from noisy_gru.components.sequence_example_gen.duplicates import EXACT
from noisy_gru.components.sequence_example_gen.prediction import PredictionInput, read_for_prediction
from noisy_gru.pipeline.checking import matching_files
from noisy_gru.pipeline.config import PipelineConfig
from noisy_gru.pipeline.redirect import output_to
from noisy_gru.pipeline.runs import RunDirectory
from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig, TaskConfig
from noisy_gru.schema.errors import ConfigError, UserError
from noisy_gru.trainer.session import SessionModel

FORMATS = ("csv", "jsonl")
BATCH = 512
EXAMPLES_SHOWN = 5

Answer = dict[str, Any]


def published_model(root: Path, model_name: str, version: int | None = None) -> Path:
    """The folder of a published version, the latest by default; ``UserError`` if it is not there."""
    folder = RunDirectory(root).serving / model_name
    found = versions(folder)
    if not found:
        raise UserError(f"{folder}: no published model. Run the pipeline first, or name its root with --root")
    if version is not None and version not in found:
        raise UserError(f"{folder}: no version {version}; there are {', '.join(map(str, found))}")
    return folder / str(version if version is not None else found[-1])


def predict_files(
    config: PipelineConfig,
    inputs: Sequence[str],
    *,
    root: Path,
    version: int | None = None,
    out: Path | None = None,
    format_: str | None = None,
) -> int:
    """Writes the model's answer for each sequence of the input files.

    Args:
        config: of the model.
        inputs: files, or patterns relative to the current folder, in a format of training.
        root: of the runs.
        version: of the published model; None: the latest.
        out: file to write; None: standard output.
        format_: `csv` or `jsonl`; None: by the ending of ``out``, else CSV.

    Returns:
        The number of rows that could not be used; they were told on standard error.

    Raises:
        UserError: no such model or files, or files that can't be read.
    """
    format_ = format_ or ("jsonl" if out is not None and out.suffix in (".jsonl", ".json", ".ndjson") else "csv")
    if format_ not in FORMATS:
        raise ConfigError(f"--format: expected one of {', '.join(FORMATS)}, found {format_}")
    folder = published_model(root, config.model_name, version)
    paths = []
    for pattern in inputs:
        found = matching_files([pattern])
        if not found:
            raise UserError(f"{pattern}: matches no file")
        paths += [Path(path) for path in found]
    request = read_for_prediction(paths, config.dataset)
    logs = RunDirectory(root).logs
    # TensorFlow writes to standard error on its own.
    with output_to(logs / "predict.log" if logs.is_dir() else Path(os.devnull)), SessionModel(folder) as model:
        told = list(answers(model, request, config.task))
    with _opened(out) as stream:
        write = _writer(format_, stream)
        for answer in told:
            write(answer)
    return _tell_unused(request)


def answers(model: SessionModel, request: PredictionInput, task: TaskConfig) -> Iterator[Answer]:
    """The model's answers in the order of the request; named as a line of output is."""
    for start in range(0, len(request.ids), BATCH):
        ids = request.ids[start : start + BATCH]
        outputs = model.run("serving_default", {"examples": request.examples[start : start + BATCH]})
        for index, name in enumerate(ids):
            yield {"sequence_id": name, **_answer({key: value[index] for key, value in outputs.items()}, task)}


def _answer(outputs: dict[str, Any], task: TaskConfig) -> Answer:
    if isinstance(task, ClassificationConfig):
        names = [label.decode() for label in outputs["labels_bytes"]]
        parts = {
            f"probability_{name}": _number(value) for name, value in zip(names, outputs["probabilities"], strict=True)
        }
        return {task.label: outputs["label_bytes"].decode(), **parts}
    if isinstance(task, ForecastingConfig):
        return {
            f"{target}@{horizon}": _number(outputs["predictions"][row][column])
            for row, horizon in enumerate(task.horizons)
            for column, target in enumerate(task.targets)
        }
    return {task.label: _number(outputs["predictions"][0])}


def _number(value: Any) -> float:
    # Nine digits tell any two float32 apart.
    return float(f"{float(value):.9g}")


def _writer(format_: str, stream: TextIO) -> Callable[[Answer], None]:
    if format_ == "jsonl":
        return lambda answer: print(json.dumps(answer, ensure_ascii=False), file=stream)
    rows = csv.writer(stream, lineterminator="\n")
    header: list[str] = []

    def write(answer: Answer) -> None:
        if not header:
            header.extend(answer)
            rows.writerow(header)
        rows.writerow(answer.values())

    return write


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    try:
        with out.open("w", encoding="utf-8", newline="") as stream:
            yield stream
    except OSError as error:
        raise UserError(f"--out {out}: can't be written: {error.strerror}") from error


def _tell_unused(request: PredictionInput) -> int:
    """Tells the reasons, how many rows each has, and the first of them; returns the rows."""
    account = request.account
    counts = account.quarantined + account.dropped
    # Nothing is lost with the copies of a row.
    counts.pop(EXACT, None)
    for reason, count in sorted(counts.items()):
        print(f"not used: {count} row{'s' if count > 1 else ''}: {reason}", file=sys.stderr)
        for line in [line for line in request.unusable if line.get("reason") == reason][:EXAMPLES_SHOWN]:
            place = ", ".join(f"{key} {line[key]}" for key in ("file", "row", "column", "sequence_id") if key in line)
            print(f"  {place}: {line.get('problem', '')}", file=sys.stderr)
    return counts.total()
