"""Imports torchvision if the installed torch has no CUDA.

The wheel has one library of kernels, for CPUs and GPUs, which needs libraries of CUDA. Here they are replaced by empty
ones, because their functions are only called on a GPU. This needs a C compiler. Without one, torchvision is imported
without its kernels: `torchvision.ops.nms` raises an error, and `roi_align` is a slow function in Python.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType

RUNTIME = "libcudart.so.13"
# Functions are called once, when the library is loaded, to register kernels for GPUs; they return a pointer to zeros.
FUNCTION = 'void *f%(n)d(void) __asm__("%(name)s"); void *f%(n)d(void) { return zeros; }'
VARIABLE = 'long v%(n)d[4] __asm__("%(name)s");'
LIBRARIES = (RUNTIME, "libc10_cuda.so", "libtorch_cuda.so")


@functools.cache
def torchvision() -> ModuleType:
    """Imports torchvision. At import, its wheel needs operators that only its kernels define; they are added."""
    import torch

    if not torch.cuda.is_available() and shutil.which("cc") and shutil.which("nm"):
        _load_empty_libraries()
    else:
        operators = torch.library.Library("torchvision", "FRAGMENT")
        if not hasattr(torch.ops.torchvision, "nms"):
            for name in ("nms", "qnms"):
                operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(operators)
    import torchvision as library

    return library


_KEPT: list[object] = []  # the operators are removed when their library object is garbage-collected


def _load_empty_libraries() -> None:
    """Compiles libraries that have the names which the kernels need, and nothing in them, and loads them."""
    found = importlib.util.find_spec("torchvision")
    assert found is not None
    assert found.origin is not None
    kernels = Path(found.origin).with_name("_C.so")
    listed = subprocess.run(["nm", "-D", "--undefined-only", kernels], check=True, capture_output=True, text=True)
    symbols = [line.split()[-1] for line in listed.stdout.splitlines() if "cuda" in line.lower()]
    with tempfile.TemporaryDirectory() as directory:
        for library in LIBRARIES:
            of_runtime = library == RUNTIME
            names = [s.partition("@")[0] for s in symbols if ("@" in s) == of_runtime and library != LIBRARIES[-1]]
            lines = [
                (VARIABLE if name.endswith("allocatorE") else FUNCTION) % {"n": n, "name": name}
                for n, name in enumerate(names)
            ]
            source, version = Path(directory, "empty.c"), Path(directory, "version.map")
            source.write_text("\n".join(["static char zeros[4096];", *lines]))
            version.write_text(f"{RUNTIME} {{ global: *; }};")
            options = [f"-Wl,--version-script={version}"] if of_runtime else []
            target = str(Path(directory, library))
            subprocess.run(
                ["cc", "-shared", "-fPIC", "-o", target, source, f"-Wl,-soname,{library}", *options], check=True
            )
            ctypes.CDLL(target, ctypes.RTLD_GLOBAL)
