"""The device that a learner computes on."""

import re
from pathlib import Path

import torch
from torch import Tensor

from edgekd.errors import ConfigError
from edgekd.names import DEVICE_NAMES, with_nearest

CPUINFO = Path("/proc/cpuinfo")
BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the names of x86 and, the last, of ARM


def choose_device(name: str) -> torch.device:
    """The device of ``--device``; "auto" is CUDA where there is one, else MPS, else the CPU.

    Raises:
        ConfigError: there is no such device here.
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
    """Whether the processor or the GPU says that it computes with bfloat16 itself; nothing is timed.

    NVIDIA's GPUs do so from compute capability 8.0 on. Of a processor only Linux says it.
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
    """Make the kernels of a GPU deterministic, so the same seed gives the same weights. The CPU's already are."""
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True


def generator_state(device: torch.device) -> Tensor:
    """The state of torch's global random generator for `device`."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
