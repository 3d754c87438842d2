"""The single checks of ``edgekd doctor``."""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.version import Version
from PIL import Image

import edgekd
from edgekd.cli.fleet import free_ports
from edgekd.config import Config, ExchangeConfig, TrainConfig, from_mapping, to_mapping, usable
from edgekd.data.public import make_public
from edgekd.doctor import machine, training
from edgekd.doctor.check import Check, examine
from edgekd.doctor.files import duplicates, pictures
from edgekd.doctor.versions import constraints, installed, load_all
from edgekd.errors import ConfigError
from edgekd.keys.keyring import make_keys
from edgekd.torch_fit import check_built_for, check_runs_on, check_torch
from edgekd.workers import usable_cores
from peer.checks.keys import keys
from peer.checks.network import neighbours, proxies
from peer.transports.binding import leads_to

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(edgekd.__file__).parents[1]
NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)
JETSON = "2.3.0a0+6ddf5cf85e.nv24.4"


def bounds() -> dict[str, Requirement]:
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return {requirement.name: requirement for requirement in map(Requirement, lines)}


# -- what is found of one thing ----------------------------------------------------------------------------------------


def test_warnings_make_a_check_a_warning_and_are_said_nowhere_else(capfd: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("edgekd")

    def look() -> str:
        for number in (1, 1, 2, 3, 4, 5, 6):
            log.warning("odd %d", number)
        log.info("nothing")
        return "found"

    assert examine("x", look) == Check("x", None, "found; odd 1; odd 2; (2 more warnings); odd 5; odd 6")
    assert capfd.readouterr() == ("", "")
    assert log.handlers == []


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ConfigError("wrong"), "wrong"),
        (FileNotFoundError(2, "No such file or directory", "f"), "f: No such file or directory"),
        (RuntimeError("CUDA error: no kernel image\nmore"), "RuntimeError: CUDA error: no kernel image"),
    ],
)
def test_any_error_is_a_fault_of_one_line(error: Exception, says: str) -> None:
    def look() -> str:
        raise error

    assert examine("x", look) == Check("x", False, says)


# -- versions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "version"), [("torch", JETSON), ("torchvision", "0.18.0a0+6043bc2")])
def test_vendors_pre_releases_satisfy_the_bounds_so_pip_does_not_replace_them(name: str, version: str) -> None:
    assert bounds()[name].specifier.contains(Version(version))


@pytest.mark.parametrize(("name", "version"), [("torch", "2.2.2"), ("torchvision", "0.17.2")])
def test_versions_that_do_not_work_are_below_the_bounds(name: str, version: str) -> None:
    assert not bounds()[name].specifier.contains(Version(version), prereleases=True)


def test_constraints_are_what_is_installed() -> None:
    parsed = {r.name: r for r in map(Requirement, constraints())}
    assert set(parsed) == {"torch", "torchvision", "numpy"}
    for name, version in installed().items():
        assert parsed[name].specifier.contains(Version(version), prereleases=True)


def test_installed_torch_and_numpy_work_together() -> None:
    check_torch()
    assert re.fullmatch(r"torch \S+, torchvision \S+, numpy \S+", load_all())


def test_torch_built_for_numpy_1_is_refused_with_numpy_2_alone(tmp_path: Path) -> None:
    library = tmp_path / "libtorch_python.so"
    library.write_bytes(b"\0numpy.core._multiarray_umath\0")
    check_built_for("2.2.2", "1.26.4", library)
    with pytest.raises(ConfigError, match=r"^torch 2\.2\.2 .* numpy 2\.0\.0: pip install 'numpy>=1\.26,<2'$"):
        check_built_for("2.2.2", "2.0.0", library)
    library.write_bytes(b"\0numpy.core._multiarray_umath\0numpy._core._multiarray_umath\0")
    check_built_for("2.3.1", "2.0.0", library)


def test_torch_that_needs_newer_instructions_is_refused_on_an_old_arm_core_alone() -> None:
    pi4 = "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"
    pi5 = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp cpuid asimdrdm\n"
    for build in ("2.9.1", "2.11.0", "2.1.0"):
        check_runs_on(build, pi4)
    for build in ("2.10.0", "2.10.0+cpu"):
        check_runs_on(build, pi5)
        check_runs_on(build, "flags\t: fpu vme sse2\n")
        check_runs_on(build, "")
        for cores in (pi4, pi5 + pi4):
            with pytest.raises(ConfigError, match=rf"^torch {re.escape(build)} needs .* pip install 'torch<2\.10'$"):
                check_runs_on(build, cores)


@pytest.mark.parametrize("command", [["simulate", "--steps", "1"], ["predict", "x.png", "--checkpoint", "c"]])
def test_commands_that_use_torch_say_in_one_line_that_it_does_not_fit_and_others_go_on(
    tmp_path: Path, command: list[str]
) -> None:
    """A torch and a numpy as far as they are looked at: their metadata, and the library's mention of numpy."""
    for name, version in (("torch", JETSON), ("numpy", "2.1.0")):
        (tmp_path / f"{name}-{version}.dist-info").mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (tmp_path / f"{name}-{version}.dist-info" / "METADATA").write_text(metadata)
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").write_text("raise AssertionError('it is not imported')\n")
    (tmp_path / "torch" / "lib" / "libtorch_python.so").write_bytes(b"numpy.core._multiarray_umath")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        line = [sys.executable, "-m", "edgekd", *arguments]
        return subprocess.run(line, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=100)

    misfit = f"torch {JETSON} was built for numpy 1 and cannot use numpy 2.1.0: pip install 'numpy>=1.26,<2'"
    refused = run(*command)
    assert (refused.returncode, refused.stderr) == (1, f"edgekd: {misfit}\n")
    assert run("certs", "--ids", "0").returncode == 0
    found = run("doctor")
    assert found.returncode == 1
    assert f"FAULT  torch and numpy: {misfit}" in found.stdout
    assert "note   neighbours: no --peers" in found.stdout, "what needs no torch is looked at all the same"


# -- settings ----------------------------------------------------------------------------------------------------------


def test_usable_part_of_settings_keeps_what_is_right_and_names_all_that_is_wrong() -> None:
    tables = {
        "data": {"public": "p", "private": "folder:own", "gamma": -1.0},  # public needs private, which comes after it
        "distill": {"temprature": 2.0, "alpha": 0.25},
        "nonsense": {"x": 1},
        "train": 5,
        "exchange": {"certs": "c", "insecure": True},
    }
    config, wrong = usable(tables)
    assert (config.data.public, config.data.private, config.distill.alpha) == ("p", "folder:own", 0.25)
    assert config.exchange.certs == "c"
    text = "\n".join(wrong)
    for each in ("gamma must be >= 0", "'temprature' in [distill]", "[nonsense]", "[train] must be", "certs and insec"):
        assert each in text
    assert len(wrong) == len({*wrong})


def test_sound_settings_are_all_usable() -> None:
    config = from_mapping({"train": {"steps": 7}, "exchange": {"sync": 2.0}})
    assert usable(to_mapping(config)) == (config, [])


# -- the machine -------------------------------------------------------------------------------------------------------


def test_clock_before_the_installation_is_a_fault_with_keys_alone() -> None:
    assert machine.clock(NOW, NOW - timedelta(days=9), keys=True).ok
    wrong = machine.clock(datetime(1970, 1, 1, tzinfo=timezone.utc), NOW, keys=True)
    assert wrong.ok is False
    assert "1970-01-01" in wrong.message
    assert machine.clock(NOW - timedelta(days=1), NOW, keys=False).ok is None


def test_more_threads_than_cores_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # of what joblib reads, as in a cgroup
    assert machine.threads(1, auto=False, lockstep=False).ok is True
    assert machine.threads(3, auto=False, lockstep=False).ok is None
    assert machine.threads(3, auto=False, lockstep=False).message.endswith("use --threads 1")
    assert machine.threads(1, auto=True, lockstep=False).message.startswith(
        "--threads auto takes 1, and this process may use 1 "
    )
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "8")
    if usable_cores() > 1:
        assert "would take" in machine.threads(1, auto=False, lockstep=False).message
    assert "would take" not in machine.threads(1, auto=False, lockstep=True).message


STATUS = "Name:\tpython\nVmHWM:\t  800000 kB\nVmRSS:\t  300000 kB\n"


@pytest.mark.parametrize(("free_mb", "ok"), [(2000, True), (600, None), (100, False)])
def test_memory_is_what_the_tried_start_took_against_what_is_free(free_mb: int, ok: bool | None) -> None:
    check = machine.memory(STATUS, free_mb * machine.MB)
    assert check.ok is ok
    assert "take 819 MB" in check.message


def test_memory_that_nobody_tells_of_is_no_fault() -> None:
    assert machine.memory(None, 1).ok is None
    assert machine.memory(STATUS, None).ok is None


def test_free_memory_is_bounded_by_a_containers_limit(tmp_path: Path) -> None:
    assert machine.free_memory(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:   4000 kB\n")
    assert machine.free_memory(tmp_path) == 4_096_000
    group = tmp_path / "sys" / "fs" / "cgroup"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("1000\n")
    (group / "memory.max").write_text("max\n")
    assert machine.free_memory(tmp_path) == 4_096_000
    (group / "memory.max").write_text("3000\n")
    assert machine.free_memory(tmp_path) == 2000
    (group / "memory.stat").write_text("anon 200\nfile 700\ninactive_file 600\nactive_file 100\n")
    assert machine.free_memory(tmp_path) == 2600, "the cache of files goes when memory is wanted"


def test_disk_is_judged_at_the_nearest_folder_that_there_is_and_nothing_is_made(tmp_path: Path) -> None:
    assert machine.disk(tmp_path / "a" / "b", 1000, 3).ok is True
    assert machine.disk(tmp_path / "a", 10**18, 3).ok is False
    assert machine.disk(tmp_path / "a", None, 3).ok is None
    (tmp_path / "file").touch()
    assert machine.disk(tmp_path / "file" / "x", 1, 3).ok is False
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_gpu_that_this_pytorch_cannot_use_is_told_of(tmp_path: Path) -> None:
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine's GPU is used")
    assert training.device("auto", ()) == Check("device", True, "cpu")
    (tmp_path / "nvidiactl").touch()
    idle = training.device("auto", (str(tmp_path / "nvidiactl"),))
    assert idle.ok is None
    assert "this PyTorch cannot use it" in idle.message
    assert training.device("cpu", (str(tmp_path / "nvidiactl"),)).ok is True


def test_training_step_is_timed_by_the_clock_that_is_handed_in() -> None:
    config = from_mapping({"model": {"model": "mobilenet_v3_small"}, "train": {"batch": 4, "public_batch": 6}})
    times = iter([10.0, 12.5])
    check, checkpoint = training.step(config, 0, None, clock=lambda: next(times))
    assert check == Check(
        "training step", True, "a batch of 4 private and 6 public images takes 2.50 s, 120 steps some 5 minutes"
    )
    assert checkpoint is not None
    assert checkpoint > 4 * 1_500_000  # mobilenet_v3_small has so many parameters


def test_random_weights_take_the_place_of_missing_ones_whatever_needs_pretrained_ones() -> None:
    config = Config(train=TrainConfig(norm_from="frozen"), model=from_mapping({"model": {"weights": "w.pth"}}).model)
    assert training.without_weights(config).weights == "none"


# -- files, keys, network ----------------------------------------------------------------------------------------------


def test_duplicates_of_public_pictures_are_counted_by_their_pixels() -> None:
    images = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    public = make_public(images[:3], ("a", "b"), "none")
    assert duplicates(images[3:], images[4:], public).ok is True
    check = duplicates(images[1:5], images[:1], public)
    assert check.ok is None
    assert check.message.startswith("3 of this box's 5 pictures")


def test_proxies_are_named_without_what_they_hold() -> None:
    assert proxies({}).ok is True
    assert proxies({"http_proxy": ""}).ok is True
    check = proxies({"HTTPS_PROXY": "http://user:secret@proxy:3128", "grpc_proxy": "x"})
    assert check.ok is None
    assert check.message.startswith("grpc_proxy, HTTPS_PROXY: ")
    assert "secret" not in check.message


def test_authoritys_key_is_found_wherever_it_is_near_and_is_no_other(tmp_path: Path) -> None:
    now = datetime.now(timezone.utc)
    make_keys(tmp_path / "made", [0], now, 100, renew=False)
    make_keys(tmp_path / "others", [0], now, 100, renew=False)
    box = tmp_path / "box" / "keys"
    box.parent.mkdir()
    (tmp_path / "made" / "peer-0").rename(box)

    def authority() -> Check:
        checks, owner = keys(ExchangeConfig(certs=str(box)), None)
        assert owner == 0
        return next(each for each in checks if each.name == "authority")

    assert authority().ok is True
    (box.parent / "another.pem").write_bytes((tmp_path / "others" / "ca" / "key.pem").read_bytes())
    assert authority().ok is True
    (box / "backup.key").write_bytes((tmp_path / "made" / "ca" / "key.pem").read_bytes())
    assert authority().ok is None
    assert "backup.key" in authority().message


def asked(listen: str | None, id: int | None, *peers: str) -> dict[str, bool | None]:
    found = neighbours(ExchangeConfig(), id, listen, peers, None, 60)
    return {each.name: each.ok for each in found if each.name != "names"}


@pytest.mark.parametrize("id", [None, 0])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_peers_own_address_among_its_neighbours_is_recognised_and_not_asked(host: str, id: int | None) -> None:
    [port] = free_ports(1)  # nobody answers there
    text = f"{host}:{port}"
    assert asked(f"0.0.0.0:{port}", id, text) == {f"neighbour {text}": None}
    assert asked(text, id, text) == {f"neighbour {text}": None}
    assert asked(f"127.0.0.3:{port}", id, text) == {f"neighbour {text}": False}, "another address of this box"
    assert asked(f"0.0.0.0:{port + 1}", id, text) == {f"neighbour {text}": False}
    assert asked(f"0.0.0.0:{port}", 0, f"1@{text}") == {f"neighbour 1@{text}": False}
    assert asked(None, id, text) == {f"neighbour {text}": False}
    assert asked("nonsense", id, text) == {f"neighbour {text}": False}


def test_address_with_the_peers_own_id_is_not_even_looked_up() -> None:
    assert asked(None, 2, "2@box.invalid:7000") == {"neighbour 2@box.invalid:7000": None}


def test_another_boxs_address_is_not_this_peers() -> None:
    assert not leads_to("0.0.0.0:7000", ("192.0.2.1", 7000))
    assert leads_to("[::]:7000", ("127.0.0.1", 7000))
    assert not leads_to("[::]:7000", ("127.0.0.1", 7001))


@contextmanager
def barred(folder: Path) -> Iterator[None]:
    """Inside the block the folder cannot be entered; a test that runs as root becomes another user meanwhile."""
    user = os.geteuid()
    folder.chmod(0)
    try:
        if user == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o700)


def test_key_folder_that_may_not_be_entered_is_a_fault_and_ends_nothing(tmp_path: Path) -> None:
    make_keys(tmp_path, [0], datetime.now(timezone.utc), 100, renew=False)
    box = tmp_path / "peer-0"
    exchange = ExchangeConfig(certs=str(box))

    def look() -> tuple[list[Check], int | None, list[Check]]:
        return *keys(exchange, 0), [*neighbours(exchange, 0, None, ["1@127.0.0.1:1"], None, 60)]

    assert look()[0][0].ok is True  # all modules are loaded from now on
    with barred(box):
        found, owner, answers = look()
    assert owner is None
    assert [(each.name, each.ok) for each in found] == [("keys", False), ("authority", None)]
    assert "Permission denied" in found[0].message
    assert [(each.name, each.ok) for each in answers] == [("names", True), ("neighbours", None)]


def test_folder_of_pictures_that_may_not_be_entered_is_a_fault_and_ends_nothing(tmp_path: Path) -> None:
    own = tmp_path / "own"
    for name in ("cat", "yak"):
        (own / name).mkdir(parents=True)
        for shade in range(12):
            Image.new("RGB", (8, 8), (shade, 0, len(name))).save(own / name / f"{shade}.png")
    config = from_mapping({"data": {"private": f"folder:{own}", "public": "p"}})
    public = make_public(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), ("cat", "dog"), "none")
    found = [*pictures(config, public, 0, None)]
    assert [(each.name, each.ok) for each in found] == [("pictures", False), ("duplicates", True)]
    assert re.search(
        r"subfolder yak, .*; apart from that 11 to train on \(cat 11\), 1 to evaluate on", found[0].message
    )
    assert found[0].message.count("yak") == 1
    with barred(own):
        found = [*pictures(config, public, 0, None)]
    assert [(each.name, each.ok) for each in found] == [("pictures", False)]
    assert "Permission denied" in found[0].message


def test_keys_that_have_ended_or_are_another_peers_are_faults(tmp_path: Path) -> None:
    long_ago = datetime.now(timezone.utc) - timedelta(days=50)
    make_keys(tmp_path, [0], long_ago, 20, renew=False)
    make_keys(tmp_path, [1], datetime.now(timezone.utc), 20, renew=False)

    def found(folder: str, id: int | None) -> Check:
        return keys(ExchangeConfig(certs=str(tmp_path / folder)), id)[0][0]

    assert found("peer-0", 0).ok is False
    assert "cert.pem has expired on" in found("peer-0", 0).message
    assert found("peer-1", 0).ok is False
    assert "are those of peer 1, and this is peer 0" in found("peer-1", 0).message
    assert found("peer-1", 1).ok is None, "they end within 30 days"
    assert found(".", 1).ok is False
    assert keys(ExchangeConfig(), 0)[0][0].ok is None
