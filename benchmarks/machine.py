"""What a benchmark was measured on: the machine, the versions of packages, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "keras",
    "tensorflow",
    "numpy",
    "keras-hub",
    "torch",
    "torchvision",
    "timm",
    "openvino",
    "onnxruntime",
    "jax",
    "jaxlib",
    "nncf",
    "tf2onnx",
)
# Instructions that decide how fast a network computes in bfloat16 and int8.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def machine() -> str:
    """Processor, number of cores, vector instructions, and GPUs."""
    with_flags = [name for name in INSTRUCTIONS if name in flags()]
    model = next(iter(cpu_info("model name")), platform.processor())
    named = f"{platform.machine()} ({model})" if model else platform.machine()
    processor = f"{named}, {os.cpu_count()} cores, {' '.join(with_flags) or 'no vector instructions known'}"
    return "; ".join([processor, *gpus()])


def gpus() -> list[str]:
    """NVIDIA GPUs with their drivers; an empty list if `nvidia-smi` is not installed or fails."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [line.replace(", ", " with driver ") for line in output.splitlines()]


def flags() -> frozenset[str]:
    """The features of the processor that the kernel lists; empty if it lists none."""
    return frozenset(word for line in cpu_info("flags") for word in line.split())


def cpu_info(field: str) -> list[str]:
    """The values of a field in /proc/cpuinfo, one for each core; an empty list on other systems than Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field]


def bfloat16_is_native() -> bool:
    """Whether the processor multiplies in bfloat16. Otherwise bfloat16 is emulated, and slower than float32."""
    return bool(flags() & {"avx512_bf16", "amx_bf16"})


def versions() -> dict[str, str]:
    """Versions of the installed packages of `PACKAGES`."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit that is checked out, with "+" if files differ from it. Result files are ignored."""
    try:
        name = _git("rev-parse", "--short=12", "HEAD")
        changed = _git(
            "status", "--porcelain", "--", ":/", ":!/benchmarks/results", ":!/MODELS.md", ":!/docs", ":!/BENCHMARKS.md"
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name + ("+" if changed else "")


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()
