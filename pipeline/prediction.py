"""Predict files with a published model, read as in training; one line for each sequence.

    >>> unused = predict_files(config, ["new.csv"], root=Path("runs/vowels"), out=None)  # doctest: +SKIP

Without a server, the SavedModel is loaded in a Session as TF Serving does; TensorFlow is not imported.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from noisy_gru.compat.extras import require
from noisy_gru.data.reading.block_parser import EMPTY_CELL
from noisy_gru.data.sequences.duplicates import EXACT
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.runs.output_redirection import output_to
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.registry.published_versions import versions
from noisy_gru.saved_model.session_process import SessionProcess
from noisy_gru.schema.errors import ConfigError, ModelError, UserError
from noisy_gru.schema.file_patterns import escape_existing, local_glob
from noisy_gru.serving.client.client import Client
from noisy_gru.serving.client.connection import DEFAULT_TIMEOUT, Tls, Transport
from noisy_gru.serving.client.prediction_columns import Part
from noisy_gru.serving.client.prediction_tables import LAYOUTS, Layout, plain_rows, write_parquet
from noisy_gru.serving.client.predictions import Answer, Predictions
from noisy_gru.serving.client.requests import prediction_input

FORMATS = ("csv", "jsonl", "parquet")
BATCH = 512
EXAMPLES_SHOWN = 5
_FORMAT_OF = {".jsonl": "jsonl", ".json": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
# Attempts to load the latest version while versions are removed.
_TRIES = 20


def published_model(root: Path, model_name: str, version: int | None = None) -> Path:
    """Return the folder of a published version, by default the latest; raise ``UserError`` if there is none."""
    folder = RunDirectory(root).serving / model_name
    found = versions(folder)
    if not found:
        raise UserError(f"{folder}: no published model. Run the pipeline first, or give its root with --root")
    if version is not None and version not in found:
        raise UserError(
            f"{folder}: expected a published version, found {version}; versions here: {', '.join(map(str, found))}"
        )
    return folder / str(version if version is not None else found[-1])


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server to ask, as the command line names it: see ``serving.settings.ClientSettings``.

    ``headers`` are `NAME=VALUE` each; ``label`` names a version in place of its number.
    """

    target: str
    transport: Transport | None = None
    label: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    tls: Tls | None = None
    plaintext: bool = False
    headers: Sequence[str] = ()

    def client(self, config: PipelineConfig, version: int | None) -> Client:
        """Return a client of the configuration's model.

        Raises:
            UserError: the options are invalid.
        """
        return Client(
            self.target,
            dataset=config.dataset,
            model_name=config.model_name,
            transport=self.transport,
            model_version=version,
            version_label=self.label,
            timeout=self.timeout,
            tls=self.tls,
            plaintext=self.plaintext,
            headers=dict(map(_header, self.headers)),
        )


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        # The value may be a secret, so it isn't shown.
        raise ConfigError("--header: expected NAME=VALUE")
    return name, value


def predict_files(
    config: PipelineConfig,
    inputs: Sequence[str],
    *,
    root: Path,
    version: int | None = None,
    out: Path | None = None,
    format_: str | None = None,
    layout: Layout | None = None,
    server: Server | None = None,
) -> int:
    """Write the model's predictions for each sequence of the input files.

    Args:
        config: configuration of the model.
        inputs: files, or patterns relative to the current folder, in a format of ``data.files``.
        root: root of the runs; not read if there is a server.
        version: version of the model; None: latest.
        out: output file; None: standard output.
        format_: `csv`, `jsonl` or `parquet`; None: by the suffix of ``out``, else CSV.
        layout: `short`, `wide` or `long`, see ``prediction_table``; None: `wide` for Parquet, else `short`.
        server: server to send requests to; None: load the published model in this process.

    Returns:
        The number of rows and sequences that could not be used, which are reported on standard error.

    Raises:
        UserError: the model or files are missing or unreadable, or the server doesn't respond.
    """
    format_ = format_ or _FORMAT_OF.get(out.suffix.lower() if out is not None else "", "csv")
    if format_ not in FORMATS:
        raise ConfigError(f"--format: expected one of {', '.join(FORMATS)}, found {format_}")
    layout = layout or ("wide" if format_ == "parquet" else "short")
    if layout not in LAYOUTS:
        raise ConfigError(f"--layout: expected one of {', '.join(LAYOUTS)}, found {layout}")
    if format_ == "parquet" and out is None:
        raise ConfigError("--format parquet needs a file: --out predictions.parquet")
    if server is None:
        require("tensorflow", "noisy-gru predict without --server")
        published_model(root, config.model_name, version)
    paths = []
    for pattern in inputs:
        found = local_glob(escape_existing(pattern))
        if not found:
            raise UserError(f"{pattern}: matches no file")
        paths += [Path(path) for path in found]
    predictions = predict_data(config, paths, root=root, version=version, server=server)
    if format_ == "parquet" and out is not None:
        write_parquet(predictions.to_arrow(layout), out)
    else:
        answers = predictions.answers if layout == "short" else plain_rows(predictions.to_arrow(layout))
        with _opened(out) as stream:
            write = _writer(format_, stream)
            for answer in answers:
                write(answer)
    return _report_unused(predictions)


def predict_data(
    config: PipelineConfig,
    data: Any,
    *,
    root: Path,
    version: int | None = None,
    server: Server | None = None,
) -> Predictions:
    """The model's answer for each sequence of data: files, a DataFrame, a Table or rows, as ``Client.predict`` takes.

    Args:
        config: of the model.
        data: to predict from.
        root: root of the runs; not read if there is a server.
        version: version of the model; None: latest.
        server: server to send requests to; None: load the published model in this process.

    Raises:
        UserError: the model is missing, the data can't be read, or the server doesn't respond.
    """
    if server is None:
        require("tensorflow", "noisy-gru predict without --server")
        published_model(root, config.model_name, version)
    # TensorFlow writes to standard error on its own.
    with output_to(_log(RunDirectory(root).logs)):
        if server is None:
            return _predict_here(root, data, config, version)
        with server.client(config, version) as client:
            return client.predict(data, on_error="collect")


def _log(logs: Path) -> Path:
    """Return the log of libraries; /dev/null if the root can't be written, which this command doesn't need."""
    log = logs / "predict.log"
    try:
        with log.open("a"):
            return log
    except OSError:
        return Path(os.devnull)


def _predict_here(root: Path, data: Any, config: PipelineConfig, version: int | None) -> Predictions:
    """Predict in a Session, loaded as a server does, in a process of its own that may crash without harm."""
    request = prediction_input(data, config.dataset)
    parts = []
    with _loaded(root, config.model_name, version) as model:
        for start in range(0, len(request.ids), BATCH):
            outputs = model.run("serving_default", {"examples": request.examples[start : start + BATCH]})
            parts.append(Part(request.ids[start : start + BATCH], outputs, int(model.directory.name)))
    unused = request.report.quarantined + request.report.dropped
    places = {name: place for place, name in enumerate(request.ids)}
    return Predictions(
        config.task, parts, unusable=request.unusable, unused=unused, origins=request.origins, places=places
    )


def _loaded(root: Path, model_name: str, version: int | None) -> SessionProcess:
    """Load the published model; if the latest version is removed meanwhile, the one that is the latest then.

    Raises:
        UserError: the given version is gone, or the model can't be loaded.
    """
    model_dir = RunDirectory(root).serving / model_name
    for _ in range(_TRIES):
        if version is None and not versions(model_dir):
            # The folder was read between a publication and the removal of the previous version.
            continue
        folder = published_model(root, model_name, version)
        try:
            return SessionProcess(folder)
        except ModelError:
            # Publishing and pruning rename a version before anything of it is deleted.
            if folder.is_dir():
                raise
    raise UserError(f"{model_dir}: versions were removed while they were loaded, {_TRIES} times. Try again")


def _writer(format_: str, stream: TextIO) -> Callable[[Answer], None]:
    if format_ == "jsonl":
        return lambda answer: print(json.dumps(answer, ensure_ascii=False), file=stream)
    plain = csv.writer(stream, lineterminator="\n")
    # Python quotes of CR and LF only the one that its own line ends hold, and readers end a line at either.
    quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    header: list[str] = []

    def write_row(cells: Iterable[Any]) -> None:
        row = list(cells)
        (quoted if any(isinstance(cell, str) and "\r" in cell for cell in row) else plain).writerow(row)

    def write(answer: Answer) -> None:
        if not header:
            header.extend(answer)
            write_row(header)
        write_row(answer.values())

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


def _report_unused(predictions: Predictions) -> int:
    """Print the reasons with their number of rows and first rows; return the number of rows and refused sequences."""
    counts = predictions.unused.copy()
    # Exact duplicates of a row lose nothing, and an empty cell of a wide table is no row.
    counts.pop(EXACT, None)
    counts.pop(EMPTY_CELL, None)
    for reason, count in sorted(counts.items()):
        print(f"not used: {count} row{'s' if count > 1 else ''}: {reason}", file=sys.stderr)
        for line in [line for line in predictions.unusable if line.get("reason") == reason][:EXAMPLES_SHOWN]:
            keys = ("file", "row", "column", "file_column", "sequence_id")
            place = ", ".join(f"{key} {line[key]}" for key in keys if key in line)
            physical = f" (line {line['line']})" if "line" in line else ""
            print(f"  {place}: {line.get('problem', '')}{physical}", file=sys.stderr)
    refused = predictions.refused
    if refused:
        print(f"refused by the server: {len(refused)} sequence{'s' if len(refused) > 1 else ''}", file=sys.stderr)
        for each in refused[:EXAMPLES_SHOWN]:
            print(f"  sequence_id {each.sequence_id}: {each.reason}", file=sys.stderr)
    return counts.total() + len(refused)
