"""The command embed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from keras_resnet.cli.options import (
    DATA_HELP,
    SPLIT_HELP,
    ModelOption,
    OnCorruptOfRun,
    SizeWithWeights,
    Weights,
    with_own_file,
)
from keras_resnet.cli.startup import start_keras


@with_own_file
def embed(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA|DIR", help=f"{DATA_HELP} Or a directory whose images, at any depth, have no class."
        ),
    ],
    model: ModelOption,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=".npz file for the features, with labels, names, splits and classes. An old one is replaced.",
            show_default="none",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="New directory for neighbors.png, map.png, duplicates.csv, label_errors.csv and metrics.json.",
            show_default="none",
        ),
    ] = None,
    weights: Weights = None,
    split: Annotated[
        str | None,
        typer.Option(
            help=SPLIT_HELP,
            show_default="every split of the data",
        ),
    ] = None,
    size: SizeWithWeights = None,
    on_corrupt: OnCorruptOfRun = None,
    *,
    own: Mapping[str, Any],
) -> None:
    """Computes the features of images, and what they show: neighbors, duplicates, likely label errors, a map.

    Features are what the network gives to its classifier. The network does not have to know the classes of the images.
    """
    start_keras()
    from keras_resnet._internal.validation import output_file, printable
    from keras_resnet.cli import report as printed
    from keras_resnet.data import sources
    from keras_resnet.evaluation import embeddings_report
    from keras_resnet.evaluation.embeddings import embed as embed_split
    from keras_resnet.evaluation.report import check_directory, new_directory
    from keras_resnet.training.networks import open_network

    console = Console()
    file = None if out is None else output_file("out", out, ".npz")
    directory = None if report is None else check_directory(report)
    network = open_network(model, weights, own, size)
    on_corrupt = on_corrupt or network.on_corrupt
    if data.partition(":")[0] in sources.SOURCES:
        # If the data have no split, the error of loading one says what is missing.
        names = (split,) if split is not None else sources.splits_of(data) or ("train",)
        splits = {name: sources.load(data, name, on_corrupt=on_corrupt) for name in names}
        splits = {name: sources.renamed(images, network.aliases) for name, images in splits.items()}
    elif split in (None, sources.ALL):
        splits = {sources.ALL: sources.load_unlabelled(data, on_corrupt=on_corrupt)}
    else:
        raise ValueError(f"split must be left out for a directory of images without classes. Received: split={split!r}")
    if directory is not None:  # a directory that cannot be made is an error before the computation
        new_directory(directory)
    parts = {name: embed_split(network.model, images, resize=network.resize) for name, images in splits.items()}
    if file is not None:
        embeddings_report.write_embeddings(parts, file)
        printed.say(printable(file), console)  # what follows takes minutes for many images
    images = {name: embeddings_report.Images(network.model, each, network.resize) for name, each in splits.items()}
    findings = embeddings_report.examine(parts, images)
    printed.embedded(parts, findings, console)
    notes = list(findings.notes)
    if directory is not None:
        notes += embeddings_report.write_report(parts, images, findings, directory)
    for note in notes:
        printed.say(f"note: {note}", console)
    if directory is not None:
        printed.say(printable(directory), console)
