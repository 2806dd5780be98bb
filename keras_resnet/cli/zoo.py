"""Commands that look at the zoo: models, summary."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from keras_resnet.cli.options import Name, Size
from keras_resnet.cli.startup import start_keras


def models(
    pattern: Annotated[str, typer.Argument(help="Only names like this, with * and ?; case does not matter.")] = "*",
    weights: Annotated[
        bool, typer.Option("--weights", help="Their published weights instead: accuracy, input, licence, source.")
    ] = False,
) -> None:
    """Lists the models: depth, parameters, multiply-accumulates; or their weights."""
    start_keras()
    from keras_resnet import zoo
    from keras_resnet.cli import report
    from keras_resnet.weights.table import checkpoints_of

    names = zoo.list_models(pattern)
    if not names:
        raise ValueError(f"no model matches {pattern!r}; `keras-resnet models` lists them all")
    rows = [row for name in names for row in checkpoints_of(name)]
    if weights and not rows:
        raise ValueError(f"no weights are published for {', '.join(names)}")
    if weights:
        report.weights(rows, Console())
    else:
        report.models([zoo.ROWS[name] for name in names], Console())


def summary(
    name: Name,
    size: Size = None,
    channels: Annotated[int, typer.Option(help="Channels of the images.")] = 3,
    classes: Annotated[int | None, typer.Option(help="Outputs.", show_default="what the model is for")] = None,
) -> None:
    """Shows a model stage by stage: output shape, parameters, multiply-accumulates."""
    start_keras()
    from keras_resnet import zoo
    from keras_resnet.cli import report
    from keras_resnet.stages import stages

    side = zoo.row_of(name).size if size is None else size
    overrides: dict[str, Any] = {} if classes is None else {"classes": classes}
    model = zoo.create_model(name, input_shape=(side, side, channels), **overrides)
    report.summary(name, stages(model), Console())
