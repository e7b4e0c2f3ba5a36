"""``noisy-gru predict``: predict files with a published model, loaded here or on a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from noisy_gru.pipeline.cli.options import ConfigArgument, DebugOption, RootOption, SetOption, exit_on_error, local_path
from noisy_gru.pipeline.exit_codes import EXIT_UNUSED_INPUT


def predict(
    config: ConfigArgument,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT…", help="Files or patterns, in a format of data.files; .sql: a query for data.sql."
        ),
    ],
    set_: SetOption = None,
    root: RootOption = None,
    version: Annotated[
        int | None,
        typer.Option("--version", "--model-version", help="Version of the model. Default: latest."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Output file. Default: standard output.", show_default=False, callback=local_path),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="csv, jsonl or parquet. Default: by the suffix of --out, else csv.")
    ] = None,
    layout: Annotated[
        Literal["short", "wide", "long"] | None,
        typer.Option(
            help="short: sequence_id and the predictions. wide: also the entity, the time of each target and the "
            "model's version. long: the same with a row for each prediction. Default: wide for parquet, else short.",
            show_default=False,
        ),
    ] = None,
    part_size: Annotated[
        int | None,
        typer.Option(
            metavar="SEQUENCES",
            help="Make --out a folder of files of this many sequences each, rounded up to a multiple of 512. A rerun "
            "computes the missing files alone. Default: one file.",
            show_default=False,
        ),
    ] = None,
    with_beam: Annotated[
        bool,
        typer.Option(
            "--beam",
            help="Predict on Beam, where the section beam of CONFIG says: into a folder --out, a file for each group "
            "of entities. A rerun computes the missing files alone.",
        ),
    ] = False,
    anomalies: Annotated[
        bool,
        typer.Option(
            "--anomalies",
            help="Compare: forecast also from each step before one whose value came, and add what came and its p-value "
            "(small: strange). Forecasting only.",
        ),
    ] = False,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|URL",
            help="Send the requests to this server: HOST:PORT, or http://HOST:PORT for REST. Default: load the model "
            "published under --root here.",
            show_default=False,
        ),
    ] = None,
    transport: Annotated[
        Literal["grpc", "rest"] | None,
        typer.Option(help="Protocol of the server's port. Default: rest for a URL, else grpc."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Label of the version on the server, such as stable.")] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Timeout of one request with all its attempts. Default: 60.")
    ] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="Encrypt the connection; trust the system's certificates.")
    ] = False,
    tls_ca: Annotated[
        Path | None,
        typer.Option("--tls-ca", metavar="FILE", help="Encrypt the connection; trust these CA certificates (PEM)."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="Client certificate (PEM).")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="Private key of the client certificate (PEM).")
    ] = None,
    plaintext: Annotated[
        bool, typer.Option("--plaintext", help="Allow an unencrypted connection to another machine.")
    ] = False,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Header sent with every request (gRPC: metadata). Repeatable."),
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Predict with the published model: one line for each sequence; for forecasting, for its latest window.

    Rows and sequences that can't be used are reported on standard error with the reason, and the exit code is 4.
    """
    from noisy_gru.compat.pyarrow_pandas import leave_pandas_out

    leave_pandas_out()
    from noisy_gru.pipeline.config.loading import load_config
    from noisy_gru.pipeline.runs.run_directory import default_root
    from noisy_gru.schema.errors import ConfigError

    with exit_on_error(debug):
        loaded = load_config(config, set_ or [])
        from noisy_gru.pipeline.prediction import Server, predict_files
        from noisy_gru.serving.client.connection import DEFAULT_TIMEOUT, Tls

        encrypted = tls or tls_ca is not None or tls_cert is not None or tls_key is not None
        chosen = None
        if server is not None:
            chosen = Server(
                target=server,
                transport=transport,
                label=label,
                timeout=DEFAULT_TIMEOUT if timeout is None else timeout,
                tls=Tls(ca=tls_ca, certificate=tls_cert, key=tls_key) if encrypted else None,
                plaintext=plaintext,
                headers=header or (),
            )
        else:
            given = {
                "--transport": transport,
                "--label": label,
                "--timeout": timeout is not None,
                "--tls": encrypted,
                "--plaintext": plaintext,
                "--header": header,
            }
            needless = [name for name, value in given.items() if value]
            if needless:
                raise ConfigError(f"{', '.join(needless)}: only with --server HOST:PORT")
        unused = predict_files(
            loaded,
            inputs,
            root=root or default_root(loaded),
            version=version,
            out=out,
            format_=format_,
            layout=layout,
            server=chosen,
            part_size=part_size,
            with_beam=with_beam,
            anomalies=anomalies,
        )
    if unused:
        raise typer.Exit(EXIT_UNUSED_INPUT)
