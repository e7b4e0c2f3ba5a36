"""``noisy-gru score``: predict the spans that are new with the published model."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from noisy_gru.pipeline.cli.options import (
    ConfigArgument,
    DebugOption,
    JsonOption,
    RootOption,
    SetOption,
    exit_on_error,
)
from noisy_gru.pipeline.exit_codes import EXIT_FAILED


def score(
    config: ConfigArgument,
    set_: SetOption = None,
    root: RootOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Score new spans with the published model, each once, as the section score of CONFIG says.

    Predictions go to scores/span=<number or date>/ under the root, and what came of each span to scores.jsonl. Exits
    with 1 if a span failed; the next call tries it again.
    """
    from noisy_gru.pipeline.config.loading import load_config
    from noisy_gru.pipeline.runs.run_directory import default_root

    with exit_on_error(debug):
        loaded = load_config(config, set_ or [])
        from noisy_gru.pipeline.batch_prediction.scoring import score_new_spans

        def log(line: str) -> None:
            typer.echo(line, err=as_json)

        records = score_new_spans(loaded, root=root or default_root(loaded), log=log)
    failed = [record for record in records if record.outcome == "failed"]
    if as_json:
        outcome = "failed" if failed else "scored" if records else "nothing new"
        typer.echo(json.dumps({"outcome": outcome, "spans": [asdict(record) for record in records]}))
    elif not records:
        typer.echo("no new span to score")
    if failed:
        raise typer.Exit(EXIT_FAILED)
