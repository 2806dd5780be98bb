"""Tests of reading untrusted image files: a wrong file does not affect the others, and memory stays limited."""

import dataclasses
import functools
import io
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_resnet.data.decode import read_image, to_square
from keras_resnet.export import images as images_module
from keras_resnet.export.images import KINDS, MOST_PIXELS, check_file, image_reader
from tests import needs
from tests.conftest import SHARED

SIDE = 32


@functools.cache
def reader_graph(channels=3):
    read = image_reader(channels, SIDE, to_square)
    spec = tf.TensorSpec([None], tf.string)
    return tf.function(lambda contents: read(contents, tf.identity), input_signature=[spec], autograph=False)


def read_files(*contents, channels=3):
    """The images and the error messages of files that are read as one batch."""
    images, errors = reader_graph(channels)(tf.constant(contents))
    return images.numpy(), [error.decode() for error in errors.numpy()]


def picture(width=80, height=60):
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype("uint8"))


def encoded(image=None, **options):
    file = io.BytesIO()
    (picture() if image is None else image).save(file, **options)
    return file.getvalue()


def frames(count, width=80, height=60):
    return [picture(width, height).rotate(angle) for angle in range(count)]


def transparent():
    image = picture().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def with_many_parts(count=19_000):
    """A GIF whose comment is split into parts of one byte. A loop over the parts took seven seconds."""
    data = encoded(format="GIF")
    start = data.index(b"\x2c", 13 + 3 * 256)
    return data[:start] + b"\x21\xfe" + b"\x01x" * count + b"\x00" + data[start:]


def on_its_side():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


SOUND = {
    "JPEG": encoded(format="JPEG"),
    "progressive JPEG": encoded(format="JPEG", progressive=True),
    "grey JPEG": encoded(picture().convert("L"), format="JPEG"),
    "CMYK JPEG": encoded(picture().convert("CMYK"), format="JPEG"),
    "PNG": encoded(format="PNG"),
    "PNG with a palette": encoded(picture().convert("P"), format="PNG"),
    "PNG of 16 bits": tf.io.encode_png(np.arange(2700, dtype="uint16").reshape(30, 30, 3)).numpy(),
    "JPEG on its side": encoded(format="JPEG", exif=on_its_side()),
    "PNG on its side": encoded(format="PNG", exif=on_its_side()),
    "WebP on its side": encoded(format="WEBP", exif=on_its_side()),
    "PNG with transparency": encoded(picture().convert("RGBA"), format="PNG"),
    "a single pixel": encoded(picture(1, 1), format="PNG"),
    "WebP": encoded(format="WEBP"),
    "lossless WebP": encoded(format="WEBP", lossless=True),
    "WebP with notes": encoded(format="WEBP", exif=b"Exif\0\0MM"),
    "WebP with transparency": encoded(picture().convert("RGBA"), format="WEBP", exact=True),
    "WebP with transparent pixels": encoded(transparent(), format="WEBP", exact=True),
    "lossless WebP with transparency": encoded(transparent(), format="WEBP", lossless=True, exact=True),
    "GIF": encoded(format="GIF"),
    "GIF of several pictures": encoded(format="GIF", save_all=True, append_images=frames(3)),
    "GIF with a comment": encoded(format="GIF", comment=b"x" * 700),
    "GIF with a comment in many parts": with_many_parts(),
}


@pytest.fixture(scope="module")
def single_results():
    """For each file, its pixels and error message if it is read alone."""
    contents = [*SOUND.values(), *(content for content, _ in WRONG.values())]
    return {content: tuple(part[0] for part in read_files(content)) for content in contents}


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_sound_files_become_pixels(name, single_results):
    image, error = single_results[SOUND[name]]
    assert error == ""
    expected = Image.open(io.BytesIO(SOUND[name]))
    if "on its side" in name:
        expected = ImageOps.exif_transpose(expected)
    expected = np.asarray(expected.convert("RGB"))
    # Pillow ignores the transparency, as the reader does. It converts CMYK to RGB differently.
    if "CMYK" not in name:
        assert np.abs(image.astype(int) - to_square(expected, SIDE).numpy()).max() <= 3


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_said_against_sound_files(name):
    assert check_file(tf.constant(SOUND[name])).numpy() == b""


@pytest.mark.slow
def test_a_photograph_with_a_film_behind_it_is_a_photograph(single_results):
    """Phones write such files. Nine random megabytes contain the two bytes that begin a scan 137 times by chance."""
    film = np.random.default_rng(0).bytes(9 * 10**6)
    assert film.count(b"\xff\xda") > images_module.MOST_SCANS
    (image,), errors = read_files(SOUND["JPEG"] + film)
    assert errors == [""]
    np.testing.assert_array_equal(image, single_results[SOUND["JPEG"]][0])


@pytest.mark.slow
def test_grey_networks_get_greys():
    images, errors = read_files(SOUND["PNG"], SOUND["grey JPEG"], channels=1)
    assert images.shape == (2, SIDE, SIDE, 1)
    assert errors == ["", ""]


def declaring(width, height, name="PNG"):
    """The sound file, with another width and height in its header."""
    data, (numbers, offset) = SOUND[name], {"PNG": ("!II", 16), "GIF": ("<HH", 6), "WebP": ("<HH", 26)}[name]
    sides = struct.pack(numbers, width, height)
    return data[:offset] + sides + data[offset + len(sides) :]


def progressive(scans):
    """A progressive JPEG that contains its last scan many times."""
    data = SOUND["progressive JPEG"]
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def bomb(count, side=4000):
    """A small GIF file with many large pictures of one colour."""
    data = encoded(Image.new("P", (side, side)), format="GIF")
    palette = 3 * 2 ** (data[10] % 8 + 1)
    start = data.index(b"\x2c", 13 + palette)
    return data[:start] + data[start:-1] * count + data[-1:]


def with_many_notes(count=1000):
    """A GIF with more comment blocks before the picture than any program writes."""
    data = encoded(format="GIF")
    start = data.index(b"\x2c", 13 + 3 * 256)
    return data[:start] + b"\x21\xfe\x01x\x00" * count + data[start:]


WRONG = {
    "nothing": (b"", "Received: nothing"),
    "a gray PNG of 16 bits": (
        encoded(Image.fromarray(np.arange(900, dtype="uint16").reshape(30, 30)), format="PNG"),
        "8 bits per channel if it is a gray PNG",
    ),
    "a letter": (b"x", "bytes of another kind"),
    "text": (b"to be or not to be, that is the question", "bytes of another kind"),
    "BMP": (encoded(format="BMP"), "bytes of another kind"),
    "a header alone": (b"\xff\xd8\xff" + bytes(50), "cannot be decoded"),
    "a PNG's first bytes": (SOUND["PNG"][:18], "cannot be decoded"),
    "a GIF's first bytes": (b"GIF89a" + bytes(50), "must have pixels"),
    "half a JPEG": (SOUND["JPEG"][: len(SOUND["JPEG"]) // 2], "cannot be decoded"),
    "half a PNG": (SOUND["PNG"][:3000], "cannot be decoded"),
    "half a WebP": (SOUND["WebP"][:1000], "cannot be decoded"),
    "an animated WebP": (encoded(format="WEBP", save_all=True, append_images=frames(3)), "Received: an animated WebP"),
    "WebP without RIFF": (b"BM" + SOUND["WebP"][2:], "bytes of another kind"),
    "a GIF of many notes": (with_many_notes(), "cannot be decoded"),
    "half a GIF": (SOUND["GIF"][:3000], "cannot be decoded"),
    "a large PNG": (declaring(20_000, 20_000), f"at most {MOST_PIXELS} pixels. Received: 20000x20000"),
    "a large GIF": (declaring(20_000, 20_000, "GIF"), f"at most {MOST_PIXELS} pixels. Received: 20000x20000"),
    "a large WebP": (declaring(16_000, 16_000, "WebP"), f"at most {MOST_PIXELS} pixels. Received: 16000x16000"),
    "a PNG beyond 31 bits": (declaring(2**32 - 1, 2**32 - 1), "cannot be decoded|pixels"),
    "a GIF whose picture leaves the screen": (declaring(10, 10, "GIF"), "cannot be decoded"),
    "a line": (encoded(picture(2000, 2), format="PNG"), "at most 100 times as long as wide. Received: 2000x2"),
    "many scans": (progressive(3000), "at most 100 scans"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_and_nothing_of_it_repeated(name, single_results):
    content, message = WRONG[name]
    image, error = single_results[content]
    assert re.search(message, error), error
    assert error.startswith("image must ")
    assert error.isprintable()
    assert len(error) < 120
    assert not image.any()


@pytest.mark.parametrize("name", [name for name, (_, message) in WRONG.items() if "decoded" not in message])
def test_what_needs_no_decoding_is_said_before_it(name):
    content, message = WRONG[name]
    assert re.search(message, check_file(tf.constant(content)).numpy().decode())


@pytest.mark.slow
def test_neighbours_of_what_is_wrong_are_as_they_would_be_alone(single_results):
    contents = [part for pair in zip(SOUND.values(), (content for content, _ in WRONG.values())) for part in pair]
    images, errors = read_files(*contents)
    assert [bool(error) for error in errors] == [False, True] * (len(contents) // 2)
    for image, content in zip(images[::2], contents[::2]):
        np.testing.assert_array_equal(image, single_results[content][0])


def test_many_bytes_are_refused_before_they_are_read(monkeypatch):
    monkeypatch.setattr(images_module, "MOST_BYTES", 5000)
    error = check_file(tf.constant(SOUND["PNG"])).numpy().decode()
    assert error == f"image must have at most 5000 bytes. Received: {len(SOUND['PNG'])}"


@pytest.mark.slow
def test_bytes_at_random_harm_nothing(rng):
    contents = []
    for _ in range(300):
        data = bytearray(rng.choice(list(SOUND.values())))
        for index in rng.integers(0, len(data), 1 + rng.integers(8)):
            data[index] = rng.integers(256)
        contents.append(bytes(data[: rng.integers(1, len(data) + 1)]))
    images, errors = read_files(*contents)
    assert images.shape == (300, SIDE, SIDE, 3)
    assert 100 < sum(map(bool, errors)) <= 300


@pytest.mark.slow
@needs.linux
def test_only_the_first_picture_of_a_gif_is_decoded():
    """The file has forty pictures of 16 million pixels in 700 kilobytes."""
    content = bomb(40)
    read_files(SOUND["GIF"])
    before = megabytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak to the present value
    _, errors = read_files(content)
    assert errors == [""]
    assert megabytes("VmHWM") - before < 350  # all pictures together take 640 MB, with one byte per pixel


def megabytes(field):
    """Memory of this process: "VmRSS" is the present value, "VmHWM" the peak."""
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


def test_every_format_is_tested():
    for kind in KINDS:
        marks = kind.marks.items()
        assert any(all(content[offset:].startswith(mark) for offset, mark in marks) for content in SOUND.values()), kind


@dataclasses.dataclass
class CropOrBlack:
    """A resize function with an `if` on a tensor. It is not hashable."""

    max_height: int

    def __call__(self, image, size):
        if tf.shape(image)[0] > self.max_height:
            image = tf.zeros_like(image)
        return image[:size, :size]


@pytest.mark.slow
def test_a_resize_function_may_be_any_callable_that_autograph_translates():
    files = [encoded(picture(40, height), format="PNG") for height in (60, 80)]
    images, errors = tf.function(image_reader(3, SIDE, CropOrBlack(70)))(tf.constant(files), tf.identity)
    assert errors.numpy().tolist() == [b"", b""]
    np.testing.assert_array_equal(images[0], np.array(picture(40, 60))[:SIDE, :SIDE])
    assert not images[1].numpy().any()


@pytest.mark.slow
@needs.shared_data
def test_photographs_are_decoded_as_in_training():
    files = sorted((SHARED / "bccd" / "JPEGImages").glob("*.jpg"))[:3]
    images, _ = read_files(*(file.read_bytes() for file in files))
    for image, file in zip(images, files, strict=True):
        np.testing.assert_array_equal(image, to_square(read_image(file, 3), SIDE))
