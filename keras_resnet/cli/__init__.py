"""The `keras-resnet` command."""

from __future__ import annotations

import os
import sys

import typer

# Keras and all that imports it are imported by the commands: `--help` is to answer at once.
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
    help="Residual networks for Keras 3: look at them, train them, try them.\n\n"
    "A first run, two minutes on two cores: [bold]keras-resnet train ResNet20 --data digits --out runs/digits[/bold]",
)
COMMANDS = (models, summary, recipes, data, train, runs, tune, evaluate, predict, convert, export)
for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """Entry point: runs the command; what the user got wrong is one line on stderr and exit status 2.

    With KERAS_RESNET_TRACEBACK set, the whole traceback.
    """
    try:
        app()
    except (ValueError, TypeError, OSError) as error:
        if "KERAS_RESNET_TRACEBACK" in os.environ:
            raise
        from keras_resnet.cli import report

        report.error(error)
        sys.exit(2)
