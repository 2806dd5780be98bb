"""`plot_architecture`: one picture of a residual network, with stages as columns and blocks as boxes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_resnet._internal.validation import output_file
from keras_resnet.complexity import flat_layers, layer_macs, parameters
from keras_resnet.plots.style import FORMATS, any_characters, figure, save, shortened
from keras_resnet.stages import Stage, parse_block, stage_table

# In inches. README shows the picture of ResNet-50 about 830 pixels wide: its text is then 9 pixels high.
LINE, CHARACTER = 0.235, 0.08  # height of a line in a box, and width of a character of it
NAMES = -1.03  # where the names of the stages are, under the title and the figures of the whole network
NARROWEST = 0.06  # width of the narrowest letter of the title
LEFT, RIGHT = 0.36, 0.44  # of a box: room for the shortcut and its name; for the number of blocks
COLORS = {"conv1": "#e8e8e8", "head": "#e8e8e8"}
STAGE_COLORS = ("#cfe3f3", "#d5ecd4", "#fde4c8", "#f6d3d5", "#e4d9f0")
IDENTITY, PROJECTION = "#1b1b1b", "#c0392b"


class Block(NamedTuple):
    """What a box shows. Blocks with the same content share a box.

    Attributes:
        lines: its convolutions and its gate, in words.
        shortcut: what is on the shortcut, one line for each layer; "" for the identity.
        parameters: trainable parameters of one block.
        macs: multiply-accumulates of one block, for one image.
    """

    lines: tuple[str, ...]
    shortcut: str
    parameters: int
    macs: int


class Box(NamedTuple):
    """A box of the picture.

    Attributes:
        block: what it shows.
        blocks: how many blocks it stands for.
        residual: whether a shortcut leads around it.
    """

    block: Block
    blocks: int
    residual: bool


class Column(NamedTuple):
    """A column of the picture: a stage and its boxes."""

    stage: Stage
    boxes: tuple[Box, ...]


class Place(NamedTuple):
    """Where the boxes of a column are: their left and right ends."""

    left: float
    right: float

    @property
    def middle(self) -> float:
        """The x coordinate of what is centered."""
        return (self.left + self.right) / 2


def plot_architecture(model: keras.Model, path: str | os.PathLike[str], title: str | None = None) -> None:
    """Draws a residual network: stages as columns, blocks as boxes, with sizes, channels, parameters and MACs.

    A solid line around a box is a shortcut without change; a dashed one changes the shape, in most networks by a
    projection. Equal blocks that follow each other are one box with their number, so ResNet-1202 needs as many boxes as
    ResNet-20.

    Args:
        model: a model of this package with a fixed input size, also one that was loaded from a `.keras` file, or the
            best network of a search.
        path: file to write; its name ends in .svg or .png, and its directory exists. An old file is replaced.
        title: title of the picture. None: the name of the model.

    Raises:
        ValueError: the model has no blocks with the names of a ResNet's, its input size is not fixed, or no file
            can be written to `path`.

    Example:
        >>> import pathlib, tempfile, keras_resnet as kr
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kr.plot_architecture(kr.ResNet18(), pathlib.Path(folder) / "resnet18.svg")
    """
    path = output_file("path", path, *FORMATS)
    columns = columns_of(model)
    total = sum(column.stage.parameters for column in columns), sum(column.stage.macs for column in columns)
    size = " x ".join(map(str, model.input_shape[1:]))
    cost = f"{_count(total[0])} parameters, {_count(total[1])} MACs for {size}"
    _draw(columns, title or model.name, cost, path)


def columns_of(model: keras.Model) -> list[Column]:
    """What the picture of a network shows, column by column."""
    stages = stage_table(model)
    if not any(stage.blocks for stage in stages):
        raise ValueError(
            "model must have layers that are named like those of a ResNet's blocks: conv2_block1_out and so on. "
            f"Received: {model.name!r}"
        )
    blocks: dict[str, dict[int, list[keras.Layer]]] = {}
    others: dict[str, list[keras.Layer]] = {"conv1": [], "head": []}
    seen_blocks = False
    for layer in flat_layers(model):
        if found := parse_block(layer.name):
            seen_blocks = True
            blocks.setdefault(f"conv{found.stage}_x", {}).setdefault(found.block, []).append(layer)
        else:
            others["head" if seen_blocks else "conv1"].append(layer)
    return [
        Column(stage, tuple(_boxes(blocks[stage.name])) if stage.blocks else (_single(others[stage.name]),))
        for stage in stages
    ]


def _boxes(blocks: dict[int, list[keras.Layer]]) -> Iterator[Box]:
    described = [_block(layers) for _, layers in sorted(blocks.items())]
    for block, equal in itertools.groupby(described):
        yield Box(block, len(list(equal)), True)


def _single(layers: list[keras.Layer]) -> Box:
    """The box of the stem or of the head."""
    return Box(Block(_lines(layers), "", parameters(layers), 0), 1, False)


def _lines(layers: Sequence[keras.Layer]) -> tuple[str, ...]:
    """What layers do, one line for each. A max-pool that `layers.max_pool` makes of two layers is one line."""
    lines: list[str] = []
    for words in filter(None, map(_words, layers)):
        if words.startswith("1x1 max pool") and lines and lines[-1].endswith("max pool"):
            lines[-1] += words.removeprefix("1x1 max pool")
        else:
            lines.append(words)
    return tuple(lines)


def _block(layers: list[keras.Layer]) -> Block:
    on_shortcut = [layer for layer in layers if _part(layer).startswith("0_")]
    branch = [layer for layer in layers if layer not in on_shortcut]
    gates = sorted({_part(layer).partition("_")[0] for layer in branch if _part(layer).endswith("_scale")})
    lines = _lines([layer for layer in branch if _part(layer).partition("_")[0].isdigit()])
    return Block(
        (*lines, *(f"{gate.upper()} gate" for gate in gates)),
        "\n".join(_lines(on_shortcut)),
        parameters(layers),
        sum(map(layer_macs, layers)),
    )


def _part(layer: keras.Layer) -> str:
    found = parse_block(layer.name)
    return found.part if found else layer.name


def _words(layer: keras.Layer) -> str:
    """What a layer does, in a few words; "" for layers that the picture leaves out."""
    stride = max(getattr(layer, "strides", (1,)) or (1,))
    slower = f", /{stride}" if stride > 1 else ""
    if isinstance(layer, keras.layers.Conv2D):
        groups = f", {layer.groups} groups" if layer.groups > 1 else ""
        return f"{_sides(layer.kernel_size)} conv, {layer.filters}{groups}{slower}"
    if isinstance(layer, keras.layers.MaxPooling2D | keras.layers.AveragePooling2D):
        kind = "max" if isinstance(layer, keras.layers.MaxPooling2D) else "average"
        return f"{_sides(layer.pool_size)} {kind} pool{slower}" if max(layer.pool_size) > 1 or stride > 1 else ""
    if isinstance(layer, keras.layers.GlobalAveragePooling2D | keras.layers.GlobalMaxPooling2D):
        return f"global {'average' if 'Average' in type(layer).__name__ else 'max'} pool"
    if isinstance(layer, keras.layers.Dense):
        return f"dense, {layer.units}"
    if isinstance(layer, keras.layers.ZeroPadding2D) and layer.data_format != keras.config.image_data_format():
        return "zeros for new channels"  # the trick of `shortcuts.zero_pad`
    return ""


def _sides(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


def _draw(columns: Sequence[Column], title: str, cost: str, path: Path) -> None:
    height = max(sum(map(_height, column.boxes)) + 0.45 * len(column.boxes) for column in columns) + 1.27 - NAMES
    lines = [line for column in columns for box in column.boxes for line in box.block.lines]
    width = CHARACTER * max(map(len, lines)) + 0.2
    total = len(columns) * (LEFT + width + RIGHT)
    drawn = figure(total, height, layout="none")
    axes = drawn.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, total), ylim=(-height, 0))
    axes.set_axis_off()
    _write_title(axes, title, total - 2 * LEFT)
    axes.text(LEFT, -0.56, cost, fontsize=11, va="center", color="#444444")
    _legend(axes)
    colors = {**COLORS, **{column.stage.name: color for column, color in _staged_colors(columns)}}
    lefts = [LEFT + number * (LEFT + width + RIGHT) for number in range(len(columns))]
    places = [Place(left, left + width) for left in lefts]
    for column, place in zip(columns, places, strict=True):
        _draw_column(axes, column, place, colors[column.stage.name])
    for place, following in itertools.pairwise(places):
        _arrow(axes, place, following)
    save(drawn, path)


def _write_title(axes: Any, title: str, room: float) -> None:
    """Writes the title, shortened until it is at most `room` inches wide."""
    shown, most = shortened(title, int(room / NARROWEST)), room * axes.figure.dpi
    text = axes.text(LEFT, -0.28, shown, fontsize=13, weight="bold", va="center", parse_math=False)
    with any_characters():
        while (width := text.get_window_extent().width) > most:
            shown = shortened(title, min(len(shown) - 1, int(len(shown) * most / width)))
            text.set_text(shown)


def _staged_colors(columns: Sequence[Column]) -> Iterator[tuple[Column, str]]:
    staged = [column for column in columns if column.stage.blocks]
    return zip(staged, itertools.cycle(STAGE_COLORS), strict=False)


def _height(box: Box) -> float:
    return LINE * (len(box.block.lines) + 0.9)


def _draw_column(axes: Any, column: Column, place: Place, color: str) -> None:
    """Draws the boxes of a stage from top to bottom."""
    stage, middle = column.stage, place.middle
    output = " x ".join(map(str, stage.output))
    axes.text(middle, NAMES, stage.name, fontsize=12, weight="bold", ha="center", va="center")
    axes.text(middle, NAMES - 0.23, output, fontsize=10, ha="center", va="center", color="#444444")
    y = NAMES - 0.42
    for box in column.boxes:
        top = y - 0.12
        bottom = top - _height(box)
        if box.residual:
            _shortcut(axes, box, place, top, bottom)
        _box(axes, box, place, top, bottom, color)
        axes.plot([middle, middle], [y, top], color=IDENTITY, lw=1, zorder=1)
        y = bottom - 0.33 if box.residual else bottom
        axes.plot([middle, middle], [bottom, y], color=IDENTITY, lw=1, zorder=1)
    cost = f"{_count(stage.parameters)} parameters" + (f"\n{_count(stage.macs)} MACs" if stage.macs else "")
    axes.text(middle, y - 0.06, cost, fontsize=10, ha="center", va="top", color="#444444")


def _box(axes: Any, box: Box, place: Place, top: float, bottom: float, color: str) -> None:
    from matplotlib.patches import FancyBboxPatch  # noqa: PLC0415

    for shift in (0.07, 0) if box.blocks > 1 else (0,):
        axes.add_patch(
            FancyBboxPatch(
                (place.left + shift, bottom + shift / 2),
                place.right - place.left,
                top - bottom,
                boxstyle="round,pad=0,rounding_size=0.05",
                facecolor=color,
                edgecolor="#555555",
                lw=0.9,
                zorder=2,
            )
        )
    for number, line in enumerate(box.block.lines):
        y = top - LINE * (number + 0.95)
        axes.text(place.middle, y, line, fontsize=10, ha="center", va="center", zorder=3)
    if box.blocks > 1:
        x, y = place.right + 0.1, (top + bottom) / 2
        axes.text(x, y, f"x{box.blocks}", fontsize=11, weight="bold", va="center", zorder=3)


def _shortcut(axes: Any, box: Box, place: Place, top: float, bottom: float) -> None:
    """The line around a box, and the addition under it."""
    middle, side, add = place.middle, place.left - 0.14, bottom - 0.17
    projected = bool(box.block.shortcut)
    color, style = (PROJECTION, (0, (4, 2))) if projected else (IDENTITY, "solid")
    axes.plot(
        [middle, side, side, middle - 0.07],
        [top + 0.06, top + 0.06, add, add],
        color=color,
        linestyle=style,
        lw=1.3,
        zorder=1,
    )
    axes.plot([middle], [add], marker="o", ms=9, markerfacecolor="white", markeredgecolor=IDENTITY, zorder=3)
    axes.text(middle, add, "+", fontsize=9, ha="center", va="center_baseline", zorder=4)
    if projected:
        x, y = side - 0.03, (top + bottom) / 2
        axes.text(x, y, box.block.shortcut, fontsize=10, rotation=90, ha="right", va="center", color=color)


def _arrow(axes: Any, place: Place, following: Place) -> None:
    """The arrow between the names of two stages."""
    axes.annotate(
        "",
        xy=(following.middle - 0.42, NAMES),
        xytext=(place.middle + 0.42, NAMES),
        arrowprops={"arrowstyle": "->", "color": "#777777", "lw": 1.2},
    )


def _legend(axes: Any) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415

    lines = [
        Line2D([], [], color=IDENTITY, lw=1.3, label="identity shortcut"),
        Line2D([], [], color=PROJECTION, lw=1.3, linestyle=(0, (4, 2)), label="shortcut that changes the shape"),
        Line2D([], [], linestyle="", label="/2: stride 2"),
    ]
    axes.legend(handles=lines, loc="lower right", ncols=3, columnspacing=1, frameon=False, fontsize=10)


def _count(number: int) -> str:
    """A number of parameters or MACs, at least 0, in three digits: 999 is "999", and 999,900 is "1.00 M"."""
    exponent = int(f"{number:.2e}".partition("e")[2])  # of the rounded number
    if exponent < 3:
        return str(number)
    return f"{number / 1000 ** (exponent // 3):.{2 - exponent % 3}f} {'kMGTPE'[exponent // 3 - 1]}"
