"""Accuracy: all images alike, and weighted as in the private shard."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.data.sources import Labelled
from edgekd.learning.evaluation import evaluate


def labelled(labels: list[int], shown: list[int]) -> Labelled:
    """Images whose first pixel is the class that `predict` will say."""
    images = torch.zeros(len(labels), 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor(shown, dtype=torch.uint8)
    return Labelled(images=images, labels=torch.tensor(labels))


def predict(images: Tensor) -> Tensor:
    """Two heads: the first always says 0."""
    shown = images[:, 0, 0, 0].long()
    return F.one_hot(torch.stack([torch.zeros_like(shown), shown]), 3).float()


def test_each_heads_accuracy_is_counted_and_the_answering_ones_is_the_accuracy() -> None:
    evaluation = labelled([0, 0, 1, 1, 1], shown=[0, 1, 1, 1, 0])
    last = evaluate(predict, evaluation, shard=torch.tensor([1, 1, 0]))
    first = evaluate(predict, evaluation, shard=torch.tensor([1, 1, 0]), head=0)
    assert last is not None
    assert first is not None
    assert last.heads == first.heads == (2 / 5, 3 / 5)
    assert (last.overall, first.overall) == (3 / 5, 2 / 5)
    assert last.own == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert first.own == pytest.approx(1 / 2)


def test_confusions_of_the_answering_head_are_counted() -> None:
    evaluation = labelled([0, 0, 1, 1, 1], shown=[0, 1, 1, 1, 0])
    reached = evaluate(predict, evaluation, shard=torch.tensor([1, 1, 0]))
    assert reached is not None
    assert reached.confusion == ((0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 2))
    first = evaluate(predict, evaluation, shard=torch.tensor([1, 1, 0]), head=0)
    assert first is not None
    assert first.confusion == ((0, 0, 2), (1, 0, 3))


def test_overall_counts_images_and_own_weighs_classes_as_the_shard_does() -> None:
    evaluation = labelled([0, 0, 0, 1], shown=[0, 0, 2, 2])  # class 0: 2 of 3 right; class 1: none; class 2: absent
    reached = evaluate(predict, evaluation, shard=torch.tensor([30, 10, 60]))
    assert reached is not None
    assert reached.overall == pytest.approx(2 / 4)
    assert reached.own == pytest.approx((30 * 2 / 3 + 10 * 0) / 40), "what the evaluation set lacks says nothing"


def test_own_accuracy_adds_the_prior_back() -> None:
    evaluation = labelled([0, 1], shown=[1, 1])
    prior = torch.tensor([0.0, -5.0, -5.0])
    reached = evaluate(predict, evaluation, shard=torch.tensor([1, 1, 0]), log_prior=prior)
    assert reached is not None
    assert (reached.overall, reached.own) == (0.5, 0.5)
    alone_in_the_shard = evaluate(predict, evaluation, shard=torch.tensor([1, 0, 0]), log_prior=prior)
    assert alone_in_the_shard is not None
    assert (alone_in_the_shard.overall, alone_in_the_shard.own) == (0.5, 1.0)


def test_more_images_than_fit_one_pass_are_all_counted() -> None:
    shown = [i % 3 for i in range(700)]
    reached = evaluate(predict, labelled(shown, shown), shard=torch.ones(3, dtype=torch.int64))
    assert reached is not None
    assert (reached.overall, reached.own) == (1.0, 1.0)
