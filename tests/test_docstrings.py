"""The examples in the docstrings of the package run, and print the documented output."""

import doctest
import importlib
import re

import pytest

from tests.conftest import ROOT, quick_among

# Examples with `+SKIP` do not run: they need minutes, files or a server.
EXAMPLE = re.compile(r"^ +>>> (?!.*doctest: \+SKIP)", re.M)
FILES = [path for path in sorted((ROOT / "keras_resnet").rglob("*.py")) if EXAMPLE.search(path.read_text())]
# Their examples build a ResNet-50, train or export a network, or make batches.
SLOW = (
    "keras_resnet.cifar",
    "keras_resnet.complexity",
    "keras_resnet.data.train",
    "keras_resnet.detection.faster_rcnn",
    "keras_resnet.detection.rows",
    "keras_resnet.export.folding",
    "keras_resnet.export.int8",
    "keras_resnet.export.serving",
    "keras_resnet.stages",
    "keras_resnet.training.distribution",
    "keras_resnet.evaluation.accuracy",
    "keras_resnet.evaluation.embeddings",
    "keras_resnet.explain.covering",
    "keras_resnet.explain.faithfulness",
    "keras_resnet.explain.maps",
    "keras_resnet.training.fitting",
    "keras_resnet.tuning.hypermodel",
    "keras_resnet.tuning.latency",
    "keras_resnet.weights.load",
    "keras_resnet.zoo",
)


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = [module_name(path) for path in FILES]


@pytest.mark.parametrize("name", quick_among(NAMES, *(name for name in NAMES if name not in SLOW)))
def test_the_examples_of_a_module_run(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
