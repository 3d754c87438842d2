"""Data sets that a program hands in: what they may hold, and that they are trained on as others are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

import edgekd
from edgekd.config import Config
from edgekd.data.datasets import load_group, load_peer_data
from edgekd.data.own_dataset import of_dataset
from edgekd.data.public import make_public
from edgekd.data.sources import open_source
from edgekd.errors import ConfigError


class Digits(Dataset[tuple[Any, int]]):
    """The digits as a data set of one's own, which gives its images in one of several forms."""

    def __init__(self, form: str = "pillow", classes: list[str] | None = None) -> None:
        self._source, self._form = open_source("digits"), form
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self._source.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        gray, label = self._source.pixels[index], int(self._source.labels[index])
        forms = {
            "pillow": lambda: Image.fromarray(gray),
            "array": lambda: np.stack([gray] * 3, axis=-1),
            "gray array": lambda: gray,
            "bytes": lambda: torch.from_numpy(gray)[None],
            "floats": lambda: torch.from_numpy(np.stack([gray] * 3)).float() / 255,
        }
        return forms[self._form](), label


@pytest.mark.parametrize("form", ["pillow", "array", "gray array", "bytes", "floats"])
def test_every_form_gives_the_pixels_of_the_same_data_set_by_name(form: str) -> None:
    chosen, own = np.arange(0, 1797, 100), of_dataset(Digits(form), 32)
    found, expected = own.load(chosen), open_source("digits").load(chosen)
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.labels, expected.labels)
    assert own.classes == tuple("0123456789")


def test_peers_share_it_out_as_the_same_data_set_by_name() -> None:
    by_name, own = (
        Config.of(data="digits", limit=200),
        Config.of(data=Digits(), limit=200, size=32, public_augment="none"),
    )
    for named, handed in zip(load_group(by_name.data, 0), load_group(own.data, 0), strict=True):
        assert torch.equal(named.private.images, handed.private.images)
        assert torch.equal(named.evaluation.labels, handed.evaluation.labels)
        assert named.public.sha256 == handed.public.sha256


def test_size_is_by_default_the_shorter_side_of_the_first_image() -> None:
    assert of_dataset([(Image.new("RGB", (30, 20)), 0), (Image.new("L", (99, 88)), 1)], None).size == 20


def test_private_one_is_mapped_to_the_classes_of_the_public_file(tmp_path: Path) -> None:
    public = make_public(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), ("cat", "dog", "ship"), "none")
    public.save(tmp_path / "public.safetensors")

    class Own(list[Any]):
        classes = ("ship", "cat")

    shades = [(torch.full((3, 8, 8), i, dtype=torch.uint8), i % 2) for i in range(20)]
    settings = {"public": str(tmp_path / "public.safetensors"), "seed": 0}
    named = load_peer_data(Config.of(private=Own(shades), **settings).data, 0, 0)
    assert sorted({*named.private.labels.tolist()}) == [0, 2]
    assert len(named.private.labels) + len(named.evaluation.labels) == 20
    numbered = load_peer_data(Config.of(private=shades, eval=Own(shades[:2]), **settings).data, 0, 0)
    assert sorted({*numbered.private.labels.tolist()}) == [0, 1]
    assert numbered.evaluation.labels.tolist() == [2, 0]
    Own.classes = ("ship", "fish")  # type: ignore[assignment]
    with pytest.raises(
        ConfigError, match="Own has the class fish, which the public file does not know; known: cat, dog"
    ):
        load_peer_data(Config.of(private=Own(shades), **settings).data, 0, 0)


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([], "object:list is empty"),
        ([torch.zeros(3, 8, 8)], "item 0 of object:list must be an image and its label"),
        ([(torch.zeros(3, 8, 8), 1.5)], r"the label of item 0 of object:list must be a whole number, got 1\.5"),
        ([(torch.zeros(3, 8, 8) - 2, 0)], r"got torch\.float32 \[3, 8, 8\]\. Normalisation"),
        ([(torch.full((3, 8, 8), float("nan")), 0)], "must be a Pillow image"),
        ([(np.zeros((8, 8, 4), dtype=np.uint8), 0)], r"got uint8 \[8, 8, 4\]"),
        ([("photo.jpg", 0)], "got str"),
    ],
)
def test_item_that_is_no_labelled_image_is_refused(items: list[Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        of_dataset(items, 8)


@pytest.mark.parametrize("label", [-1, 100_000, 10**20])
def test_number_that_can_be_no_class_is_refused(label: int) -> None:
    items = [(torch.zeros(3, 8, 8), 0), (torch.zeros(3, 8, 8), label)]
    with pytest.raises(ConfigError, match=f"label of item 1 of object:list must be .* from 0 to 99999, got {label}"):
        of_dataset(items, 8)


def test_label_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="object:Digits has the label 9, and names 2 classes"):
        of_dataset(Digits(classes=["a", "b"]), 8)


def test_simulation_of_ones_own_network_data_and_measure_gives_curves_and_networks() -> None:
    class Net(torch.nn.Sequential):
        def __init__(self, classes: int) -> None:
            convolution = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
            pooled = (torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten())
            super().__init__(convolution, *pooled, torch.nn.Linear(128, classes))

    def squared(q: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return (q - z.softmax(-1)).square().sum(-1)

    settings: dict[str, Any] = {"limit": 300, "clients": 2, "size": 16, "steps": 6, "batch": 16, "public_batch": 16}
    result = edgekd.simulate(Config.of(data=Digits(), model=Net, measure=squared, eval_every=2, **settings))
    assert [point.step for point in result.curves[1]] == [2, 4, 6]
    assert result.curves[0][-1].overall == result.peers[0].accuracy
    assert result.models[0](torch.zeros(2, 3, 16, 16)).shape == (2, 10)
    assert not result.models[0].training
    trained = Net(10)
    same = edgekd.simulate(Config.of(data=Digits(), model=trained, measure="mse", eval_every=2, **settings))
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), trained.parameters(), strict=True))
    assert same.models[0] is not trained, "each learner has a copy of a network that was handed in"
    assert {peer.lessons for peer in (*result.peers, *same.peers)} == {6}
