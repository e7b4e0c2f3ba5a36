"""Run, validate and predict from Python, as the commands of the same names do.

    record = run("config.yaml", root="runs/vowels")
    predictions = predict("config.yaml", "new.csv", root="runs/vowels")
    print(record.status, predictions.to_pandas())

Importing this module loads neither TensorFlow nor TFX.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisy_gru.data.ingestion.spans import LATEST
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig

if TYPE_CHECKING:
    from noisy_gru.pipeline.prediction import Server
    from noisy_gru.pipeline.runs.run_record import RunRecord
    from noisy_gru.serving.client.predictions import Predictions

PathLike = str | os.PathLike[str]


def validate(config: PathLike, *, set: Sequence[str] = (), span: str = LATEST) -> list[str]:
    """Check a configuration: its keys, the files and columns it names, its schema, its metrics. Read no data.

    Args:
        config: the YAML file.
        set: overrides, `key=value` each, as in `--set`.
        span: the newest span to read: `latest`, a number, or a date.

    Returns:
        Notes, one line each; empty where there is nothing to note.

    Raises:
        ConfigError: with everything that is wrong.
    """
    from noisy_gru.pipeline.config.checks import check_config

    return check_config(load_config(Path(config), set), span=span)


def run(
    config: PathLike,
    *,
    root: PathLike | None = None,
    set: Sequence[str] = (),
    span: str = LATEST,
    debug: bool = False,
) -> RunRecord:
    """Check a configuration, then run its pipeline on this machine, from data to a published model.

    Finished steps whose inputs, configuration and code are unchanged are not run again. Progress goes to standard
    error, what libraries log to the run's log.

    Args:
        config: the YAML file.
        root: where everything of the run goes; None: `runs/<name>`, with the name in the configuration.
        set: overrides, `key=value` each, as in `--set`.
        span: the newest span to read: `latest`, a number, or a date.
        debug: show the traceback of a step's error, too.

    Returns:
        The record of the run. Its `status` is `succeeded`, `refused`, `failed` or `interrupted`: a step's error is in
        `error`, not raised.

    Raises:
        UserError: the run could not begin: the configuration is wrong, or its root is in use or can't be written.
    """
    from noisy_gru.pipeline.config.checks import check_config
    from noisy_gru.pipeline.runs.run_directory import default_root
    from noisy_gru.pipeline.runs.running import run_config

    loaded = load_config(Path(config), set)
    check_config(loaded, span=span)
    return run_config(
        loaded,
        config_path=Path(config),
        root=default_root(loaded) if root is None else Path(root),
        overrides=set,
        span=span,
        debug=debug,
    )


def predict(
    config: PathLike | PipelineConfig,
    data: Any,
    *,
    root: PathLike | None = None,
    set: Sequence[str] = (),
    version: int | None = None,
    server: str | Server | None = None,
    anomalies: bool = False,
) -> Predictions:
    """Predict with a published model: one answer for each sequence; for forecasting, from each latest window.

    Args:
        config: the YAML file, or what ``load_config`` made of it.
        data: a file or several, in a format of training; a pandas DataFrame; a pyarrow Table; or rows, each a mapping
            of column to value.
        root: of the runs whose published model is loaded; None: `runs/<name>`. Not read where there is a server.
        set: overrides of a YAML file, `key=value` each.
        version: of the model; None: the latest.
        server: to send requests to, `http://HOST:PORT` for REST, or `HOST:PORT` for gRPC. A ``Server`` has the other
            options. None: the published model is loaded here.
        anomalies: make a forecast from each step before one whose value came, too, with what came and its p-value.

    Returns:
        The answers, in the order of the data; `to_pandas()` makes a DataFrame of them, `unusable` and `refused` name
        the rows and sequences without an answer.

    Raises:
        UserError: no such model, data that can't be read, or no answer.
    """
    from noisy_gru.pipeline.prediction import Server, predict_data
    from noisy_gru.pipeline.runs.run_directory import default_root

    loaded = config if isinstance(config, PipelineConfig) else load_config(Path(config), set)
    return predict_data(
        loaded,
        data,
        root=default_root(loaded) if root is None else Path(root),
        version=version,
        server=Server(target=server) if isinstance(server, str) else server,
        anomalies=anomalies,
    )
