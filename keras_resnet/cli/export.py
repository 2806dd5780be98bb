"""The command that exports a network for a server: export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from keras_resnet._internal.validation import directory
from keras_resnet.cli.options import Model, SizeWithWeights, Weights, with_own_file
from keras_resnet.cli.startup import start_keras


@with_own_file
def export(
    model: Model,
    out: Annotated[
        Path, typer.Option(help="Directory for the model and the files that start a server. Other files there stay.")
    ],
    weights: Weights = None,
    size: SizeWithWeights = None,
    precision: Annotated[
        str,
        typer.Option(
            metavar="float32|bfloat16|int8|auto",
            help="Type in which the exported network computes. int8 needs calibration images; if int8 is not accurate "
            "enough or not supported here, bfloat16 is used instead. auto: the quickest on this machine that answers "
            "as float32 does; with calibration images int8 is tried too.",
        ),
    ] = "float32",
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Only with --precision int8 or auto: source of images like those to be served, with the same forms as "
            "--data of `keras-resnet train`.",
            show_default="the training images of the run",
        ),
    ] = None,
    calibration_count: Annotated[
        int, typer.Option("--calibration-images", help="Approximate number of calibration images.", min=1)
    ] = 200,
    name: Annotated[
        str | None, typer.Option(help="Name under which the model is served.", show_default="the model's name")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Text file with the names of the classes, one on each line.",
            show_default="the names of the run or of the weights",
        ),
    ] = None,
    version: Annotated[int, typer.Option(help="Number of this version. A server uses the highest version.", min=1)] = 1,
    top: Annotated[int, typer.Option(help="Number of the most probable classes in an answer.", min=1)] = 5,
    on_invalid: Annotated[
        str,
        typer.Option(
            metavar="flag|raise",
            help="What the served model does with a file that is not a valid image. flag: answer valid=False for this "
            "file. raise: reject the whole request.",
        ),
    ] = "flag",
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Also answer requests of the signature `explain`: with the most probable class of an image file, its "
            "score, and a heat map of the places that speak for it. The network must end in average pooling.",
        ),
    ] = False,
    *,
    own: Mapping[str, Any],
) -> None:
    """Writes a SavedModel for TF Serving (image files in, classes out) and the files that start a server."""
    directory("--out", out)
    start_keras()
    from keras_resnet.cli import report
    from keras_resnet.cli.networks import black_images, calibration_images, read_class_names
    from keras_resnet.export import kit, saved_model
    from keras_resnet.training.networks import open_network

    network = open_network(model, weights, own, size)
    name = name or (network.checkpoint.model if network.checkpoint else network.model.name)
    kit.check(out, name)
    if calibration is not None and precision not in ("int8", "auto"):
        raise ValueError(
            f"--calibration must not be given without --precision int8 or auto. Received: --precision {precision}"
        )
    calibrated = precision == "int8" or (precision == "auto" and (calibration or network.data) is not None)
    path = saved_model(
        network.model,
        kit.model_path(out, name),
        version,
        network.classes if classes is None else read_class_names(classes, network.model.output_shape[-1]),
        precision,
        calibration_images(network, calibration, calibration_count) if calibrated else None,
        top_k=top,
        warmup=black_images(network.model, 8),
        checkpoint=network.checkpoint,
        resize=network.resize,
        on_invalid=on_invalid,
        explain=explain,
    )
    kit.write(out, name)
    report.say((path / "card.txt").read_text(), Console())
    report.say(f"{out} holds the model and README.md, which says how to serve it", Console())
