"""The command that makes a network ready to be served: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from keras_resnet._internal.validation import directory
from keras_resnet.cli.options import Like, Model, Size, Weights
from keras_resnet.cli.startup import start_keras


def export(
    model: Model,
    out: Annotated[Path, typer.Option(help="Directory for the model and the files that serve it; added to.")],
    weights: Weights = None,
    like: Like = None,
    size: Size = None,
    precision: Annotated[
        str,
        typer.Option(
            metavar="float32|bfloat16|int8",
            help="What it computes in. int8 needs images to calibrate with, and falls back to bfloat16.",
        ),
    ] = "float32",
    calibration: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="For int8: images like those to be served.", show_default="the run's own"),
    ] = None,
    calibration_count: Annotated[
        int, typer.Option("--calibration-images", help="About how many images to calibrate with.", min=1)
    ] = 200,
    name: Annotated[
        str | None, typer.Option(help="What clients call the model.", show_default="its name in the zoo")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Names of the classes, one a line.", show_default="the run's or the weights'"
        ),
    ] = None,
    version: Annotated[int, typer.Option(help="Number of this version; servers take the highest.", min=1)] = 1,
    top: Annotated[int, typer.Option(help="How many classes an answer names.", min=1)] = 5,
    on_invalid: Annotated[
        str, typer.Option(metavar="flag|raise", help="What becomes of files that are no images.")
    ] = "flag",
) -> None:
    """Writes a SavedModel for TF Serving: files of images in, classes out; with all that starts a server of it."""
    directory("--out", out)
    start_keras()
    from keras_resnet.cli import report
    from keras_resnet.cli.networks import black_images, calibration_images, open_network, read_class_names
    from keras_resnet.export import kit, saved_model

    found = open_network(model, weights, like, size)
    name = name or (found.checkpoint.model if found.checkpoint else found.model.name)
    kit.check(out, name)
    if calibration is not None and precision != "int8":
        raise ValueError(f"--calibration must come with --precision int8. Received: --precision {precision}")
    path = saved_model(
        found.model,
        kit.model_path(out, name),
        version,
        found.classes if classes is None else read_class_names(classes, found.model.output_shape[-1]),
        precision,
        calibration_images(found, calibration, calibration_count) if precision == "int8" else None,
        top_k=top,
        warmup=black_images(found.model, 8),
        checkpoint=found.checkpoint,
        resize=found.resize,
        on_invalid=on_invalid,
    )
    kit.write(out, name)
    report.say((path / "card.txt").read_text(), Console())
    report.say(f"{out} holds the model and README.md, which says how it is served", Console())
