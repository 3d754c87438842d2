"""Virtual environments: one with torch and edgekd, and a small one for each competitor, which sees its packages."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


class InstallError(Exception):
    """A competitor cannot be installed; the message is pip's last line."""


def make_base(folder: Path) -> Path:
    """Make the environment with torch and edgekd, unless it is there; returns its Python."""
    return _make(folder / "base", HERE / "pytorch" / "requirements.txt", [str(REPOSITORY)], None)


def make_venv(folder: Path, who: str) -> Path:
    """Make a competitor's environment from its requirements.txt, unless it is there; returns its Python.

    Raises:
        InstallError: it cannot be installed.
    """
    make_base(folder)
    return _make(folder / who, HERE / who / "requirements.txt", [], folder / "base")


def _make(folder: Path, requirements: Path, more: list[str], base: Path | None) -> Path:
    python, done = folder / "bin" / "python", folder / "installed.txt"
    if done.is_file() and done.read_text() == requirements.read_text():
        return python
    if not python.exists():
        _run([sys.executable, "-m", "venv", str(folder)])
    if base is not None:  # the packages of the base are seen, but those of this environment go first
        (base_packages,) = base.glob("lib/python3*/site-packages")
        (own,) = folder.glob("lib/python3*/site-packages")
        (own / "base.pth").write_text(f"{base_packages.resolve()}\n")
    _run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements), *more])
    done.write_text(requirements.read_text())
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise InstallError(next((line for line in reversed(said) if "ERROR" in line), said[-1] if said else "failed"))
