"""The command explain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from keras_resnet._internal.validation import output_file, printable
from keras_resnet.cli.options import ModelOption, Weights, with_own_file
from keras_resnet.cli.startup import start_keras


@with_own_file
def explain(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files: JPEG, PNG, BMP, WebP or GIF.")],
    model: ModelOption,
    out: Annotated[Path, typer.Option(help="Picture to write: a file that ends in .png or .svg.")],
    weights: Weights = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="NAME",
            help="Class to explain: its name, or its index from 0. A name comes before an index.",
            show_default="the most probable ones of each image",
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="METHOD", help="gradcam, gradcam++, hirescam, layercam or occlusion.")
    ] = "gradcam",
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Layer or stage whose features are used, for example conv4.",
            show_default="the last one before average pooling",
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="Number of classes to explain for each image.", min=1, max=5)] = 3,
    *,
    own: Mapping[str, Any],
) -> None:
    """Draws which places of an image speak for a class: the image, and a heat map for each of its top classes.

    The picture shows the part of each image that the network sees. If a file cannot be read, an error names it, the
    other images are drawn, and the exit status is 1.
    """
    start_keras()
    from keras_resnet.cli import report
    from keras_resnet.explain.pictures import draw, method_named
    from keras_resnet.plots.style import FORMATS
    from keras_resnet.training.networks import open_network

    file, explainer = output_file("out", out, *FORMATS), method_named(method, layer)
    network = open_network(model, weights, own)
    failed = 0
    for line in draw(network.model, images, network.resize, network.classes, explainer, file, name, top):
        if isinstance(line, ValueError):
            failed += 1
            report.error(line)
        else:
            report.say(line, Console())
    if failed < len(images):
        report.say(printable(file), Console())
    if failed:
        raise typer.Exit(1)
