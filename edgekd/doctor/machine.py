"""Checks of the machine: Python, cores, clock, memory and disk. Nothing here imports torch."""

import os
import platform
import shutil
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from edgekd.doctor.check import Check
from edgekd.files.writable import existing
from edgekd.workers import threads_beside, usable_cores

TRIED = ((3, 10), (3, 13))  # the oldest and the newest Python that edgekd is tested with
MB, GB = 10**6, 10**9
RESERVE = 1.25  # what is free should be at least this many times what is needed


def python() -> Check:
    """Check the Python interpreter."""
    said = f"edgekd {version('edgekd')} on Python {platform.python_version()}, {platform.machine()}"
    if sys.maxsize < 2**32:
        return Check("python", False, f"{said}, 32 bits: PyTorch needs a system and a Python of 64 bits")
    if sys.version_info[:2] > TRIED[1]:
        tried = " to ".join(".".join(map(str, each)) for each in TRIED)
        return Check("python", None, f"{said}: edgekd was tried with {tried}")
    return Check("python", True, said)


def threads(wanted: int, *, auto: bool, lockstep: bool) -> Check:
    """Check ``--threads`` against the cores that this process may use, by its affinity and its cgroup's quota.

    Args:
        wanted: the number of threads of the peer.
        auto: whether the number was chosen by edgekd, not by the user.
        lockstep: whether the peer waits for its neighbours.
    """
    usable, there = usable_cores(), os.cpu_count() or 1
    cores = f"{usable} core{'s' if usable > 1 else ''}" if usable == there else f"{usable} of {there} cores"
    if auto:
        return Check("threads", True, f"--threads auto takes {wanted}, and this process may use {cores}")
    said = f"--threads {wanted}, and this process may use {cores}"
    if wanted > usable:
        return Check("threads", None, f"{said}: more threads than cores make it slower, use --threads {usable}")
    beside = 1 if lockstep else threads_beside(usable)
    return Check("threads", True, said + (f"; --threads auto would take {beside}" if wanted != beside else ""))


def clock(now: datetime, installed: datetime, *, keys: bool) -> Check:
    """Check the clock, since certificates depend on it.

    Args:
        now: the time of the clock.
        installed: the time at which edgekd was installed on this box, which cannot be in the future.
        keys: whether the peer has certificates.
    """
    said = f"{now:%Y-%m-%d %H:%M} {now.tzname()}"
    if now >= installed:
        return Check("clock", True, said)
    why = f"{said}, before edgekd was installed ({installed:%Y-%m-%d}): set the clock, or let NTP do it"
    return Check("clock", False if keys else None, why if keys else f"{why}; without --certs no peer depends on it")


def memory(status: str | None, free: int | None) -> Check:
    """Check the main memory. It must come last, after everything that a start needs was tried in this process.

    Args:
        status: the text of ``/proc/self/status``; None: this system has no such file.
        free: bytes that are still available, see `free_memory`.
    """
    fields = dict(line.split(":", 1) for line in (status or "").splitlines() if ":" in line)
    if free is None or not {"VmHWM", "VmRSS"} <= fields.keys():
        return Check("memory", None, "this system does not say how much is free")
    needed, held = (int(fields[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS"))
    room = free + held
    said = f"these settings take {needed / MB:.0f} MB, and {room / MB:.0f} MB are free"
    if room < needed:
        return Check(
            "memory", False, f"{said}: stop other programs, or use a smaller --batch, --public-batch or --size"
        )
    if room < RESERVE * needed:
        return Check("memory", None, f"{said}, which is little more")
    return Check("memory", True, said)


def free_memory(root: Path = Path("/")) -> int | None:
    """The bytes of main memory that this process can still use, limited by the box and its cgroup; None: unknown."""
    try:
        lines = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text().splitlines() if ":" in line)
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    group = root / "sys/fs/cgroup"
    try:  # of a container; elsewhere these files do not exist
        limit, used = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        return free if limit == "max" else min(free, max(0, int(limit) - int(used) + _reclaimable(group)))
    except (OSError, ValueError):
        return free


def _reclaimable(group: Path) -> int:
    """The bytes of page cache that a cgroup would give back at once, although they count as used."""
    try:
        fields = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int(fields["inactive_file"])
    except (OSError, KeyError, ValueError):
        return 0


def disk(folder: Path, checkpoint: int | None, copies: int) -> Check:
    """Check the disk for the results: whether it is writable and has room for the checkpoints.

    Args:
        folder: the folder of the results. It need not exist, and is not made.
        checkpoint: the bytes of one checkpoint; None: unknown.
        copies: the number of checkpoints that exist at once.
    """
    there = existing(folder)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Check("disk", False, f"cannot write into {there}: choose a folder that this user owns with --out")
    free = shutil.disk_usage(there).free
    said = f"{free / GB:.1f} GB are free for {folder}"
    if checkpoint is None:
        return Check("disk", None, f"{said}; how much checkpoints need was not found out")
    needed = checkpoint * copies
    said = f"{said}, and {copies} checkpoints of {checkpoint / MB:.0f} MB take {needed / MB:.0f} MB"
    if free < needed:
        return Check("disk", False, f"{said}: make room, or choose another disk with --out")
    return Check("disk", None if free < RESERVE * needed else True, said)
