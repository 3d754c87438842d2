"""The layout keeps its promises: which packages know no thread, socket, clock or process, and what lies at the top."""

import ast
from pathlib import Path

import pytest

import edgekd

ROOT = Path(edgekd.__file__).parent
IMPURE = {"threading", "socket", "time", "subprocess", "asyncio", "multiprocessing", "concurrent", "signal", "select"}
PURE_ROOMS = ("losses", "learning", "protocol", "config")


def imported(file: Path) -> set[str]:
    """The first names of all modules that a file imports itself, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("room", PURE_ROOMS)
def test_pure_rooms_import_neither_threads_nor_sockets_nor_clocks_nor_processes(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert len(files) > 2, f"{room} has moved"
    for file in files:
        assert not imported(file) & IMPURE, file


def test_the_check_finds_an_import_inside_a_function(tmp_path: Path) -> None:
    file = tmp_path / "impure.py"
    file.write_text("def wait():\n    from time import sleep\n    sleep(1)\n")
    assert imported(file) & IMPURE == {"time"}


def test_at_most_twelve_modules_lie_at_the_top() -> None:
    assert len(list(ROOT.glob("*.py"))) <= 12
