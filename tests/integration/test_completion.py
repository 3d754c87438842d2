"""Shell completion: what a real bash, zsh and fish offer for a line that has been begun."""

import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

DEADLINE = 60.0  # seconds


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script in a shell that finds ``edgekd`` and no settings of the user."""
    command = tmp_path / "bin" / "edgekd"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from edgekd.cli import main; main()' \"$@\"\n")
    command.chmod(0o755)
    folders = os.pathsep.join([str(command.parent), os.environ["PATH"]])

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        if shutil.which(words[0]) is None:
            pytest.skip(f"{words[0]} is not installed")
        env = {**os.environ, "PATH": folders, "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path)}
        return subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE)

    return run


LINES = [
    ("edgekd pe", ["peer"]),
    ("edgekd peer --meas", ["--measure"]),
    ("edgekd peer --measure ", ["ce", "kl", "js", "td", "sed", "mse"]),
    ("edgekd sweep --measure kl,s", ["kl,sed"]),
    ("edgekd simulate --combine a", ["average", "agreement"]),
    ("edgekd run --preset p", ["paper-text", "paper-code"]),
    ("edgekd peer --transport z", ["zmq"]),
    ("edgekd run --data c", ["cifar10"]),
    ("edgekd eval --which b", ["best"]),
    ("edgekd peer --log-format j", ["journal", "json"]),
    ("edgekd nonsense --alp", []),
]


@pytest.mark.parametrize(("line", "offered"), LINES)
def test_bash_offers_what_the_line_may_go_on_with(line: str, offered: list[str], shell: Callable[..., object]) -> None:
    words = line.split(" ")
    script = (
        'eval "$(_EDGEKD_COMPLETE=bash_source edgekd)"; '
        f"COMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}; "
        '_edgekd_completion edgekd; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    found = shell("bash", "--norc", "-c", script)
    assert (found.stdout.split(), found.stderr) == (offered, "")


# Click's script for fish cuts values at commas, and where nothing is offered fish itself offers files.
@pytest.mark.parametrize(("line", "offered"), [(line, offered) for line, offered in LINES if "," not in line][:-1])
def test_fish_offers_what_the_line_may_go_on_with(line: str, offered: list[str], shell: Callable[..., object]) -> None:
    script = f"_EDGEKD_COMPLETE=fish_source edgekd | source; complete -C {shlex.quote(line)}"
    found = shell("fish", "--no-config", "-c", script)
    assert sorted(each.split("\t")[0] for each in found.stdout.splitlines()) == sorted(offered)


def test_zsh_completes_at_the_tab_key(shell: Callable[..., object], tmp_path: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}", TERM="dumb", HOME=str(tmp_path), PS1="> ")
        os.execvp("zsh", ["zsh", "-f", "-i"])
    said = b""

    def until(text: bytes) -> None:
        nonlocal said
        ends = time.monotonic() + DEADLINE
        while text not in said:
            ready, _, _ = select.select([terminal], [], [], max(0.0, ends - time.monotonic()))
            assert ready, said
            said += os.read(terminal, 2**16)

    try:
        until(b"> ")
        os.write(
            terminal,
            b'autoload -Uz compinit; compinit -u; eval "$(_EDGEKD_COMPLETE=zsh_source edgekd)"; echo re""ady\n',
        )
        until(b"ready")
        said = b""
        os.write(terminal, b"edgekd run --preset li\t")
        until(b"--preset light")
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("line", ["edgekd ", "edgekd p", "edgekd peer --", "edgekd sweep --measure ", "edgekd eval --"])
def test_completion_loads_no_torch(line: str) -> None:
    words = line.split(" ")
    asked = {"_EDGEKD_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    code = (
        "import atexit, sys\n"
        "from edgekd.cli import main\n"
        "atexit.register(lambda: print(sorted({'torch', 'torchvision', 'grpc'} & set(sys.modules))))\n"
        "main([])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True, timeout=DEADLINE
    )
    *offered, loaded = done.stdout.splitlines()
    assert offered
    assert loaded == "[]"
