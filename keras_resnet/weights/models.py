"""The models of the zoo, by the side of their images: what weights must know of the zoo, which is made after them."""

from __future__ import annotations

from collections.abc import Mapping

NAMES = {
    224: (
        "ResNet18 ResNet34 ResNet50 ResNet101 ResNet152 ResNet200 ResNet18V2 ResNet34V2 ResNet50V2 "
        "ResNet101V2 ResNet152V2 ResNet200V2 ResNet18D ResNet34D ResNet50D ResNet101D ResNet152D ResNet200D "
        "ResNeXt50_32x4d ResNeXt101_32x4d ResNeXt101_32x8d ResNeXt101_64x4d WideResNet50_2 WideResNet101_2 "
        "SEResNet18 SEResNet34 SEResNet50 SEResNet101 SEResNet152 SEResNeXt50_32x4d SEResNeXt101_32x4d "
        "ECAResNet50D ECAResNet101D ResNetRS50 ResNetRS101 ResNetRS152 ResNetRS200 ResNetRS270 ResNetRS350 "
        "ResNetRS420 "
    ),
    32: (
        "ResNet20 ResNet32 ResNet44 ResNet56 ResNet110 ResNet1202 ResNet110V2 ResNet164 ResNet164V2 "
        "ResNet1001V2 WideResNet28_10 WideResNet40_4 "
    ),
}
SIDES: Mapping[str, int] = {name: side for side, names in NAMES.items() for name in names.split()}
