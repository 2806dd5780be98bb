"""What the commands print: tables and words for a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from keras_resnet.stages import Stage
from keras_resnet.zoo import Row

if TYPE_CHECKING:
    from keras_resnet.training.run import Run


def models(rows: Sequence[Row], console: Console) -> None:
    """The table of models."""
    table = _table("model", "depth", "parameters", "MACs", "input")
    for row in rows:
        table.add_row(row.name, str(row.depth), f"{row.parameters:,}", _macs(row.macs), f"{row.size}x{row.size}")
    console.print(table)


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
    console.print(
        f"\n[bold]{result.test_accuracy:.2%}[/bold] of the {result.test_images:,} held-out test images are right, "
        f"after {result.seconds:.0f} s of training.\n"
        f"{out} holds model.keras, history.csv, curves.png, run.json, some test images in samples/ "
        "and a SavedModel in export/1/.\n\nNext:",
        highlight=False,
        soft_wrap=True,
    )
    sample = min((out / "samples").iterdir())
    served = f"-p 8501:8501 -v {(out / 'export').resolve()}:/models/{result.model}:ro -e MODEL_NAME={result.model}"
    for what, command in (
        ("measure it again", f"keras-resnet evaluate {out}"),
        ("ask it about an image", f"keras-resnet predict {sample} --model {out}"),
        ("serve it", f"docker run --rm {served} tensorflow/serving"),
    ):
        # No markup and no wrapping: these lines are there to be copied.
        console.print(f"  # {what}\n  {command}", markup=False, highlight=False, soft_wrap=True)


def prediction(path: Path, probabilities: np.ndarray, classes: Sequence[str], top: int, console: Console) -> None:
    """The most probable classes of an image, on one line."""
    best = probabilities.argsort()[::-1][:top]
    guesses = ", ".join(f"{classes[i]} {probabilities[i]:.1%}" for i in best)
    console.print(f"{path}: {guesses}", markup=False, highlight=False, soft_wrap=True)


def _macs(macs: int) -> str:
    return f"{macs / 1e9:.2f} G" if macs >= 1e9 else f"{macs / 1e6:.1f} M"


def _table(first: str, *others: str, title: str | None = None) -> Table:
    table = Table(title=title)
    table.add_column(first, no_wrap=True)
    for other in others:
        table.add_column(other, justify="right", no_wrap=True)
    return table
