"""What is wrong with the box itself: a slow core, a full disk, too little memory, a clock that lies; time passing."""

import contextlib
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from disks import small_disk
from PIL import Image
from processes import (
    DOWN_WITHIN,
    SLACK,
    addresses,
    is_free,
    metrics,
    neighbour,
    peer,
    summary,
    until_status,
)
from strangers import Stranger

from edgekd.data.public import make_public
from edgekd.exit_codes import ExitCode

HERE = Path(__file__).parent
ENDLESS = ["--steps", 0, "--checkpoint-every", 0]
LOUD = (sys.executable, str(HERE / "loud.py"))
SHORT = (sys.executable, str(HERE / "short_of_memory.py"))


def compiled(source: str, folder: Path) -> str:
    """A library that takes the place of calls to the system, for LD_PRELOAD."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("makes a library that lies about the system: needs Linux and a C compiler")
    library = folder / Path(source).with_suffix(".so")
    subprocess.run([compiler, "-shared", "-fPIC", "-O", "-o", library, HERE / source], check=True)
    return str(library)


# -- a slow one --------------------------------------------------------------------------------------------------------


def test_straggler_with_a_fifth_of_a_core_teaches_and_learns_and_nobody_waits_for_it(
    quota: Any, spawn: Any, tmp_path: Path
) -> None:
    where = addresses(3)
    shares = [quota(1.0), quota(1.0), quota(1.0)]
    more = ["--wait-for", 3, *ENDLESS]
    peers = [
        spawn(peer(id, tmp_path, *more, listen=where[id], peers=where), inside=shares[id].inside) for id in range(3)
    ]
    for each in peers:
        each.until_exchanging(up=2)
    for share, cores in zip(shares, (0.6, 0.6, 0.2), strict=True):  # from now on; the start would take long
        share.limit(cores)
    began = [each.last["step"] for each in peers]
    peers[2].until_step(began[2] + 40)
    for each in peers:
        assert each.last["up"] == 2, "slow is not dead"
        assert "down" not in each.said
    for each in peers:
        each.terminate()
    for id in range(3):
        records = [record for record in metrics(tmp_path, id) if record["step"] > began[id]]
        assert summary(tmp_path, id)["waits"] == 0
        assert all(record["lesson"] is not None for record in records), "a lesson in every step"
        assert max(record["age"] for record in records) <= 64
        taught = [record for record in records if record["fresh"] and 2 in record["teachers"]]
        print(f"peer {id}: {len(records)} steps, the straggler in {len(taught)} fresh lessons")
        if id < 2:
            late = [record["round"] - record["lesson"] for record in taught]
            assert len(taught) >= 10, "its late predictions are used"
            assert max(late) > 0


# -- a disk ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 40 MB: three checkpoints of the small network."""
    with small_disk(tmp_path / "disk", "40m") as folder:
        yield folder


@pytest.fixture
def mounted(disk: Path, tmp_path: Path) -> Iterator[Path]:
    """Where the disk is mounted, too; it may be unmounted and mounted again."""
    folder = tmp_path / "own"
    folder.mkdir()
    subprocess.run(["mount", "--bind", str(disk), str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(disk: Path) -> Path:
    """Fill the rest of the disk."""
    filler = disk / "somebody-elses"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def newest(folder: Path) -> int:
    """The step of the newest checkpoint."""
    return max((int(path.stem.partition("-")[2]) for path in folder.glob("checkpoint-*.safetensors")), default=-1)


def test_disk_that_fills_up_and_is_freed_again_ends_no_training(spawn: Any, disk: Path) -> None:
    (where,) = addresses(1)
    process = spawn(peer(0, disk, "--steps", 0, "--checkpoint-every", 10, listen=where))
    process.until(lambda p: newest(disk / "peer-0") >= 10)
    filler = fill(disk)
    full = time.monotonic()
    process.until_says("No space left on device; training goes on", after=full)
    step = process.last["step"]
    process.until_step(step + 60)
    assert process.said.count("training goes on") == 1, "not again and again"
    kept = newest(disk / "peer-0")
    assert kept <= step
    filler.unlink()
    process.until(lambda p: newest(disk / "peer-0") >= step + 60)
    process.terminate()
    again = spawn(peer(0, disk, "--steps", 0, "--resume", listen=where))
    again.until_says("resumed at step ")
    again.until_step(summary(disk, 0)["steps"] + 3)
    again.terminate()


def test_folder_that_becomes_read_only_ends_no_training_but_is_no_success(spawn: Any, disk: Path) -> None:
    (where,) = addresses(1)
    process = spawn(peer(0, disk, "--steps", 0, "--checkpoint-every", 10, listen=where))
    folder = disk / "peer-0"
    process.until(lambda p: newest(folder) >= 10)
    # Over itself: a whole disk cannot be made so while a file on it, the lock of the folder, is open for writing.
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
    process.until_says("Read-only file system; training goes on")
    process.until_step(process.last["step"] + 30)
    assert process.said.count("training goes on") == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait() == ExitCode.TRANSIENT
    assert process.err[-1].startswith("edgekd: not everything could be written")
    assert is_free(where)


def test_disk_without_symbolic_links_is_told_of_once_and_training_goes_on(spawn: Any, tmp_path: Path) -> None:
    (where,) = addresses(1)
    environment = {"LD_PRELOAD": compiled("no_links.c", tmp_path)}
    often = ["--steps", 0, "--checkpoint-every", 5, "--keep-best", "--eval-every", 5]
    process = spawn(peer(0, tmp_path, *often, listen=where), environment=environment)
    process.until(lambda p: newest(tmp_path / "peer-0") >= 20)
    said = [line for line in process.err if "training goes on" in line]
    assert len(said) == 1
    assert "its file system has no symbolic links" in said[0]
    assert process.last["failing"] == []
    process.terminate()
    folder = tmp_path / "peer-0"
    assert not (folder / "current").exists()
    assert (folder / "best.safetensors").is_file()
    assert len(list(folder.glob("checkpoint-*.safetensors"))) == 2
    assert not list(folder.glob(".*.tmp"))


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(exist_ok=True)
    noise = torch.randint(0, 256, (16, 16, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(path)


def test_disk_of_the_pictures_that_is_unmounted_and_mounted_again_ends_nothing_and_costs_no_picture(
    spawn: Any, disk: Path, mounted: Path, tmp_path: Path
) -> None:
    for seed in range(40):
        picture(mounted / ("cat", "dog")[seed % 2] / f"{seed}.png", seed)
    public = make_public(torch.zeros(8, 3, 32, 32, dtype=torch.uint8), ("cat", "dog", "emu"), "none")
    public.save(tmp_path / "public.safetensors")
    own = ["--private", f"folder:{mounted}", "--public", tmp_path / "public.safetensors", "--weights", "none"]
    process = spawn(peer(0, tmp_path, *own, "--steps", 0, "--rescan", 0.1, listen=None))
    process.until_step(3)
    trained = process.last["private_samples"]
    subprocess.run(["umount", "-l", str(mounted)], check=True)
    process.until_says(f"{mounted}: there are no pictures in it; training goes on with the pictures in memory")
    process.until_step(process.last["step"] + 20)
    assert process.last["private_samples"] == trained
    subprocess.run(["mount", "--bind", str(disk), str(mounted)], check=True)
    process.until_says(f"{mounted} is read as before")
    for seed in range(100, 120):
        picture(mounted / "emu" / f"{seed}.png", seed)
    process.until(lambda p: p.last["private_samples"] > trained)
    process.terminate()
    assert "removed" not in process.said
    assert process.said.count("training goes on") <= 2, "in the middle of a look the class folders go first"


@pytest.mark.parametrize("why", ["full", "read-only"])
def test_resumed_peer_trains_though_its_folder_cannot_be_written(spawn: Any, disk: Path, why: str) -> None:
    (where,) = addresses(1)
    arguments = peer(0, disk, "--steps", 0, "--checkpoint-every", 10, listen=where)
    process = spawn(arguments)
    process.until(lambda p: newest(disk / "peer-0") >= 10)
    process.kill9()
    settings = (disk / "peer-0" / "config.toml").read_bytes()
    fill(disk) if why == "full" else subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    again = spawn([*arguments, "--resume"])
    again.until_says("resumed at step ")
    again.until_step(newest(disk / "peer-0") + 15)
    again.until_says("training goes on")
    assert (disk / "peer-0" / "config.toml").read_bytes() == settings
    again.send_signal(signal.SIGTERM)
    assert again.wait() == ExitCode.TRANSIENT, "not everything could be written"


def test_resumed_peer_passes_over_lines_of_metrics_that_a_power_cut_has_garbled(spawn: Any, tmp_path: Path) -> None:
    (where,) = addresses(1)
    arguments = peer(0, tmp_path, "--steps", 0, "--checkpoint-every", 20, listen=where)
    process = spawn(arguments)
    process.until_step(25)
    process.kill9()
    file = tmp_path / "peer-0" / "metrics.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    # What was written last may be zeros, and a line may begin within another.
    file.write_bytes(b"".join(lines[:10]) + b"\0" * 300 + b"\n" + lines[10][:20] + lines[11] + b"".join(lines[12:]))
    again = spawn([*arguments, "--resume"])
    again.until_says("resumed at step 20")
    again.until_step(23)
    again.terminate()
    steps = [record["step"] for record in metrics(tmp_path, 0)]
    assert steps[:10] == list(range(1, 11))
    assert steps[-3:] == list(range(steps[-1] - 2, steps[-1] + 1))


# -- who watches it ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full: Linux")
@pytest.mark.parametrize("gone", ["2>/dev/full", "2>&-", ">/dev/full"], ids=["stderr full", "no stderr", "stdout full"])
def test_peer_whose_output_goes_nowhere_trains_on_and_saves_when_told_to_stop(
    spawn: Any, tmp_path: Path, gone: str
) -> None:
    (where,) = addresses(1)
    arguments = [each for each in peer(0, tmp_path, *ENDLESS, listen=where) if each != "--json"]
    process = spawn(arguments, inside=["sh", "-c", f'exec "$@" {gone}', "sh"])
    until_status(where, lambda s: s.step >= 5)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    assert newest(tmp_path / "peer-0") >= 5


@pytest.mark.skipif(
    signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="started with SIGHUP ignored, as by nohup"
)
def test_peer_whose_terminal_has_gone_stops_as_by_sigterm(spawn: Any, tmp_path: Path) -> None:
    (where,) = addresses(1)
    process = spawn(peer(0, tmp_path, *ENDLESS, listen=where))
    process.until_step(3)
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 0
    assert newest(tmp_path / "peer-0") >= 3


def test_second_process_in_one_folder_is_refused_and_changes_nothing_there(spawn: Any, tmp_path: Path) -> None:
    one, other = addresses(2)
    first = spawn(peer(0, tmp_path, "--steps", 0, "--checkpoint-every", 5, listen=one))
    first.until_step(8)
    settings = (tmp_path / "peer-0" / "config.toml").read_bytes()
    second = spawn(peer(0, tmp_path, *ENDLESS, "--resume", "--temperature", 5, listen=other))
    assert second.wait() == ExitCode.TRANSIENT
    assert "is in use by another process" in second.said
    assert (tmp_path / "peer-0" / "config.toml").read_bytes() == settings
    first.until_step(first.last["step"] + 5)
    first.terminate()
    steps = [record["step"] for record in metrics(tmp_path, 0)]
    assert steps == list(range(1, len(steps) + 1))


# -- memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits a running process: Linux")
def test_peer_that_runs_out_of_memory_says_so_in_a_line_and_leaves_with_a_checkpoint_and_exit_code_4(
    spawn: Any, tmp_path: Path
) -> None:
    where = addresses(2)
    # Each larger piece of memory is asked of the kernel anew, so that the next step feels the limit.
    greedy = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    more = ["--clients", 2, "--steps", 0, "--checkpoint-every", 5]
    other = spawn(peer(1, tmp_path, *more, listen=where[1]))
    large = [*more, "--batch", 256]  # some 100 MB of activations
    process = spawn(peer(0, tmp_path, *large, listen=where[0], peers=where[1:]), environment=greedy)
    process.until_exchanging()
    process.until_step(12)
    between_steps = min(process.data_size() for _ in range(300) if time.sleep(0.01) is None)
    at = time.monotonic()
    limit = between_steps + 10_000_000  # what is there stays; no step gets what it needs
    resource.prlimit(process.pid, resource.RLIMIT_DATA, (limit, limit))
    assert process.wait() == 4, process.said
    ended = time.monotonic() - at
    said = process.err[-1]
    assert said.startswith("edgekd: out of memory on cpu after step ")
    assert "start it with a smaller --batch, --public-batch or --size" in said
    assert "Traceback" not in process.said
    assert is_free(where[0])
    other.until_says("peer 0 is down: it said goodbye", after=at)
    saved = newest(tmp_path / "peer-0")
    assert f"the checkpoint of step {saved} is kept" in said
    assert saved >= 12, "the last whole step"
    print(f"ended after {ended:.1f} s: {said}")
    again = spawn(peer(0, tmp_path, *more, "--batch", 16, "--resume", listen=where[0], peers=where[1:]))
    again.until_says(f"resumed at step {saved}")
    again.until_exchanging()
    for each in (again, other):
        each.terminate()


NVML = 'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/opt/pytorch/c10/cuda/CUDACachingAllocator.cpp":838'


def test_a_jetsons_words_for_a_full_memory_end_the_peer_after_its_last_whole_step(spawn: Any, tmp_path: Path) -> None:
    (where,) = addresses(1)
    process = spawn(
        [f"{NVML}, please report a bug to PyTorch.", 8, *peer(0, tmp_path, *ENDLESS, listen=where)], program=SHORT
    )
    assert process.wait() == 4, process.said
    advice = "start it with a smaller --batch, --public-batch or --size; the checkpoint of step 7 is kept"
    assert process.err[-1] == f"edgekd: out of memory on cpu after step 7: {advice}"
    assert newest(tmp_path / "peer-0") == 7
    assert is_free(where)
    again = spawn(peer(0, tmp_path, *ENDLESS, "--resume", listen=where))
    again.until_says("resumed at step 7")
    again.until_step(10)
    again.terminate()
    assert [record["step"] for record in metrics(tmp_path, 0)][:10] == list(range(1, 11))


def test_another_error_in_a_step_is_a_bug_that_keeps_its_traceback_and_what_was_reached(
    spawn: Any, tmp_path: Path
) -> None:
    (where,) = addresses(1)
    process = spawn(["shapes cannot be multiplied", 3, *peer(0, tmp_path, *ENDLESS, listen=where)], program=SHORT)
    assert process.wait() == ExitCode.BUG
    assert "Traceback" in process.said
    assert "RuntimeError: shapes cannot be multiplied" in process.said
    assert newest(tmp_path / "peer-0") == 2


# -- the clock ---------------------------------------------------------------------------------------------------------


class Clock:
    """The wall clock of a process, to be set."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.environment = {"LD_PRELOAD": compiled("clock.c", folder), "EKD_CLOCK": str(self._file)}
        self.set(time.time())

    def set(self, seconds: float) -> None:
        """From now on it is so many seconds after the beginning of 1970."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", int(seconds - time.time())))


def test_clock_in_1970_and_clocks_that_jump_change_nothing(spawn: Any, tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    clock.set(100.0)
    shown = subprocess.run(["date", "+%Y"], env={**os.environ, **clock.environment}, capture_output=True, text=True)
    assert shown.stdout.strip() == "1970", "the library lies as it should"
    where = addresses(2)
    more = ["--clients", 2, "--steps", 0, "--checkpoint-every", 50]
    wrong = spawn(peer(0, tmp_path, *more, listen=where[0], peers=where), environment=clock.environment)
    right = spawn(peer(1, tmp_path, *more, listen=where[1], peers=where))
    for each in (wrong, right):
        each.until_exchanging()
    for year in (1970, 2100, 1970, 2038, 2024, 1970):
        clock.set((year - 1970) * 31_557_600 + 100.0)
        at = time.monotonic()
        step = wrong.last["step"]
        time.sleep(6.0 if year == 2100 else 2.0)  # longer than a neighbour may be silent
        wrong.until_step(step + 10)
        for each in (wrong, right):
            each.until_exchanging(after=at)
            assert "down" not in each.said
    killed = right.kill9()
    assert wrong.until_says("peer 1 is down", after=killed) - killed < DOWN_WITHIN + SLACK
    clock.set(4e9)
    again = spawn(peer(1, tmp_path, *more, "--resume", listen=where[1], peers=where))
    again.until_exchanging()
    at = time.monotonic()
    wrong.until_exchanging(after=at)
    assert wrong.terminate() < DOWN_WITHIN + SLACK
    again.terminate()
    for id in range(2):
        reached = summary(tmp_path, id)
        assert (reached["waits"], reached["refused"]) == (0, {})
        assert max(record["age"] or 0 for record in metrics(tmp_path, id)) <= 64
        steps = [record["step"] for record in metrics(tmp_path, id)]
        assert steps == list(range(1, len(steps) + 1))


# -- time passing ------------------------------------------------------------------------------------------------------


def test_memory_and_open_files_stay_flat_at_a_high_rate_of_everything(spawn: Any, tmp_path: Path) -> None:
    where = addresses(3)
    settings = ["--steps", 0, "--checkpoint-every", 100, "--eval-every", 50]
    process = spawn(peer(0, tmp_path, *settings, listen=where[0], peers=where[1:]))
    process.until_step(1)
    loud = ["--contract-of", where[0], "--group-rounds"]
    others = [
        spawn(["--id", 1, "--listen", where[1], *loud, "--every", 0.01], program=LOUD),
        spawn(["--id", 2, "--listen", where[2], *loud, "--every", 0.05, "--restart-every", 1.5], program=LOUD),
        spawn(["--id", 3, "--peers", where[0], *loud, "--every", 0.02], program=LOUD),
    ]
    for each in others:
        each.until(lambda p: any(event["arrived"] for event in p.events))
    samples: list[tuple[float, int, int]] = []
    began = time.monotonic()
    while (now := time.monotonic() - began) < 60.0:
        asked = until_status(where[0], lambda s: True)
        bad = Stranger(where[0], 9, major=7)
        bad.until_refused()
        bad.close()
        samples.append((now, process.memory(), process.files()))
        time.sleep(0.3)
    for each in (process, *others):
        assert each.alive, each.said
    received, starts = neighbour(asked, 1).bytes_received, others[1].events[-1]["starts"]
    settled = [sample for sample in samples if sample[0] > 20.0]
    third = len(settled) // 3
    low, high = (
        sorted(part)[len(part) // 2]
        for part in ([m for _, m, _ in settled[:third]], [m for _, m, _ in settled[-third:]])
    )
    files = [f for _, _, f in settled]
    print(
        f"{received // 160} frames of one neighbour, {starts} starts of another, {len(samples)} refused and asked; "
        f"memory {low / 1e6:.1f} to {high / 1e6:.1f} MB, open files {min(files)} to {max(files)}"
    )
    assert starts > 15
    assert received > 160 * 1000
    assert high - low < 8e6, "a leak of so little a minute takes a day to fill a gigabyte"
    assert max(files[-third:]) <= max(files[:third]) + 3
    process.terminate()
    for each in others:
        each.terminate()
    assert summary(tmp_path, 0)["waits"] == 0
