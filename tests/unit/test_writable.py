"""Where results cannot be written, the words are plain and name the file that the user knows."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgekd.cli import main
from edgekd.errors import ConfigError
from edgekd.files.atomic import write_atomically
from edgekd.files.writable import in_words, make_folder


def raised(path: Path) -> OSError:
    with pytest.raises(OSError, match="directory") as caught:
        path.write_bytes(b"text")
    return caught.value


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a memory disk of 64 kB with more options."""
    made: list[Path] = []

    def mounted(options: str) -> Path:
        disk = tmp_path / "disk"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size=64k,{options}", "none", str(disk)]
        if os.geteuid() or shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("may not mount a small disk")
        made.append(disk)
        return disk

    yield mounted
    for disk in made:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "x" / "y"):
        with pytest.raises(ConfigError) as caught:
            make_folder(path)
        assert str(caught.value) == (
            f"cannot make the folder {path}: {file} is a file, not a folder; choose another --out"
        )
    assert in_words(raised(file / "x")) == f"cannot use {file / 'x'}: {file} is a file, not a folder"


def test_folder_that_is_read_only_is_refused_before_any_work(mount: Callable[[str], Path]) -> None:
    folder = mount("ro")
    with pytest.raises(ConfigError, match=f"cannot write into the folder {folder}: it is read-only for this user"):
        make_folder(folder)
    with pytest.raises(OSError, match="Read-only") as caught:
        write_atomically(folder / "summary.json", [b"text"])
    assert in_words(caught.value) == f"cannot write {folder / 'summary.json'}: the disk is read-only"


def test_full_disk_is_said_with_the_name_of_the_file(mount: Callable[[str], Path]) -> None:
    disk = mount("rw")
    path = disk / "summary.json"
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(path, [bytes(100_000)])
    room = "make room, or choose another folder"
    assert in_words(caught.value) == f"no space is left on the disk for {path}: {room}"
    assert list(disk.iterdir()) == []


def test_words_have_no_number_and_our_own_stay_as_they_are(tmp_path: Path) -> None:
    assert in_words(ConnectionError("box-a:7000 does not answer")) == "box-a:7000 does not answer"
    assert in_words(raised(tmp_path / "no" / "such")) == f"{tmp_path / 'no' / 'such'}: No such file or directory"
    assert in_words(OSError(errno.EIO, os.strerror(errno.EIO))) == "Input/output error"


def test_no_command_ends_with_the_number_of_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A certificate that cannot be read is an error that no command has words of its own for."""
    folder = tmp_path / "certs"
    (folder / "ca" / "cert.pem").mkdir(parents=True)
    (folder / "ca" / "key.pem").touch()
    with pytest.raises(SystemExit) as exit:
        main(["certs", "--ids", "0", "--out", str(folder)])
    assert exit.value.code == 1
    assert capsys.readouterr().err == f"edgekd: {folder / 'ca' / 'cert.pem'}: Is a directory\n"


def test_keys_are_made_in_folders_that_each_lie_on_a_disk_of_its_own(
    mount: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """As in containers: only the folders in ``--out`` are volumes, and all else is read-only."""
    out = mount("rw")
    folders = [out / name for name in ("ca", "peer-0")]
    for folder in folders:
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], check=True)
    subprocess.run(["mount", "-o", "remount,ro", str(out)], check=True)
    try:
        main(["certs", "--ids", "0", "--out", str(out)])
        assert f"{folders[1]}: made; all that" in capsys.readouterr().out
        assert (out / "ca" / "key.pem").is_file()
        assert (out / "peer-0" / "cert.pem").is_file()
        with pytest.raises(SystemExit) as exit:
            main(["certs", "--ids", "0,1", "--out", str(out)])
        assert exit.value.code == 1
        assert not (out / "peer-1").exists()
    finally:
        for folder in folders:
            subprocess.run(["umount", "-l", str(folder)], check=True)
