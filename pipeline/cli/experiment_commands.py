"""``noisy-gru compare|noise``: experiments on one's own data."""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noisy_gru.pipeline.cli.options import (
    ConfigArgument,
    DebugOption,
    JsonOption,
    RootOption,
    SetOption,
    exit_on_error,
    local_path,
)
from noisy_gru.schema.errors import ConfigError

if TYPE_CHECKING:
    from noisy_gru.pipeline.config.pipeline_config import PipelineConfig

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}

BudgetOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Begin no training after this time: 30m, 2h, 90s. What is finished is reported; run it again to go on.",
        show_default=False,
    ),
]
ParallelOption = Annotated[
    str,
    typer.Option(
        "--parallel",
        metavar="N|auto",
        help="Trainings at the same time, each in a process of its own; auto: as many as cores and memory allow, by "
        "what the first one takes. The results are the same.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="FILE.html: where to write the page. Default: beside the results, under the root's experiments. Any other "
        "name: write the JSON there, too.",
        show_default=False,
        callback=local_path,
    ),
]


def compare(
    config: ConfigArgument,
    vary: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=VALUE,VALUE…",
            help="Key of model or training, and its values as YAML, for example 'model.layers[0].units=32,64'. "
            "Several are combined.",
            show_default=False,
        ),
    ],
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant, with the seeds from `seed` on.")] = 5,
    metric: Annotated[
        str | None, typer.Option(help="Metric that ranks. Default: accuracy, or mae.", show_default=False)
    ] = None,
    budget: BudgetOption = None,
    parallel: ParallelOption = "1",
    set_: SetOption = None,
    root: RootOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train variants of a configuration with the same seeds on the same data, and rank them on the eval split.

    Differences from the configured variant have paired 95 % intervals. The test split is never read. Writes a page.
    """
    from noisy_gru.pipeline.cli.experiments_view import show_comparison
    from noisy_gru.pipeline.config.checks import check_config
    from noisy_gru.pipeline.config.loading import load_config
    from noisy_gru.pipeline.experiments.comparison_report import comparison_report
    from noisy_gru.pipeline.experiments.experiment import run_experiment
    from noisy_gru.pipeline.experiments.variants import CONFIGURED, compared_variants, known_metrics, require_eval_split
    from noisy_gru.pipeline.runs.run_directory import default_root

    with exit_on_error(debug):
        seconds, processes = parse_budget(budget), parse_parallel(parallel)
        loaded = load_config(config, set_ or [])
        check_config(loaded)
        require_eval_split(loaded, "compare")
        known = known_metrics(loaded)
        chosen = metric or next(iter(known))
        if chosen not in known:
            raise ConfigError(f"--metric {chosen}: expected one of {', '.join(known)}")
        variants = compared_variants(config, loaded, vary, set_ or [])
        experiment = run_experiment(
            loaded,
            variants,
            command="compare",
            root=root or default_root(loaded),
            seeds=seeds,
            shown=chosen,
            required=[CONFIGURED],
            budget=seconds,
            parallel=processes,
        )
        report = comparison_report(experiment.trials, pipeline=loaded.name, metric=chosen, best=known[chosen])
        page = _Page("compare", loaded, experiment.page, out)
        _give(report, page, as_json, show_comparison)


def noise(
    config: ConfigArgument,
    scales: Annotated[
        str, typer.Option(metavar="X,X…", help="Factors on the stddev of every layer; 0 and 1 are always among them.")
    ] = "0,1,3,10",
    kinds: Annotated[
        str,
        typer.Option(
            metavar="KIND,KIND…",
            help="Other kinds of noise: carried (states of other sequences), learned and residual scales; or none.",
        ),
    ] = "carried,learned,residual",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each, with the seeds from `seed` on.")] = 8,
    burn_in: Annotated[
        str, typer.Option(metavar="K,K…", help="Steps before the middle of a sequence to start reading from.")
    ] = "0,5",
    budget: BudgetOption = None,
    parallel: ParallelOption = "1",
    set_: SetOption = None,
    root: RootOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure on your data whether the noise of the first state does anything, at which scale, and for what.

    Trains each scale and kind of noise with the same seeds, and measures on the eval split from the first state that is
    served, from noise, from another sequence's last state, and in the middle of a sequence, with paired 95 % intervals.
    Writes a page.
    """
    from noisy_gru.pipeline.cli.experiments_view import show_noise
    from noisy_gru.pipeline.config.checks import check_config
    from noisy_gru.pipeline.config.loading import load_config
    from noisy_gru.pipeline.experiments.experiment import run_experiment
    from noisy_gru.pipeline.experiments.noise_report import CONFIGURED as AS_CONFIGURED
    from noisy_gru.pipeline.experiments.noise_report import NONE, noise_report
    from noisy_gru.pipeline.experiments.variants import known_metrics, noise_variants, require_eval_split
    from noisy_gru.pipeline.runs.run_directory import default_root
    from noisy_gru.trainer.experiments.starts import FirstStates

    with exit_on_error(debug):
        seconds, processes = parse_budget(budget), parse_parallel(parallel)
        factors = [float(each) for each in _numbers("--scales", scales)]
        steps = [int(each) for each in _numbers("--burn-in", burn_in, whole=True)]
        loaded = load_config(config, set_ or [])
        check_config(loaded)
        require_eval_split(loaded, "noise")
        variants = noise_variants(loaded, factors, [] if kinds.strip() == "none" else kinds.replace(" ", "").split(","))
        metric, best = next(iter(known_metrics(loaded).items()))
        starts = FirstStates(
            tuple(layer.stddev for layer in loaded.model.layers),
            noise_scales=tuple(sorted({1.0, max(factors)} - {0.0})),
            burn_in=tuple(sorted(set(steps))),
        )
        experiment = run_experiment(
            loaded,
            variants,
            command="noise",
            root=root or default_root(loaded),
            seeds=seeds,
            shown=metric,
            required=[NONE, AS_CONFIGURED],
            starts=starts,
            budget=seconds,
            parallel=processes,
        )
        report = noise_report(experiment.trials, loaded.trainer, pipeline=loaded.name, metric=metric, best=best)
        page = _Page("noise", loaded, experiment.page, out)
        _give(report, page, as_json, show_noise)


def parse_budget(text: str | None) -> float | None:
    """Return the seconds of `90s`, `30m`, `2h` or a number of seconds.

    Raises:
        ConfigError: it is none of these.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if found is None or not float(found[1]):
        raise ConfigError(f"--budget {text}: expected a time such as 90s, 30m or 2h")
    return float(found[1]) * _UNITS[found[2]]


def parse_parallel(text: str) -> int | None:
    """Return the number of processes; None for `auto`.

    Raises:
        ConfigError: it is neither.
    """
    if text.strip() == "auto":
        return None
    if not text.strip().isdecimal() or not int(text):
        raise ConfigError(f"--parallel {text}: expected a number of processes, or auto")
    return int(text)


def _numbers(option: str, text: str, *, whole: bool = False) -> list[float]:
    try:
        found = [float(each) for each in text.split(",")]
    except ValueError:
        found = [math.nan]
    if any(not math.isfinite(each) or each < 0 or (whole and each != int(each)) for each in found):
        kind = "whole numbers" if whole else "numbers"
        raise ConfigError(f"{option} {text}: expected {kind} >= 0, separated by commas")
    return found


@dataclass(frozen=True)
class _Page:
    """What the page of an experiment needs beside its report; ``default`` is its file, unless ``out`` names one."""

    command: str
    config: PipelineConfig
    default: Path
    out: Path | None

    @property
    def is_out(self) -> bool:
        return self.out is not None and self.out.suffix.lower() in (".html", ".htm")


def _give(report: dict[str, Any], page: _Page, as_json: bool, show: Any) -> None:
    from noisy_gru.pipeline.experiments.experiment_page import experiment_page
    from noisy_gru.storage.atomic_files import write_atomically

    text = json.dumps(report, indent=1)
    if page.out is not None and not page.is_out:
        write_atomically(page.out, text + "\n")
    # The numbers first: they took long, and a page that can't be written takes none of them away.
    if as_json:
        typer.echo(text)
    else:
        show(report, sys.stdout)
    file = page.out if page.out is not None and page.is_out else page.default
    content = experiment_page(report, command=page.command, name=page.default.stem, config=page.config)
    write_atomically(file, content)
    if not as_json:
        typer.echo(f"\n{file}")
