"""torch checkpoints, with `weights_only`: nothing in the file is run."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any

import numpy as np

from keras_resnet.weights.tensors import Tensor, WeightsError

LARGEST_PICKLE = 2**24  # bytes; the tensors' values are not in it
WRAPPERS = ("state_dict", "model", "model_state_dict", "net")


@contextlib.contextmanager
def opened_zip(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of a file of torch 1.6 or later; they stay in the file until they are read."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED:
                raise WeightsError(
                    f"weights: torch checkpoints are not compressed. Received: {info.filename!r} in {path}"
                )
            if info.filename.endswith(".pkl") and info.file_size > LARGEST_PICKLE:
                raise WeightsError(
                    f"weights: {path} must have a pickle of at most 16 MiB. Received: {info.file_size:,}"
                )
    torch = _torch(path)
    yield _tensors(_loaded(path, torch, mmap=True), path, torch)


@contextlib.contextmanager
def opened_pickle(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of a file of an older torch, which is read as a whole."""
    size = path.stat().st_size
    if size > limit:
        raise WeightsError(
            f"weights: a checkpoint of a torch before 1.6 is read as a whole, and must be at most {limit:,} bytes for "
            f"this model. Received: {path}, {size:,} bytes; load and save it with a newer torch"
        )
    torch = _torch(path)
    yield _tensors(_loaded(path, torch, mmap=False), path, torch)


def _torch(path: Path) -> ModuleType:
    try:
        import torch  # noqa: PLC0415
    except ImportError as error:
        raise WeightsError(
            f"weights: {path} is a torch checkpoint, and torch is not installed: pip install torch, or convert the "
            "file to safetensors where it is"
        ) from error
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10):
        raise WeightsError(
            f"weights: torch must be 2.10 or later, the first that reads safely. Received: {torch.__version__}"
        )
    return torch


def _loaded(path: Path, torch: ModuleType, mmap: bool) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except UnpicklingError as error:
        reason = str(error).split("WeightsUnpickler error:")[-1].strip().splitlines()[:1]
        raise WeightsError(
            f"weights: {path} is refused: reading it would run code, or it is damaged ({' '.join(reason)[:200]})"
        ) from error


def _tensors(loaded: Any, path: Path, torch: ModuleType) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"weights: {path} must hold a state dict. Received: a {type(loaded).__name__}")
    return {
        str(name): _tensor(str(name), value, torch) for name, value in loaded.items() if isinstance(value, torch.Tensor)
    }


def _tensor(name: str, value: Any, torch: ModuleType) -> Tensor:
    if value.layout is not torch.strided or value.device.type != "cpu" or value.is_quantized:
        raise WeightsError(
            f"weights: {name!r} must be a dense tensor with values. Received: {value.layout}, {value.device}"
        )
    return Tensor(tuple(value.shape), str(value.dtype).removeprefix("torch."), lambda: _numpy(value, torch))


def _numpy(value: Any, torch: ModuleType) -> np.ndarray:
    value = value.detach()
    return value.float().numpy() if value.dtype is torch.bfloat16 else value.numpy()
