"""What ``make demo`` runs: Japanese Vowels from CSV to a published model, then a few questions to that model.

python -m examples.demo [--root demo-run]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
import time
from pathlib import Path

from rich.console import Console

from noisy_gru.pipeline.config.checks import check_config
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.exit_codes import EXIT_FAILED
from noisy_gru.pipeline.runs.output_redirection import output_to
from noisy_gru.pipeline.runs.running import run_config
from noisy_gru.schema.errors import UserError
from noisy_gru.serving import Client

FOLDER = Path(__file__).parent / "japanese_vowels"
EVERY = 45  # every 45th of the 370 test utterances: one or so for each speaker


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("demo-run"), help="where everything goes")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override the configuration")
    options = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        "[bold]Japanese Vowels[/]: 640 utterances of nine men, 12 cepstrum coefficients in 7 to 29 steps; who speaks?"
    )
    try:
        config = load_config(FOLDER / "config.yaml", options.set)
        check_config(config)
        record = run_config(
            config, config_path=FOLDER / "config.yaml", root=options.root, overrides=options.set, on_stdout=True
        )
        if record.published_path is None:
            return EXIT_FAILED
        console.print(f"\n[bold]test accuracy[/] {record.metrics['accuracy']:.4f} on the published 370 test utterances")
        if "accuracy_majority" in record.metrics:
            console.print(f"  always answering the most frequent speaker: {record.metrics['accuracy_majority']:.4f}")
        _ask(console, config, Path(record.published_path), Path(record.log))
    except UserError as error:
        console.print(f"error: {error}", markup=False)
        return EXIT_FAILED
    return 0


def _ask(console: Console, config: PipelineConfig, folder: Path, log: Path) -> None:
    """Serve the published model on this machine, and ask it over gRPC about all test utterances."""
    truth = {}
    with gzip.open(FOLDER / "test.csv.gz", "rt", newline="") as stream:
        for row in csv.DictReader(stream):
            truth[row["utterance"]] = row["speaker"]
    begun = time.monotonic()
    # TensorFlow writes to standard error on its own.
    with output_to(log):
        # Imports TensorFlow, whose lines belong into the log, too.
        from noisy_gru.serving.local_server import LocalServer

        with (
            LocalServer({config.model_name: folder.parent}) as server,
            Client(server.grpc_address, dataset=config.dataset, model_name=config.model_name) as client,
        ):
            started = time.monotonic()
            answers = client.predict(FOLDER / "test.csv.gz").answers
            received = time.monotonic()
    console.print(f"\nThe published model, served on this machine ({started - begun:.1f} s), answers over gRPC:")
    for answer in answers[::EVERY]:
        name, speaker = answer["sequence_id"], answer["speaker"]
        sure = answer[f"probability_{speaker}"]
        mark = "[green]right[/]" if truth[name] == speaker else f"[red]wrong[/], it is {truth[name]}"
        console.print(f"  {name}: speaker {speaker} ({sure:.1%}) {mark}")
    right = sum(truth[answer["sequence_id"]] == answer["speaker"] for answer in answers)
    console.print(
        f"  all {len(answers)} test utterances, from the file, in {received - started:.2f} s: {right} right "
        f"({right / len(answers):.4f})"
    )
    root, config_file, data = folder.parents[2], FOLDER / "config.yaml", FOLDER / "test.csv.gz"
    console.print("\nAsk it yourself, serve it, look at it, take it back:")
    for command in (
        f"predict {config_file} {data} --root {root}",
        f"serve {config_file} --root {root}",
        f"predict {config_file} {data} --server 127.0.0.1:8500",
        f"dashboard --root {root}",
        f"runs rollback --root {root}",
    ):
        console.print(f"  noisy-gru {command}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
