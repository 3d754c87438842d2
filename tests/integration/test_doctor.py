"""``edgekd doctor`` on a sound box, and on boxes with many faults at once: it names every one of them."""

import json
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CLASSES = ("cat", "dog", "ship")
SMALL = ["--model", "mobilenet_v3_small", "--weights", "none", "--batch", 4, "--public-batch", 4]


def pictures(folder: Path, *names: str, count: int = 12) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = random.Random(f"{folder.name}/{name}/{i}").randbytes(20 * 20 * 3)  # no two are alike
            Image.frombytes("RGB", (20, 20), pixels).save(folder / name / f"{i}.png")
    return folder


def examined(process: Any) -> tuple[int, dict[str, tuple[bool | None, str]]]:
    """The exit code of ``doctor --json``, and what it found of each thing."""
    code = process.wait()
    assert "Traceback" not in process.said, process.said
    assert process.out, process.said
    found = json.loads(process.out[-1])
    assert all(each.keys() == {"check", "ok", "message"} for each in found)
    return code, {each["check"]: (each["ok"], each["message"]) for each in found}


@pytest.fixture
def shared(spawn: Any, tmp_path: Path) -> Path:
    """The group's public file, in the test's own folder."""
    street = pictures(tmp_path / "street", "any", count=24) / "any"
    path = tmp_path / "public.safetensors"
    made = spawn("public", street, "--classes", ",".join(CLASSES), "--size", 32, "-o", path)
    assert made.wait() == 0, made.said
    return path


def test_without_options_a_sound_box_has_no_fault_and_every_thing_a_line(spawn: Any) -> None:
    process = spawn("doctor")
    assert process.wait() == 0, "\n".join(process.out)
    assert process.out[-1] == "nothing stands in the way of a peer"
    things = [line.split(":")[0].split(None, 1)[1] for line in process.out[:-1]]
    assert len(things) == len({*things}) >= 8
    assert {"python", "torch and numpy", "device", "training step", "memory", "disk", "proxies"} <= {*things}
    assert not any(line.startswith("FAULT") for line in process.out)


def test_sound_box_with_pictures_keys_and_a_neighbour_of_its_contract(
    spawn: Any, ports: Callable[[int], list[int]], tmp_path: Path, shared: Path
) -> None:
    ours, theirs = (f"127.0.0.1:{port}" for port in ports(2))
    assert spawn("certs", "--ids", "0,1").wait() == 0
    own = pictures(tmp_path / "own", "cat", "dog", count=120)
    data = ["--private", f"folder:{own}", "--public", shared, *SMALL]
    neighbour = spawn("peer", "--id", 1, "--listen", theirs, "--certs", "certs/peer-1", "--steps", 0, *data, "--json")
    neighbour.until_says("listening on")
    given = [
        "--certs",
        "certs/peer-0",
        "--listen",
        ours,
        "--peers",
        f"1@{theirs}",
        "--discover",
        "--timeout",
        60,
        *data,
    ]
    code, found = examined(spawn("doctor", *given, "--json"))
    faults = {name: message for name, (ok, message) in found.items() if ok is False and name != "multicast"}
    assert faults == {}, "whether a machine takes part in multicast is its own affair"
    assert code == (1 if found["multicast"][0] is False else 0)
    assert found["keys"][1].startswith("those of peer 0 in certs/peer-0, valid until ")
    assert found["authority"][0] is None, "the keys of all were made on this box"
    assert "ca/key.pem" in found["authority"][1]
    assert found["pictures"][1].startswith("216 to train on (cat ")
    assert "2 of the group's 3 classes" in found["pictures"][1]
    assert found["duplicates"] == (True, "no picture of this box is in the public file")
    assert found[f"neighbour 1@{theirs}"][1].endswith("of the same contract")
    neighbour.terminate()


def test_every_one_of_many_faults_is_named(
    spawn: Any, ports: Callable[[int], list[int]], tmp_path: Path, shared: Path
) -> None:
    theirs, closed = (f"127.0.0.1:{port}" for port in ports(2))
    own = pictures(tmp_path / "own", "cat", "dog", "yak")
    (own / "cat" / "broken.png").write_bytes(b"no picture")
    for copy in range(3):  # of public pictures
        (own / "dog" / f"copy-{copy}.png").write_bytes((tmp_path / "street" / "any" / f"{copy}.png").read_bytes())
    other = ["--private", f"folder:{pictures(tmp_path / 'theirs', 'cat')}", "--public", shared, *SMALL]
    neighbour = spawn("peer", "--id", 1, "--listen", theirs, "--temperature", 3, "--steps", 0, *other, "--json")
    neighbour.until_says("listening on")
    (tmp_path / "a-file").touch()
    (tmp_path / "box.toml").write_text(
        f'[data]\nprivate = "folder:{own}"\npublic = "{shared}"\n'
        "[distill]\ntemprature = 2.0\nalpha = 1.5\n"
        '[train]\nbatch = 4\npublic_batch = 4\ndevice = "cuda:99"\nthreads = 8\n'
        '[model]\nmodel = "mobilenet_v3_small"\nweights = "weights-that-are-not-there.pth"\n'
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        peers = f"{theirs},{closed},box.invalid:7000,nonsense"
        given = [
            "--config",
            "box.toml",
            "--listen",
            listen,
            "--peers",
            peers,
            "--out",
            "a-file/results",
            "--timeout",
            60,
            "--json",
        ]
        code, found = examined(spawn("doctor", *given))
    assert code == 1
    says = {
        "settings": "unknown setting 'temprature' in [distill]",
        "pictures": "subfolder yak, which the public file does not know; known: cat, dog, ship; apart from that",
        "device": "device cuda:99 is not there",
        "weights": "no weights file weights-that-are-not-there.pth",
        "disk": "a-file",
        "listen": "address in use",
        "neighbour nonsense": "an address is HOST:PORT",
        "names": "box.invalid:7000: box.invalid does not resolve: ",
        f"neighbour {closed}": "is it started",
        f"neighbour {theirs}": "temperature: 2.0 here, 3.0 there",
    }
    unnamed = {name: found[name] for name in says if says[name] not in found[name][1]}
    assert unnamed == {}
    assert [name for name, (ok, _) in found.items() if ok is False] == [*dict.fromkeys(n for n in found if n in says)]
    assert "alpha must be in [0, 1], got 1.5" in found["settings"][1], "the second wrong setting"
    assert "broken.png" in found["pictures"][1]
    assert found["pictures"][1].count("yak") == 1
    assert found["duplicates"][0] is None
    assert found["duplicates"][1].startswith("3 of this box's")
    assert found["threads"][0] is None
    assert found["training step"][0] is True, "it is tried all the same, on the CPU and from random weights"
    neighbour.terminate()


def test_keys_that_do_not_belong_together_are_named_and_hide_nothing(spawn: Any, tmp_path: Path) -> None:
    assert spawn("certs", "--ids", "0,1").wait() == 0
    (tmp_path / "certs/peer-0/key.pem").write_bytes((tmp_path / "certs/peer-1/key.pem").read_bytes())
    (tmp_path / "certs/peer-0/key.pem").chmod(0o644)
    given = ["--certs", "certs/peer-0", "--peers", "1@127.0.0.1:1,127.0.0.1:2", *SMALL, "--json"]
    code, found = examined(spawn("doctor", *given))
    assert code == 1
    assert found["keys"][0] is False
    assert "cert.pem and key.pem do not belong together" in found["keys"][1]
    assert "chmod 600" in found["secrecy"][1]
    assert found["neighbour 127.0.0.1:2"][0] is False, "with keys it needs its id"
    assert found["neighbours"][0] is None
    assert "nobody was asked" in found["neighbours"][1]
    assert found["training step"][0] is True


def test_file_of_settings_that_cannot_be_read_hides_nothing(spawn: Any, tmp_path: Path) -> None:
    (tmp_path / "box.toml").write_text("[data\n")
    code, found = examined(spawn("doctor", "--config", "box.toml", "--peers", "box.invalid:7000", *SMALL, "--json"))
    assert code == 1
    assert "box.toml is not valid TOML" in found["settings"][1]
    assert found["names"][0] is False
    assert found["weights"][1].startswith("mobilenet_v3_small"), "the flags hold"


def test_network_that_a_file_alone_names_is_left_out_and_all_else_in_the_file_holds(spawn: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("raise AssertionError('it is not imported')\n")
    text = (
        '[model]\nmodel = "net:make"\nweights = "none"\n[train]\nbatch = 5\npublic_batch = 6\n[distill]\nalpha = 2.0\n'
    )
    (tmp_path / "box.toml").write_text(text)
    code, found = examined(spawn("doctor", "--config", "box.toml", "--json"))
    assert (code, found["settings"][0]) == (1, False)
    for each in ("net:make, a network of one's own", "alpha must be in [0, 1], got 2.0"):
        assert each in found["settings"][1]
    assert found["training step"][1].startswith("a batch of 5 private and 6 public images")
    assert found["weights"][1].startswith("resnet18 with random weights")


def test_without_an_id_nobody_is_taken_for_this_peer(spawn: Any, ports: Callable[[int], list[int]]) -> None:
    [port] = ports(1)
    address = f"127.0.0.1:{port}"
    neighbour = spawn("peer", "--id", 0, "--listen", address, "--steps", 0, *SMALL, "--json")
    neighbour.until_says("listening on")
    code, found = examined(spawn("doctor", "--peers", address, "--timeout", 60, *SMALL, "--json"))
    assert (code, found[f"neighbour {address}"][0]) == (0, True)
    assert found[f"neighbour {address}"][1].endswith("of the same contract")
    neighbour.terminate()


def test_checkpoint_that_a_peer_would_refuse_to_go_on_from_is_a_fault(spawn: Any) -> None:
    assert spawn("peer", "--id", 1, "--steps", 1, "--out", "p1", *SMALL).wait() == 0
    resumed = ["--resume", "--out", "p1"]
    code, found = examined(spawn("doctor", *resumed, "--json"))
    assert (code, found["checkpoint"][0]) == (0, True)
    assert found["checkpoint"][1].endswith("of step 1, was made with these settings and this data")
    for other, says in (
        (["--temperature", 3], "made with other settings: temperature was 2.0, now 3.0"),
        (["--heads", 2], "the checkpoint's heads is 1, this peer's is 2"),
        (["--id", 2], "the checkpoint's id is 1, this peer's is 2"),
    ):
        code, found = examined(spawn("doctor", *resumed, *other, "--json"))
        assert (code, found["checkpoint"][0]) == (1, False)
        assert says in found["checkpoint"][1]
        refused = spawn("peer", *resumed, *other)
        assert refused.wait() == 1
        assert found["checkpoint"][1] in refused.err[-1], "in the peer's own words"


def test_errors_of_a_peer_name_the_doctor_once(spawn: Any) -> None:
    process = spawn("peer", "--id", 0, "--weights", "none.pth")
    assert process.wait() == 1
    assert process.err[-1].startswith("edgekd: no weights file none.pth; --weights takes ")
    assert process.said.count("edgekd doctor") == 1
