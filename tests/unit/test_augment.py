"""Private augmentation and normalisation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.data.augment import GROUP, normalise, private_augmentation
from edgekd.errors import ConfigError
from edgekd.seeds import seeded


def crops(image: torch.Tensor, pad: int) -> list[torch.Tensor]:
    size = image.shape[-1]
    padded = torch.nn.functional.pad(image, [pad] * 4)
    offsets = range(2 * pad + 1)
    return [padded[:, top : top + size, left : left + size] for top in offsets for left in offsets]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 10), flip=st.booleans())
def test_each_image_becomes_a_crop_of_its_padded_self_with_its_group(seed, count, flip) -> None:
    images = torch.randint(1, 256, (count, 3, 16, 16), dtype=torch.uint8)
    with seeded(seed):
        result = private_augmentation("crop+flip" if flip else "crop", 16)(images)
    assert (result.shape, result.dtype) == (images.shape, torch.uint8)
    places = []
    for before, after in zip(images, result, strict=True):
        allowed = crops(before, 2)
        if flip:
            allowed += [crop.flip(-1) for crop in allowed]
        places.append([torch.equal(after, crop) for crop in allowed].index(True))
    groups = [set(places[start : start + GROUP]) for start in range(0, count, GROUP)]
    assert all(len(group) == 1 for group in groups)


def test_augmentation_is_what_the_seed_makes_it() -> None:
    images = torch.randint(0, 256, (32, 3, 32, 32), dtype=torch.uint8)
    augment = private_augmentation("crop+flip", 32)
    results = []
    for seed in (1, 1, 2):
        with seeded(seed):
            results.append(augment(images))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_none_leaves_the_images_alone() -> None:
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(private_augmentation("none", 8)(images), images)


def test_unknown_augmentation_is_refused_and_the_known_ones_are_listed() -> None:
    with pytest.raises(ConfigError, match=r"none, crop, crop\+flip, got blur"):
        private_augmentation("blur", 32)


def test_normalised_pixels_are_imagenets_and_lie_channels_last() -> None:
    images = torch.stack([torch.zeros(3, 8, 8), torch.full((3, 8, 8), 255.0)]).to(torch.uint8)
    result = normalise(images)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(result[:, :, 3, 5], torch.stack([-mean / std, (1 - mean) / std]))
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
