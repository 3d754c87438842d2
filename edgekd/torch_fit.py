"""Whether the installed torch fits the installed numpy and the processor. Nothing here imports torch."""

import importlib.util
import mmap
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgekd.errors import ConfigError

CPUINFO = Path("/proc/cpuinfo")
_FOR_NUMPY_2 = b"numpy._core"  # a module of numpy 2 that whatever was built for numpy 2 looks for


def check_torch(cpuinfo: Path = CPUINFO) -> None:
    """See whether the installed torch can use the installed numpy, and runs on this processor.

    It takes milliseconds: torch is not imported. One that cannot use numpy would print a page at its import, and would
    only fail where it first meets an array; one that does not run here would end the process without a word.

    Args:
        cpuinfo: what the system says of its processor; only Linux has such a file.

    Raises:
        ConfigError: torch was built for numpy 1, and numpy 2 is installed; or it needs another processor.
    """
    try:
        torch, numpy = version("torch"), version("numpy")
    except PackageNotFoundError:  # the import says it
        return
    check_runs_on(torch, cpuinfo.read_text(errors="replace") if cpuinfo.exists() else "")
    library = _torch_library()
    if library is not None:
        check_built_for(torch, numpy, library)


def check_runs_on(torch: str, cpuinfo: str) -> None:
    """See whether a torch runs on a processor.

    PyTorch 2.10 for arm64 uses atomic instructions of ARMv8.1 (LSE) as it is loaded, which a Cortex-A72 does not have:
    an import ends with "Illegal instruction" (https://github.com/pytorch/pytorch/issues/174344).

    Args:
        torch: its version.
        cpuinfo: what the system says of the processor; without a list of an ARM core's features it is not judged.

    Raises:
        ConfigError: the processor lacks instructions that this torch needs.
    """
    features = re.findall(r"^Features\s*:(.*)$", cpuinfo, re.MULTILINE)
    if torch.startswith("2.10.") and any("atomics" not in core.split() for core in features):
        raise ConfigError(
            f"torch {torch} needs instructions that this processor does not have: pip install 'torch<2.10'"
        )


def check_built_for(torch: str, numpy: str, library: Path) -> None:
    """See whether a torch can use a numpy.

    Args:
        torch: its version.
        numpy: its version.
        library: the shared library with torch's Python interface.

    Raises:
        ConfigError: the library was built for numpy 1, and numpy is 2 or later.
    """
    if int(numpy.partition(".")[0]) < 2 or _mentions(library, _FOR_NUMPY_2):
        return
    raise ConfigError(f"torch {torch} was built for numpy 1 and cannot use numpy {numpy}: pip install 'numpy>=1.26,<2'")


def _torch_library() -> Path | None:
    """The shared library with torch's Python interface; None: there is none."""
    spec = importlib.util.find_spec("torch")
    folder = Path(spec.origin).parent / "lib" if spec and spec.origin else None
    return next(iter(sorted(folder.glob("*torch_python.*"))), None) if folder else None


def _mentions(file: Path, text: bytes) -> bool:
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(text) >= 0
