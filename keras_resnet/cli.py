"""The `keras-resnet` command."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from keras_resnet.quiet import start_keras

# Keras and all that imports it are imported by the commands: `--help` is to answer at once.

app = typer.Typer(
    name="keras-resnet",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Residual networks for Keras 3: look at them, train them, try them.\n\n"
    "A first run, two minutes on two cores: [bold]keras-resnet train ResNet20 --data digits --out runs/digits[/bold]",
)

DATA_HELP = (
    "Where the images come from: [bold]digits[/bold] (scikit-learn's 1,797 handwritten digits, no download), "
    "[bold]idx:DIR[/bold] (files in MNIST's format), [bold]tfds:NAME[/bold] (TensorFlow Datasets), "
    "[bold]folder:DIR[/bold] (one folder per class, with or without train and test above them)."
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A model, as `keras-resnet models` lists them.")]
Size = Annotated[int | None, typer.Option(help="Side of the images in pixels.", show_default="what the model is for")]

Weights = Annotated[
    str | None,
    typer.Option(
        metavar="TAG",
        help="Published weights, as `keras-resnet models --weights` lists them, hf://timm/MODEL, or a file.",
    ),
]

Like = Annotated[
    str | None,
    typer.Option(metavar="TAG", help="Of a file of your own: the published weights whose form and input it has."),
]


@app.command()
def models(
    pattern: Annotated[str, typer.Argument(help="Only names like this, with * and ?; case does not matter.")] = "*",
    weights: Annotated[
        bool, typer.Option("--weights", help="Their published weights instead: accuracy, input, licence, source.")
    ] = False,
) -> None:
    """Lists the models: depth, parameters, multiply-accumulates; or their weights."""
    start_keras()
    from keras_resnet import report, zoo
    from keras_resnet.weights.table import of_model

    names = zoo.list_models(pattern)
    if not names:
        raise ValueError(f"no model matches {pattern!r}; `keras-resnet models` lists them all")
    rows = [row for name in names for row in of_model(name)]
    if weights and not rows:
        raise ValueError(f"no weights are published for {', '.join(names)}")
    if weights:
        report.weights(rows, Console())
    else:
        report.models([zoo.ROWS[name] for name in names], Console())


@app.command()
def summary(
    name: Name,
    size: Size = None,
    channels: Annotated[int, typer.Option(help="Channels of the images.")] = 3,
    classes: Annotated[int | None, typer.Option(help="Outputs.", show_default="what the model is for")] = None,
) -> None:
    """Shows a model stage by stage: output shape, parameters, multiply-accumulates."""
    start_keras()
    from keras_resnet import report, zoo
    from keras_resnet.stages import stages

    side = zoo.row_of(name).size if size is None else size
    overrides: dict[str, Any] = {} if classes is None else {"classes": classes}
    model = zoo.create_model(name, input_shape=(side, side, channels), **overrides)
    report.summary(name, stages(model), Console())


@app.command()
def train(
    name: Name,
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    out: Annotated[Path, typer.Option(help="Directory to leave the run in.")],
    epochs: Annotated[int | None, typer.Option(help="Passes over the images.", show_default="15")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.", show_default="32")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Its peak.", show_default="0.2")] = None,
    size: Size = None,
    flip: Annotated[bool, typer.Option("--flip", help="Mirror half of the images; not for digits.")] = False,
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in --out.")] = False,
) -> None:
    """Trains a model and leaves model.keras, history.csv, curves.png and a SavedModel in a directory."""
    start_keras()
    import dataclasses

    from keras_resnet import report, training
    from keras_resnet.training import run
    from keras_resnet.training.progress import ProgressBar

    console = Console()
    asked: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    recipe = dataclasses.replace(
        training.RECIPES["one_cycle"],
        flip=flip,
        seed=seed,
        **{field: value for field, value in asked.items() if value is not None},
    )
    with ProgressBar(console) as progress:
        result = run.train(name, data, out, recipe, size, [progress], overwrite)
    report.run(result, out, console)


@app.command()
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN|NAME", help="A directory that `train` left, a .keras file, or a model's name with --weights."
        ),
    ],
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
) -> None:
    """Measures top-1 accuracy: of a trained model, or of published weights as they were measured."""
    start_keras()
    from keras_resnet import published, report
    from keras_resnet.data import load
    from keras_resnet.data.folders import default_split
    from keras_resnet.training.fit import evaluate as measure
    from keras_resnet.training.run import open_model, read

    if weights is not None:
        checkpoint = published.checkpoint_of(model, weights, like)
        if data is None:
            raise ValueError("--data must be given with --weights; folder:DIR or tfds:imagenet2012, say")
        examples = load(data, default_split(data) if split is None else split)
        network = published.build(model, checkpoint, size)
        report.published(
            published.top1(network, checkpoint, examples), checkpoint, size, examples.size, data, Console()
        )
        return
    if size is not None:
        raise ValueError(f"--size must not be given without --weights. Received: {size}")
    split = "test" if split is None else split
    path = Path(model)
    network = open_model(path)
    recorded = read(path) if path.is_dir() else None
    data = data or (recorded.data if recorded else None)
    if data is None:
        raise ValueError(f"--data must be given for a .keras file. Received: {model}")
    examples = load(data, split)
    if recorded and recorded.classes != examples.classes:
        raise ValueError(f"--data must have the classes of the run, {recorded.classes}. Received: {examples.classes}")
    report.say(f"top-1 {measure(network, examples):.2%} on the {examples.size:,} {split} images of {data}", Console())


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="JPEG, PNG, BMP, WebP or GIF files.")],
    model: Annotated[
        str, typer.Option(help="A directory that `train` left, a .keras file, or a model's name with --weights.")
    ],
    weights: Weights = None,
    like: Like = None,
    top: Annotated[int, typer.Option(help="How many classes to show for each image.", min=1)] = 3,
) -> None:
    """Says what is on images. A file that cannot be read is named, the others are done, and the exit status is 1."""
    start_keras()
    from keras_resnet import published, report
    from keras_resnet.data.decode import to_square
    from keras_resnet.prediction import predict_files
    from keras_resnet.training.run import open_model, read

    if weights is not None:
        checkpoint = published.checkpoint_of(model, weights, like)
        network, classes = published.build(model, checkpoint), published.class_names(checkpoint)
        resize = published.resize_for(checkpoint)
    else:
        network, resize = open_model(Path(model)), to_square
        classes = (
            read(Path(model)).classes if Path(model).is_dir() else tuple(map(str, range(network.output.shape[-1])))
        )
    failed = False
    for path, result in predict_files(network, images, resize):
        if isinstance(result, ValueError):
            failed = True
            report.error(result)
        else:
            report.prediction(path, result, classes, top, Console())
    if failed:
        raise typer.Exit(1)


@app.command()
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
    from keras_resnet import published, report, zoo
    from keras_resnet.weights.save import check_path, save_weights

    checkpoint = published.checkpoint_of(model, source, like)
    check_path(out, checkpoint)
    network = zoo.create_model(model, weights=checkpoint)
    save_weights(network, out, checkpoint, model)
    report.say(f"{out}: {network.count_params():,} parameters of {model} from {source}", Console())


def main() -> None:
    """Entry point: runs the command; what the user got wrong is one line on stderr and exit status 2.

    With KERAS_RESNET_TRACEBACK set, the whole traceback.
    """
    try:
        app()
    except (ValueError, TypeError, OSError) as error:
        if "KERAS_RESNET_TRACEBACK" in os.environ:
            raise
        from keras_resnet import report

        report.error(error)
        sys.exit(2)


if __name__ == "__main__":
    main()
