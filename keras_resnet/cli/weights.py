"""Commands that use networks with weights: evaluate, predict, convert."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.console import Console

from keras_resnet.cli.options import DATA_HELP, ON_CORRUPT_HELP, Like, Model, Size, Weights
from keras_resnet.cli.startup import start_keras

Guesses: TypeAlias = Sequence[tuple[str, float]]  # a class and its probability, the likeliest first


def evaluate(
    model: Model,
    data: Annotated[
        str | None, typer.Option(help=DATA_HELP + " A run's own, if not given.", show_default="the run's")
    ] = None,
    weights: Weights = None,
    like: Like = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="train, test, or all images of a folder of classes.",
            show_default="test; all of a folder without train, with --weights",
        ),
    ] = None,
    size: Size = None,
    on_corrupt: Annotated[
        str | None, typer.Option(metavar="stop|skip", help=ON_CORRUPT_HELP, show_default="the run's; stop")
    ] = None,
) -> None:
    """Measures top-1 accuracy: of a trained model, or of published weights as they were measured."""
    start_keras()
    from keras_resnet.cli import report
    from keras_resnet.data import load
    from keras_resnet.data.decode import to_square
    from keras_resnet.data.folders import default_split
    from keras_resnet.evaluation import published
    from keras_resnet.evaluation.accuracy import evaluate as measure
    from keras_resnet.training.batches import resize
    from keras_resnet.training.run import load_run, open_model

    if weights is not None:
        checkpoint = published.checkpoint_of(model, weights, like)
        if data is None:
            raise ValueError("--data must be given with --weights; folder:DIR or tfds:imagenet2012, say")
        images = load(data, default_split(data) if split is None else split, on_corrupt=on_corrupt or "stop")
        network = published.build(model, checkpoint, size)
        accuracy = published.top1(network, checkpoint, images)
        report.published(accuracy, checkpoint, size, images.size - len(images.skipped), data, Console())
        return
    if size is not None:
        raise ValueError(f"--size must not be given without --weights. Received: {size}")
    split = "test" if split is None else split
    path = Path(model)
    network = open_model(path)
    recorded = load_run(path) if path.is_dir() else None
    data = data or (recorded.data if recorded else None)
    if data is None:
        raise ValueError(f"--data must be given for a .keras file. Received: {model}")
    images = load(data, split, on_corrupt=on_corrupt or (recorded.on_corrupt if recorded else "stop"))
    if recorded and recorded.classes != images.classes:
        raise ValueError(f"--data must have the classes of the run, {recorded.classes}. Received: {images.classes}")
    accuracy = measure(network, images, resize=resize(recorded.recipe) if recorded else to_square)
    measured = images.size - len(images.skipped)
    report.say(f"top-1 {accuracy:.2%} on the {measured:,} {split} images of {data}", Console())


def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="JPEG, PNG, BMP, WebP or GIF files.")],
    model: Annotated[
        str,
        typer.Option(
            help="A directory that `train` left, a .keras file, a model's name with --weights, or with --server the "
            "name under which it is served."
        ),
    ],
    weights: Weights = None,
    like: Like = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Ask a running server, by gRPC; by REST at http://HOST:PORT."),
    ] = None,
    top: Annotated[int, typer.Option(help="How many classes to show for each image.", min=1)] = 3,
) -> None:
    """Says what is on images. A file that cannot be read is named, the others are done, and the exit status is 1."""
    if server is not None and (weights, like) != (None, None):
        raise ValueError("--weights and --like must not be given with --server")
    start_keras()
    from keras_resnet.cli import report

    results = _predicted(images, model, weights, like) if server is None else _asked(images, server, model)
    failed = False
    for path, result in results:
        if isinstance(result, ValueError):
            failed = True
            report.error(result)
        else:
            report.prediction(path, result[:top], Console())
    if failed:
        raise typer.Exit(1)


def _asked(images: Sequence[Path], server: str, model: str) -> Iterator[tuple[Path, Guesses | ValueError]]:
    from keras_resnet.export.client import ask

    for path, answer in ask(images, server, model):
        yield path, answer if isinstance(answer, ValueError) else list(zip(*answer, strict=True))


def _predicted(
    images: Sequence[Path], model: str, weights: str | None, like: str | None
) -> Iterator[tuple[Path, Guesses | ValueError]]:
    from keras_resnet.cli.networks import open_network
    from keras_resnet.evaluation.prediction import predict_files

    found = open_network(model, weights, like)
    for path, result in predict_files(found.model, images, found.resize):
        if isinstance(result, ValueError):
            yield path, result
        else:
            yield path, [(found.classes[i], result[i]) for i in result.argsort()[::-1]]


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A file of weights (Keras, safetensors, npz, torch), hf://timm/MODEL, or a tag."
        ),
    ],
    model: Annotated[
        str, typer.Option(metavar="NAME", help="The model it is for, as `keras-resnet models` lists them.")
    ],
    out: Annotated[Path, typer.Option(help="Ends in .keras, .weights.h5, .safetensors or .npz.")],
    like: Like = None,
) -> None:
    """Converts weights to a file for Keras: checked, with preprocessing built in."""
    start_keras()
    from keras_resnet import zoo
    from keras_resnet.cli import report
    from keras_resnet.evaluation import published
    from keras_resnet.weights.save import check_path, save_weights

    checkpoint = published.checkpoint_of(model, source, like)
    check_path(out, checkpoint)
    network = zoo.create_model(model, weights=checkpoint)
    save_weights(network, out, checkpoint, model)
    report.say(f"{out}: {network.count_params():,} parameters of {model} from {source}", Console())
