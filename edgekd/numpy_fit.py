"""Whether the installed torch can use the installed numpy. Nothing here imports torch."""

import importlib.util
import mmap
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgekd.errors import ConfigError

_FOR_NUMPY_2 = b"numpy._core"  # a module of numpy 2 that whatever was built for numpy 2 looks for


def check_numpy() -> None:
    """See whether the installed torch can use the installed numpy.

    It takes milliseconds: torch is not imported. Such a torch would print a page at its import, and would only fail
    where it first meets an array.

    Raises:
        ConfigError: torch was built for numpy 1, and numpy 2 is installed.
    """
    try:
        torch, numpy = version("torch"), version("numpy")
    except PackageNotFoundError:  # the import says it
        return
    library = _torch_library()
    if library is not None:
        check_built_for(torch, numpy, library)


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
