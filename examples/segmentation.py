"""Builds a network for semantic segmentation: class scores for each pixel.

With `output_stride=16` the deep features have 1/16 of the image size: the last stage has dilated convolutions and no
stride. `kr.pyramid` returns the features of each stage.

Run:     python examples/segmentation.py
Time:    ten seconds on two cores
Result:  prints the shapes of the features and of the class scores; the scores are as large as the image
"""

import keras

import keras_resnet as kr


def build(classes: int = 21, size: int = 128) -> keras.Model:
    """Adds a small head like that of DeepLabv3+ (arXiv:1802.02611) to a backbone.

    The head upsamples the deep features "C5" and concatenates them with the fine features "C2".
    """
    backbone = kr.ResNet18D(include_top=False, output_stride=16, input_shape=(size, size, 3))
    features = kr.pyramid(backbone)
    for name, feature in features.items():
        print(name, feature.shape)
    deep = keras.layers.Conv2D(64, 1, activation="relu", name="deep")(features["C5"])
    deep = keras.layers.UpSampling2D(4, interpolation="bilinear", name="enlarged")(deep)
    fine = keras.layers.Conv2D(16, 1, activation="relu", name="fine")(features["C2"])
    x = keras.layers.Concatenate(name="both")([deep, fine])
    x = keras.layers.Conv2D(classes, 1, name="scores")(x)
    x = keras.layers.UpSampling2D(4, interpolation="bilinear", name="scores_per_pixel")(x)
    return keras.Model(backbone.input, x, name="segmentation")


if __name__ == "__main__":
    print("scores", build().output.shape)
