"""The `keras-resnet` command."""

from __future__ import annotations

import os
import re
import sys
from typing import Annotated, Any

import typer

import keras_resnet

# Each command imports Keras, and the modules that need Keras, when it runs. So `--help` answers at once.
from keras_resnet.cli import detect
from keras_resnet.cli.embed import embed
from keras_resnet.cli.explain import explain
from keras_resnet.cli.export import export
from keras_resnet.cli.training import data, recipes, runs, train
from keras_resnet.cli.tune import tune
from keras_resnet.cli.weights import convert, evaluate, predict
from keras_resnet.cli.zoo import models, summary


def print_version(asked: bool) -> None:
    """Prints the version and ends the program, if the user asked for it."""
    if asked:
        typer.echo(f"keras-resnet {keras_resnet.__version__}")
        raise typer.Exit


app = typer.Typer(
    name="keras-resnet",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.callback(
    help="Residual networks for Keras 3: list, train, evaluate, tune and export them.\n\n"
    "A first training, which takes two minutes on two cores: "
    "[bold]keras-resnet train ResNet20 --data digits --out runs/digits[/bold]",
)
def program(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    """Options of the program itself."""


COMMANDS = (models, summary, recipes, data, train, runs, tune, evaluate, predict, explain, embed, convert, export)
for command in COMMANDS:
    app.command()(command)
app.add_typer(detect.app, name="detect")


def main() -> None:
    """Entry point: runs the command. An error prints one line on stderr, and the exit status is 2.

    If the environment variable KERAS_RESNET_TRACEBACK is set, an error prints the whole traceback.
    """
    try:
        app()
    except (ValueError, TypeError, OSError) as error:
        if "KERAS_RESNET_TRACEBACK" in os.environ:
            raise
        from keras_resnet.cli import report

        report.error(with_options(str(error), " ".join(sys.argv[1:3])))
        sys.exit(2)


def with_options(message: str, command: str) -> str:
    """An error of the library, with the names of its arguments replaced by those of the options.

    An error of the library starts with the name of the argument, and ends with `name=value`. The command line passes
    each option as an argument of the same name.

    Args:
        message: "max_macs must be in [1, inf). Received: max_macs=0".
        command: name of the command that the user typed, perhaps with what follows it: "tune", "detect train".

    Returns:
        "--max-macs must be in [1, inf). Received: --max-macs=0". If the command has no such option, the message itself.

    Example:
        >>> from keras_resnet.cli import with_options
        >>> with_options("max_macs must be in [1, inf). Received: max_macs=0", "tune")
        '--max-macs must be in [1, inf). Received: --max-macs=0'
    """
    found: Any = typer.main.get_command(app)
    for word in command.split(" "):
        found = getattr(found, "commands", {}).get(word, found)
    options = {parameter.name: parameter.opts[0] for parameter in found.params}
    first_word = re.match(r"(\w+)(?= must |: )", message)
    option = options.get(first_word[1], "") if first_word else ""
    if first_word is None or not option.startswith("--"):  # positional arguments have no dashes
        return message
    return option + re.sub(rf"(?<=[ ,(]){first_word[1]}=", f"{option}=", message[first_word.end() :])
