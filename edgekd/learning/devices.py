"""The device on which a learner computes."""

import re
from pathlib import Path

import torch
from torch import Tensor

from edgekd.errors import ConfigError
from edgekd.names import DEVICE_NAMES, with_nearest

CPUINFO = Path("/proc/cpuinfo")
BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the names on x86 and, the last one, on ARM


def choose_device(name: str) -> torch.device:
    """Choose the device for ``--device``; "auto" is CUDA if it exists, else MPS, else the CPU.

    Raises:
        ConfigError: this box has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    unknown = f"device must be auto, cpu, cuda, cuda:N or mps, got {name}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(with_nearest(unknown, name, DEVICE_NAMES)) from error
    if device.type not in DEVICE_NAMES:
        raise ConfigError(unknown)
    present = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[device.type]
    if (device.index or 0) >= present:
        raise ConfigError(f"device {name} is not there ({present} of its kind); use --device auto or cpu")
    return device


def computes_bfloat16(device: torch.device, cpuinfo: Path = CPUINFO) -> bool:
    """Whether the processor or GPU has hardware for bfloat16, by its own description; nothing is measured.

    NVIDIA's GPUs have it since compute capability 8.0. Processors are only known on Linux.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    try:
        cores = re.findall(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return False
    return bool(cores) and all(not BFLOAT16.isdisjoint(features.split()) for features in cores)


def compute_reproducibly(device: torch.device) -> None:
    """Make the kernels of a GPU deterministic, so that equal seeds give equal weights. Those of CPUs already are."""
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True


def generator_state(device: torch.device) -> Tensor:
    """The state of torch's global random generator for `device`."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
