"""Photographs are turned upright as Pillow's `ImageOps.exif_transpose` turns them, in every reader of files."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

import keras_resnet as kr
from keras_resnet.data.decode import decode, to_square
from keras_resnet.data.orientation import orientation, upright
from keras_resnet.data.parts import decode_stored_part

FORMATS = {"JPEG": {"quality": 95, "subsampling": 0}, "PNG": {}, "WEBP": {"lossless": True}}


def encoded(value, kind="JPEG", size=(9, 6), **options):
    """The bytes of a picture whose EXIF data has an orientation, after other tags."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera", value
    pixels = np.arange(3 * size[0] * size[1]).reshape(size[1], size[0], 3) * 180 // (3 * size[0] * size[1])
    file = io.BytesIO()
    Image.fromarray(pixels.astype("uint8")).save(file, kind, **{**FORMATS[kind], "exif": exif, **options})
    return file.getvalue()


def by_pillow(content):
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))


ALL = [*(pytest.param(value, marks=pytest.mark.slow) for value in (1, 2, 3, 4, 5, 8)), 6, 7]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("value", ALL)
def test_every_orientation_is_turned_as_pillow_turns_it(kind, value):
    content = encoded(value, kind)
    assert int(orientation(tf.constant(content))) == value
    np.testing.assert_allclose(decode(tf.constant(content), 3).numpy().astype(int), by_pillow(content), atol=1)


@pytest.mark.parametrize("value", [0, 9, 60_000])
def test_a_value_that_exif_does_not_define_turns_nothing(value):
    assert int(orientation(tf.constant(encoded(value)))) == 1


def little_endian_tiff(value):
    """EXIF data of one tag, in the byte order that Pillow does not write by default."""
    return b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([value]) + bytes(7)


@pytest.mark.parametrize("kind", FORMATS)
def test_both_orders_of_bytes_are_read(kind):
    content = encoded(1, kind, exif=b"Exif\0\0" + little_endian_tiff(6))
    assert int(orientation(tf.constant(content))) == 6
    np.testing.assert_allclose(decode(tf.constant(content), 3).numpy().astype(int), by_pillow(content), atol=1)


def test_exif_is_found_after_other_segments():
    plain = encoded(1, exif=b"")
    comment = b"\xff\xfe\x01\x02" + b"Exif\0\0 is only a word here" + bytes(256 - 26)
    exif = b"\xff\xe1" + (8 + len(little_endian_tiff(3))).to_bytes(2, "big") + b"Exif\0\0" + little_endian_tiff(3)
    content = plain[:20] + comment + exif + plain[20:]
    assert Image.open(io.BytesIO(content)).getexif()[0x0112] == 3
    assert int(orientation(tf.constant(content))) == 3


XMP = {
    "an attribute": b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/>',
    "an element": b"<rdf:Description><tiff:Orientation>%d</tiff:Orientation></rdf:Description>",
}


@pytest.mark.parametrize("form", XMP)
def test_the_orientation_of_xmp_is_read_if_exif_has_none(form):
    camera = Image.Exif()
    camera[0x010F] = "a camera"
    for exif in (b"", camera):
        content = encoded(1, exif=exif, xmp=XMP[form] % 6)
        assert int(orientation(tf.constant(content))) == 6
        np.testing.assert_allclose(decode(tf.constant(content), 3).numpy().astype(int), by_pillow(content), atol=1)
    assert int(orientation(tf.constant(encoded(3, xmp=XMP[form] % 6)))) == 3


@pytest.mark.parametrize("text", [b"tiff:Orientation", b'tiff:Orientation="9"', b"tiff:Orientation=6", b"\xff", b""])
def test_broken_xmp_turns_nothing(text):
    assert int(orientation(tf.constant(encoded(1, exif=b"", xmp=text)))) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe1\0\x10Exif\0\0",
        b"\xff\xd8\xff\xe1\0\x10Exif\0\0MM\0*\xff\xff\xff\xff",
        b"\xff\xd8\xff\xe1\0\x10Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03",
        b"\x89PNG\r\n\x1a\n\0\0\0\x04eXIfMM\0*",
        b"RIFF\0\0\0\0WEBPVP8X\0EXIF",
    ],
)
def test_broken_exif_turns_nothing(content):
    assert int(orientation(tf.constant(content))) == 1


@pytest.mark.parametrize("value", ALL)
def test_a_part_of_a_photograph_is_that_of_the_upright_one(value, rng):
    content = encoded(value, size=(40, 24))
    whole = by_pillow(content)
    for _ in range(3):
        height, width = (rng.integers(1, side + 1) for side in whole.shape[:2])
        top, left = (rng.integers(0, side - part + 1) for side, part in zip(whole.shape, (height, width)))
        box = tf.constant([top, left, height, width], tf.int32)
        found = decode_stored_part(tf.constant(content), 3, lambda _, box=box: box, size=100)
        part = upright(found.pixels, found.orientation).numpy()
        # The decoder interpolates colors from neighbors, which a part does not have at its edges.
        np.testing.assert_allclose(part.astype(int), whole[top : top + height, left : left + width], atol=3)


@pytest.mark.slow
def test_training_and_evaluation_see_upright_photographs(tmp_path):
    for value in range(1, 9):
        (tmp_path / "cat").mkdir(exist_ok=True)
        (tmp_path / "cat" / f"{value}.jpg").write_bytes(encoded(value, size=(40, 24)))
    split = kr.data.load(f"folder:{tmp_path}", "all")
    expected = [to_square(by_pillow(encoded(value, size=(40, 24))), 8).numpy() for value in range(1, 9)]
    ((images, _),) = kr.data.pipeline(split, 8, 8).as_numpy_iterator()
    np.testing.assert_allclose(images.astype(int), expected, atol=2)
    trained, _ = next(kr.data.train_pipeline(split, 8, 8).as_numpy_iterator())
    for image in trained.astype(int):  # in any order
        assert min(np.abs(image - other).max() for other in np.asarray(expected).astype(int)) <= 3
    assert len({image.tobytes() for image in trained}) == 8
