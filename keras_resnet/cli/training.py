"""Commands for training: train, recipes, data, runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from keras_resnet.cli.options import (
    DATA_HELP,
    ON_CORRUPT_HELP,
    OnCorrupt,
    OptionalName,
    OptionalRecipeName,
    RecipeName,
    Weights,
    recipe_from,
    settings_from,
    with_recipe_fields,
)
from keras_resnet.cli.startup import start_keras


@with_recipe_fields
def train(
    out: Annotated[
        Path,
        typer.Option(
            help="Directory of the run. An unfinished run in it is continued, and a finished one if --epochs is larger."
        ),
    ],
    changes: dict[str, Any],
    name: OptionalName = None,
    data: Annotated[
        str | None, typer.Option(help=DATA_HELP, show_default="required; with --resume-from the data of that run")
    ] = None,
    recipe: OptionalRecipeName = None,
    resume_from: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Directory of a finished run, which stays as it is: its training goes on in --out, with its settings, "
            "until --epochs. NAME and --data need not be typed. The learning rate follows the schedule of all epochs.",
            show_default="none",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            help="Side of the square images in pixels, if the recipe has no train_sizes.",
            show_default="the model's default size",
        ),
    ] = None,
    weights: Weights = None,
    freeze_until: Annotated[
        str | None,
        typer.Option(
            metavar="STAGE",
            help="Freeze all layers before this stage, for example conv4; predictions trains only the head.",
            show_default="train all layers",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|NAME:TAG",
            help="Network whose answers are learned too (distillation): a directory that `train` wrote, a .keras file, "
            "or a model with a tag of its weights, such as ResNet56:fashion_mnist. See --distillation-weight.",
            show_default="none",
        ),
    ] = None,
    on_corrupt: Annotated[
        str | None, typer.Option(metavar="stop|skip", help=ON_CORRUPT_HELP, show_default="stop")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Backend of Keras: tensorflow, jax or torch.",
            show_default="the backend that Keras is configured for",
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            help="Number of devices that share each batch. 0: all devices.",
            show_default="1; with several processes all devices",
            min=0,
        ),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            help="Number of processes that train together, for example one on each machine; jax only. Type the command "
            "once for each process, with the same --out. 0: the cluster says it (Slurm, Open MPI, Kubernetes).",
            min=0,
            envvar="KERAS_DISTRIBUTION_NUM_PROCESSES",
        ),
    ] = 1,
    process: Annotated[
        int | None,
        typer.Option(
            help="Number of this process, from 0. Process 0 writes the run.",
            show_default="the cluster says it",
            envvar="KERAS_DISTRIBUTION_PROCESS_ID",
        ),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Address of process 0.",
            show_default="the cluster says it",
            envvar="KERAS_DISTRIBUTION_JOB_ADDRESSES",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace a finished run, or a run with other settings, in --out. An unfinished run with the same "
            "settings is continued in any case.",
        ),
    ] = False,
    find_rate: Annotated[
        bool,
        typer.Option(
            "--find-rate",
            help="Propose a --learning-rate instead of training: 100 steps in which the rate rises, drawn to rates.png "
            "in --out.",
        ),
    ] = False,
) -> None:
    """Trains a model. If the training is stopped or killed, type the same command again to continue it.

    Training starts from random weights, or from those of --weights.

    Writes model.keras, history.csv, curves.png, recipe.json, logs for TensorBoard, a SavedModel, and a report on the
    test images (report/report.html) to a directory.
    """
    if find_rate and (resume_from is not None or overwrite):
        raise ValueError(f"{'overwrite' if overwrite else 'resume_from'} must not be given with --find-rate")
    name, data, changed_recipe, of_file = settings_from(resume_from, name, data, recipe, changes)
    if find_rate and processes != 1:
        raise ValueError(f"processes must be 1 with --find-rate. Received: processes={processes}")
    if backend is not None:
        os.environ["KERAS_BACKEND"] = backend

    def join_others() -> None:
        from keras_resnet.training.distribution import join

        if processes != 1:
            join(processes, process, coordinator)

    start_keras(join_others)
    from keras_resnet.cli import report
    from keras_resnet.training import distribution, run
    from keras_resnet.training.progress import ProgressBar
    from keras_resnet.training.resuming import Stopped

    console = Console()
    typed = {
        "size": size,
        "weights": weights,
        "freeze_until": freeze_until,
        "teacher": teacher,
        "on_corrupt": on_corrupt,
    }
    options = {**of_file, **{field: value for field, value in typed.items() if value is not None}}
    task = run.Task(name, data, changed_recipe, **options)
    if find_rate:
        run.find_rate(task, out, devices, lambda line: report.say(line, console))
        return
    try:
        with ProgressBar(console, changed_recipe.batch_size) as progress:
            result = run.train(
                task, out, [progress], overwrite, devices, lambda line: report.say(line, console), resume_from
            )
    except Stopped as stopped:
        report.say(f"\n{stopped}", console)
        raise typer.Exit(128 + stopped.signal) from None
    except Exception as error:
        if distribution.current_process().processes == 1 or "KERAS_RESNET_TRACEBACK" in os.environ:
            raise
        from keras_resnet.cli import with_options

        report.error(with_options(str(error), "train"))
        os._exit(2)  # not sys.exit: at the exit JAX would wait for the other processes, which wait for this one
    if distribution.current_process().process == 0:
        report.run(result, out, console)


def recipes() -> None:
    """Lists the recipes with the fields that differ from the defaults."""
    start_keras()
    from keras_resnet.cli import report
    from keras_resnet.training.recipe import Recipe
    from keras_resnet.training.recipes import RECIPES

    report.recipes(RECIPES, Recipe(), Console())


@with_recipe_fields
def data(
    source: Annotated[str, typer.Argument(help=DATA_HELP)],
    changes: dict[str, Any],
    preview: Annotated[
        Path | None,
        typer.Option(help="PNG file to write: training images after augmentation by the recipe.", show_default="none"),
    ] = None,
    recipe: RecipeName = "one_cycle",
    size: Annotated[
        int, typer.Option(help="Side of the square images in pixels, if the recipe has no train_sizes.")
    ] = 224,
    images: Annotated[int, typer.Option(help="Number of images to draw.", min=1)] = 24,
    on_corrupt: OnCorrupt = "stop",
    to: Annotated[
        str | None,
        typer.Option(
            metavar="tfrecord:DIR",
            help="Directory to write: the same images in files that train faster, photographs upright and smaller.",
            show_default="none",
        ),
    ] = None,
    shorter_side: Annotated[
        int | None,
        typer.Option(help="Only with --to: shrink larger images to this shorter side in pixels.", show_default="512"),
    ] = None,
    quality: Annotated[
        int | None, typer.Option(help="Only with --to: JPEG quality, 1 to 100.", show_default="92")
    ] = None,
) -> None:
    """Prints the images of each split and class. With --preview it draws some of them, after augmentation.

    With --to it writes photographs upright and smaller to files that train faster.
    """
    changed_recipe = recipe_from(recipe, changes)
    kind, _, directory = ("tfrecord:DIR" if to is None else to).partition(":")
    if kind != "tfrecord" or not directory:
        raise ValueError(f"to must be tfrecord:DIR. Received: {to!r}")
    for option, value in (("shorter_side", shorter_side), ("quality", quality)):
        if to is None and value is not None:
            raise ValueError(f"{option} must not be given without --to. Received: {option}={value}")
    start_keras()
    from keras_resnet.cli import report
    from keras_resnet.data import load
    from keras_resnet.data.prepare import QUALITY, SHORTER_SIDE, checked, prepare
    from keras_resnet.data.sources import splits_of
    from keras_resnet.data.summary import describe, warn_of_copies, warn_of_uneven_classes
    from keras_resnet.training.batches import preview as draw_preview

    side = SHORTER_SIDE if shorter_side is None else shorter_side
    quality = QUALITY if quality is None else quality
    if to is not None:
        checked(source, directory, side, quality)
    console = Console()
    splits = {name: load(source, name, on_corrupt=on_corrupt) for name in splits_of(source)}
    warn_of_uneven_classes(next(iter(splits.values())))
    warn_of_copies(splits)
    for line in describe(splits):
        report.say(line, console)
    if preview is not None:
        drawn = changed_recipe.train_sizes[0] if changed_recipe.train_sizes else size
        draw_preview(next(iter(splits.values())), changed_recipe, drawn, images, preview)
        report.say(str(preview), console)
    if to is not None:
        with report.counting(console) as progress:
            prepared = prepare(
                source, directory, shorter_side=side, quality=quality, on_corrupt=on_corrupt, progress=progress
            )
        report.prepared(prepared, directory, console)


def runs(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Directories that `train` wrote.")],
    plot: Annotated[
        Path | None, typer.Option(help="PNG file to write: loss and accuracy of all runs.", show_default="no plot")
    ] = None,
) -> None:
    """Compares runs in a table (accuracy, best epoch, time, different fields of the recipes) and in a plot."""
    start_keras()
    from keras_resnet.cli import report
    from keras_resnet.training.compare import plot_runs, read_run

    compared = [read_run(directory) for directory in directories]
    report.runs(compared, Console())
    if plot is not None:
        plot_runs(compared, plot)
