"""The head that begins as a linear discriminant."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.learning.discriminant import _some_of_each, discriminant

torch.set_num_threads(1)


def clouds(counts: list[int], seed: int = 0, width: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Features around one centre a class, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    centres = 6 * torch.randn(len(counts), width, generator=generator)
    return centres[labels] + torch.randn(len(labels), width, generator=generator), labels


def test_classes_that_are_apart_are_told_apart() -> None:
    features, labels = clouds([30, 30, 30, 30])
    weight, bias = discriminant(features, F.one_hot(labels).float(), 0.9)
    assert weight.shape == (4, 6)
    assert bias.shape == (4,)
    assert ((features @ weight.T + bias).argmax(dim=1) == labels).float().mean() > 0.95


def test_frequencies_of_the_classes_move_no_border() -> None:
    """Twice the same images of one class are the same mean: the border stays in the middle between two classes."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(40, 2, generator=generator)
    noise = torch.cat([noise, -noise])  # of mean 0
    left, right = noise + torch.tensor([-3.0, 0.0]), noise + torch.tensor([3.0, 0.0])
    features = torch.cat([*[left] * 9, right])
    labels = torch.cat([torch.zeros(9 * 80, dtype=torch.int64), torch.ones(80, dtype=torch.int64)])
    weight, bias = discriminant(features, F.one_hot(labels).float(), 0.9)
    middle = torch.zeros(1, 2) @ weight.T + bias
    torch.testing.assert_close(middle[0, 0], middle[0, 1], rtol=0, atol=1e-3)


def test_image_of_twice_the_weight_is_as_good_as_two() -> None:
    features, labels = clouds([20, 20, 20])
    targets = F.one_hot(labels).float()
    twice = discriminant(torch.cat([features, features[:20]]), torch.cat([targets, targets[:20]]), 0.1)
    weighted = discriminant(features, targets, 0.1, torch.tensor([2.0] * 20 + [1.0] * 40))
    for one, other in zip(twice, weighted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_image_that_is_half_of_two_classes_is_as_good_as_half_an_image_of_each() -> None:
    features, labels = clouds([20, 20, 20])
    targets = F.one_hot(labels).float()
    targets[0] = torch.tensor([0.5, 0.5, 0.0])
    halves = torch.cat([targets[1:], torch.eye(3)[:2]])
    weights = torch.tensor([1.0] * 59 + [0.5] * 2)
    found = discriminant(features, targets, 0.1)
    split = discriminant(torch.cat([features[1:], features[:1], features[:1]]), halves, 0.1, weights)
    for one, other in zip(found, split, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=6).filter(any), st.integers(0, 1000))
def test_any_shard_gives_finite_weights(counts: list[int], seed: int) -> None:
    """Also if classes have one image or none."""
    features, labels = clouds(counts, seed)
    weight, bias = discriminant(features, F.one_hot(labels, len(counts)).float(), 0.1)
    assert weight.isfinite().all()
    assert bias.isfinite().all()


def test_features_that_are_all_alike_give_finite_weights() -> None:
    weight, bias = discriminant(torch.ones(8, 4), F.one_hot(torch.arange(8) % 2).float(), 0.1)
    assert weight.isfinite().all()
    assert bias.isfinite().all()


def test_at_most_so_many_images_of_each_class_are_used() -> None:
    labels = torch.tensor([0] * 500 + [1] * 10 + [3] * 64)
    chosen = _some_of_each(labels, 64, 7)
    assert torch.bincount(labels[chosen], minlength=4).tolist() == [64, 10, 0, 64]
    assert len(chosen.unique()) == len(chosen)
    assert torch.equal(chosen, _some_of_each(labels, 64, 7))
    assert not torch.equal(chosen, _some_of_each(labels, 64, 8))
