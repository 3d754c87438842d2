"""Which torch, torchvision and numpy are installed, and whether they work together; only `load_all` imports torch."""

import contextlib
import importlib
import importlib.util
import io
import re
import warnings
from importlib.metadata import PackageNotFoundError, version

from edgekd.errors import ConfigError
from edgekd.torch_fit import check_torch

KEPT = ("torch", "torchvision", "numpy")  # packages that the box's vendor may have built


def installed() -> dict[str, str]:
    """The installed versions of the packages in `KEPT`, by name."""
    found = {}
    for name in KEPT:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def constraints() -> list[str]:
    """The lines of a constraints file with which pip leaves the packages in `KEPT` unchanged."""
    return [f"{name}=={found}" for name, found in installed().items()]


def load_all() -> str:
    """Import torch, torchvision and numpy, try whether they work together, and return their versions as text.

    Raises:
        ConfigError: they do not work together, or one cannot be imported. The message names the versions.
    """
    check_torch()
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
    except Exception as error:  # an ImportError, or what missing libraries and operators raise
        why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise ConfigError(f"{said} do not work together ({why}); {_advice(found)}") from error
    return said


def _advice(found: dict[str, str]) -> str:
    """Which torchvision fits the installed torch: since torch 2.0 with torchvision 0.15, they are released in pairs."""
    pair = re.match(r"2\.(\d+)", found.get("torch", ""))
    if pair is None:
        return "install a torch and a torchvision of one release"
    return f"with this torch goes: pip install 'torchvision==0.{int(pair[1]) + 15}.*'"
