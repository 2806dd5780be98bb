"""torchvision's Faster R-CNN with random weights, and the same weights in our detectors."""

import dataclasses

from sklearn.datasets import load_sample_images

import keras_resnet as kr
from benchmarks import torch_nets
from benchmarks.torch_nets import with_random_values
from keras_resnet.detection import FPN, FPN_V2, FasterRCNN
from keras_resnet.weights.detector_names import detector_in_keras_terms
from keras_resnet.weights.load import variables_of
from keras_resnet.weights.tensors import Tensor
from tests.torch_peers import peers

CLASSES = 3
SHORTER, LONGER = 160, 256
DESIGNS = {
    name: dataclasses.replace(design, shorter=SHORTER, longer=LONGER)
    for name, design in {"fasterrcnn_resnet50_fpn": FPN, "fasterrcnn_resnet50_fpn_v2": FPN_V2}.items()
}


def photographs():
    """Two parts of scikit-learn's photographs, of different sizes."""
    flower, temple = load_sample_images().images
    return [flower[:200, :300], temple[100:300, 50:250]]


def as_torch(images):
    """Images as torchvision takes them."""
    torch, _, _ = peers()
    return [torch.from_numpy(image / 255).permute(2, 0, 1).float() for image in images]


def peer(name):
    """torchvision's network with random weights that give scores and boxes which differ from each other."""
    torch, _, torchvision = peers()
    torch.manual_seed(0)
    build = getattr(torchvision.models.detection, name)
    return with_random_values(
        build(weights=None, weights_backbone=None, num_classes=CLASSES + 1, min_size=SHORTER, max_size=LONGER)
    )


def frozen_peer():
    """`fasterrcnn_resnet50_fpn` as torchvision builds it for its weights of COCO: frozen norms, and an epsilon of 0."""
    _, _, torchvision = peers()
    net = torch_nets.detector(CLASSES, SHORTER, LONGER)
    torchvision.models.detection._utils.overwrite_eps(net, 0.0)
    return net


def in_keras(tensors):
    """Tensors of a state dict by the names of our variables."""
    return {
        key: tensor.read()
        for key, tensor in detector_in_keras_terms(
            {key: Tensor(tuple(value.shape), "float32", value.numpy) for key, value in tensors.items()}
        ).items()
    }


def ours(name, net):
    """Our detector with the weights of torchvision's."""
    detector = FasterRCNN(kr.ResNet50(include_top=False, input_shape=(None, None, 3)), CLASSES, DESIGNS[name])
    values = in_keras(net.state_dict())
    variables = variables_of(detector)
    assert set(values) == set(variables)
    for key, variable in variables.items():
        variable.assign(values[key])
    return detector
