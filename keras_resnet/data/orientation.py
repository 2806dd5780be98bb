"""Orientation of photographs: the tag 0x0112 of EXIF, which cameras and phones write. All in the graph.

Pillow's `ImageOps.exif_transpose` gives the same images. EXIF is read in JPEG (segment APP1), PNG (chunk eXIf) and WebP
(chunk EXIF).
"""

from __future__ import annotations

import tensorflow as tf

from keras_resnet.data.binary import integer_at, one_node, part

MOST_EXIF = 65_536  # bytes of EXIF that are read; a segment of a JPEG cannot be longer
HEAD = 262_144  # first bytes of a JPEG in which EXIF is searched; programs write it at the beginning
TIFF_MARKS = (b"II*\0", b"MM\0*")  # EXIF data begins as a TIFF file, little-endian or big-endian
MOST_NAMES = 20  # places where the bytes of a name may occur by chance
ORIENTATION, SHORT = 0x0112, 3  # the tag, and the type of its value
# Values of the tag whose images are stored on their side, mirrored left to right, or upside down.
SIDEWAYS, MIRRORED, UPSIDE_DOWN = (5, 6, 7, 8), (2, 3, 6, 7), (3, 4, 7, 8)


IMAGE = tf.TensorSpec((None, None, None), tf.uint8)
PAIR, BOX, SCALAR = (tf.TensorSpec(shape, tf.int32) for shape in ((2,), (4,), ()))


def orientation(content: tf.Tensor) -> tf.Tensor:
    """The orientation of an image file.

    Args:
        content: scalar string, the bytes of the file.

    Returns:
        int32 scalar, 1 to 8, as EXIF defines it; 1 if the file has no valid orientation.
    """
    kind = tf.strings.substr(content, 0, 4)
    is_png, is_webp = kind == b"\x89PNG", kind == b"RIFF"
    name = tf.where(is_png, b"eXIf", tf.where(is_webp, b"EXIF", b"Exif\0\0"))
    # A search for the name of the chunk: a loop over the chunks took as long as half of the decoding.
    searched = tf.strings.substr(content, 0, tf.where(is_png | is_webp, 2**30, HEAD))
    parts = tf.raw_ops.StringSplitV2(input=[searched], sep=name, maxsplit=MOST_NAMES).values[1:]
    # In a WebP, a length of four bytes follows the name.
    skipped = tf.where(is_webp, 4, 0)
    return tf.cond(tf.size(parts) > 0, lambda: _orientation_in(parts, skipped), lambda: tf.constant(1))


@one_node(tf.TensorSpec((None,), tf.string), SCALAR)
def _orientation_in(parts: tf.Tensor, skipped: tf.Tensor) -> tf.Tensor:
    """The orientation in EXIF data, which has the form of a TIFF file; it begins in a part, after `skipped` bytes."""
    data = tf.strings.substr(tf.strings.join([parts, "\0" * 4]), skipped, MOST_EXIF)
    # Some programs write the name that EXIF has in a JPEG into a WebP, too.
    data = tf.strings.regex_replace(data, "^Exif\\x00\\x00", "")
    marks = tf.strings.substr(data, 0, 4)
    exif = tf.concat([tf.boolean_mask(data, (marks == TIFF_MARKS[0]) | (marks == TIFF_MARKS[1])), [b""]], 0)[0]

    def read(big_endian: bool) -> tf.Tensor:
        place = integer_at(exif, 4, tf.int32, big_endian)
        place = tf.where((place < 0) | (place > MOST_EXIF), MOST_EXIF, place)
        count = integer_at(exif, place, tf.uint16, big_endian)
        entries = part(exif, place + 2, 12 * count)
        entries = tf.strings.substr(entries, 0, tf.strings.length(entries) // 12 * 12)
        # An entry is tag, type, number of values (four bytes) and the value, which is in the first two of four bytes.
        numbers = tf.cast(tf.io.decode_raw(entries, tf.uint16, little_endian=not big_endian), tf.int32)
        rows = tf.reshape(numbers, (-1, 6))
        values = tf.boolean_mask(rows[:, 4], (rows[:, 0] == ORIENTATION) & (rows[:, 1] == SHORT))
        value = tf.concat([values, [1]], 0)[0]
        return tf.where((value >= 1) & (value <= 8), value, 1)

    return tf.cond(tf.strings.substr(exif, 0, 2) == b"MM", lambda: read(True), lambda: read(False))


def upright(image: tf.Tensor, stored: tf.Tensor) -> tf.Tensor:
    """Turns and mirrors an image (H, W, C) so that it is upright; `stored` is its `orientation`."""
    turned = tf.cond(stored > 1, lambda: _turned(image, stored), lambda: image)
    return tf.ensure_shape(turned, (None, None, image.shape[-1]))


@one_node(IMAGE, SCALAR)
def _turned(image: tf.Tensor, stored: tf.Tensor) -> tf.Tensor:
    # `tf.reverse` takes 4 ms for three million pixels, a slice with a step of -1 takes 110 ms.
    image = tf.cond(_is_one_of(stored, SIDEWAYS), lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    image = tf.cond(_is_one_of(stored, MIRRORED), lambda: tf.reverse(image, [1]), lambda: image)
    return tf.cond(_is_one_of(stored, UPSIDE_DOWN), lambda: tf.reverse(image, [0]), lambda: image)


def upright_sides(sides: tf.Tensor, stored: tf.Tensor) -> tf.Tensor:
    """Height and width (2,) of an image after `upright`, from those before."""
    return tf.where(stored >= SIDEWAYS[0], sides[::-1], sides)


def stored_box(box: tf.Tensor, sides: tf.Tensor, stored: tf.Tensor) -> tf.Tensor:
    """The part of a stored image that becomes a given part of the upright image.

    Args:
        box: int32 (4,), top, left, height and width in the upright image.
        sides: int32 (2,), height and width of the upright image.
        stored: the `orientation`.

    Returns:
        int32 (4,), top, left, height and width in the stored image.
    """
    return tf.cond(stored > 1, lambda: _turned_box(box, sides, stored), lambda: box)


@one_node(BOX, PAIR, SCALAR)
def _turned_box(box: tf.Tensor, sides: tf.Tensor, stored: tf.Tensor) -> tf.Tensor:
    """The steps of `_turned` backwards."""
    corner, size = box[:2], box[2:]
    is_flipped = tf.stack([_is_one_of(stored, UPSIDE_DOWN), _is_one_of(stored, MIRRORED)])
    corner = tf.where(is_flipped, sides - corner - size, corner)
    sideways = tf.concat([corner[::-1], size[::-1]], 0)
    return tf.where(_is_one_of(stored, SIDEWAYS), sideways, tf.concat([corner, size], 0))


def _is_one_of(stored: tf.Tensor, values: tuple[int, ...]) -> tf.Tensor:
    return tf.reduce_any(stored == tf.constant(values))
