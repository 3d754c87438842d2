"""What ``auto`` means on a machine: cores and quotas, threads, bfloat16; and a process that lets others go first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edgekd.config import AUTO, Config, from_mapping
from edgekd.learning.computing import follows_cores, settle
from edgekd.learning.devices import computes_bfloat16
from edgekd.workers import _quotas, threads_beside, usable_cores


def config(train: dict[str, object] | None = None, **exchange: object) -> Config:
    return from_mapping({"train": train or {}, "exchange": exchange})


# -- cores -------------------------------------------------------------------------------------------------------------


def group(root: Path, path: str, **files: str) -> None:
    folder = root / "sys/fs/cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"cpu.{name}").write_text(f"{text}\n")


def test_quotas_are_those_of_the_own_cgroup_and_of_all_above_it(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/edgekd-peer.service\n")
    assert list(_quotas(tmp_path)) == [], "there are no such files"
    group(tmp_path, "system.slice/edgekd-peer.service", max="150000 100000")
    group(tmp_path, "system.slice", max="max 100000")
    group(tmp_path, "", max="400000 100000")
    group(tmp_path, "other.slice", max="10000 100000")
    assert list(_quotas(tmp_path)) == [1.5, 4.0]
    assert usable_cores(tmp_path) <= 2


def test_quotas_of_the_first_version_of_cgroups_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("5:memory:/elsewhere\n2:cpu,cpuacct:/box/peer\n0::/\n")
    group(tmp_path, "cpu/box/peer", cfs_quota_us="50000", cfs_period_us="100000")
    group(tmp_path, "cpu/box", cfs_quota_us="-1", cfs_period_us="100000")
    assert list(_quotas(tmp_path)) == [0.5]
    assert usable_cores(tmp_path) == 1, "a part of a core is one"


def test_no_cgroups_no_quota(tmp_path: Path) -> None:
    assert list(_quotas(tmp_path)) == []


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (3, 2), (4, 3), (64, 63)])
def test_of_more_than_two_cores_one_is_left_to_other_programs(cores: int, threads: int) -> None:
    assert threads_beside(cores) == threads


# -- what auto is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [{}, {"threads": AUTO}])
def test_auto_takes_the_cores_of_one_process_and_shares_them_among_several(train: dict[str, object]) -> None:
    cores = usable_cores()
    assert settle(config(train), lockstep=False).threads == threads_beside(cores)
    for count in (1, 2, cores + 1):
        assert settle(config(train), lockstep=False, side_by_side=count).threads == max(1, cores // count)


def test_auto_is_one_thread_and_float32_in_lockstep() -> None:
    settled = settle(config({"threads": AUTO, "precision": AUTO}, sync=5.0), lockstep=True)
    assert (settled.train.threads, settled.train.precision) == (1, "float32")


def test_learners_side_by_side_compute_in_float32() -> None:
    assert settle(config({"precision": AUTO}), lockstep=False, side_by_side=1).train.precision == "float32"


@pytest.mark.parametrize("lockstep", [True, False])
def test_what_was_named_stays(lockstep: bool) -> None:
    named = config({"threads": 7, "precision": "bfloat16"})
    for count in (None, 3):
        assert settle(named, lockstep=lockstep, side_by_side=count) == named


def test_only_auto_follows_the_cores_and_never_in_lockstep() -> None:
    assert follows_cores(config())
    assert follows_cores(config({"threads": AUTO}))
    assert not follows_cores(config({"threads": 2}))
    assert not follows_cores(config(sync=5.0))


X86 = "processor\t: {}\nflags\t\t: fpu avx512f{}\n"


@pytest.mark.parametrize(
    ("text", "native"),
    [
        (X86.format(0, " avx512_bf16") + X86.format(1, " avx512_bf16"), True),
        (X86.format(0, " amx_bf16 amx_tile"), True),
        (X86.format(0, " avx512_bf16") + X86.format(1, ""), False),
        (X86.format(0, ""), False),
        ("processor\t: 0\nFeatures\t: fp asimd i8mm bf16\n", True),
        ("processor\t: 0\nFeatures\t: fp asimd\n", False),
        ("model name\t: bf16 flags: bf16\n", False),
        ("", False),
    ],
)
def test_processor_computes_bfloat16_if_all_its_cores_say_so(tmp_path: Path, text: str, native: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert computes_bfloat16(torch.device("cpu"), tmp_path / "cpuinfo") is native


def test_system_that_says_nothing_of_its_processor_has_float32(tmp_path: Path) -> None:
    assert not computes_bfloat16(torch.device("cpu"), tmp_path / "none")


# -- niceness ----------------------------------------------------------------------------------------------------------

GO_LAST = "import os, sys; from edgekd.learning.computing import go_last; os.nice(int(sys.argv[1])); "
GO_LAST += "print(go_last(None if sys.argv[2] == '-' else int(sys.argv[2])), os.getpriority(os.PRIO_PROCESS, 0))"


@pytest.mark.skipif(not hasattr(os, "setpriority"), reason="this system has no niceness")
@pytest.mark.parametrize(("more", "asked", "then"), [(0, "19", 19), (0, "-", 5), (12, "-", 12), (12, "0", 12)])
def test_niceness_is_raised_and_never_lowered(more: int, asked: str, then: int) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    said = subprocess.check_output([sys.executable, "-c", GO_LAST, str(more), asked], text=True)
    expected = min(19, max(before + more, then))
    assert said.split() == [str(expected), str(expected)]
