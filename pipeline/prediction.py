"""Predict files with a published model, read as in training; one line for each sequence.

    >>> unused = predict_files(config, ["new.csv"], root=Path("runs/vowels"), out=None)  # doctest: +SKIP

Without a server, the SavedModel is loaded in a Session as TF Serving does; TensorFlow is not imported.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from noisy_gru.compat.extras import require
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.requests.actual_windows import every_row
from noisy_gru.data.requests.staged_input import StagedInput, stage_input
from noisy_gru.pipeline.batch_prediction.folder_prediction import predict_into_folder
from noisy_gru.pipeline.batch_prediction.output_files import FORMATS, output_file, write_predictions
from noisy_gru.pipeline.batch_prediction.published_model import BATCH, load_model, predict_staged, published_model
from noisy_gru.pipeline.batch_prediction.unused_rows import report_unused
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.runs.output_redirection import output_to
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.schema.errors import ConfigError, UserError
from noisy_gru.schema.file_patterns import escape_existing
from noisy_gru.serving.client.anomalies import check_anomalies, read_scores, with_p_values
from noisy_gru.serving.client.client import Client
from noisy_gru.serving.client.connection import DEFAULT_TIMEOUT, Tls, Transport
from noisy_gru.serving.client.errors import Refused
from noisy_gru.serving.client.prediction_columns import Part
from noisy_gru.serving.client.prediction_tables import LAYOUTS, Layout
from noisy_gru.serving.client.predictions import Predictions
from noisy_gru.serving.client.requests import prediction_input, sources_of
from noisy_gru.storage.object_stores import glob_files, is_remote, location_problem

# Sequences that a server gets by one call of the client, which sends several requests at a time.
_SERVER_BLOCK = 64 * BATCH
_FORMAT_OF = {".jsonl": "jsonl", ".json": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}


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
    part_size: int | None = None,
    with_beam: bool = False,
    anomalies: bool = False,
) -> int:
    """Write the model's predictions for each sequence of the input files.

    Args:
        config: configuration of the model.
        inputs: files, or patterns relative to the current folder or on s3:// or gs://, in a format of ``data.files``.
        root: root of the runs; not read if there is a server.
        version: version of the model; None: latest.
        out: output file; None: standard output.
        format_: `csv`, `jsonl` or `parquet`; None: by the suffix of ``out``, else CSV.
        layout: `short`, `wide` or `long`, see ``prediction_table``; None: `wide` for Parquet, else `short`.
        server: server to send requests to; None: load the published model in this process.
        part_size: makes ``out`` a folder of files of this many sequences each, rounded up to whole batches of the
            model, which a rerun completes: see ``batch_prediction.part_folder``.
        with_beam: predict on Beam, as the section ``beam`` of the configuration says, into a folder ``out`` with a file
            for each group of entities, which a rerun completes.
        anomalies: a forecast is made from each step before one whose value came, too, with its p-value.

    Returns:
        The number of rows and sequences that could not be used, which are reported on standard error.

    Raises:
        UserError: the model or files are missing or unreadable, or the server doesn't respond.
    """
    request = _checked(config, inputs, out, format_, layout)
    if part_size is not None and with_beam:
        raise ConfigError("--part-size: only without --beam, which writes a file for each group of entities")
    if anomalies:
        _check_anomalies(config, server)
    if part_size is not None or with_beam:
        return _predict_parts(
            request, root=root, version=version, part_size=part_size, server=server, anomalies=anomalies
        )
    if server is None:
        require("tensorflow", "noisy-gru predict without --server")
        published_model(root, config.model_name, version)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="noisy-gru-predict-")))
        refused: list[Refused] = []
        with output_file(out) as partial, output_to(library_log(RunDirectory(root).logs)):
            staged = stage_input(request.sources, config.dataset, work, with_actual=anomalies)
            if server is None:
                model = stack.enter_context(load_model(root, config.model_name, version))
                scores = read_scores(model.directory) if anomalies else None
                batches = predict_staged(model, staged, config.task, scores=scores)
            else:
                client = stack.enter_context(server.client(config, version))
                batches = _ask_server(client, staged, refused)
            write_predictions(batches, partial, request.format_, request.layout, out)
    return report_unused(staged.report.quarantined + staged.report.dropped, staged.unusable, refused)


@dataclass(frozen=True)
class _Request:
    config: PipelineConfig
    sources: list[Source]
    out: Path | None
    format_: str
    layout: Layout


def _checked(
    config: PipelineConfig, inputs: Sequence[str], out: Path | None, format_: str | None, layout: Layout | None
) -> _Request:
    format_ = format_ or _FORMAT_OF.get(out.suffix.lower() if out is not None else "", "csv")
    if format_ not in FORMATS:
        raise ConfigError(f"--format: expected one of {', '.join(FORMATS)}, found {format_}")
    layout = layout or ("wide" if format_ == "parquet" else "short")
    if layout not in LAYOUTS:
        raise ConfigError(f"--layout: expected one of {', '.join(LAYOUTS)}, found {layout}")
    if format_ == "parquet" and out is None:
        raise ConfigError("--format parquet needs a file: --out predictions.parquet")
    paths = []
    for pattern in inputs:
        if is_remote(pattern) and (problem := location_problem(pattern)) is not None:
            raise ConfigError(problem)
        found = glob_files(pattern if is_remote(pattern) else escape_existing(pattern))
        if not found:
            raise UserError(f"{pattern}: matches no file")
        paths += found
    return _Request(config, sources_of(paths, config.dataset), out, format_, layout)


def _check_anomalies(config: PipelineConfig, server: Server | None) -> None:
    check_anomalies(config.task)
    if server is not None:
        raise ConfigError(
            "--anomalies: only without --server. With a client, Predictions.p_values compares a server's answers with "
            "what came"
        )


def _predict_parts(
    request: _Request,
    *,
    root: Path,
    version: int | None,
    part_size: int | None,
    server: Server | None,
    anomalies: bool,
) -> int:
    """Predict into a folder of parts, completing an earlier prediction of the same; see ``predict_files``."""
    option = "--beam" if part_size is None else "--part-size"
    if server is not None:
        raise ConfigError(f"{option}: only without --server")
    if request.out is None:
        raise ConfigError(f"{option} needs a folder: --out predictions")
    if part_size is not None and part_size < 1:
        raise ConfigError(f"--part-size: expected at least 1 sequence, received {part_size}")
    result = predict_into_folder(
        request.config,
        request.sources,
        request.out,
        root=root,
        log=library_log(RunDirectory(root).logs),
        format_=request.format_,
        layout=request.layout,
        part_size=part_size,
        version=version,
        anomalies=anomalies,
    )
    return report_unused(Counter(result["unused"]), result["unusable"])


def _ask_server(client: Client, staged: StagedInput, refused: list[Refused]) -> Iterator[Predictions]:
    for block in staged.batches(_SERVER_BLOCK):
        predictions = client.predict_examples(block.examples, ids=block.ids, on_error="collect")
        refused += predictions.refused
        places = {name: place for place, name in enumerate(block.ids)}
        yield replace(predictions, origins=block.origins, places=places)


def predict_data(
    config: PipelineConfig,
    data: Any,
    *,
    root: Path,
    version: int | None = None,
    server: Server | None = None,
    anomalies: bool = False,
) -> Predictions:
    """The model's answer for each sequence of data: files, a DataFrame, a Table or rows, as ``Client.predict`` takes.

    Args:
        config: of the model.
        data: to predict from.
        root: root of the runs; not read if there is a server.
        version: version of the model; None: latest.
        server: server to send requests to; None: load the published model in this process.
        anomalies: see ``predict_files``.

    Raises:
        UserError: the model is missing, the data can't be read, or the server doesn't respond.
    """
    if anomalies:
        _check_anomalies(config, server)
    if server is None:
        require("tensorflow", "noisy-gru predict without --server")
        published_model(root, config.model_name, version)
    # TensorFlow writes to standard error on its own.
    with output_to(library_log(RunDirectory(root).logs)):
        if server is None:
            return _predict_here(root, data, config, version, anomalies)
        with server.client(config, version) as client:
            return client.predict(data, on_error="collect")


def library_log(logs: Path) -> Path:
    """Return the log of libraries; /dev/null if the root can't be written, which this command doesn't need."""
    log = logs / "predict.log"
    try:
        with log.open("a"):
            return log
    except OSError:
        return Path(os.devnull)


def _predict_here(root: Path, data: Any, config: PipelineConfig, version: int | None, anomalies: bool) -> Predictions:
    """Predict in a Session, loaded as a server does, in a process of its own that may crash without harm."""
    request = prediction_input(data, config.dataset, every_row if anomalies else None)
    parts = []
    with load_model(root, config.model_name, version) as model:
        scores = read_scores(model.directory) if anomalies else None
        for start in range(0, len(request.ids), BATCH):
            part = slice(start, start + BATCH)
            outputs = model.run("serving_default", {"examples": request.examples[part]})
            outputs = with_p_values(outputs, None if request.actual is None else request.actual[part], scores)
            parts.append(Part(request.ids[part], outputs, int(model.directory.name)))
    unused = request.report.quarantined + request.report.dropped
    places = {name: place for place, name in enumerate(request.ids)}
    return Predictions(
        config.task, parts, unusable=request.unusable, unused=unused, origins=request.origins, places=places
    )
