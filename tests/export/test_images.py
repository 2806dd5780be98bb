"""Tests of reading untrusted image files: a wrong file does not affect the others, and memory stays limited."""

import contextlib
import dataclasses
import functools
import io
import re
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_resnet.data import jpeg
from keras_resnet.data.decode import decode, read_image, to_square
from keras_resnet.export import images as images_module
from keras_resnet.export.images import MOST_PIXELS, check_file, image_reader
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


def chunk(name, data=b""):
    """A chunk of a PNG."""
    return struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data))


def with_texts(count=3, unfolded=50_000):
    """A PNG with compressed texts and a color profile before, between and after its pixels, which are in two chunks.

    Chunks of pixels of different lengths are written by no common program.
    """
    data = encoded(format="PNG")
    packed = zlib.compress(bytes(unfolded))
    texts = chunk(b"zTXt", b"key\0\0" + packed) + chunk(b"iTXt", b"key\0\1\0\0\0" + packed)
    start = data.index(b"IDAT") + 4
    pixels = data[start : start + int.from_bytes(data[start - 8 : start - 4], "big")]
    parts = [pixels[:999], pixels[999:1998], pixels[1998:1998], pixels[1998:]]
    return (
        data[:33]
        + chunk(b"iCCP", b"key\0\0" + packed)
        + texts * count
        + b"".join(chunk(b"IDAT", part) for part in parts)
        + texts * count
        + chunk(b"IEND")
        + texts
    )


def with_palette_and_transparency():
    """A PNG with a palette, in which the first color is transparent, and that says how light its colors are."""
    data = encoded(picture().convert("P"), format="PNG", transparency=0)
    return data[:33] + chunk(b"gAMA", struct.pack("!I", 100_000)) + chunk(b"tEXt", b"key\0text") + data[33:]


def with_films(count=200):
    """A JPEG with the pictures of a film behind it, each of one scan."""
    return encoded(format="JPEG") + encoded(picture(8, 8), format="JPEG") * count


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
    "PNG with texts": with_texts(),
    "PNG with a palette and transparency": with_palette_and_transparency(),
    "PNG in eight parts": encoded(picture(200, 200), format="PNG"),
    "JPEG with a film of JPEGs": with_films(),
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
    assert film.count(b"\xff\xda") > jpeg.MOST_SCANS
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


def large(jpeg_file, side=4000):
    """The progressive JPEG, whose header declares many pixels."""
    place = jpeg_file.index(b"\xff\xc2") + 5
    return jpeg_file[:place] + side.to_bytes(2, "big") * 2 + jpeg_file[place + 4 :]


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
    "BMP": (encoded(format="BMP"), "Received: a BMP file; convert it to PNG"),
    "TIFF": (encoded(format="TIFF"), "must be converted to JPEG or PNG. Received: a TIFF file, which is not read"),
    "a header alone": (b"\xff\xd8\xff" + bytes(50), "cannot be decoded"),
    "a PNG's first bytes": (SOUND["PNG"][:18], "must have pixels"),
    "a GIF's first bytes": (b"GIF89a" + bytes(50), "must have pixels"),
    "half a JPEG": (SOUND["JPEG"][: len(SOUND["JPEG"]) // 2], "cannot be decoded"),
    "half a PNG": (SOUND["PNG"][:3000], "cannot be decoded"),
    "half a WebP": (SOUND["WebP"][:1000], "cannot be decoded"),
    "an animated WebP": (encoded(format="WEBP", save_all=True, append_images=frames(3)), "Received: an animated WebP"),
    "WebP without RIFF": (b"BF" + SOUND["WebP"][2:], "cannot be decoded"),
    "a GIF of many notes": (with_many_notes(), "cannot be decoded"),
    "half a GIF": (SOUND["GIF"][:3000], "cannot be decoded"),
    "a large PNG": (declaring(20_000, 20_000), f"at most {MOST_PIXELS:,} pixels. Received: 20000x20000"),
    "a large GIF": (declaring(20_000, 20_000, "GIF"), f"at most {MOST_PIXELS:,} pixels. Received: 20000x20000"),
    "a large WebP": (declaring(16_000, 16_000, "WebP"), f"at most {MOST_PIXELS:,} pixels. Received: 16000x16000"),
    "a PNG beyond 31 bits": (declaring(2**32 - 1, 2**32 - 1), "cannot be decoded|pixels"),
    "a GIF whose picture leaves the screen": (declaring(10, 10, "GIF"), "cannot be decoded"),
    "a line": (encoded(picture(2000, 2), format="PNG"), "at most 100 times as long as wide. Received: 2000x2"),
    "a PNG of many chunks": (
        encoded(format="PNG")[:33] + chunk(b"tEXt") * 10_001 + encoded(format="PNG")[33:],
        "cannot be decoded",
    ),
    "a PNG without pixels": (encoded(format="PNG")[:33] + chunk(b"IEND"), "cannot be decoded"),
    "a PNG with an unknown chunk that is needed": (
        encoded(format="PNG")[:33] + chunk(b"ABCD") + encoded(format="PNG")[33:],
        "cannot be decoded",
    ),
    "many scans of a large JPEG": (large(progressive(80)), "at most 100 scans of at most 500,000,000 pixels together"),
    "many scans": (progressive(3000), "at most 100 scans of at most 500,000,000 pixels together. Received: 30"),
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


NOT_SERVED = {"BMP", "a line"}  # training reads them


@pytest.mark.slow
def test_training_and_serving_give_the_same_pixels_or_both_refuse(single_results):
    contents = SOUND | {name: content for name, (content, _) in WRONG.items()} | dict(of_many_formats())
    for name, content in contents.items():
        image, error = single_results.get(content) or (part[0] for part in read_files(content))
        try:
            expected = to_square(decode(tf.constant(content), 3), SIDE).numpy()
        except tf.errors.InvalidArgumentError:
            assert error, name
            continue
        if name in NOT_SERVED:
            assert error, name
        elif "scans" in name:  # training takes four times as many pixels times scans
            assert "at most 100 scans" in error, name
        elif "large" in name or "many pictures" in name:
            assert f"at most {MOST_PIXELS:,}" in error, name
        else:
            assert error == "", name
            np.testing.assert_array_equal(image, expected, name)


def of_many_formats():
    """Name and bytes of small pictures of many modes and options, as Pillow writes them."""
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"):
        image = Image.new("RGB", (9, 7), (200, 100, 50)).convert("L" if mode == "I;16" else mode)
        image = image.convert("I;16") if mode == "I;16" else image
        for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF"):
            for option in ("progressive", "lossless", "optimize"):
                with contextlib.suppress(OSError, ValueError):
                    yield f"{kind} of {mode}, {option}", encoded(image, format=kind, **{option: True})


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
    assert error == f"image must have at most 5,000 bytes. Received: {len(SOUND['PNG'])}"


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


def in_one_color(side, **options):
    return encoded(Image.new("RGB", (side, side), (9, 90, 200)), **options)


def unfolding():
    """A PNG whose texts unfold to 470 MB. The decoder needed 3.5 seconds for 0.5 MB of them."""
    text = chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(7_900_000), 9))
    data = in_one_color(20, format="PNG")
    return data[:33] + text * 30 + data[33:-12] + text * 30 + data[-12:]


def scanned_often(side=4800, scans=90):
    """A progressive JPEG of a few kilobytes with 99 scans, for which the decoder needs seconds."""
    data = in_one_color(side, format="JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def with_large_segments():
    data = in_one_color(20, format="JPEG")
    return data[:2] + (b"\xff\xe5\xff\xff" + bytes(65533)) * 200 + data[2:]


# Small files whose sides say little of what a decoder needs: the bytes, and whether they are images.
COSTLY = {
    "a PNG whose texts unfold": (unfolding, True),
    "a large JPEG of many scans": (scanned_often, False),
    "a GIF of forty pictures": (functools.partial(bomb, 40), True),
    "a WebP with a large color profile": (lambda: in_one_color(20, format="WEBP", icc_profile=bytes(10**7)), True),
    "a JPEG with large segments": (with_large_segments, True),
}


@pytest.mark.slow
@needs.linux
@pytest.mark.parametrize("name", COSTLY)
def test_training_and_serving_need_only_what_the_sides_declare(name):
    make, is_image = COSTLY[name]
    content = make()
    read_files(SOUND["GIF"])
    for read in (lambda: read_files(content)[1] == [""], lambda: can_be_decoded(content)):
        before, start = megabytes("VmRSS"), time.process_time()
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak to the present value
        assert read() == is_image
        assert megabytes("VmHWM") - before < 350  # all pictures of the GIF take 640 MB, with one byte per pixel
        assert time.process_time() - start < 2


def can_be_decoded(content):
    try:
        decode(tf.constant(content), 3)
    except tf.errors.InvalidArgumentError:
        return False
    return True


def megabytes(field):
    """Memory of this process: "VmRSS" is the present value, "VmHWM" the peak."""
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


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
