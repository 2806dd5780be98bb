"""Commands for detectors: detect train, recipes, evaluate, predict, export."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from keras_resnet._internal.validation import directory, output_file
from keras_resnet.cli.options import OnCorrupt, OnCorruptOfRun, changed, read_recipe, with_recipe_fields
from keras_resnet.cli.startup import start_keras
from keras_resnet.detection.recipe import DetectionRecipe, detection_recipe_of
from keras_resnet.detection.recipes import RECIPES

if TYPE_CHECKING:
    from keras_resnet.detection import Found

app = typer.Typer(
    help="Detectors, which find objects and their classes in images (Faster R-CNN): train, evaluate, predict, export.",
    no_args_is_help=True,
)
DATA_HELP = (
    "Source of the annotated images: [bold]voc:DIR[/bold] (the layout of PASCAL VOC), [bold]coco:DIR[/bold], or "
    "[bold]tfds:NAME[/bold] (TensorFlow Datasets: voc/2007, coco/2017)."
)
ONE_FILE_HELP = " A single file, [bold]coco:FILE.json[/bold], needs --split all."
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Directory that `keras-resnet detect train` wrote.")]


@app.command()
@functools.partial(with_recipe_fields, kind=DetectionRecipe)
def train(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a detector, such as fasterrcnn_resnet50_fpn.")],
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    out: Annotated[Path, typer.Option(help="Directory of the run. An unfinished run in it is continued.")],
    changes: dict[str, Any],
    recipe: Annotated[
        str,
        typer.Option(
            help="Name of a recipe, which `keras-resnet detect recipes` lists, or the path of a run's recipe.json, of "
            "which only the recipe is used: give weights, sizes and splits again."
        ),
    ] = "torchvision_fpn",
    weights: Annotated[
        str | None,
        typer.Option(metavar="TAG", help="Weights of the whole detector, such as torchvision_coco, or a file."),
    ] = None,
    backbone_weights: Annotated[
        str | None, typer.Option(metavar="TAG", help="Weights of the backbone alone, such as imagenet, or a file.")
    ] = None,
    shorter: Annotated[
        int | None,
        typer.Option(help="Length of the shorter side of the images in pixels.", show_default="the detector's", min=1),
    ] = None,
    longer: Annotated[
        int | None,
        typer.Option(
            help="Largest length of the longer side of the images in pixels.", show_default="the detector's", min=1
        ),
    ] = None,
    train_split: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the split from which the detector learns.")
    ] = "train",
    val_split: Annotated[
        str, typer.Option(metavar="NAME", help='Name of the split that chooses the best epoch. "": the last epoch.')
    ] = "val",
    test_split: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the split on which the trained detector is measured.")
    ] = "test",
    on_corrupt: OnCorrupt = "stop",
    devices: Annotated[
        int | None, typer.Option(help="Number of devices that share each batch. 0: all devices.", min=0)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a finished run, or a run with other settings, in --out.")
    ] = False,
) -> None:
    """Trains a detector. If the training is stopped or killed, type the same command again to continue it.

    Writes detector.keras, history.csv, recipe.json and a report on the test images (report/report.html) to a directory.
    """
    start_keras()
    from keras_resnet.cli import report
    from keras_resnet.detection import DetectionTask
    from keras_resnet.detection import train as train_run
    from keras_resnet.training.progress import ProgressBar
    from keras_resnet.training.resuming import Stopped

    console = Console()
    own = changed(read_recipe(recipe, RECIPES, detection_recipe_of, "keras-resnet detect recipes"), changes)
    task = DetectionTask(
        name,
        data,
        own,
        weights,
        backbone_weights,
        shorter,
        longer,
        train_split=train_split,
        val_split=val_split,
        test_split=test_split,
        on_corrupt=on_corrupt,
    )
    try:
        with ProgressBar(console, own.batch_size) as progress:
            finished = train_run(task, out, [progress], overwrite, devices, lambda line: report.say(line, console))
    except Stopped as stopped:
        report.say(f"\n{stopped}", console)
        raise typer.Exit(128 + stopped.signal) from None
    report.say(f"mAP@.5 {finished.test_map:.1%} on {finished.test_images:,} images of {test_split}; see {out}", console)


@app.command()
def recipes() -> None:
    """Lists the recipes for detectors with the fields that differ from the defaults."""
    start_keras()
    from keras_resnet.cli import report

    report.recipes(RECIPES, DetectionRecipe(), Console())


@app.command()
def evaluate(
    run: Run,
    data: Annotated[
        str | None, typer.Option(help=DATA_HELP + ONE_FILE_HELP, show_default="the data of the run")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the split to measure on.", show_default="the test split of the run"),
    ] = None,
    on_corrupt: OnCorruptOfRun = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="New directory for a report.", show_default="none")
    ] = None,
    fail_below: Annotated[
        float | None, typer.Option(metavar="FRACTION", help="Exit status 1 if mAP@.5 is below this.", min=0, max=1)
    ] = None,
) -> None:
    """Measures the mean average precision of a trained detector."""
    start_keras()
    from keras_resnet.cli.report import say
    from keras_resnet.detection import load, write_report
    from keras_resnet.detection.coco_ap import import_counter
    from keras_resnet.detection.prediction import evaluate_readable, pixels_of
    from keras_resnet.detection.run_directory import open_run
    from keras_resnet.evaluation.report import check_directory

    if report is not None:
        check_directory(report)
        import_counter()  # that it is missing is said before the detections, not after them
    finished, detector = open_run(run)
    source, part = data or finished.task.data, split or finished.task.test_split
    images = load(source, part, classes=finished.classes, on_corrupt=on_corrupt or finished.task.on_corrupt)
    evaluation, readable = evaluate_readable(detector, images, finished.task.design)
    console = Console()
    for name, curve in zip(finished.classes, evaluation.curves, strict=True):
        say(f"{name}: AP@.5 {curve.area:.1%} of {curve.objects:,} objects", console)
    say(f"mAP@.5 {evaluation.map50:.1%} on {len(evaluation.found):,} images", console)
    if report is not None:
        title = f"{finished.task.detector} on {source}, {part}"
        pixels = functools.partial(pixels_of, readable)
        say(str(write_report(evaluation, report, title, pixels, readable.files or None)), console)
    if fail_below is not None and not evaluation.map50 >= fail_below:
        raise typer.Exit(1)


@app.command()
def predict(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE|DIR...", help="Image files, and directories with images.")
    ],
    model: Annotated[Path, typer.Option(metavar="RUN", help="Directory that `keras-resnet detect train` wrote.")],
    pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Directory for the images with labelled boxes, as PNG files. Folders below a DIR of images are kept.",
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a CSV file, a row for each object.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON: a list of objects for each file.")] = False,
    least_score: Annotated[
        float,
        typer.Option(
            help="Leave out objects with a lower probability. The detector itself gives none below 0.05.", min=0, max=1
        ),
    ] = 0.5,
) -> None:
    """Finds the objects in images.

    If a file cannot be read, an error names it, the other files are done, and the exit status is 1.
    """
    pictures = None if pictures is None else directory("pictures", pictures)
    csv = None if csv is None else output_file("csv", csv, ".csv")
    start_keras()
    from keras_resnet.cli import found_objects, report
    from keras_resnet.detection import find_in_files, open_run

    files, names = found_objects.image_files(images)
    if pictures is not None:
        found_objects.check_names(files, names)
    finished, detector = open_run(model)
    rows: list[tuple[Path, Found]] = []
    failed = 0
    answers = find_in_files(detector, files, finished.task.design)
    for (file, answer), name in zip(answers, names, strict=True):
        if isinstance(answer, ValueError):
            report.error(answer)
            failed += 1
            continue
        found = found_objects.likely(answer.found, least_score)
        rows.append((file, found))
        if pictures is not None:
            found_objects.write_picture(answer.pixels, found, finished.classes, pictures / name)
    if csv is not None:
        found_objects.write_csv(rows, finished.classes, csv)
    if json:
        typer.echo(found_objects.as_json(rows, finished.classes))
    elif csv is None:
        for line in found_objects.lines(rows, finished.classes):
            report.say(line, Console())
    if failed:
        raise typer.Exit(1)


@app.command()
def export(
    run: Run,
    out: Annotated[
        Path, typer.Option(help="Directory for the model and the files that start a server. Other files there stay.")
    ],
    precision: Annotated[
        str, typer.Option(metavar="float32|bfloat16", help="Type in which the exported network computes.")
    ] = "float32",
    name: Annotated[
        str | None, typer.Option(help="Name under which the detector is served.", show_default="the detector's name")
    ] = None,
    version: Annotated[int, typer.Option(help="Number of this version. A server uses the highest version.", min=1)] = 1,
) -> None:
    """Writes a SavedModel for TF Serving (image files in, boxes with classes out) and the files that start a server."""
    directory("--out", out)
    start_keras()
    import numpy as np

    from keras_resnet.cli.report import say
    from keras_resnet.detection import saved_model
    from keras_resnet.detection.run_directory import open_run
    from keras_resnet.export import kit

    finished, detector = open_run(run)
    name = name or finished.task.detector
    kit.check(out, name)
    design = finished.task.design
    black = np.zeros((1, design.shorter, design.shorter, detector.input["images"].shape[-1]), "uint8")
    path = saved_model(detector, design, kit.model_path(out, name), finished.classes, version, precision, warmup=black)
    kit.write(out, name)
    say((path / "card.txt").read_text(), Console())
    say(f"{out} holds the model and README.md, which says how to serve it", Console())
