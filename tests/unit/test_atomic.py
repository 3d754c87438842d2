"""Atomic writes: of two writers the last one wins, and what a killed one has left goes with the next write."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekd.files.atomic import atomic_file, link_atomically, write_atomically

KILLED = """
import sys
from pathlib import Path
from edgekd.files.atomic import atomic_file
with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


def begin_to_write(path: Path) -> "subprocess.Popen[str]":
    """A process in the middle of writing `path`."""
    writer = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    return writer


def temporary(folder: Path) -> list[Path]:
    return list(folder.glob(".*.tmp"))


def test_two_writers_of_one_process_id_do_not_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"  # two containers that share a folder may both be process 1
    with atomic_file(path) as outer:
        outer.write(b"outer, ")
        outer.flush()
        write_atomically(path, [b"inner"])
        assert path.read_bytes() == b"inner"
        outer.write(b"whole")
    assert path.read_bytes() == b"outer, whole"
    assert not temporary(tmp_path)


def test_link_under_the_name_of_a_temporary_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"whole")
    (tmp_path / f".summary.json.{os.getpid()}.tmp").symlink_to(victim)
    write_atomically(tmp_path / "summary.json", [b"new"])
    assert victim.read_bytes() == b"whole"


def test_what_a_killed_writer_has_left_goes_and_what_a_live_one_writes_stays(tmp_path: Path) -> None:
    path = tmp_path / "a [1].json"  # a name that would be a pattern
    with begin_to_write(path) as live, begin_to_write(path) as killed:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert len(temporary(tmp_path)) == 2
        write_atomically(path, [b"new"])
        assert len(temporary(tmp_path)) == 1
        live.communicate("")
    assert live.returncode == 0
    assert path.read_bytes() == b"half"
    assert not temporary(tmp_path)


READS = """
import sys
from pathlib import Path
seen = set()
while len(seen) < 20:
    seen.add(Path(sys.argv[1]).read_text())
print(*sorted(seen))
"""


def test_reader_of_a_link_that_is_replaced_all_the_time_always_finds_a_whole_file(tmp_path: Path) -> None:
    for number in range(10, 60):
        (tmp_path / f"file-{number}").write_text(f"{number}")
    link = tmp_path / "current"
    link_atomically(link, "file-10")
    reader = subprocess.Popen([sys.executable, "-c", READS, str(link)], stdout=subprocess.PIPE, text=True)
    for number in itertools.cycle(range(10, 60)):
        if reader.poll() is not None:
            break
        link_atomically(link, f"file-{number}")
    assert reader.wait() == 0
    assert reader.stdout is not None
    with reader.stdout:
        assert {int(each) for each in reader.stdout.read().split()} <= set(range(10, 60))


def test_link_takes_the_place_of_a_file_and_of_what_a_killed_writer_has_left(tmp_path: Path) -> None:
    (tmp_path / "whole").write_text("whole")
    (tmp_path / "current").write_text("a copy, made where there were no links")
    (tmp_path / ".current.tmp").symlink_to("gone")
    link_atomically(tmp_path / "current", "whole")
    assert (tmp_path / "current").readlink() == Path("whole")
    assert not temporary(tmp_path)


def test_link_that_cannot_be_made_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "current" / "mine").mkdir(parents=True)
    with pytest.raises(OSError, match="current"):
        link_atomically(tmp_path / "current", "whole")
    assert (tmp_path / "current" / "mine").is_dir()
    assert not temporary(tmp_path)


def test_writer_that_fails_leaves_the_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_bytes(b"old")

    def pieces() -> Iterator[bytes]:
        yield b"new"
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        write_atomically(path, pieces())
    assert path.read_bytes() == b"old"
    assert not temporary(tmp_path)
