"""What the commands print: tables and words for a person."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_resnet.stages import Stage
from keras_resnet.training.compare import Compared, differing, names
from keras_resnet.training.recipe import Recipe
from keras_resnet.tuning.results import TrialResult, pareto_front
from keras_resnet.weights import Checkpoint
from keras_resnet.zoo import Row

if TYPE_CHECKING:
    from keras_resnet.training.run import Run
    from keras_resnet.tuning.run import Best


def models(rows: Sequence[Row], console: Console) -> None:
    """The table of models."""
    table = _table("model", "depth", "parameters", "MACs", "input")
    for row in rows:
        table.add_row(row.name, str(row.depth), f"{row.parameters:,}", _macs(row.macs), f"{row.size}x{row.size}")
    console.print(table)


def weights(checkpoints: Sequence[Checkpoint], console: Console) -> None:
    """The table of published weights, a star at those that the name of a data set stands for."""
    if not console.is_terminal:  # a file or another program: nothing is folded
        console = Console(file=console.file, width=300)
    table = Table(box=None)
    for name in ("weights", "top-1", "size", "crop", "licence"):
        table.add_column(name, justify="right" if name in ("top-1", "size", "crop") else "left", no_wrap=True)
    # Folded where the terminal is narrow: they are there to be copied.
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
        '\n* what weights="imagenet", "cifar10" or "fashion_mnist" stands for. '
        "cc-by-nc licences forbid commercial use.",
        console,
    )


def published(
    accuracy: float, checkpoint: Checkpoint, size: int | None, images: int, data: str, console: Console
) -> None:
    """What was measured of a published checkpoint, beside what is said of it."""
    side = checkpoint.size if size is None else size
    how = f"{side}x{side}, crop {checkpoint.crop_pct:g}, {checkpoint.interpolation}"
    say(f"top-1 {accuracy:.2%} on the {images:,} images of {data}, at {how}", console)
    if checkpoint.top1:
        say(
            f"published: {checkpoint.top1:.2f} % at {checkpoint.size}x{checkpoint.size} ({checkpoint.top1_source})",
            console,
        )


def summary(name: str, stages: Sequence[Stage], console: Console) -> None:
    """The table of one model's stages."""
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
    """What a training run gave, and what to type next."""
    say(
        f"\n{result.test_accuracy:.2%} of the {result.test_images:,} held-out test images are right, "
        f"after {result.seconds:.0f} s of training.\n"
        f"{out} holds {', '.join(sorted(path.name for path in out.iterdir()))}.\n\nNext:",
        console,
    )
    program, run_dir = shlex.quote(_program()), shlex.quote(str(out))
    sample = shlex.quote(str(min((out / "samples").iterdir())))
    say(f"  # measure it again\n  {program} evaluate {run_dir}", console)
    say(f"  # ask it about an image\n  {program} predict {sample} --model {run_dir}", console)
    if (out / "export").exists():
        mount = shlex.quote(f"{(out / 'export').resolve()}:/models/{result.model}:ro")
        serve = f"docker run --rm -p 8501:8501 -v {mount} -e MODEL_NAME={result.model} tensorflow/serving"
        say(f"  # serve it\n  {serve}", console)
    else:
        say("  # to serve it, load model.keras under KERAS_BACKEND=tensorflow and export that", console)


def recipes(rows: Mapping[str, Recipe], console: Console) -> None:
    """The table of recipes: what each sets beside the defaults."""
    table = Table(box=None)
    table.add_column("recipe", no_wrap=True)
    table.add_column("fields", overflow="fold")
    defaults = dataclasses.asdict(Recipe())
    for name, recipe in rows.items():
        fields = dataclasses.asdict(recipe).items()
        table.add_row(name, escape(" ".join(_field(*field) for field in fields if field[1] != defaults[field[0]])))
    console.print(table)
    say(f"\nThe defaults: {' '.join(_field(*field) for field in defaults.items())}", console)


def _field(name: str, value: object) -> str:
    if isinstance(value, tuple):
        value = ",".join(f"{entry:.4g}" for entry in value) or "none"
    return f"{name}={value:.5g}" if isinstance(value, float) else f"{name}={value}"


def runs(compared: Sequence[Compared], console: Console) -> None:
    """The table of runs: how far, how good, how long, and where they differ in what was asked for."""
    fields = [name for name in differing(compared) if name != "epochs"]
    asked = [name for name in compared[0].asked if len({run.asked[name] for run in compared}) > 1]
    for name in ("model", "data"):
        if name not in asked:
            say(f"{name}: {compared[0].asked[name]}", console)
    table = _table("run", *asked, "epochs", "best epoch", "validation", "test", "minutes", *fields)
    for name, run in zip(names(compared), compared, strict=True):
        done, accuracies = len(run.history.get("epoch", [])), run.history.get("val_accuracy", [])
        table.add_row(
            name,
            *("-" if run.asked[of] is None else str(run.asked[of]) for of in asked),
            str(done) if run.seconds is not None else f"{done}, unfinished",
            "-" if run.best_epoch is None else str(run.best_epoch),
            f"{max(accuracies):.2%}" if accuracies else "-",
            "-" if run.test_accuracy is None else f"{run.test_accuracy:.2%}",
            "-" if run.seconds is None else f"{run.seconds / 60:.1f}",
            *(_field(of, getattr(run.recipe, of)).partition("=")[2] for of in fields),
        )
    console.print(table)


def search(trials: Sequence[TrialResult], console: Console) -> None:
    """The table of a search: its finished trials, the best first, a star at those of the Pareto front."""
    best = pareto_front(trials)
    changed = sorted({name for trial in trials for name in trial.changes})
    table = _table("trial", "top-1", "parameters", "MACs", "ms", "minutes", "blocks x width", *changed)
    for trial in trials:
        of = trial.metrics
        table.add_row(
            f"{trial.trial}{' *' if trial in best else ''}",
            f"{of['val_accuracy']:.2%}",
            f"{int(of['parameters']):,}",
            _macs(int(of["macs"])),
            f"{of['latency']:.1f}",
            f"{of['seconds'] / 60:.1f}",
            " ".join(f"{blocks}x{width}" for blocks, width in trial.stages),
            *(_field(name, trial.changes[name]).partition("=")[2] if name in trial.changes else "" for name in changed),
        )
    console.print(table)
    say("\n* no other is as good at as few MACs (pareto.png); top-1 on the images held out; ms for one image", console)


def best(result: Best, out: Path, console: Console) -> None:
    """The best network of a search, as a line of Python, and where it is."""
    say(
        f"\n{result.test_accuracy:.2%} of the {result.test_images:,} test images are right, of the best:\n\n"
        f"{result.trials[0].code}\n\n"
        f"{out} holds {', '.join(sorted(path.name for path in out.iterdir()))}.",
        console,
    )


def say(text: str, console: Console) -> None:
    """Prints text as it is: no markup in the names of files, no wrapping of lines that are there to be copied."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def error(message: object) -> None:
    """Prints what went wrong on stderr, on one line."""
    console = Console(stderr=True)
    console.print("[red]Error:[/red]", end=" ")
    say(" ".join(str(message).split()), console)


def _program() -> str:
    """The command as the user can type it again."""
    return "keras-resnet" if shutil.which("keras-resnet") == sys.argv[0] else sys.argv[0]


def prediction(path: Path, guesses: Sequence[tuple[str, float]], console: Console) -> None:
    """The most probable classes of an image with their probabilities, on one line."""
    say(f"{path}: {', '.join(f'{name} {probability:.1%}' for name, probability in guesses)}", console)


def _macs(macs: int) -> str:
    return f"{macs / 1e9:.2f} G" if macs >= 1e9 else f"{macs / 1e6:.1f} M"


def _table(first: str, *others: str, title: str | None = None) -> Table:
    table = Table(title=title)
    # Folded where the terminal is narrow: a name or number that is cut short is a wrong one.
    table.add_column(first, overflow="fold")
    for other in others:
        table.add_column(other, justify="right", overflow="fold")
    return table
