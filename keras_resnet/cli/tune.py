"""The command that searches for networks: tune."""

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
    out: Annotated[Path, typer.Option(help="Directory of the search. An unfinished search in it is continued.")],
    changes: dict[str, Any],
    base: Annotated[str, typer.Option(metavar="NAME", help="Model that the search starts from.")] = "ResNet20",
    tune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What to tune: depth, width, block, ordering, stem, groups, gate, drop, resolution, optimizer, "
            "learning_rate or weight_decay. Repeat the option for several values.",
            show_default="depth and width",
        ),
    ] = None,
    max_macs: Annotated[
        float | None,
        typer.Option(
            help="Largest number of multiply-accumulates (MACs) for one image, for example 50e6.",
            show_default="no limit",
        ),
    ] = None,
    max_params: Annotated[
        float | None,
        typer.Option(help="Largest number of trainable parameters, for example 1e6.", show_default="no limit"),
    ] = None,
    max_latency: Annotated[
        float | None,
        typer.Option(
            metavar="MS",
            help="Target latency for one image in milliseconds. The accuracy of a slower network counts less.",
            show_default="no limit",
        ),
    ] = None,
    trials: Annotated[
        int,
        typer.Option(
            help="Number of networks to try. Not used by hyperband, which computes it from the epochs.", min=1
        ),
    ] = 20,
    tuner: Annotated[str, typer.Option(metavar="|".join(TUNERS), help="How the next network is chosen.")] = "random",
    recipe: RecipeName = "one_cycle",
    size: Annotated[
        int | None,
        typer.Option(help="Side of the square images in pixels.", show_default="the default size of --base"),
    ] = None,
    on_corrupt: OnCorrupt = "stop",
    process_name: Annotated[
        str | None,
        typer.Option(
            metavar="chief|NAME",
            help="For a search by several processes: chief, which chooses the networks, or the name of a worker. Type "
            "the command once for each process, with the same --out.",
            show_default="one process",
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
    """Searches depth, width and more within a budget. If it is stopped, type the same command again to continue it.

    Writes a leaderboard, a plot of accuracy over MACs, and the best network, trained and as a line of Python. The
    networks are compared on the validation images of the data, or else on a tenth of the training images, unless
    --validation-split says another fraction. The test images are used once, for the best network.
    """
    changed_recipe = recipe_from(recipe, changes)
    start_keras()
    from keras_resnet import tuning, zoo
    from keras_resnet._internal.validation import one_of
    from keras_resnet.cli import report
    from keras_resnet.data.sources import load_splits
    from keras_resnet.training.resuming import Stopped
    from keras_resnet.tuning import run

    console = Console()
    one_of("--tuner", tuner, tuple(TUNERS))
    splits = load_splits(data, on_corrupt=on_corrupt)
    side = zoo.row_of(base).size if size is None else size
    space = tuning.HyperResNet(
        (side, side, splits["train"].channels),
        len(splits["train"].classes),
        base=base,
        max_params=max_params,
        max_macs=max_macs,
        tune=tune or ("depth", "width"),
        recipe=run.with_validation_split(changed_recipe),
        reward=None if max_latency is None else tuning.mnasnet_reward("latency", max_latency),
    )
    if process_name is not None:
        tuning.join(process_name, chief_address)
    task = run.Search(space, data, out, TUNERS[tuner], trials, max_latency)
    try:
        finished_tuner = run.search(task, splits["train"], console, splits.get("val"))
    except Stopped as stopped:
        report.say(f"\n{stopped}; type the same command again to continue after the last finished trial", console)
        raise typer.Exit(128 + stopped.signal) from None
    if process_name not in (None, "chief"):
        return
    trained = run.write_results(finished_tuner, splits["test"], out)
    report.search(trained.trials, console)
    report.best(trained, out, console)
