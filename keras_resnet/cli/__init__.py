"""The `keras-resnet` command."""

from __future__ import annotations

import os
import sys

import typer

# Each command imports Keras, and the modules that need Keras, when it runs. So `--help` answers at once.
from keras_resnet.cli.export import export
from keras_resnet.cli.training import data, recipes, runs, train
from keras_resnet.cli.tune import tune
from keras_resnet.cli.weights import convert, evaluate, predict
from keras_resnet.cli.zoo import models, summary

app = typer.Typer(
    name="keras-resnet",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Residual networks for Keras 3: list, train, evaluate, tune and export them.\n\n"
    "A first training, which takes two minutes on two cores: "
    "[bold]keras-resnet train ResNet20 --data digits --out runs/digits[/bold]",
)
COMMANDS = (models, summary, recipes, data, train, runs, tune, evaluate, predict, convert, export)
for command in COMMANDS:
    app.command()(command)


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

        report.error(error)
        sys.exit(2)
