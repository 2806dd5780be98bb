"""Orientation of photographs: the tag 0x0112 of EXIF, which cameras and phones write. All in the graph.

EXIF is read in JPEG (segment APP1), PNG (chunk eXIf) and WebP (chunk EXIF). If a JPEG has no orientation in EXIF, that
of XMP is read (segment APP1, too). Pillow's `ImageOps.exif_transpose` gives the same images. It also reads XMP in PNG
and WebP, and ImageMagick's text chunks in PNG; here these files stay as they are, because a second search in all files
would take longer.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_resnet.data.binary import one_node

MOST_EXIF = 65_536  # bytes of EXIF that are read; a segment of a JPEG cannot be longer
HEAD = 262_144  # first bytes of a JPEG in which EXIF is searched; programs write it at the beginning
TIFF_MARKS = (b"II*\0", b"MM\0*")  # EXIF data begins as a TIFF file, little-endian or big-endian
APP1 = b"\xff\xe1"  # does not occur in the pixels of a JPEG
# The name of XMP in a JPEG, and its orientation as an attribute or an element; \C is any byte.
XMP = r'^http://ns\.adobe\.com/xap/1\.0/\x00\C*?tiff:Orientation(?:="|>)([0-9])\C*$'
MOST_NAMES = 20  # places where the bytes of a name may occur by chance
ORIENTATION, SHORT = 0x0112, 3  # the tag, and the type of its value
# Values of the tag whose images are stored on their side, mirrored left to right, or upside down.
SIDEWAYS, MIRRORED, UPSIDE_DOWN = (5, 6, 7, 8), (2, 3, 6, 7), (3, 4, 7, 8)
# An entry of a TIFF file has a tag, a type, a count (four bytes) and a value (four bytes). This matrix finds the first
# two bytes of tag, type and value: (12 bytes, 3 numbers, 2 bytes of a number).
NUMBERS_AT = (0, 2, 8)
BYTES_OF_ENTRY = np.array([[[at == place, at + 1 == place] for at in NUMBERS_AT] for place in range(12)], "int32")
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
    name = tf.where(is_png, b"eXIf", tf.where(is_webp, b"EXIF", APP1))
    # A search for the name of the chunk: a loop over the chunks took as long as half of the decoding.
    searched = tf.strings.substr(content, 0, tf.where(is_png | is_webp, 2**30, HEAD))
    parts = tf.raw_ops.StringSplitV2(input=[searched], sep=name, maxsplit=MOST_NAMES).values[1:]
    # In a WebP, a length of four bytes follows the name; in a JPEG, one of two bytes.
    skipped = tf.where(is_webp, 4, tf.where(is_png, 0, 2))
    return tf.cond(tf.size(parts) > 0, lambda: _orientation_in(parts, skipped), lambda: tf.constant(1))


@one_node(tf.TensorSpec((None,), tf.string), SCALAR)
def _orientation_in(parts: tf.Tensor, skipped: tf.Tensor) -> tf.Tensor:
    """The orientation in EXIF data, or else in XMP. One of the parts begins with it, after `skipped` bytes."""
    candidates = tf.strings.substr(tf.strings.join([parts, "\0" * 4]), skipped, MOST_EXIF)
    digits = tf.strings.regex_replace(candidates, XMP, r"\1")
    of_xmp = tf.where(tf.strings.length(digits) == 1, tf.io.decode_raw(digits, tf.uint8, fixed_length=1)[:, 0], 0)
    # EXIF data has the form of a TIFF file. In a JPEG a name is before it, and some programs write it into a WebP, too.
    candidates = tf.strings.regex_replace(candidates, "^Exif\\x00\\x00", "")
    marks = tf.strings.substr(candidates, 0, 4)
    exif = tf.concat([tf.boolean_mask(candidates, (marks == TIFF_MARKS[0]) | (marks == TIFF_MARKS[1])), [b""]], 0)[0]

    # Few nodes, see `one_node`: numbers are made of bytes by products.
    data = tf.concat([tf.cast(tf.io.decode_raw(exif, tf.uint8), tf.int32), tf.zeros(8, tf.int32)], 0)
    big_endian = data[0] == ord("M")
    pair = tf.where(big_endian, [256, 1], [1, 256])
    # Where the tags begin; all positions up to MOST_EXIF fit into two bytes.
    place = tf.tensordot(tf.where(big_endian, data[6:8], data[4:6]), pair, 1)
    place = tf.minimum(place, tf.strings.length(exif))
    count = tf.tensordot(data[place : place + 2], pair, 1)
    tags = data[place + 2 : place + 2 + 12 * count]
    tags = tf.reshape(tags[: tf.size(tags) // 12 * 12], (-1, 12))
    numbers = tags @ tf.tensordot(BYTES_OF_ENTRY, pair, 1)
    values = tf.boolean_mask(numbers[:, 2], (numbers[:, 0] == ORIENTATION) & (numbers[:, 1] == SHORT))
    value = tf.concat([values, [tf.cast(tf.reduce_max(of_xmp), tf.int32) - ord("0")]], 0)[0]
    return tf.where((value >= 1) & (value <= 8), value, 1)


def upright(image: tf.Tensor, stored: tf.Tensor) -> tf.Tensor:
    """Turns and mirrors an image (H, W, C) so that it is upright; `stored` is its `orientation`."""
    turned = tf.cond(stored > 1, lambda: _turned(image, stored), lambda: image)
    return tf.ensure_shape(turned, (None, None, image.shape[-1]))


@one_node(IMAGE, SCALAR)
def _turned(image: tf.Tensor, stored: tf.Tensor) -> tf.Tensor:
    image = tf.transpose(image, tf.where(_is_one_of(stored, SIDEWAYS), [1, 0, 2], [0, 1, 2]))
    # `tf.reverse` takes 4 ms for three million pixels, a slice with a step of -1 takes 110 ms.
    reversed_axes = tf.boolean_mask([0, 1], [_is_one_of(stored, UPSIDE_DOWN), _is_one_of(stored, MIRRORED)])
    return tf.reverse(image, reversed_axes)


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
