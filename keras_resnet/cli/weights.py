"""Commands that use trained weights: evaluate, predict, convert."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from keras_resnet.cli.options import (
    DATA_HELP,
    SPLIT_HELP,
    Model,
    OnCorruptOfRun,
    SizeWithWeights,
    Weights,
    with_own_file,
)
from keras_resnet.cli.startup import start_keras

if TYPE_CHECKING:
    from keras_resnet.cli.predictions import Predictions


@with_own_file
def evaluate(
    model: Model,
    data: Annotated[str | None, typer.Option(help=DATA_HELP, show_default="the data of the run")] = None,
    weights: Weights = None,
    split: Annotated[
        str | None,
        typer.Option(
            help=SPLIT_HELP,
            show_default="test; with --weights and such data, all",
        ),
    ] = None,
    size: SizeWithWeights = None,
    on_corrupt: OnCorruptOfRun = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="New directory for a report: report.html, metrics.json, predictions.csv and pictures.",
            show_default="none",
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Another run or .keras file, to compare with on the same images.",
            show_default="none",
        ),
    ] = None,
    fail_below: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            help="Exit status 1 if the top-1 accuracy is below this, for example 0.95.",
        ),
    ] = None,
    fail_if_worse: Annotated[
        bool,
        typer.Option("--fail-if-worse", help="Exit status 1 if fewer images are right than with --baseline."),
    ] = False,
    *,
    own: Mapping[str, Any],
) -> None:
    """Measures the accuracy of a trained model, or of published weights with their own resizing and cropping."""
    if fail_if_worse and baseline is None:
        raise ValueError("fail_if_worse must be given with --baseline. Received: fail_if_worse=True")
    if fail_below is not None and not 0 <= fail_below <= 1:
        raise ValueError(
            f"fail_below must be a fraction in [0, 1], for example 0.95 for 95 %. Received: fail_below={fail_below:g}"
        )
    start_keras()
    from keras_resnet.cli.report import comparison, measured
    from keras_resnet.data import load
    from keras_resnet.data.folders import default_split
    from keras_resnet.evaluation.accuracy import evaluate_by_name, labels_by_name
    from keras_resnet.evaluation.report import check_directory, new_directory, write_report
    from keras_resnet.evaluation.result import Evaluation
    from keras_resnet.training.networks import OpenedNetwork, open_network

    def measure(network: OpenedNetwork) -> Evaluation:
        return evaluate_by_name(network.model, images, network.aliases, network.resize)

    if report is not None:
        check_directory(report)
    network = open_network(model, weights, own, size)
    source = data or network.data
    if source is None:
        raise ValueError(
            "data must be given for weights and for .keras files, for example --data folder:DIR or "
            f"--data tfds:imagenet2012. Received: {model} without --data"
        )
    split = split or (default_split(source) if weights is not None else "test")
    images = load(source, split, on_corrupt=on_corrupt or network.on_corrupt)
    before = None if baseline is None else open_network(baseline)
    labels_by_name(network.model, images, network.aliases)  # what does not fit is said before images are read
    if before is not None:
        try:
            labels_by_name(before.model, images, before.aliases)
        except ValueError as error:
            raise ValueError(f"baseline: {error}") from error
    if report is not None:
        new_directory(report)
    other = None if before is None else measure(before)
    found = measure(network)
    measured(found, source, split, network.checkpoint if weights is not None else None, size, Console())
    if other is not None:
        comparison(found, other, Console())
    if report is not None:
        title = f"{model}{f' ({weights})' if weights else ''} on {source}, {split}"
        typer.echo(write_report(found, report, title, network.model, other))
    if (fail_below is not None and found < fail_below) or (fail_if_worse and other is not None and found < other):
        raise typer.Exit(1)


@with_own_file
def predict(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE|DIR...",
            help="Image files (JPEG, PNG, BMP, WebP or GIF), and directories, whose images are used at any depth.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="Directory that `keras-resnet train` wrote, a .keras file, with --weights the name of a model, or "
            "with --server the name under which the model is served."
        ),
    ],
    weights: Weights = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Send the images to a running server: HOST:PORT for gRPC, http://HOST:PORT for REST.",
            show_default="compute on this machine",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            help="Number of classes for each image, the most probable first.",
            min=1,
            max=100_000,
            show_default="3; with --csv or --json 5",
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a CSV file with the columns file, class_1, probability_1 and so on, and error.",
            show_default="print lines",
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print JSON: a list of objects with file, and predictions (class, probability) or error."
        ),
    ] = False,
    size: SizeWithWeights = None,
    *,
    own: Mapping[str, Any],
) -> None:
    """Prints the most probable classes of images.

    If a file cannot be read, an error names it, the other files are done, and the exit status is 1.
    """
    for argument, value in {"weights": weights, "size": size, **own}.items():
        if value is not None and server is not None:
            raise ValueError(
                f"{argument} must not be given with --server, which has its own weights. Received: {argument}={value!r}"
            )
    start_keras()
    from keras_resnet.cli import predictions, report
    from keras_resnet.data.folders import images_below

    top = top or (3 if csv is None and not json else 5)
    files = [Path(file) for path in images for file in (images_below(path) if path.is_dir() else [path])]
    if server is None:
        results = _local_predictions(files, model, weights, own, size)
    else:
        results = _ask_server(files, server, model)
    failed = 0
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(predictions.as_csv(csv, top))] if csv else []
        if json:
            writers.append(stack.enter_context(predictions.as_json()))
        elif not csv:
            writers.append(stack.enter_context(predictions.as_lines(Console())))
        for path, result in results:
            if isinstance(result, ValueError):
                failed += 1
                report.error(result)
            for write in writers:
                write(path, result if isinstance(result, ValueError) else result[:top])
    if csv and not json:
        report.say(f"{csv}: images: {len(files) - failed:,}, files that cannot be read: {failed:,}", Console())
    if failed:
        raise typer.Exit(1)


def _ask_server(images: Sequence[Path], server: str, model: str) -> Iterator[tuple[Path, Predictions | ValueError]]:
    from keras_resnet.export.client import ask

    for path, answer in ask(images, server, model):
        yield path, answer if isinstance(answer, ValueError) else list(zip(*answer, strict=True))


def _local_predictions(
    images: Sequence[Path], model: str, weights: str | None, own: Mapping[str, Any], size: int | None
) -> Iterator[tuple[Path, Predictions | ValueError]]:
    from keras_resnet.evaluation.prediction import predict_files
    from keras_resnet.training.networks import open_network

    network = open_network(model, weights, own, size)
    for path, result in predict_files(network.model, images, network.resize):
        if isinstance(result, ValueError):
            yield path, result
        else:
            yield path, [(network.classes[i], result[i]) for i in result.argsort()[::-1]]


@with_own_file
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Weights to convert: a file (Keras, safetensors, npz, torch), hf://timm/MODEL, or a tag that "
            "`keras-resnet models --weights` lists.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Name of the model that the weights are for. `keras-resnet models` lists all names."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="File to write. Its name ends in .keras, .weights.h5, .safetensors or .npz.")
    ],
    size: Annotated[
        int | None,
        typer.Option(
            help="Only for your own file of weights: side in pixels of the images for evaluation.",
            show_default="that of the model",
        ),
    ] = None,
    *,
    own: Mapping[str, Any],
) -> None:
    """Checks weights and writes them to a file for Keras. In a .keras file, preprocessing is part of the model."""
    start_keras()
    from keras_resnet import zoo
    from keras_resnet.cli import report
    from keras_resnet.evaluation import published
    from keras_resnet.weights.save import check_path, save_weights

    checkpoint = published.checkpoint_of(model, source, own if size is None else {**own, "size": size})
    check_path(out, checkpoint)
    network = zoo.create_model(model, weights=checkpoint)
    save_weights(network, out, checkpoint, model)
    report.say(f"{out}: {network.count_params():,} parameters of {model} from {source}", Console())
