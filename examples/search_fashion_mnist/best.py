import keras_resnet as kr

model = kr.ResNet(
    depths=(5, 5, 1),
    block=kr.residual_block,
    filters=(8, 24, 24),
    stem=kr.stems.cifar,
    ordering="relu_before_addition",
    shortcut=kr.shortcuts.zero_pad,
    gate=kr.gates.efficient_channel_attention,
    default_size=28,
    input_shape=(28, 28, 1),
    classes=10,
)
