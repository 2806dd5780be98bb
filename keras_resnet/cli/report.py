"""The tables and messages that the commands print."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from keras_resnet._internal.validation import printable
from keras_resnet.evaluation.metrics import flips
from keras_resnet.evaluation.result import Evaluation
from keras_resnet.stages import Stage
from keras_resnet.training.compare import RunSummary, differing, has_uneven_classes, names
from keras_resnet.training.recipe import BaseRecipe
from keras_resnet.tuning.results import TrialResult, pareto_front
from keras_resnet.weights import Checkpoint
from keras_resnet.zoo import Row

if TYPE_CHECKING:
    from keras_resnet.data import Prepared
    from keras_resnet.evaluation.embeddings import Embeddings
    from keras_resnet.evaluation.embeddings_report import Findings
    from keras_resnet.training.run_directory import Run
    from keras_resnet.tuning.run import Best


def models(rows: Sequence[Row], console: Console) -> None:
    """Prints the table of models."""
    table = _table("model", "depth", "parameters", "MACs", "input")
    for row in rows:
        table.add_row(row.name, str(row.depth), f"{row.parameters:,}", _macs(row.macs), f"{row.size}x{row.size}")
    console.print(table)


def weights(checkpoints: Sequence[Checkpoint], console: Console) -> None:
    """Prints the table of published weights. A star marks the weights that the name of a data set stands for."""
    if not console.is_terminal:  # a file or a program reads the output, so no cell is folded
        console = Console(file=console.file, width=300)
    table = Table(box=None)
    for name in ("weights", "top-1", "size", "crop", "licence"):
        table.add_column(name, justify="right" if name in ("top-1", "size", "crop") else "left", no_wrap=True)
    # In a narrow terminal these cells are folded and not cut, so that users can copy them.
    table.add_column("source", overflow="fold")
    table.add_column("top-1 by", overflow="fold")
    model = ""
    for row in checkpoints:
        if row.model != model:
            table.add_row(f"[bold]{row.model}[/bold]")
            model = row.model
        accuracy = f"{row.top1:.2f}" if row.top1 else "-"
        tag = f"  {row.tag}{' *' if row.recommended else ''}"
        table.add_row(tag, accuracy, str(row.size), f"{row.crop_pct:g}", row.licence, row.source, row.top1_source)
    console.print(table)
    say(
        '\n* These weights are loaded by weights="imagenet", "cifar10" or "fashion_mnist". '
        "Licences with cc-by-nc forbid commercial use.",
        console,
    )


def measured(
    found: Evaluation, data: str, split: str, checkpoint: Checkpoint | None, size: int | None, console: Console
) -> None:
    """Prints the accuracies of an evaluation; of a published checkpoint next to the published one."""
    kind = "" if split == "all" or checkpoint else f"{split} "
    how = ""
    if checkpoint:
        side = checkpoint.size if size is None else size
        how = f", at {side}x{side}, crop {checkpoint.crop_pct:g}, {checkpoint.interpolation}"
    say(f"top-1 {found:.2%} on the {found.count:,} {kind}images of {data}{how}", console)
    say(
        f"balanced accuracy {found.balanced_accuracy:.2%}, top-5 {found.top5:.2%}; with a confidence of 95 % top-1 is "
        f"from {found.interval.low:.1%} to {found.interval.high:.1%}",
        console,
    )
    if checkpoint and checkpoint.top1:
        say(
            f"published: {checkpoint.top1:.2f} % at {checkpoint.size}x{checkpoint.size} ({checkpoint.top1_source})",
            console,
        )


def embedded(parts: Mapping[str, Embeddings], findings: Findings, console: Console) -> None:
    """Prints what the features of images show."""
    from keras_resnet.evaluation.embeddings import FOLDS, NEIGHBORS
    from keras_resnet.evaluation.embeddings_report import across

    sizes = {name: len(part.labels) for name, part in parts.items()}
    each = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
    features = next(iter(parts.values())).values.shape[1]
    say(f"{sum(sizes.values()):,} images ({each}), {features:,} features of each", console)
    tested = {"train", "test"} <= sizes.keys()
    if findings.knn is not None:
        how = f"{NEIGHBORS} nearest train images of each test image" if tested else f"{NEIGHBORS} nearest other images"
        say(f"k-NN accuracy {findings.knn:.2%} ({how})", console)
    if findings.probe is not None:
        how = "trained on train, measured on test" if tested else f"{FOLDS} folds, trained on the others"
        say(f"linear-probe accuracy {findings.probe:.2%} ({how})", console)
    pairs = findings.pairs
    across_splits = f", {across(pairs):,} of them across splits" if len(parts) > 1 else ""
    say(f"duplicates: {len(pairs):,} pair{'s' if len(pairs) != 1 else ''}{across_splits}", console)
    if findings.errors is not None:
        say(f"likely label errors: {len(findings.errors):,}", console)


def comparison(found: Evaluation, other: Evaluation, console: Console) -> None:
    """Prints what changed between two networks on the same images."""
    changes = flips(found.answers, other.answers)
    say(
        f"baseline: top-1 {other:.2%}; {len(changes.fixed):,} images became right, {len(changes.broken):,} wrong "
        f"(McNemar's test: p = {changes.p_value:.3g})",
        console,
    )


def summary(name: str, stages: Sequence[Stage], console: Console) -> None:
    """Prints the table of the stages of a model."""
    table = _table("stage", "blocks", "output", "parameters", "MACs", title=name)
    for stage in stages:
        output = " x ".join(map(str, stage.output))
        blocks = str(stage.blocks) if stage.blocks else ""
        table.add_row(stage.name, blocks, output, f"{stage.parameters:,}", _macs(stage.macs))
    table.add_section()
    table.add_row(
        "total",
        str(sum(stage.blocks for stage in stages)),
        "",
        f"{sum(stage.parameters for stage in stages):,}",
        _macs(sum(stage.macs for stage in stages)),
    )
    console.print(table)


def run(result: Run, out: Path, console: Console) -> None:
    """Prints the result of a training run, and commands that use it."""
    balanced = "" if result.balanced_accuracy is None else f" (balanced accuracy {result.balanced_accuracy:.2%})"
    say(
        f"\n{result.test_accuracy:.2%} of the {result.test_images:,} test images are right{balanced}, "
        f"after {result.seconds:.0f} s of training.\n"
        f"{out} holds {', '.join(sorted(path.name for path in out.iterdir()))}.\n\nNext:",
        console,
    )
    program, run_dir = shlex.quote(_program()), shlex.quote(str(out))
    if (out / "report").exists():
        say(f"  # see what it gets wrong, in a browser\n  {shlex.quote(str(out / 'report' / 'report.html'))}", console)
    say(f"  # measure the accuracy again\n  {program} evaluate {run_dir}", console)
    for sample in sorted((out / "samples").glob("*.png"))[:1]:  # none if the user removed them
        say(f"  # classify an image\n  {program} predict {shlex.quote(str(sample))} --model {run_dir}", console)
    if (out / "export").exists():
        mount = shlex.quote(f"{(out / 'export').resolve()}:/models/{result.model}:ro")
        serve = f"docker run --rm -p 8501:8501 -v {mount} -e MODEL_NAME={result.model} tensorflow/serving"
        say(f"  # start a server\n  {serve}", console)
    else:
        say("  # to serve the model, load model.keras with KERAS_BACKEND=tensorflow and export it", console)


def recipes(rows: Mapping[str, BaseRecipe], default: BaseRecipe, console: Console) -> None:
    """Prints the table of recipes with the fields that differ from the default."""
    table = Table(box=None)
    table.add_column("recipe", no_wrap=True)
    table.add_column("fields", overflow="fold")
    defaults = dataclasses.asdict(default)
    for name, recipe in rows.items():
        fields = dataclasses.asdict(recipe).items()
        table.add_row(name, escape(" ".join(_field(*field) for field in fields if field[1] != defaults[field[0]])))
    console.print(table)
    say(f"\nThe defaults: {' '.join(_field(*field) for field in defaults.items())}", console)


def _field(name: str, value: object) -> str:
    if isinstance(value, tuple):
        value = ",".join(f"{entry:.4g}" for entry in value) or "none"
    return f"{name}={value:.5g}" if isinstance(value, float) else f"{name}={value}"


def runs(compared: Sequence[RunSummary], console: Console) -> None:
    """Prints the table of runs: epochs, accuracy, minutes, and the options and fields that differ between the runs."""
    fields = [name for name in differing(compared) if name != "epochs"]
    options = [name for name in compared[0].asked if len({run.asked[name] for run in compared}) > 1]
    for name in ("model", "data"):
        if name not in options:
            say(f"{name}: {compared[0].asked[name]}", console)
    balanced = ["balanced"] if has_uneven_classes(compared) else []
    table = _table("run", *options, "epochs", "best epoch", "validation", "test", *balanced, "minutes", *fields)
    for name, run in zip(names(compared), compared, strict=True):
        epochs, accuracies = len(run.history.get("epoch", [])), run.history.get("val_accuracy", [])
        table.add_row(
            name,
            *("-" if run.asked[option] is None else str(run.asked[option]) for option in options),
            str(epochs) if run.seconds is not None else f"{epochs}, unfinished",
            "-" if run.best_epoch is None else str(run.best_epoch),
            f"{max(accuracies):.2%}" if accuracies else "-",
            "-" if run.test_accuracy is None else f"{run.test_accuracy:.2%}",
            *("-" if run.balanced_accuracy is None else f"{run.balanced_accuracy:.2%}" for _ in balanced),
            "-" if run.seconds is None else f"{run.seconds / 60:.1f}",
            *(_field(field, getattr(run.recipe, field)).partition("=")[2] for field in fields),
        )
    console.print(table)


def search(trials: Sequence[TrialResult], console: Console) -> None:
    """Prints the table of the finished trials of a search, the best first. A star marks the Pareto front."""
    front = pareto_front(trials)
    changed = sorted({name for trial in trials for name in trial.changes})
    table = _table("trial", "top-1", "parameters", "MACs", "ms", "minutes", "blocks x width", *changed)
    for trial in trials:
        metrics = trial.metrics
        table.add_row(
            f"{trial.trial}{' *' if trial in front else ''}",
            f"{metrics['val_accuracy']:.2%}",
            f"{int(metrics['parameters']):,}",
            _macs(int(metrics["macs"])),
            f"{metrics['latency']:.1f}",
            f"{metrics['seconds'] / 60:.1f}",
            " ".join(f"{blocks}x{width}" for blocks, width in trial.stages),
            *(_field(name, trial.changes[name]).partition("=")[2] if name in trial.changes else "" for name in changed),
        )
    console.print(table)
    say(
        "\n* On the Pareto front (pareto.png): no other trial has a top-1 as high or higher with as few or fewer MACs. "
        "top-1: accuracy on the held-out images. ms: milliseconds for one image.",
        console,
    )


def best(result: Best, out: Path, console: Console) -> None:
    """Prints the best network of a search as a line of Python, its test accuracy, and the files that were written."""
    say(
        f"\nBest network: {result.test_accuracy:.2%} of the {result.test_images:,} test images are right.\n\n"
        f"{result.trials[0].code}\n\n"
        f"{out} holds {', '.join(sorted(path.name for path in out.iterdir()))}.",
        console,
    )


@contextlib.contextmanager
def counting(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A bar with the time left, on a terminal: gives a function of a name, what is done, and what there is in all."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def count(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done)

        yield count


def prepared(found: Prepared, directory: str, console: Console) -> None:
    """Prints what a preparation wrote, the images that it left out, and the command that uses it."""
    size = sum(path.stat().st_size for path in Path(directory).expanduser().glob("*.tfrecord"))
    files, images = sum(map(len, found.shards.values())), sum(found.images.values()) - len(found.skipped)
    for reason in found.skipped:
        say(f"left out: {reason}", console)
    say(f"{images:,} images in {files:,} file{'s' if files > 1 else ''}, {size / 1e6:,.1f} MB", console)
    if "train" in found.images:
        say(f"  {shlex.quote(_program())} train NAME --data {shlex.quote(f'tfrecord:{directory}')} --out DIR", console)


def say(text: str, console: Console) -> None:
    """Prints text without changes: no markup in file names, and no line breaks in lines that users copy."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def error(message: object) -> None:
    """Prints an error message on stderr, on one line."""
    console = Console(stderr=True)
    console.print("[red]Error:[/red]", end=" ")
    text = str(message).encode("utf-8", "backslashreplace").decode()  # names of files may be no UTF-8
    say(" ".join(text.split()), console)


def _program() -> str:
    """The name of the command as the user typed it."""
    return "keras-resnet" if shutil.which("keras-resnet") == sys.argv[0] else sys.argv[0]


def prediction(path: Path, predictions: Sequence[tuple[str, float]], console: Console) -> None:
    """Prints the most probable classes of an image with their probabilities, on one line."""
    say(f"{printable(path)}: {', '.join(f'{name} {probability:.1%}' for name, probability in predictions)}", console)


def _macs(macs: int) -> str:
    return f"{macs / 1e9:.2f} G" if macs >= 1e9 else f"{macs / 1e6:.1f} M"


def _table(first: str, *others: str, title: str | None = None) -> Table:
    table = Table(title=title)
    # In a narrow terminal cells are folded and not cut: a number that is cut would be wrong.
    table.add_column(first, overflow="fold")
    for other in others:
        table.add_column(other, justify="right", overflow="fold")
    return table
