"""docs/reference.md is what the code says today, and names every option."""

import subprocess
import sys
from pathlib import Path

import click

from edgekd.cli import COMMANDS, cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


def test_page_is_up_to_date() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "scripts" / "reference.py"], cwd=ROOT, capture_output=True, timeout=120
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.decode() == PAGE, "write it anew: .venv/bin/python scripts/reference.py > docs/reference.md"


def test_page_names_every_option_of_every_command_once() -> None:
    for name in COMMANDS:
        _, _, part = PAGE.partition(f"\n## edgekd {name}\n")
        part = part.partition("\n## ")[0]
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        lines = [line for line in part.splitlines() if line.startswith("- `-")]
        options = [each for each in command.params if isinstance(each, click.Option)]
        assert len(lines) == len(options) + 1  # --help
        for option in options:
            assert sum(f"`{option.opts[-1]}`" in line.partition(":")[0] for line in lines) == 1, (name, option.opts)
