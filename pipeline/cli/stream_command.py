"""``noisy-gru stream``: answer the events of a Kafka topic with the published model, each exactly once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from noisy_gru.pipeline.cli.options import ConfigArgument, DebugOption, RootOption, SetOption, exit_on_error


def stream(
    config: ConfigArgument,
    input_topic: Annotated[
        str, typer.Option(metavar="TOPIC", help="Events, one row each, with the entity as key.", show_default=False)
    ],
    output_topic: Annotated[
        str,
        typer.Option(metavar="TOPIC", help="Answers, as JSON; the keys are those of the events.", show_default=False),
    ],
    set_: SetOption = None,
    root: RootOption = None,
    bootstrap_servers: Annotated[
        str | None,
        typer.Option(
            "--bootstrap-servers", "--brokers", metavar="HOST:PORT,…", help="Kafka's brokers.", show_default=False
        ),
    ] = None,
    dead_letter_topic: Annotated[
        str | None,
        typer.Option(
            metavar="TOPIC",
            help="Events that can't be used, as they came; headers say why. Default: OUTPUT_TOPIC-dead-letters.",
            show_default=False,
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Consumer group, which the checkpoint belongs to. Default: name-stream.", show_default=False),
    ] = None,
    instance: Annotated[
        str, typer.Option(help="Name of this process in the group; each process of a group has its own.")
    ] = "0",
    value_format: Annotated[
        Literal["json", "csv"], typer.Option(help="Events are JSON objects, or records in the dialect of data.csv.")
    ] = "json",
    csv_columns: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="Columns of records in CSV. Default: data.csv.header.", show_default=False),
    ] = None,
    lateness: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="How long events wait for earlier ones: a duration such as 30s (a number, unless data.time.kind is "
            "timestamp). Later events are dead letters. Default: 0.",
            show_default=False,
        ),
    ] = None,
    max_ahead: Annotated[
        str,
        typer.Option(
            metavar="DURATION|none",
            help="Events with a time so far after their message's timestamp are dead letters: one of them would make "
            "all others late.",
        ),
    ] = "1d",
    replay_steps: Annotated[
        int,
        typer.Option(
            help="Steps kept of each entity, which a new version reads before it answers (serving_step).", min=0
        ),
    ] = 100,
    start: Annotated[
        Literal["earliest", "latest"], typer.Option(help="Where a new group begins to read.")
    ] = "earliest",
    until_end: Annotated[
        bool, typer.Option("--until-end", help="End when all events were read that were there.")
    ] = False,
    batch_events: Annotated[int, typer.Option(help="Most events of a transaction.", min=1)] = 2000,
    batch_seconds: Annotated[
        float, typer.Option(help="Longest wait for the events of a transaction.", min=0.001, max=60)
    ] = 0.1,
    client_config: Annotated[
        Path | None,
        typer.Option(
            "--client-config",
            "--consumer-config",
            metavar="FILE",
            help="Settings of the Kafka client (librdkafka), name=value on each line, such as security.protocol; "
            "${env:NAME} is an environment variable's value.",
            show_default=False,
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Ask this server, over gRPC. Default: load the model published under --root here.",
            show_default=False,
        ),
    ] = None,
    plaintext: Annotated[
        bool, typer.Option("--plaintext", help="Allow an unencrypted connection to a server on another machine.")
    ] = False,
    report_seconds: Annotated[float, typer.Option(help="Seconds between reports.", min=0.1)] = 10.0,
    debug: DebugOption = False,
) -> None:
    """Answer the events of a Kafka topic with the published model, exactly once each, in the order of event time.

    Ends cleanly at SIGTERM or Ctrl-C, and goes on where it was. See docs/streams.md.
    """
    from noisy_gru.pipeline.config.loading import load_config
    from noisy_gru.pipeline.runs.run_directory import default_root

    with exit_on_error(debug):
        loaded = load_config(config, set_ or [])
        from noisy_gru.pipeline.streaming.command import StreamOptions, stream_events

        stream_events(
            loaded,
            StreamOptions(
                root=root or default_root(loaded),
                bootstrap_servers=bootstrap_servers,
                client_config=client_config,
                input_topic=input_topic,
                output_topic=output_topic,
                dead_letter_topic=dead_letter_topic,
                group=group or f"{loaded.name}-stream",
                instance=instance,
                value_format=value_format,
                csv_columns=None if csv_columns is None else csv_columns.split(","),
                lateness=lateness,
                max_ahead=max_ahead,
                replay_steps=replay_steps,
                start=start,
                until_end=until_end,
                batch_events=batch_events,
                batch_seconds=batch_seconds,
                server=server,
                plaintext=plaintext,
                report_seconds=report_seconds,
            ),
        )
