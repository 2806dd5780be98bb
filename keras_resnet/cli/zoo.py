"""Commands that show the models: models, summary."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from keras_resnet.cli.options import Name, Size
from keras_resnet.cli.startup import start_keras


def models(
    pattern: Annotated[
        str, typer.Argument(help="Pattern of the names to list, with * and ?; upper and lower case are the same.")
    ] = "*",
    weights: Annotated[
        bool,
        typer.Option(
            "--weights", help="List the published weights of these models: accuracy, input size, licence, source."
        ),
    ] = False,
) -> None:
    """Lists the models with depth, parameters and multiply-accumulates (MACs), or their published weights."""
    start_keras()
    from keras_resnet import zoo
    from keras_resnet.cli import report
    from keras_resnet.weights.table import checkpoints_of

    names = zoo.list_models(pattern)
    if not names:
        raise ValueError(f"no model matches {pattern!r}; `keras-resnet models` lists all models")
    rows = [row for name in names for row in checkpoints_of(name)]
    if weights and not rows:
        raise ValueError(
            f"no weights are published for {', '.join(names)}; `keras-resnet models --weights` lists all weights"
        )
    if weights:
        report.weights(rows, Console())
    else:
        report.models([zoo.ROWS[name] for name in names], Console())


def summary(
    name: Name,
    size: Size = None,
    channels: Annotated[int, typer.Option(help="Channels of the images, for example 3 for color or 1 for grey.")] = 3,
    classes: Annotated[
        int | None, typer.Option(help="Number of classes, at least 1.", show_default="the model's own number")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="SVG or PNG file to write: a picture of the stages and their blocks.", show_default="none"),
    ] = None,
) -> None:
    """Shows the stages of a model: blocks, output shape, parameters, multiply-accumulates (MACs)."""
    start_keras()
    from keras_resnet import zoo
    from keras_resnet._internal.validation import output_file, printable
    from keras_resnet.cli import report
    from keras_resnet.plots import plot_architecture
    from keras_resnet.plots.style import FORMATS
    from keras_resnet.stages import stage_table

    file = None if plot is None else output_file("plot", plot, *FORMATS)
    side = zoo.row_of(name).size if size is None else size
    overrides: dict[str, Any] = {} if classes is None else {"classes": classes}
    model = zoo.create_model(name, input_shape=(side, side, channels), **overrides)
    report.summary(name, stage_table(model), Console())
    if file is not None:
        plot_architecture(model, file, name)
        report.say(printable(file), Console())
