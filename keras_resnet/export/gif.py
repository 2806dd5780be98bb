"""The first picture of a GIF alone: TensorFlow's decoder reads all that a file says it has."""

from __future__ import annotations

import tensorflow as tf

MOST_PARTS = 20_000  # of at most 255 bytes: five megabytes
IMAGE, EXTENSION, END = 0x2C, 0x21, 0x3B


def screen(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Height and width of a GIF, int64, from its bytes."""
    data = _bytes(content)
    return tf.cast(_side(data, 8), tf.int64), tf.cast(_side(data, 6), tf.int64)


def first_frame(content: tf.Tensor) -> tf.Tensor:
    """The bytes of a GIF up to the end of its first picture; those of other files as they are.

    A picture that reaches beyond the screen, or a file without one, is an error of the graph.
    """
    return tf.cond(tf.strings.substr(content, 0, 4) == b"GIF8", lambda: _cut(content), lambda: content)


def _cut(content: tf.Tensor) -> tf.Tensor:
    data = _bytes(content)
    height, width = _side(data, 8), _side(data, 6)

    def block(place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Begins a block: where its parts are, whether they are the picture's, and whether it is a block at all."""
        kind = data[place]
        picture = kind == IMAGE
        if_picture = tf.minimum(place, tf.size(data) - 10)
        left, top, wide, high = (_side(data, if_picture + offset) for offset in (1, 3, 5, 7))
        inside = (left + wide <= width) & (top + high <= height)
        parts = tf.where(picture, place + 11 + _palette(data, if_picture + 9), place + 2)
        return parts, picture, tf.where(picture, inside, kind == EXTENSION)

    def step(
        place: tf.Tensor, within: tf.Tensor, picture: tf.Tensor, sound: tf.Tensor, done: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        length = data[place]
        began = block(place)
        last = within & (length == 0)
        after = (
            tf.where(within, place + 1 + length, began[0]),
            tf.where(within, length != 0, True),
            tf.where(within, picture, began[1]),
            tf.where(within, sound, began[2]),
        )
        return (*after, last & picture)

    start = 13 + _palette(data, tf.constant(10))
    place, *_, sound, done = tf.while_loop(
        lambda place, within, picture, sound, done: sound & ~done & (place < tf.size(data)),
        step,
        (start, tf.constant(False), tf.constant(False), tf.constant(True), tf.constant(False)),
        maximum_iterations=MOST_PARTS,
    )
    with tf.control_dependencies([tf.debugging.Assert(sound & done, ["GIF: no first picture"])]):
        return tf.strings.join([tf.strings.substr(content, 0, place), bytes([END])])


def _bytes(content: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.io.decode_raw(content, tf.uint8), tf.int32)


def _side(data: tf.Tensor, place: tf.Tensor | int) -> tf.Tensor:
    return data[place] + 256 * data[place + 1]


def _palette(data: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """How many bytes the palette has that the flags at `place` speak of."""
    flags = data[place]
    return tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), 0)
