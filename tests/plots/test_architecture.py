"""The picture of an architecture shows what the network has."""

import re

import keras
import keras_tuner
import numpy as np
import pytest
from PIL import Image

import keras_resnet as kr
from keras_resnet.plots import plot_architecture
from keras_resnet.plots.architecture import _count, columns_of
from tests.conftest import quick_among


def small(**options):
    return kr.ResNet(**{"depths": (2, 3), "filters": (8, 16), "input_shape": (32, 32, 3), "classes": 5, **options})


def test_equal_blocks_are_one_box_and_a_projection_is_named():
    stem, first, second, head = columns_of(kr.ResNet18(input_shape=(64, 64, 3)))[:4]
    assert (stem.stage.name, first.stage.name, second.stage.name) == ("conv1", "conv2_x", "conv3_x")
    assert [(box.block.lines, box.block.shortcut, box.blocks) for box in first.boxes] == [
        (("3x3 conv, 64", "3x3 conv, 64"), "", 2)
    ]
    assert [(box.block.lines, box.block.shortcut, box.blocks) for box in second.boxes] == [
        (("3x3 conv, 128, /2", "3x3 conv, 128"), "1x1 conv, 128, /2", 1),
        (("3x3 conv, 128", "3x3 conv, 128"), "", 1),
    ]
    assert stem.boxes[0].block.lines == ("7x7 conv, 64, /2", "3x3 max pool, /2")
    assert head.stage.name == "conv4_x"


def test_gates_groups_and_zeros_are_named():
    options = {"block": kr.bottleneck_block, "groups": 4, "base_width": 64, "gate": kr.gates.squeeze_excite}
    (_, column, *_) = columns_of(small(**options))
    assert column.boxes[0].block.lines == ("1x1 conv, 32", "3x3 conv, 32, 4 groups", "1x1 conv, 32", "SE gate")
    cifar = columns_of(kr.ResNet20())
    assert cifar[2].boxes[0].block.shortcut == "1x1 max pool, /2\nzeros for new channels"
    assert cifar[-1].boxes[0].block.lines == ("global average pool", "dense, 10")


@pytest.mark.slow
def test_a_deep_network_has_no_more_boxes_than_a_shallow_one():
    deep, shallow = (sum(len(column.boxes) for column in columns_of(net())) for net in (kr.ResNet110, kr.ResNet20))
    assert deep == shallow


@pytest.mark.parametrize("name", quick_among(kr.list_models(), "ResNet18"))
def test_every_row_of_the_zoo_is_drawn_with_all_its_blocks(name, tmp_path):
    model = kr.create_model(name)
    columns = columns_of(model)
    assert [sum(box.blocks for box in column.boxes) for column in columns if column.stage.blocks] == [
        stage.blocks for stage in kr.stage_table(model) if stage.blocks
    ]
    assert sum(column.stage.parameters for column in columns) == sum(
        int(weight.shape.num_elements()) if hasattr(weight.shape, "num_elements") else weight.value.numpy().size
        for weight in model.trainable_weights
    )
    plot_architecture(model, tmp_path / "net.svg")
    assert (tmp_path / "net.svg").stat().st_size > 10_000


def test_the_picture_names_the_network_its_size_and_its_cost(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        plot_architecture(kr.ResNet20(), tmp_path / "net.svg", "A small net")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", (tmp_path / "net.svg").read_text())
    assert {"A small net", "270 k parameters, 40.6 M MACs for 32 x 32 x 3"} <= set(texts)
    assert {"conv2_x", "head", "x3", "3x3 conv, 16", "16 x 16 x 32"} <= set(texts)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (1000, "1.00 k"),
        (99_950, "100 k"),
        (100_000, "100 k"),
        (272_474, "272 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (25_610_152, "25.6 M"),
        (999_990_000, "1.00 G"),
        (4_089_184_256, "4.09 G"),
        (10**12, "1.00 T"),
    ],
)
def test_a_count_has_three_digits_and_its_unit_fits_the_rounded_number(number, text):
    assert _count(number) == text


@pytest.mark.parametrize("letter", quick_among("iW$犬", "W"))
def test_a_long_title_is_shortened_and_hides_nothing(letter, tmp_path):
    model = small(depths=(1, 1))
    plot_architecture(model, tmp_path / "long.png", 300 * letter)
    plot_architecture(model, tmp_path / "short.png", letter)
    (long, short) = (_pixels(tmp_path / name) for name in ("long.png", "short.png"))
    title = 0.42 * 120  # its height, in pixels
    assert long.shape == short.shape
    np.testing.assert_array_equal(long[int(title) :], short[int(title) :])
    assert long[: int(title), -30:].min() == 255 > long[: int(title), -90:].min()


def _pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))


def test_a_network_of_a_search_is_drawn(tmp_path):
    space = kr.HyperResNet((16, 16, 1), 10, base="ResNet20", max_macs=1e6, tune=("depth", "width"))
    model = space.build(keras_tuner.HyperParameters())
    assert [column.stage.name for column in columns_of(model)] == ["conv1", "conv2_x", "conv3_x", "conv4_x", "head"]
    plot_architecture(model, tmp_path / "net.png")


def test_a_png_is_written_whatever_the_case_of_its_suffix(tmp_path):
    for name in ("net.png", "NET.PNG"):
        plot_architecture(small(), tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_another_format_or_network_is_refused(tmp_path):
    with pytest.raises(ValueError, match="path must end in .svg or .png. Received: 'net.pdf'"):
        plot_architecture(kr.ResNet20(), "net.pdf")
    inputs = keras.Input((8, 8, 1))
    with pytest.raises(ValueError, match="model must have layers that are named like those of a ResNet's blocks"):
        plot_architecture(keras.Model(inputs, keras.layers.Flatten()(inputs)), tmp_path / "net.png")
    with pytest.raises(ValueError, match="model must have a fixed input size"):
        plot_architecture(kr.ResNet20(input_shape=(None, None, 3)), tmp_path / "net.png")
