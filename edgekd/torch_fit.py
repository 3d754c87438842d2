"""Checks that the installed torch fits the installed numpy and the processor. Nothing here imports torch."""

import importlib.util
import mmap
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgekd.errors import ConfigError

CPUINFO = Path("/proc/cpuinfo")
_FOR_NUMPY_2 = b"numpy._core"  # a module of numpy 2; a library that was built for numpy 2 contains its name


def check_torch(cpuinfo: Path = CPUINFO) -> None:
    """Check that the installed torch can use the installed numpy and runs on this processor.

    The check takes milliseconds, since it does not import torch. A torch that cannot use numpy would print a long
    warning at its import, and fail only at the first array. A torch for another processor would end the process without
    a message.

    Args:
        cpuinfo: the file in which the system describes its processor; it exists only on Linux.

    Raises:
        ConfigError: torch was built for numpy 1, and numpy 2 is installed; or torch needs another processor.
    """
    try:
        torch, numpy = version("torch"), version("numpy")
    except PackageNotFoundError:  # the import of torch will report this
        return
    check_runs_on(torch, cpuinfo.read_text(errors="replace") if cpuinfo.exists() else "")
    library = _torch_library()
    if library is not None:
        check_built_for(torch, numpy, library)


def check_runs_on(torch: str, cpuinfo: str) -> None:
    """Check that a version of torch runs on a processor.

    PyTorch 2.10 for arm64 uses atomic instructions of ARMv8.1 (LSE) when it is loaded. A Cortex-A72 does not have them,
    so the import ends with "Illegal instruction" (https://github.com/pytorch/pytorch/issues/174344).

    Args:
        torch: the version of torch.
        cpuinfo: the system's description of the processor. If it does not list the features of an ARM core, nothing is
            checked.

    Raises:
        ConfigError: the processor lacks instructions that this torch needs.
    """
    features = re.findall(r"^Features\s*:(.*)$", cpuinfo, re.MULTILINE)
    if torch.startswith("2.10.") and any("atomics" not in core.split() for core in features):
        raise ConfigError(
            f"torch {torch} needs instructions that this processor does not have: pip install 'torch<2.10'"
        )


def check_built_for(torch: str, numpy: str, library: Path) -> None:
    """Check that a version of torch can use a version of numpy.

    Args:
        torch: the version of torch.
        numpy: the version of numpy.
        library: the shared library with torch's Python interface.

    Raises:
        ConfigError: the library was built for numpy 1, and numpy is 2 or later.
    """
    if int(numpy.partition(".")[0]) < 2 or _mentions(library, _FOR_NUMPY_2):
        return
    raise ConfigError(f"torch {torch} was built for numpy 1 and cannot use numpy {numpy}: pip install 'numpy>=1.26,<2'")


def _torch_library() -> Path | None:
    """The shared library with torch's Python interface, or None."""
    spec = importlib.util.find_spec("torch")
    folder = Path(spec.origin).parent / "lib" if spec and spec.origin else None
    return next(iter(sorted(folder.glob("*torch_python.*"))), None) if folder else None


def _mentions(file: Path, text: bytes) -> bool:
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(text) >= 0
