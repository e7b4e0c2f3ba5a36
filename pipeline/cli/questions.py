"""Ask in the terminal what `noisy-gru init` is not sure of."""

from __future__ import annotations

import typer

from noisy_gru.pipeline.init.roles import Guess


def ask_user(guess: Guess) -> str:
    """Ask which reading of a guess is right: its number or its name; Enter takes the likeliest."""
    values = [guess.value, *guess.others]
    typer.echo(f"NOT SURE. {guess.what}: {guess.why}")
    for number, value in enumerate(values, 1):
        typer.echo(f"  {number}  {value}{' (likeliest)' if number == 1 else ''}")

    def chosen(text: str) -> str:
        if text in values:
            return text
        if text.isdecimal() and 1 <= int(text) <= len(values):
            return values[int(text) - 1]
        raise typer.BadParameter(f"expected a number from 1 to {len(values)} or one of the names, received {text!r}")

    return str(typer.prompt(f"{guess.option} is", default="1", value_proc=chosen))
