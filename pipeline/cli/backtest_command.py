"""``noisy-gru backtest``: rolling origins of a forecast against baselines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from noisy_gru.components.evaluation.comparisons import Comparison
    from noisy_gru.pipeline.backtest.backtest import BacktestResult


def backtest(
    config: ConfigArgument,
    folds: Annotated[int, typer.Option(help="Folds that the time after the first origin is cut into.")] = 5,
    refit: Annotated[
        bool, typer.Option("--refit", help="Train a model for each fold, before its first origin.")
    ] = False,
    start: Annotated[float, typer.Option(help="Part of the time before the first origin.")] = 0.5,
    metric: Annotated[str, typer.Option(help="mae or rmse.")] = "mae",
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            help="Baseline besides the naive ones: drift, ridge, gradient_boosting, and with the extra "
            "\\[statsforecast] auto_ets, auto_arima, theta. Repeatable. Default: drift, ridge.",
            show_default=False,
        ),
    ] = None,
    set_: SetOption = None,
    root: RootOption = None,
    out: Annotated[
        Path | None, typer.Option(help="JSON file for the result.", show_default=False, callback=local_path)
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Backtest a forecast: train before the first origin and forecast all folds, or train anew for each (--refit).

    Prints a table for each fold: the model's error by target and horizon, and its gain over each baseline with the
    interval of a paired bootstrap. Publishes nothing to the configuration's own root, where evaluation.backtest finds
    the outcome.
    """
    from noisy_gru.compat.extras import require
    from noisy_gru.pipeline.config.checks import check_config
    from noisy_gru.pipeline.config.loading import load_config
    from noisy_gru.pipeline.runs.run_directory import default_root

    with exit_on_error(debug):
        require("tfx", "noisy-gru backtest")
        from noisy_gru.components.evaluation.config import DRIFT, RIDGE
        from noisy_gru.pipeline.backtest import backtest as backtesting

        loaded = load_config(config, set_ or [])
        check_config(loaded)
        found = backtesting.backtest(
            loaded,
            config_path=config,
            root=root or default_root(loaded),
            folds=folds,
            refit=refit,
            start=start,
            metric=metric,
            fitted=baseline or [DRIFT, RIDGE],
            overrides=set_ or [],
        )
        text = json.dumps(found.to_dict(), indent=1)
        if out is not None:
            out.write_text(f"{text}\n", encoding="utf-8")
        if as_json:
            typer.echo(text)
        else:
            show(found)


def show(found: BacktestResult) -> None:
    """Print a table for each fold."""
    from rich.markup import escape
    from rich.table import Table

    from noisy_gru.pipeline.cli.runs_view import console_for

    console = console_for(sys.stdout)
    for fold in found.folds:
        title = (
            f"fold {fold.number}: origins {fold.first} to {fold.last}, {fold.forecasts:,} forecasts, run {fold.run_id}"
        )
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for column in (found.metric, "model", *(f"gain over {name}" for name in found.baselines)):
            table.add_column(column, justify="left" if column == found.metric else "right")
        rows: dict[str, dict[str, Comparison]] = {}
        for each in fold.comparisons:
            rows.setdefault(each.metric.partition("/")[2], {})[each.against] = each
        for name, by in rows.items():
            first = next(iter(by.values()))
            cells = [name, _number(first.candidate), *(_gain(by.get(against)) for against in found.baselines)]
            table.add_row(*map(escape, cells))
        console.print(table)
        console.print()
    for each in found.overall:
        console.print(
            f"all folds: {each.metric} {_number(each.candidate)}, gain over {each.against} {_gain(each)}", markup=False
        )
    console.print(
        f"Gains are the baseline's error minus the model's, [lower, upper] bounds at {found.confidence:.0%} each; runs "
        f"are under {found.root}",
        markup=False,
    )


def _gain(each: Comparison | None) -> str:
    if each is None:
        return "-"
    return f"{_number(each.difference)} [{_number(each.lower)}, {_number(each.upper)}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
