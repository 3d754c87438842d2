"""Learners in one process: however many compute at once, and whoever hears whom."""

from pathlib import Path

import pytest
import torch

from edgekd.config import Config, from_mapping
from edgekd.simulation import StepReport, lone, simulate, simulate_pooled
from edgekd.summary import Summary

torch.set_num_threads(1)


def config(**sections: dict[str, object]) -> Config:
    small = {
        "data": {"data": "digits", "limit": 300, "clients": 4},
        "model": {"model": "mobilenet_v3_small"},
        "train": {"steps": 3, "batch": 8, "public_batch": 8, "eval_every": 0},
    }
    return from_mapping({name: {**small.get(name, {}), **sections.get(name, {})} for name in {*small, *sections}})


def weights(summary: Summary) -> list[str]:
    return [peer.weights_sha256 for peer in summary.peers]


@pytest.mark.parametrize("model", ["resnet18", "mobilenet_v3_small"])  # the second draws random numbers in every pass
def test_result_does_not_depend_on_how_many_learners_compute_at_once(model: str) -> None:
    settings = config(model={"model": model, "heads": 2}, distill={"alpha": 0.0})
    reports: list[list[StepReport]] = [[], []]
    one = simulate(settings, reports[0].append)
    four = simulate(settings, reports[1].append, jobs=4)
    assert weights(one) == weights(four)
    assert one == four
    assert [(r.id, r.step, float(r.losses.labels)) for r in reports[0]] == [
        (r.id, r.step, float(r.losses.labels)) for r in reports[1]
    ]
    assert len(set(weights(one))) == 4
    assert all(len(peer.head_accuracies) == 2 for peer in one.peers)


def test_who_is_heard_is_what_the_topology_says() -> None:
    full = simulate(config())
    ring = simulate(config(exchange={"topology": "ring"}))
    frame = 8 * 10 * 2
    assert [peer.bytes_sent for peer in full.peers] == [3 * 3 * frame] * 4
    assert [peer.bytes_sent for peer in ring.peers] == [2 * 3 * frame] * 4
    assert not set(weights(full)) & set(weights(ring))


def test_edges_of_a_file_part_the_learners_into_groups_that_do_not_hear_each_other(tmp_path: Path) -> None:
    path = tmp_path / "edges"
    path.write_text("0 1\n2 3\n")
    pairs = simulate(config(exchange={"topology": str(path)}))
    path.write_text("0 1\n1 2\n2 3\n")
    line = simulate(config(exchange={"topology": str(path)}))
    assert [peer.bytes_sent for peer in pairs.peers] == [3 * 8 * 10 * 2] * 4
    assert weights(pairs)[0] != weights(line)[0], "what 1 says in later rounds has something of 2 in it"


def test_in_two_phases_nothing_is_said_in_the_first() -> None:
    settings = config(distill={"two_phase": True}, train={"steps": 5}, exchange={"broadcast_every": 2})
    summary = simulate(settings)
    assert [peer.lessons for peer in summary.peers] == [3] * 4  # steps 2, 3 and 4
    assert [peer.fresh_lessons for peer in summary.peers] == [2] * 4  # rounds 1 and 2
    odd = simulate(config(distill={"two_phase": True}, train={"steps": 6}, exchange={"broadcast_every": 2}))
    assert [peer.fresh_lessons for peer in odd.peers] == [2] * 4  # the second phase begins within round 1


def test_baselines_do_not_depend_on_how_one_would_distil() -> None:
    one, other = config(distill={"measure": "sed", "temperature": 3.0}, model={"heads": 2}), config()
    assert lone(one, balance="off") == lone(other, balance="off")
    assert simulate_pooled(one) == simulate_pooled(other)
