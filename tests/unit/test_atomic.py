"""Atomic writes: of two writers the last one wins, and what a killed one has left goes with the next write."""

import itertools
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekd.errors import ConfigError
from edgekd.files.atomic import atomic_file, discard_unfinished, link_atomically, write_atomically
from edgekd.files.writable import check_file

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


# What cannot be replaced


def test_device_stays_one_and_takes_what_is_written(tmp_path: Path) -> None:
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("devices are made by root alone")
    check_file(null)
    write_atomically(null, [b"away"])
    assert null.is_char_device()
    assert [path.name for path in tmp_path.iterdir()] == ["null"]


def test_pipe_with_a_name_is_written_to_once_all_is_there(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_file(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(TypeError):
            write_atomically(pipe, [b"half", None])  # type: ignore[list-item]
        with atomic_file(pipe) as file:
            file.write(b"whole")
            file.flush()
            assert Path(file.name).read_bytes() == b"whole"
        assert os.read(reader, 100) == b"whole"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


TWICE = """
import sys
from pathlib import Path
from edgekd.files.atomic import write_atomically
from edgekd.files.writable import check_file
check_file(Path(sys.argv[1]))
print("before", flush=True)
write_atomically(Path(sys.argv[1]), [b"content\\n"])
print("after", flush=True)
"""


@pytest.mark.parametrize("name", ["stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_stdout_by_its_name_takes_its_turn(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")  # as /dev/stdout, which is not put at risk
    out = tmp_path / "out"
    with out.open("wb") as file:
        stdout = subprocess.PIPE if kind == "pipe" else file
        said = subprocess.run([sys.executable, "-c", TWICE, name], cwd=tmp_path, stdout=stdout, check=True).stdout
    assert (said if kind == "pipe" else out.read_bytes()) == b"before\ncontent\nafter\n"


@pytest.mark.parametrize("there", [True, False])
def test_link_stays_one_and_what_it_leads_to_is_replaced_in_its_own_folder(tmp_path: Path, there: bool) -> None:
    target, second, first = tmp_path / "deep" / "table.csv", tmp_path / "links" / "second", tmp_path / "first"
    target.parent.mkdir()
    second.parent.mkdir()
    second.symlink_to("../deep/table.csv")
    first.symlink_to("links/second")
    if there:
        target.write_bytes(b"old")
        target.chmod(0o640)
    before = target.stat().st_ino if there else None
    check_file(first)
    write_atomically(first, [b"new"])
    assert first.is_symlink()
    assert second.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_ino != before
    assert not there or stat.S_IMODE(target.stat().st_mode) == 0o640
    assert len(list(tmp_path.rglob("*"))) == 5


def test_links_in_a_circle_are_an_error_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ConfigError, match=r"cannot write .*a: Too many levels of symbolic links"):
        check_file(tmp_path / "a")
    with pytest.raises(OSError, match="Too many levels"):
        write_atomically(tmp_path / "a", [b"new"])


def test_process_that_ends_at_once_can_discard_what_it_still_writes_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"whole")
    (tmp_path / ".other.0.tmp").touch()
    writer = begin_to_write(tmp_path / "file")
    assert len(list(tmp_path.iterdir())) == 3
    discard_unfinished(tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.0.tmp", "file"]
    writer.kill()
    writer.communicate()
    assert (tmp_path / "file").read_bytes() == b"whole"
