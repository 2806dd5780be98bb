"""What the headers of image files say, and why some files must not be decoded. All in the graph."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_resnet.data.binary import one_node, part

MOST_PIXELS = 300_000_000  # more than any camera has; they take 900 MB


class Header(NamedTuple):
    """Numbers in the first bytes of a file, int64 scalars; those of the formats that it does not have mean nothing."""

    png: tf.Tensor  # 0 if the file begins as a PNG; the same for gif, bmp and the three kinds of WebP
    gif: tf.Tensor
    bmp: tf.Tensor
    lossy: tf.Tensor
    lossless: tf.Tensor
    extended: tf.Tensor
    png_width: tf.Tensor
    png_height: tf.Tensor
    png_bits: tf.Tensor
    png_colors: tf.Tensor
    png_length: tf.Tensor  # of the first chunk after IHDR
    png_name: tf.Tensor  # of that chunk; 0 if it is IDAT
    gif_width: tf.Tensor
    gif_height: tf.Tensor
    bmp_width: tf.Tensor
    bmp_height: tf.Tensor
    bmp_pixels_at: tf.Tensor
    bmp_header: tf.Tensor
    bmp_bits: tf.Tensor
    bmp_compression: tf.Tensor
    lossy_width: tf.Tensor
    lossy_height: tf.Tensor
    lossless_bits: tf.Tensor
    extended_flags: tf.Tensor
    extended_width: tf.Tensor
    extended_height: tf.Tensor


# Place of each number of a header in the file, and number of its bytes; below 0 for big-endian. RFC 9649 has WebP's.
PLACES = Header(
    png=(0, -4),
    gif=(0, -4),
    bmp=(0, -2),
    lossy=(8, -8),
    lossless=(8, -8),
    extended=(8, -8),
    png_width=(16, -4),
    png_height=(20, -4),
    png_bits=(24, 1),
    png_colors=(25, 1),
    png_length=(33, -4),
    png_name=(37, -4),
    gif_width=(6, 2),
    gif_height=(8, 2),
    bmp_width=(18, 4),
    bmp_height=(22, 4),
    bmp_pixels_at=(10, 4),
    bmp_header=(14, 4),
    bmp_bits=(28, 2),
    bmp_compression=(30, 4),
    lossy_width=(26, 2),
    lossy_height=(28, 2),
    lossless_bits=(21, 4),
    extended_flags=(20, 1),
    extended_width=(24, 3),
    extended_height=(27, 3),
)
MARKS = {
    "png": b"\x89PNG",
    "gif": b"GIF8",
    "bmp": b"BM",
    "lossy": b"WEBPVP8 ",
    "lossless": b"WEBPVP8L",
    "extended": b"WEBPVP8X",
    "png_name": b"IDAT",
}
HEADER_BYTES = 41
REASONS = (
    "image must have 8 bits per channel if it is a gray PNG: the range of 16 bits is not known",
    "image must be without compression, with 8 or 24 bits per pixel, if it is a BMP",
    "image must be one picture. Received: an animated WebP",
)
ANIMATED = 2  # in the flags of a WebP
# Files that people have among their images, and that are not read: place and bytes of their mark. Photographs of
# cameras (DNG, NEF, ARW, CR2) are TIFF files.
OTHER_KINDS = (
    ("a TIFF", 0, b"II*\0"),
    ("a TIFF", 0, b"MM\0*"),
    ("a TIFF", 0, b"II+\0"),
    ("a TIFF", 0, b"MM\0+"),
    *(("a HEIC", 4, b"ftyp" + brand) for brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")),
    ("an AVIF", 4, b"ftypavif"),
    ("an AVIF", 4, b"ftypavis"),
    ("a JPEG XL", 0, b"\xff\x0a"),
    ("a JPEG XL", 4, b"JXL \r\n\x87\n"),
    ("a JPEG 2000", 4, b"jP  \r\n\x87\n"),
    ("a JPEG 2000", 0, b"\xff\x4f\xff\x51"),
    ("an SVG", 0, b"<svg"),
    ("an SVG or XML", 0, b"<?xml"),
    ("a Photoshop", 0, b"8BPS"),
    ("a camera's raw", 4, b"ftypcrx "),
    ("a camera's raw", 0, b"FUJIFILMCCD-RAW"),
    ("a camera's raw", 0, b"IIRO"),
    ("a camera's raw", 0, b"IIRS"),
    ("a camera's raw", 0, b"IIU\0"),
    ("a PDF", 0, b"%PDF"),
)


def _weights_of_bytes() -> np.ndarray:
    """The matrix that makes the numbers of a header of its bytes, int64 (numbers, HEADER_BYTES)."""
    weights = np.zeros((len(PLACES), HEADER_BYTES), "int64")
    for row, (place, count) in zip(weights, PLACES, strict=True):
        powers = 256 ** np.arange(abs(count), dtype="int64")
        row[place : place + abs(count)] = powers[::-1] if count < 0 else powers
    return weights


def read_header(content: tf.Tensor) -> Header:
    """The header of an image file."""
    start = tf.strings.substr(tf.strings.join([part(content, 0, HEADER_BYTES), "\0" * HEADER_BYTES]), 0, HEADER_BYTES)
    data = tf.cast(tf.io.decode_raw(start, tf.uint8), tf.int64)
    # One product: each node of a graph costs time whenever a pipeline is started.
    numbers = tf.linalg.matvec(_weights_of_bytes(), tf.ensure_shape(data, (HEADER_BYTES,)))
    marks = [int.from_bytes(MARKS.get(name, b""), "big") for name in Header._fields]
    return Header(*tf.unstack(numbers - marks))


def _kinds(header: Header) -> tf.Tensor:
    """Whether the file is a PNG, a GIF, a BMP, or a lossy, a lossless or an extended WebP: bool (6,)."""
    return tf.stack(header[:6]) == 0


def sides_of(header: Header) -> tf.Tensor:
    """Height and width that the header declares, int64 (2,); zeros if the file is of none of these formats."""
    sides = [
        (header.png_height, header.png_width),
        (header.gif_height, header.gif_width),
        # A height is below 0 if the first row is the highest one.
        (tf.minimum(header.bmp_height, 2**32 - header.bmp_height), header.bmp_width),
        (header.lossy_height, header.lossy_width),
        (header.lossless_bits // 2**14, header.lossless_bits),
        (header.extended_height, header.extended_width),
    ]
    limits, less_one = np.array([2**32, 2**16, 2**32, 2**14, 2**14, 2**24]), np.array([0, 0, 0, 0, 1, 1])
    kinds = tf.cast(_kinds(header), tf.int64)[:, None]
    return tf.reduce_sum((tf.stack(sides) % limits[:, None] + less_one[:, None]) * kinds, 0)


def has_alpha(header: Header) -> tf.Tensor:
    """Whether the file is a WebP of one picture with transparent pixels."""
    flags = tf.bitwise.bitwise_and(header.extended_flags, 0x10 | ANIMATED)
    of_lossless = (header.lossless == 0) & (header.lossless_bits // 2**28 % 2 == 1)
    return of_lossless | ((header.extended == 0) & (flags == 0x10))


def refusal(content: tf.Tensor, header: Header, most_pixels: int = MOST_PIXELS) -> tf.Tensor:
    """Why a file other than a JPEG must not be decoded; "" if it can be, or if its format is not known.

    TensorFlow would decode some files to other pixels than Pillow; and it allocates the memory that a header declares.

    Args:
        content: scalar string, the bytes of the file.
        header: the header of the file.
        most_pixels: largest number of pixels.
    """
    sides = sides_of(header)
    is_plain = (
        (header.bmp_header >= 40) & ((header.bmp_bits == 8) | (header.bmp_bits == 24)) & (header.bmp_compression == 0)
    )
    is_wrong = tf.stack(
        [
            (header.png == 0) & (header.png_bits == 16) & (header.png_colors % 4 == 0),  # 4 has transparency
            (header.bmp == 0) & ~is_plain,
            (header.extended == 0) & (header.extended_flags // ANIMATED % 2 == 1),
        ]
    )
    # Few nodes, and no texts, for a file that is not refused. The sides of other formats are zeros.
    is_refused = tf.reduce_any(is_wrong) | too_few_or_many(sides, most_pixels)
    is_known = tf.reduce_any(_kinds(header))
    return tf.cond(is_refused, lambda: _text(content, is_known, sides, most_pixels, is_wrong), lambda: tf.constant(""))


@one_node(
    tf.TensorSpec((), tf.string),
    tf.TensorSpec((), tf.bool),
    tf.TensorSpec((2,), tf.int64),
    tf.TensorSpec((), tf.int32),
    tf.TensorSpec((len(REASONS),), tf.bool),
)
def _text(
    content: tf.Tensor, is_known: tf.Tensor, sides: tf.Tensor, most_pixels: tf.Tensor, is_wrong: tf.Tensor
) -> tf.Tensor:
    """The reason to refuse a file: its sides, one of `REASONS`, or its format if that is not known to `Header`."""
    of_sides = refused_sides(sides, most_pixels)
    other = tf.strings.reduce_join(tf.where(is_wrong, REASONS, ""))
    return tf.where(is_known, tf.where(of_sides == "", other, of_sides), _other_kind(content))


def _other_kind(content: tf.Tensor) -> tf.Tensor:
    """The reason why a file of a known format is not read; "" if the format is not known."""
    names, places, marks = zip(*OTHER_KINDS, strict=True)
    starts = tf.fill([len(marks)], tf.strings.join([part(content, 0, HEADER_BYTES), "\0" * HEADER_BYTES]))
    found = tf.strings.substr(starts, places, [len(mark) for mark in marks]) == marks
    texts = [f"image must be converted to JPEG or PNG. Received: {name} file, which is not read" for name in names]
    return tf.strings.reduce_join(tf.where(found, texts, ""))


def too_few_or_many(sides: tf.Tensor, most_pixels: tf.Tensor | int) -> tf.Tensor:
    """Whether an image of these sides, height and width, has no pixels, or more than `most_pixels`."""
    pixels = pixels_of(sides)
    return (pixels < 1) | (pixels > tf.cast(most_pixels, tf.float32))


def refused_sides(sides: tf.Tensor, most_pixels: tf.Tensor) -> tf.Tensor:
    """The reason if an image of these sides has too few or too many pixels; otherwise ""."""
    too_many = tf.strings.join(
        ["image must have at most ", with_commas(most_pixels), " pixels. Received: ", text_of(sides)]
    )
    text = tf.where(pixels_of(sides) < 1, "image must have pixels. Received: none", too_many)
    return tf.where(too_few_or_many(sides, most_pixels), text, "")


def text_of(sides: tf.Tensor) -> tf.Tensor:
    """Height and width as people write them: 640x480 is 640 wide."""
    return tf.strings.reduce_join(tf.strings.as_string(sides[::-1]), separator="x")


def with_commas(number: tf.Tensor) -> tf.Tensor:
    """An integer up to 999,999,999,999 as people write it. TensorFlow writes no commas into numbers."""
    text = tf.strings.as_string(number)
    for _ in range(3):  # one comma each, from the right
        text = tf.strings.regex_replace(text, r"(\d)(\d{3})(,|$)", r"\1,\2\3")
    return text


def pixels_of(sides: tf.Tensor) -> tf.Tensor:
    """The number of pixels, float32: integers could overflow."""
    return tf.reduce_prod(tf.cast(sides, tf.float32))
