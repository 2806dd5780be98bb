"""Builds and trains your own network from the blocks of this package, with your own gate and your own shortcut.

Run:     python examples/own_blocks.py
Time:    half a minute on two cores
Result:  prints the stage table and the accuracy on held-out digits, 97 % or more
"""

import dataclasses

import keras

import keras_resnet as kr


def max_pool_shortcut(x: kr.layers.Tensor, filters: int, stride: int, name: str) -> kr.layers.Tensor:
    """A shortcut without weights: takes the maximum of neighbouring pixels, and adds channels of zeros.

    A shortcut is a function that gives `x` the shape of the block's output. `x` has fewer channels, and its height and
    width are `stride` times as large.
    """
    if stride > 1:
        x = keras.layers.MaxPooling2D(stride, padding="same", name=f"{name}_strongest")(x)
    return kr.shortcuts.zero_pad(x, filters, 1, name)


def brightness_gate(x: kr.layers.Tensor, name: str) -> kr.layers.Tensor:
    """A gate that multiplies each pixel by a weight from 0 to 1.

    A gate is any function from a tensor to a tensor of the same shape. Use `name` as prefix of the layer names.
    """
    weight = keras.layers.Conv2D(1, 1, activation="sigmoid", name=f"{name}_gate")(x)
    return keras.layers.Multiply(name=f"{name}_gated")([x, weight])


def build() -> keras.Model:
    """Builds a pre-activation network: basic blocks first, then a bottleneck block.

    The layers have the names that `kr.stage_table`, `kr.pyramid` and `kr.freeze` expect: conv1_*, conv2_block1 and so
    on, post_*, avg_pool and predictions.
    """
    image = keras.Input((16, 16, 1))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = kr.layers.conv(x, 16, 3, name="conv1_conv")
    x = kr.residual_block(x, 16, ordering="full_preactivation", name="conv2_block1")
    x = kr.residual_block(
        x, 32, stride=2, ordering="full_preactivation", shortcut=max_pool_shortcut, name="conv3_block1"
    )
    x = kr.bottleneck_block(
        x, 16, stride=2, ordering="full_preactivation", groups=4, gate=brightness_gate, name="conv4_block1"
    )
    x = kr.layers.relu(kr.layers.batch_norm(x, "post_bn"), "post_relu")
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.Model(image, keras.layers.Dense(10, activation="softmax", name="predictions")(x), name="own")


def main() -> float:
    """Builds the network, prints its stages, trains it and evaluates it."""
    model = build()
    for stage in kr.stage_table(model):
        print(*stage)
    train, test = kr.data.load("digits", "train"), kr.data.load("digits", "test")
    kr.training.fit(model, dataclasses.replace(kr.training.RECIPES["one_cycle"], epochs=12), train)
    accuracy = kr.training.evaluate(model, test)
    print(f"{accuracy:.1%} of {test.size} held-out digits")
    return accuracy


if __name__ == "__main__":
    main()
