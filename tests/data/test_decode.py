"""Decoding and resizing of images, and the evaluation transform compared with Pillow."""

import functools
import io
import math
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_resnet.data import gif, jpeg
from keras_resnet.data.decode import decode, read_image, resize_and_crop, to_square
from tests import needs
from tests.conftest import SHARED

# Decoding


FORMATS = {"png": "L RGB RGBA", "jpeg": "L RGB CMYK", "bmp": "L RGB", "gif": "L", "webp": "RGB RGBA"}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in FORMATS.items() for mode in modes.split()])
def test_decode_gives_the_channels_asked_for_whatever_the_file_has(kind, mode, channels):
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (200, 200, 200)).convert(mode).save(file, kind)
    image = decode(tf.constant(file.getvalue()), channels)
    assert image.shape == (4, 6, channels)
    assert np.abs(image.numpy().astype(int) - 200).max() <= 2


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def declaring(jpeg):
    """The JPEG file, whose header declares 65,000 pixels on each side."""
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + (65_000).to_bytes(2, "big") * 2 + jpeg[place + 4 :]


def with_palette(colors, rng):
    """A picture of numbers of colors."""
    image = Image.fromarray(rng.integers(0, len(colors), (5, 7)).astype("uint8"), "P")
    image.putpalette(np.asarray(colors, "uint8").tobytes())
    return image


PALETTES = {
    "colors": [(255, 0, 0), (0, 200, 30), (9, 8, 7)],
    "min is white": [(level, level, level) for level in range(255, -1, -1)],
}


@pytest.mark.parametrize("name", PALETTES)
def test_a_bmp_with_a_palette_has_the_colors_of_the_palette(name, rng):
    image = with_palette(PALETTES[name], rng)
    pixels = decode(tf.constant(encoded(image, "BMP")), 3)
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


def test_a_png_of_16_bits_in_color_is_decoded_as_pillow_does(rng):
    high, low = rng.integers(0, 256, (2, 4, 5, 3)).astype("uint16")
    content = tf.io.encode_png(high * 256 + low).numpy()
    pixels = decode(tf.constant(content), 3)
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


REFUSED = {
    "a gray PNG of 12 bits": (
        encoded(Image.fromarray(np.arange(0, 4096, 64, dtype="uint16").reshape(8, 8)), "PNG"),
        "must have 8 bits per channel if it is a gray PNG: the range of 16 bits is not known",
    ),
    "a BMP of one bit": (encoded(Image.new("1", (9, 4), 1), "BMP"), "with 8 or 24 bits per pixel"),
    "a compressed BMP": (
        encoded(Image.new("L", (4, 4)), "BMP")[:30] + b"\x01" + encoded(Image.new("L", (4, 4)), "BMP")[31:],
        "must be without compression, with 8 or 24 bits per pixel",
    ),
    "a GIF whose first picture is smaller than its screen": (
        b"GIF89a\x08\0\x08\0" + encoded(Image.new("L", (4, 4)), "GIF")[10:],
        "must begin with a picture that covers the screen",
    ),
    "a PNG whose header declares 2 billion pixels": (
        encoded(Image.new("L", (4, 4)), "PNG")[:16] + (50_000).to_bytes(4, "big") * 2 + bytes(40),
        "must have at most 300,000,000 pixels",
    ),
    "a JPEG whose header declares 4 billion pixels": (
        declaring(encoded(Image.new("L", (4, 4)), "JPEG")),
        "at most 300,",
    ),
    "a BMP whose header declares 4 billion pixels": (
        encoded(Image.new("RGB", (4, 4)), "BMP")[:18] + (65_000).to_bytes(4, "little") * 2 + bytes(60),
        "must have at most 300,000,000 pixels",
    ),
    "a JPEG of many scans": (
        encoded(Image.new("L", (8, 8)), "JPEG", progressive=True)[:-2] + b"\xff\xda\0\x08\1" * 101,
        "must have at most 100 scans",
    ),
    "an animated WebP": (
        encoded(Image.new("L", (8, 8)), "WEBP", save_all=True, append_images=[Image.new("L", (8, 8), 9)]),
        "must be one picture. Received: an animated WebP",
    ),
    "a TIFF": (
        encoded(Image.new("L", (8, 8)), "TIFF"),
        "converted to JPEG or PNG. Received: a TIFF file, which is not",
    ),
    "a HEIC": (b"\0\0\0\x18ftypheic" + bytes(20), "must be converted to JPEG or PNG. Received: a HEIC file"),
    "an AVIF": (encoded(Image.new("RGB", (8, 8)), "AVIF"), "Received: an AVIF file, which is not read"),
    "an SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "Received: an SVG file, which is not read"),
    "a file that begins as a HEIC and ends there": (
        b"\0\0\0\x18ftyp",
        "is not a readable JPEG, PNG, BMP, WebP or GIF$",
    ),
    "no image": (b"a text", "is not a readable JPEG, PNG, BMP, WebP or GIF$"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_decoded_to_other_pixels_is_refused_with_the_reason(name, tmp_path):
    content, reason = REFUSED[name]
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_image(tmp_path / "file", 3)


def test_a_jpeg_of_one_scan_may_have_many_pictures_behind_it():
    """Panoramas and films of phones are such files. A decoder reads the first picture."""
    content = encoded(Image.new("RGB", (8, 8), (200, 200, 200)), "JPEG")
    assert int(decode(tf.constant(content * 200), 3)[0, 0, 0]) == 200


@pytest.mark.parametrize("before", [b"\xff", b"\xff\xd0", b"\xff\x01", b"x"])
def test_scans_cannot_be_hidden_behind_markers_that_decoders_pass_over(before):
    """A reader that takes the bytes after such a marker for a length jumps to another, harmless header."""
    content = encoded(Image.new("L", (8, 8)), "JPEG", progressive=True)
    frame, last = content.index(b"\xff\xc2"), content.rindex(b"\xff\xda")
    content = content[:frame] + before + content[frame:last] + content[last:-2] * 120 + content[-2:]
    harmless = encoded(Image.new("L", (8, 8)), "JPEG")[2:]
    content += bytes(70_000 - len(content)) + (b"\xff\xdb\0\x02" * 20_000 + harmless)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have at most 100 scans"):
        decode(tf.constant(content), 1)


def of_a_phone(scans=1):
    """A progressive JPEG with a thumbnail; the header declares 8064x6048 pixels, and its last scan is there often."""
    thumbnail = encoded(Image.new("RGB", (16, 12)), "JPEG", progressive=True)
    content = encoded(Image.new("RGB", (16, 12)), "JPEG", progressive=True, exif=b"Exif\0\0" + thumbnail)
    place, last = content.rindex(b"\xff\xc2") + 5, content.rindex(b"\xff\xda")
    content = content[:last] + content[last:-2] * scans + content[-2:]
    return tf.constant(content[:place] + (6048).to_bytes(2, "big") + (8064).to_bytes(2, "big") + content[place + 4 :])


def test_a_progressive_photograph_of_48_megapixels_with_a_thumbnail_is_no_jpeg_of_many_scans():
    content = of_a_phone()
    assert jpeg.refusal(content, jpeg.sides_of(content)).numpy() == b""
    assert jpeg.refusal(content, jpeg.sides_of(content), most_scanned=500_000_000).numpy() == b""
    content = of_a_phone(scans=40)
    assert jpeg.refusal(content, jpeg.sides_of(content)).numpy().decode() == (
        "image must have at most 100 scans of at most 2,000,000,000 pixels together. "
        "Received: 49 scans of 8064x6048 pixels"
    )


def test_a_gif_of_several_pictures_is_its_first():
    first, second = (Image.new("L", (64, 48), level) for level in (200, 30))
    content = encoded(first, "GIF", save_all=True, append_images=[second, first, second])
    np.testing.assert_array_equal(decode(tf.constant(content), 1), np.full((48, 64, 1), 200))


def noise_gif(side, count=1):
    """A GIF of pictures that cannot be compressed; one of 300x300 takes 130 kB."""
    rng = np.random.default_rng(0)
    first, *others = (Image.fromarray(rng.integers(0, 256, (side, side), "uint8"), "L") for _ in range(count))
    return encoded(first, "GIF", save_all=True, append_images=others)


@pytest.mark.parametrize(("side", "count", "searches"), [(300, 4, [256_000]), (600, 1, [256_000, None])])
def test_of_a_gif_only_the_first_bytes_are_searched_if_its_first_picture_ends_there(side, count, searches, monkeypatch):
    """A search of all bytes of an animation of 2.3 MB took ten times as long as the decoding of its first picture."""
    content, sizes = noise_gif(side, count), []
    search = gif._ends_of_parts
    monkeypatch.setattr(gif, "_ends_of_parts", lambda data: sizes.append(len(data)) or search(data))
    first = gif.first_frame.python_function(tf.constant(content)).numpy()
    assert sizes == [size or len(content) for size in searches]
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(tf.io.decode_gif(first)[0], expected)


def test_the_end_of_a_gifs_first_picture_is_the_same_wherever_the_first_search_ends(monkeypatch):
    content = noise_gif(16, 2)
    expected = gif.first_frame(tf.constant(content)).numpy()
    assert len(expected) < len(content) - 300
    for few in [*range(14, 60, 23), *range(770, len(expected) + 20, 29), *range(len(expected) - 4, len(expected) + 2)]:
        monkeypatch.setattr(gif, "FEW_BYTES", few)
        assert gif.first_frame.python_function(tf.constant(content)).numpy() == expected, few


@needs.shared_data
def test_decode_and_square_a_real_photograph():
    file = min((SHARED / "bccd" / "JPEGImages").iterdir())
    image = decode(tf.io.read_file(str(file)), 3)
    assert image.shape == (480, 640, 3)
    square = to_square(image, 120)
    assert square.shape == (120, 120, 3)
    # Each output pixel is close to the mean of a 4 x 4 patch of the centre.
    patches = image.numpy()[:, 80:560].reshape(120, 4, 120, 4, 3).mean((1, 3))
    assert np.abs(patches - square.numpy()).mean() < 3


@needs.shared_data
def test_photographs_are_decoded_as_pillow_does():
    for file in sorted((SHARED / "bccd" / "JPEGImages").iterdir())[:10]:
        pixels = decode(tf.io.read_file(str(file)), 3).numpy().astype(int)
        assert np.abs(pixels - np.asarray(Image.open(file).convert("RGB"))).max() <= 1


def test_to_square_takes_the_centre_without_stretching():
    wide = np.zeros((10, 20, 1), "uint8")
    wide[:, 5:15] = 255
    np.testing.assert_array_equal(to_square(wide, 10), np.full((10, 10, 1), 255))


# The evaluation transform

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def by_pillow(image, size, crop_pct, interpolation):
    """The result of torchvision's Resize and CenterCrop on a Pillow image."""
    height, width = image.shape[:2]
    shorter = math.floor(size / crop_pct)
    if height <= width:
        height, width = shorter, int(shorter * width / height)
    else:
        height, width = int(shorter * height / width), shorter
    resized = np.asarray(Image.fromarray(image).resize((width, height), FILTERS[interpolation]))
    top, left = round((height - size) / 2.0), round((width - size) / 2.0)
    return resized[top : top + size, left : left + size]


def check_against_pillow(image, size, crop_pct, interpolation):
    ours = resize_and_crop(image, size, crop_pct=crop_pct, interpolation=interpolation)
    assert ours.dtype == tf.uint8
    assert ours.shape == (size, size, 3)
    difference = np.abs(ours.numpy().astype(int) - by_pillow(image, size, crop_pct, interpolation))
    # Pillow's weights are fixed-point numbers, so a value close to a half may be rounded the other way. That is a
    # difference of one level, or of two levels if it happens on both axes. It is rare: the measured mean differences
    # are at most 0.005 on photographs, 0.011 on noise and 0.042 on black and white. On photographs a crop that is
    # shifted by one pixel has a mean difference of 0.78 or more.
    assert difference.max() <= 2
    assert difference.mean() < 0.05


# Two sizes are quick: a crop of the whole image, and the size that most networks need.
SIZES = [
    (32, 1.0),
    (224, 0.875),
    *(pytest.param(*size, marks=pytest.mark.slow) for size in ((224, 0.95), (235, 0.94), (501, 0.9))),
]


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(("size", "crop_pct"), SIZES)
@pytest.mark.parametrize("shape", [(37, 53), (301, 211), (97, 97), (480, 333), (5, 7), (2, 9), (1, 1)])
def test_the_evaluation_transform_is_pillows_on_noise(shape, size, crop_pct, interpolation, rng):
    check_against_pillow(rng.integers(0, 256, (*shape, 3)).astype("uint8"), size, crop_pct, interpolation)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(("size", "crop_pct"), SIZES)
def test_the_evaluation_transform_is_pillows_on_black_and_white(size, crop_pct, interpolation, rng):
    # Bicubic interpolation overshoots most on such images.
    check_against_pillow((rng.integers(0, 2, (301, 211, 3)) * 255).astype("uint8"), size, crop_pct, interpolation)


@needs.shared_data
@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(("size", "crop_pct"), SIZES)
def test_the_evaluation_transform_is_pillows_on_photographs(size, crop_pct, interpolation):
    for file in sorted((SHARED / "bccd" / "JPEGImages").iterdir())[:3]:
        image = np.asarray(Image.open(file).convert("RGB"))
        check_against_pillow(image, size, crop_pct, interpolation)
        check_against_pillow(image.transpose(1, 0, 2).copy(), size, crop_pct, interpolation)


def test_the_evaluation_transform_is_the_same_inside_a_map(rng):
    images = [rng.integers(0, 256, shape).astype("uint8") for shape in ((9, 14, 3), (40, 31, 3))]
    transform = functools.partial(resize_and_crop, size=8, crop_pct=0.875, interpolation="bicubic")
    data = tf.data.Dataset.from_generator(
        lambda: iter(images), output_signature=tf.TensorSpec((None, None, 3), tf.uint8)
    )
    mapped = data.map(transform)
    assert mapped.element_spec.shape == (8, 8, 3)
    for image, out in zip(images, mapped.as_numpy_iterator()):
        np.testing.assert_array_equal(out, transform(image))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"crop_pct": 0.0}, ValueError, "crop_pct must be in (0, 1]. Received: crop_pct=0.0"),
        ({"crop_pct": 1.1}, ValueError, "crop_pct must be in (0, 1]. Received: crop_pct=1.1"),
        ({"crop_pct": float("nan")}, ValueError, "crop_pct must be in (0, 1]. Received: crop_pct=nan"),
        ({"crop_pct": "1"}, TypeError, "crop_pct must be a number in (0, 1]. Received: crop_pct='1'"),
        ({"interpolation": "nearest"}, ValueError, "interpolation must be one of 'bilinear', 'bicubic'. Received:"),
        ({"size": 0}, ValueError, "size must be an integer of at least 1. Received: size=0"),
    ],
)
def test_the_evaluation_transform_refuses_wrong_arguments(options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        resize_and_crop(
            np.zeros((4, 4, 3), "uint8"), **{"size": 4, "crop_pct": 1, "interpolation": "bicubic"} | options
        )
