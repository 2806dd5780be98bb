"""The command that searches networks: tune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from keras_resnet.cli.options import DATA_HELP, OnCorrupt, RecipeName, recipe_from, with_recipe_fields
from keras_resnet.cli.startup import start_keras

TUNERS = {
    "random": "RandomSearch",
    "bayesian": "BayesianOptimization",
    "hyperband": "Hyperband",
    "grid": "GridSearch",
}


@with_recipe_fields
def tune(
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    out: Annotated[Path, typer.Option(help="Directory to leave the search in; an unfinished search there goes on.")],
    changes: dict[str, Any],
    base: Annotated[str, typer.Option(metavar="NAME", help="The model to search around.")] = "ResNet20",
    tune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT",
            help="What to tune; repeat the option for several: depth, width, block, ordering, stem, groups, gate, "
            "drop, resolution, optimizer, learning_rate, weight_decay.",
            show_default="depth and width",
        ),
    ] = None,
    max_macs: Annotated[
        float | None, typer.Option(help="Most multiply-accumulates of one image, 50e6 say.", show_default="any")
    ] = None,
    max_params: Annotated[float | None, typer.Option(help="Most parameters.", show_default="any")] = None,
    max_latency: Annotated[
        float | None,
        typer.Option(
            metavar="MS", help="Milliseconds for one image; accuracy above counts for less.", show_default="any"
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option(help="Networks to try; Hyperband tries as many as its epochs make.", min=1)
    ] = 20,
    tuner: Annotated[str, typer.Option(metavar="|".join(TUNERS), help="How to choose them.")] = "random",
    recipe: RecipeName = "one_cycle",
    size: Annotated[
        int | None, typer.Option(help="Side of the images in pixels.", show_default="what the base is for")
    ] = None,
    on_corrupt: OnCorrupt = "stop",
    process_name: Annotated[
        str | None,
        typer.Option(
            metavar="chief|NAME",
            help="For a search by several processes: chief, which chooses the networks, or the name of a worker. Type "
            "the command once for each process, with the same --out.",
        ),
    ] = None,
    chief_address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Address of the chief. It has no authentication: use loopback or a private network only.",
        ),
    ] = "127.0.0.1:8000",
) -> None:
    """Searches depth, width and more within a budget; what was stopped or killed goes on with the same command.

    Leaves a leaderboard, a plot of accuracy over MACs, and the best network: trained, and as a line of Python. A tenth
    of the training images is held out to choose by, unless the recipe says another share; the test images are looked
    at once, for the best.
    """
    asked = recipe_from(recipe, changes)
    start_keras()
    from keras_resnet import tuning, zoo
    from keras_resnet._internal.validation import one_of
    from keras_resnet.cli import report
    from keras_resnet.data import load
    from keras_resnet.training.resuming import Stopped
    from keras_resnet.tuning import run

    console = Console()
    one_of("tuner", tuner, tuple(TUNERS))
    splits = {split: load(data, split, on_corrupt=on_corrupt) for split in ("train", "test")}
    side = zoo.row_of(base).size if size is None else size
    space = tuning.HyperResNet(
        (side, side, splits["train"].channels),
        len(splits["train"].classes),
        base=base,
        max_params=max_params,
        max_macs=max_macs,
        tune=tune or ("depth", "width"),
        recipe=run.with_validation_split(asked),
        reward=None if max_latency is None else tuning.soft_constraint("latency", max_latency),
    )
    if process_name is not None:
        tuning.join(process_name, chief_address)
    task = run.Search(space, data, out, TUNERS[tuner], trials, max_latency)
    try:
        found = run.search(task, splits["train"], console)
    except Stopped as stopped:
        report.say(f"\n{stopped}; the same command goes on with the trials that are over", console)
        raise typer.Exit(128 + stopped.signal) from None
    if process_name not in (None, "chief"):
        return
    trained = run.leave(found, splits["test"], out)
    report.search(trained.trials, console)
    report.best(trained, out, console)
