"""The attacks find what is plainly there, and nothing where there is nothing."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from leak_attacks import (
    Broadcast,
    area_under_curve,
    confidence,
    copy_model,
    matched,
    mean_prediction,
    named_right,
    total_variation,
)

from edgekd.config import from_mapping
from edgekd.data.datasets import PeerData, load_peer_data
from edgekd.data.sources import Labelled

torch.set_num_threads(1)


def rows(shares: list[float]) -> Broadcast:
    return Broadcast(0, torch.tensor(shares).repeat(5, 1))


def test_labels_that_a_peer_predicts_more_often_than_others_are_named() -> None:
    guess = mean_prediction([rows([0.5, 0.3, 0.1, 0.1]), rows([0.3, 0.3, 0.3, 0.1])])
    torch.testing.assert_close(guess, torch.tensor([0.4, 0.3, 0.2, 0.1]))
    others = torch.full((2, 4), 0.25)
    assert named_right(guess, others, torch.tensor([0.6, 0.4, 0.0, 0.0]), 2) == 1.0
    assert named_right(guess, others, torch.tensor([0.6, 0.0, 0.0, 0.4]), 2) == 0.5
    assert named_right(guess, others, torch.tensor([0.0, 0.0, 0.6, 0.4]), 2) == 0.0


@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=4), st.lists(st.floats(0.01, 1), min_size=4, max_size=4))
def test_total_variation_is_a_distance_in_the_unit_interval(first: list[float], second: list[float]) -> None:
    p, q = (torch.tensor(v) / sum(v) for v in (first, second))
    assert total_variation(p, p) == 0
    assert 0 <= total_variation(p, q) <= 1
    assert total_variation(p, q) == pytest.approx(total_variation(q, p))


def test_area_under_the_curve_is_half_for_equal_scores_and_one_where_members_score_above_all_others() -> None:
    assert area_under_curve(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0, 1.5])) == 1.0
    assert area_under_curve(torch.zeros(4), torch.zeros(9)) == 0.5


def test_members_are_matched_with_others_label_by_label() -> None:
    first = Labelled(images=torch.arange(5).view(5, 1, 1, 1).byte(), labels=torch.tensor([0, 0, 1, 2, 2]))
    second = Labelled(images=torch.arange(4).view(4, 1, 1, 1).byte(), labels=torch.tensor([2, 0, 2, 3]))
    members, others = matched(first, second)
    assert members.labels.tolist() == others.labels.tolist() == [0, 2, 2]
    assert members.images.flatten().tolist() == [0, 3, 4]
    assert others.images.flatten().tolist() == [1, 0, 2]


def test_a_copy_learns_what_it_is_told() -> None:
    config = from_mapping(
        {
            "data": {"data": "digits", "limit": 300},
            "model": {"model": "mobilenet_v3_small"},
            "train": {"steps": 30, "public_batch": 16, "seed": 3},
        }
    )
    data: PeerData = load_peer_data(config.data, 0, seed=3)
    told = torch.full((16, 10), 0.01)
    told[:, 4] = 0.91
    copy = copy_model([Broadcast(round, told) for round in range(30)], data.public, config, 32)
    fours = replace(data.evaluation, labels=torch.full_like(data.evaluation.labels, 4))
    others = replace(data.evaluation, labels=torch.full_like(data.evaluation.labels, 5))
    assert float(confidence(copy, fours).mean()) > float(confidence(copy, others).mean()) + 1
