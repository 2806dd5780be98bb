"""Commands that train, and that look at what trains: train, recipes, data, runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from keras_resnet.cli.options import (
    DATA_HELP,
    ON_CORRUPT_HELP,
    Name,
    OnCorrupt,
    RecipeName,
    Weights,
    recipe_from,
    task_from,
    with_recipe_fields,
)
from keras_resnet.cli.startup import start_keras


@with_recipe_fields
def train(
    name: Name,
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    out: Annotated[Path, typer.Option(help="Directory to leave the run in; an unfinished run there goes on.")],
    changes: dict[str, Any],
    recipe: RecipeName = "one_cycle",
    size: Annotated[
        int | None,
        typer.Option(help="Side of the images in pixels, if the recipe says none.", show_default="the model's"),
    ] = None,
    weights: Weights = None,
    freeze_until: Annotated[
        str | None, typer.Option(metavar="LAYER", help="What comes before this stage, such as conv4, does not learn.")
    ] = None,
    on_corrupt: Annotated[
        str | None, typer.Option(metavar="stop|skip", help=ON_CORRUPT_HELP, show_default="stop")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(metavar="NAME", help="tensorflow, jax or torch.", show_default="Keras' own")
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(help="Devices to share each batch; 0: all.", show_default="1, or all of several processes", min=0),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            help="Processes of the training, one a machine say; on jax. Type the command in each, with the same --out. "
            "0: as the cluster says (Slurm, Open MPI, Kubernetes).",
            min=0,
            envvar="KERAS_DISTRIBUTION_NUM_PROCESSES",
        ),
    ] = 1,
    process: Annotated[
        int | None, typer.Option(help="Which of them this is, from 0.", envvar="KERAS_DISTRIBUTION_PROCESS_ID")
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where process 0 is.", envvar="KERAS_DISTRIBUTION_JOB_ADDRESSES"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a finished or another run in --out.")] = False,
) -> None:
    """Trains a model; what was stopped or killed goes on when the same command is typed again.

    Leaves model.keras, history.csv, curves.png, recipe.json, logs for TensorBoard and a SavedModel in a directory.
    """
    asked = recipe_from(recipe, changes)
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
    typed = {"size": size, "weights": weights, "freeze_until": freeze_until, "on_corrupt": on_corrupt}
    again = {**task_from(recipe), **{field: value for field, value in typed.items() if value is not None}}
    task = run.Task(name, data, asked, **again)
    try:
        with ProgressBar(console, asked.batch_size) as progress:
            result = run.train(task, out, [progress], overwrite, devices)
    except Stopped as stopped:
        report.say(f"\n{stopped}", console)
        raise typer.Exit(128 + stopped.signal) from None
    except Exception as error:
        if distribution.current_process().processes == 1 or "KERAS_RESNET_TRACEBACK" in os.environ:
            raise
        report.error(error)
        os._exit(2)  # at once: JAX would wait at the exit for the other processes, and they wait for this one
    if distribution.current_process().process == 0:
        report.run(result, out, console)


def recipes() -> None:
    """Lists the recipes, with what each sets beside the defaults."""
    start_keras()
    from keras_resnet.cli import report
    from keras_resnet.training.recipes import RECIPES

    report.recipes(RECIPES, Console())


@with_recipe_fields
def data(
    source: Annotated[str, typer.Argument(help=DATA_HELP)],
    changes: dict[str, Any],
    preview: Annotated[Path, typer.Option(help="PNG to draw images into, as a recipe gives them to a network.")],
    recipe: RecipeName = "one_cycle",
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 224,
    images: Annotated[int, typer.Option(help="How many to draw.", min=1)] = 24,
    on_corrupt: OnCorrupt = "stop",
) -> None:
    """Says what a source of images holds, and draws some of them with their labels, augmented."""
    asked = recipe_from(recipe, changes)
    start_keras()
    from keras_resnet.cli import report
    from keras_resnet.data import load
    from keras_resnet.training.batches import preview as draw_preview

    split = load(source, "train", on_corrupt=on_corrupt)
    side = asked.train_sizes[0] if asked.train_sizes else size
    draw_preview(split, asked, side, images, preview)
    holds = f"{split.size:,} training images of {len(split.classes)} classes, {split.channels} channels"
    report.say(f"{source}: {holds}\n{preview}", Console())


def runs(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Directories that `train` left.")],
    plot: Annotated[Path | None, typer.Option(help="PNG to draw their curves into, side by side.")] = None,
) -> None:
    """Compares runs in a table, and in a plot: accuracy, best epoch, time, and where their recipes differ."""
    start_keras()
    from keras_resnet.cli import report
    from keras_resnet.training.compare import plot_runs, read_run

    found = [read_run(directory) for directory in directories]
    report.runs(found, Console())
    if plot is not None:
        plot_runs(found, plot)
