"""Marks and functions that skip a test if something that it needs is not installed. The reason says how to get it."""

import importlib.util
import shutil
import sys

import pytest

from tests.conftest import FASHION, SHARED

EXTRAS = {
    "torch": "parity",
    "timm": "parity",
    "pytorch_grad_cam": "parity",
    "captum": "parity",
    "cleanlab": "test",
    "torchvision": "parity",
    "jax": "test",
    "mypy": "test",
    "keras_hub": "peers",
    "onnxruntime": "formats",
    "openvino": "formats",
    "nncf": "formats",
    "ai_edge_litert": "formats",
    "tf2onnx": "formats",
    "pycocotools": "detection",
}


def package(name):
    """Skips a test if a package of an extra is not installed."""
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=_reason(name))


def import_package(name):
    """Imports a module of such a package inside a test; skips the test if the package is not installed."""
    return pytest.importorskip(name, reason=_reason(name.partition(".")[0]))


def subject(left_out):
    """Skips a test if a subject of its benchmark was left out.

    Args:
        left_out: the reason for each subject that was left out.
    """
    for reason in left_out.values():
        packages = reason.removeprefix("not installed: ")
        pytest.skip(reason if packages == reason else "; ".join(map(_reason, packages.split(", "))))


def int8():
    """Skips a test if TensorFlow has no exact 8-bit convolution here."""
    from keras_resnet.export.int8_kernels import available

    return pytest.mark.skipif(not available(), reason="needs int8: TensorFlow's 8-bit convolution, on x86 with VNNI")


def _reason(name):
    return f"needs {name}: pip install -e '.[{EXTRAS[name]}]'"


SHARED_DATA = "needs the developers' real images and weights, ../shared/data"
shared_data = pytest.mark.skipif(not all((SHARED / part).is_dir() for part in ("bccd", "cifar10")), reason=SHARED_DATA)
fashion_mnist = pytest.mark.skipif(
    not FASHION.is_dir(), reason="needs Fashion-MNIST: apt-get install dataset-fashion-mnist"
)
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, for resource limits and memory statistics")
TRAINED = f"{SHARED_DATA}; or Fashion-MNIST: apt-get install dataset-fashion-mnist"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
curl = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl: apt-get install curl")
ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'ray[train,tune]'")
