"""The one writer of safetensors bytes and the one SHA-256 of tensors."""

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from edgekd.files import tensors
from edgekd.files.tensors import open_safetensors, safetensors_pieces, tensors_sha256
from edgekd.learning.weights import read_weights

MIXED = {
    "a.flag": torch.tensor([True, False, True]),
    "b.half": torch.tensor([[0.5, -2.0]], dtype=torch.bfloat16),
    "c.count": torch.tensor(7),
    "d.none": torch.empty(0, 3),
    "e.turned": torch.arange(6.0).reshape(2, 3).T,
}


def test_file_whose_name_is_not_utf_8_is_read(tmp_path: Path) -> None:
    """The safetensors library cannot open it by its name."""
    path = tmp_path / os.fsdecode(b"w\xff.safetensors")
    values = torch.arange(6.0).reshape(2, 3)
    path.write_bytes(b"".join(safetensors_pieces({"w": values}, {})))
    with open_safetensors(path) as file:
        assert torch.equal(file.get_tensor("w"), values)
    assert torch.equal(read_weights(path)["w"], values)


REPLACES = """
import itertools, os, sys
for number in itertools.cycle((2, 1)):
    os.link(f"file-{number}", "new")
    os.replace("new", "file")
"""


def test_file_that_is_replaced_all_the_time_is_one_file_or_the_other(tmp_path: Path) -> None:
    """The safetensors library opens a file twice by its name, first for its header and then for its tensors."""
    for number in (1, 2):
        content = safetensors_pieces({"w": torch.full((1000,), number)}, {"number": str(number)})
        (tmp_path / f"file-{number}").write_bytes(b"".join(content))
    os.link(tmp_path / "file-1", tmp_path / "file")
    writer = subprocess.Popen([sys.executable, "-c", REPLACES], cwd=tmp_path)
    seen = set()
    try:
        for count in itertools.count():
            with open_safetensors(tmp_path / "file") as file:
                number = int(file.metadata()["number"])
                assert file.get_tensor("w").eq(number).all()
            seen.add(number)
            if count > 3000 and len(seen) == 2:
                break
            assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()


def test_library_reads_what_the_writer_wrote(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    path.write_bytes(b"".join(safetensors_pieces(MIXED, {"about": "x"})))
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"about": "x"}
        assert set(file.keys()) == set(MIXED)
        for name, tensor in MIXED.items():
            read = file.get_tensor(name)
            assert read.dtype == tensor.dtype
            assert torch.equal(read, tensor)


def test_bytes_are_the_same_whatever_the_order_of_the_names_and_the_length_of_a_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = b"".join(safetensors_pieces(MIXED, {}))
    monkeypatch.setattr(tensors, "CHUNK", 5)
    pieces = list(safetensors_pieces(dict(reversed(MIXED.items())), {}))
    assert b"".join(pieces) == whole
    assert max(map(len, pieces[1:])) == 5
    assert hashlib.sha256(whole).hexdigest() == "c6c5e6b7b783e26226ae5b13069bbbc93cb3cb530bd434c49a22bf26074838d0"


def test_digest_is_that_of_names_types_shapes_and_values() -> None:
    text = hashlib.sha256(b"about")
    text.update(b"w torch.float32 [2]" + torch.tensor([1.0, 2.0]).numpy().tobytes())
    assert tensors_sha256({"w": torch.tensor([1.0, 2.0])}, b"about") == text.hexdigest()
    others = (
        {"v": torch.tensor([1.0, 2.0])},
        {"w": torch.tensor([[1.0, 2.0]])},
        {"w": torch.tensor([1.0, 2.0]).view(torch.int32)},
        {"w": torch.tensor([1.0, 2.5])},
    )
    digests = {tensors_sha256(each, b"about") for each in others} | {text.hexdigest()}
    assert len(digests) == 5
    assert tensors_sha256(MIXED) == tensors_sha256(dict(reversed(MIXED.items())))
