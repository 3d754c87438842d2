"""Which torch, torchvision and numpy are installed, and whether they work together. Nothing here imports torch."""

import contextlib
import importlib
import importlib.util
import io
import mmap
import re
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgekd.errors import ConfigError

KEPT = ("torch", "torchvision", "numpy")  # what a box's vendor may have built itself
_FOR_NUMPY_2 = b"numpy._core"  # a module of numpy 2 that whatever was built for numpy 2 looks for


def installed() -> dict[str, str]:
    """The versions of `KEPT` that are installed, by name."""
    found = {}
    for name in KEPT:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def constraints() -> list[str]:
    """The lines of a constraints file for pip, with which it leaves `KEPT` as they are."""
    return [f"{name}=={found}" for name, found in installed().items()]


def check_numpy() -> None:
    """See whether the installed torch can use the installed numpy.

    It takes milliseconds: torch is not imported. Such a torch would print a page at its import, and would only fail
    where it first meets an array.

    Raises:
        ConfigError: torch was built for numpy 1, and numpy 2 is installed.
    """
    found = installed()
    library = _torch_library()
    if {"torch", "numpy"} <= found.keys() and library is not None:
        check_built_for(found["torch"], found["numpy"], library)


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


def load_all() -> str:
    """Import torch, torchvision and numpy, let them work together, and say which versions they are.

    Raises:
        ConfigError: they do not work together, or one cannot be imported. The message names the versions.
    """
    check_numpy()
    found = installed()
    said = ", ".join(f"{name} {number}" for name, number in found.items())
    for name in KEPT:
        if name not in found and importlib.util.find_spec(name) is None:
            raise ConfigError(f"{name} is not installed: pip install {name}")
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            numpy, torch = importlib.import_module("numpy"), importlib.import_module("torch")
            torch.from_numpy(numpy.zeros(1)).numpy()
            importlib.import_module("torchvision.ops").nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:  # an ImportError, but also what missing libraries and operators raise
        why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise ConfigError(f"{said} do not work together ({why}); {_advice(found)}") from error
    return said


def _advice(found: dict[str, str]) -> str:
    """Which torchvision goes with this torch: since torch 2.0 with torchvision 0.15 they are released in pairs."""
    pair = re.match(r"2\.(\d+)", found.get("torch", ""))
    if pair is None:
        return "install a torch and a torchvision of one release"
    return f"with this torch goes: pip install 'torchvision==0.{int(pair[1]) + 15}.*'"


def _torch_library() -> Path | None:
    """The shared library with torch's Python interface; None: there is none."""
    spec = importlib.util.find_spec("torch")
    folder = Path(spec.origin).parent / "lib" if spec and spec.origin else None
    return next(iter(sorted(folder.glob("*torch_python.*"))), None) if folder else None


def _mentions(file: Path, text: bytes) -> bool:
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(text) >= 0
