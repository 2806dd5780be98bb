"""Residual blocks in a few lines of NumPy. Tests compare the blocks of the package with them."""

import numpy as np


def conv(x, kernel, stride=1, dilation=1):
    """Convolution of (N, H, W, C), computed as a sum of shifted images. All sides are padded by half the kernel."""
    size = kernel.shape[0]
    pad = dilation * (size // 2)
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    height, width = (np.array(x.shape[1:3]) - dilation * (size - 1) - 1) // stride + 1
    out = 0
    for i in range(size):
        for j in range(size):
            rows = x[:, dilation * i :: stride][:, :height]
            out = out + rows[:, :, dilation * j :: stride][:, :, :width] @ kernel[i, j]
    return out


def bn(x, gamma, beta, mean, variance, epsilon=1e-5):
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


def relu(x):
    return np.maximum(x, 0)


# He et al. 2016, Figure 4: each ordering of a basic block with an identity shortcut.
# `c` has the convolutions by number, `b` the batch norms by name.
ORDERINGS = {
    "original": lambda x, c, b: relu(x + b["2_bn"](c[2](relu(b["1_bn"](c[1](x)))))),
    "bn_after_addition": lambda x, c, b: relu(b["bn"](x + c[2](relu(b["1_bn"](c[1](x)))))),
    "relu_before_addition": lambda x, c, b: x + relu(b["2_bn"](c[2](relu(b["1_bn"](c[1](x)))))),
    "relu_only_preactivation": lambda x, c, b: x + b["2_bn"](c[2](relu(b["1_bn"](c[1](relu(x)))))),
    "full_preactivation": lambda x, c, b: x + c[2](relu(b["1_bn"](c[1](relu(b["preact_bn"](x)))))),
}

# The same orderings with three convolutions.
BOTTLENECK_ORDERINGS = {
    "original": lambda x, c, b: relu(x + b["3_bn"](c[3](relu(b["2_bn"](c[2](relu(b["1_bn"](c[1](x))))))))),
    "bn_after_addition": lambda x, c, b: relu(b["bn"](x + c[3](relu(b["2_bn"](c[2](relu(b["1_bn"](c[1](x))))))))),
    "relu_before_addition": lambda x, c, b: x + relu(b["3_bn"](c[3](relu(b["2_bn"](c[2](relu(b["1_bn"](c[1](x))))))))),
    "relu_only_preactivation": lambda x, c, b: (
        x + b["3_bn"](c[3](relu(b["2_bn"](c[2](relu(b["1_bn"](c[1](relu(x)))))))))
    ),
    "full_preactivation": lambda x, c, b: (
        x + c[3](relu(b["2_bn"](c[2](relu(b["1_bn"](c[1](relu(b["preact_bn"](x)))))))))
    ),
}


def pieces(model, name):
    """The convolutions and batch norms of a Keras block, as functions of arrays with its weights."""
    convs, norms = {}, {}
    for layer in model.layers:
        key = layer.name.removeprefix(f"{name}_")
        kind = type(layer).__name__
        if kind == "Conv2D":
            (kernel,) = layer.get_weights()
            convs[int(key[0])] = lambda x, k=kernel, s=layer.strides[0]: conv(x, k, s)
        elif kind == "BatchNormalization":
            weights = layer.get_weights()
            norms[key] = lambda x, w=weights: bn(x, *w)
    return convs, norms
