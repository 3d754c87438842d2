"""Learners in one process: however many compute at once, and whoever hears whom."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from edgekd.config import Config, from_mapping
from edgekd.data.augment import normalise
from edgekd.data.datasets import load_group
from edgekd.errors import DivergedError
from edgekd.files.summary import Summary
from edgekd.learning.learner import Learner
from edgekd.learning.optimiser import learning_rate
from edgekd.losses.distillation import distil, label_loss
from edgekd.protocol.exchange import Exchange
from edgekd.protocol.members import Member
from edgekd.protocol.messages import Lesson
from edgekd.simulation.box import StepReport
from edgekd.simulation.groups import lone, simulate, simulate_pooled
from edgekd.simulation.lockstep import Lockstep

torch.set_num_threads(1)


def config(**sections: dict[str, object]) -> Config:
    small = {
        "data": {"data": "digits", "limit": 300, "clients": 4},
        "model": {"model": "mobilenet_v3_small"},
        "train": {"steps": 3, "batch": 8, "public_batch": 8, "eval_every": 0},
    }
    tables = {name: {**small.get(name, {}), **sections.get(name, {})} for name in {*small, *sections}}
    return from_mapping({name: {k: v for k, v in table.items() if v is not None} for name, table in tables.items()})


def weights(summary: Summary) -> list[str]:
    return [peer.weights_sha256 for peer in summary.peers]


@pytest.mark.parametrize("model", ["resnet18", "mobilenet_v3_small"])  # the second draws random numbers in every pass
def test_result_does_not_depend_on_how_many_learners_compute_at_once(model: str) -> None:
    settings = config(model={"model": model, "heads": 2}, distill={"alpha": 0.0})
    reports: list[list[StepReport]] = [[], []]
    one = simulate(settings, reports[0].append)
    four = simulate(settings, reports[1].append, jobs=4)
    assert weights(one) == weights(four)
    assert one.peers == four.peers
    assert one.seconds > 0
    assert [(r.id, r.step, float(r.losses.labels)) for r in reports[0]] == [
        (r.id, r.step, float(r.losses.labels)) for r in reports[1]
    ]
    assert len(set(weights(one))) == 4
    assert all(len(peer.head_accuracies) == 2 for peer in one.peers)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_group_that_diverges_is_an_error_and_no_accuracy(alpha: float) -> None:
    wild = config(train={"lr": 1e30, "schedule": "constant"}, distill={"alpha": alpha})
    with pytest.raises(DivergedError, match=r"diverged by step \d: .* use a smaller --lr"):
        simulate(wild)


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


def test_liars_are_the_last_clients_learn_as_all_do_and_count_in_no_mean() -> None:
    honest = simulate(config())
    lied_to = simulate(config(exchange={"liars": 1, "lie": "random"}))
    assert [peer.liar for peer in lied_to.peers] == [False, False, False, True]
    assert lied_to.mean_accuracy == pytest.approx(sum(peer.accuracy or 0 for peer in lied_to.peers[:3]) / 3)
    assert not set(weights(honest)[:3]) & set(weights(lied_to)[:3])
    assert [peer.bytes_sent for peer in honest.peers] == [peer.bytes_sent for peer in lied_to.peers]
    assert simulate(config(exchange={"liars": 1, "lie": "random"})).peers == lied_to.peers
    first = simulate(config(train={"steps": 1}, exchange={"liars": 1, "lie": "flip"}))
    assert weights(first)[3] == weights(simulate(config(train={"steps": 1})))[3], "it has heard the truth"


def test_liar_that_is_honest_at_first_harms_nobody_until_then() -> None:
    lying = {"liars": 1, "lie": "flip"}
    honest, late = simulate(config()), simulate(config(exchange={**lying, "lie_from": 2}))
    steps = config().train.steps
    assert steps > 2
    assert not set(weights(honest)[:3]) & set(weights(late)[:3])
    assert weights(simulate(config(exchange={**lying, "lie_from": steps}))) == weights(honest)
    assert weights(simulate(config(exchange={**lying, "lie_from": 0}))) == weights(simulate(config(exchange=lying)))


def test_no_liars_is_as_if_there_were_no_such_thing() -> None:
    assert simulate(config(exchange={"liars": 0, "lie": "flip"})).peers == simulate(config()).peers


def linear(classes: int) -> nn.Module:
    """The fastest learner of digits of 8 pixels there is: a test can train several groups of them."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, classes))


def test_agreement_holds_where_one_of_two_neighbours_lies_and_the_average_does_not() -> None:
    found = {}
    for how, liars in (("average", 0), ("average", 1), ("agreement", 1)):
        settings = config(
            data={"limit": None, "size": 8, "clients": 3},
            model={"model": f"{__name__}:linear"},
            distill={"combine": how},
            train={"steps": 60, "batch": 32, "public_batch": 32, "lr": 0.01, "augment": "none", "seed": 1},
            exchange={"liars": liars, "lie": "flip"},
        )
        honest = [peer.accuracy or 0.0 for peer in simulate(settings).peers][:2]
        found[how, liars] = sum(honest) / 2
    assert found["average", 1] < found["average", 0] - 0.2, "the lie does harm"
    assert found["agreement", 1] > found["average", 1] + 0.2
    assert found["agreement", 1] > found["average", 0] - 0.1


def test_baselines_do_not_depend_on_how_one_would_distil() -> None:
    one, other = config(distill={"measure": "sed", "temperature": 3.0}, model={"heads": 2}), config()
    assert lone(one, balance="off") == lone(other, balance="off")
    assert simulate_pooled(one) == simulate_pooled(other)


@pytest.mark.parametrize("broadcast_every", [1, 4])
@pytest.mark.parametrize("lie", ["flip", "constant"])
def test_liar_that_speaks_of_rounds_of_its_own_four_times_a_step_takes_few_lessons(
    monkeypatch: pytest.MonkeyPatch, broadcast_every: int, lie: str
) -> None:
    lessons: list[tuple[int, tuple[int, ...]]] = []
    asked = Exchange.lesson

    def lesson(self: Exchange, step: int, group: Sequence[Member]) -> Lesson | None:
        found = asked(self, step, group)
        if found is not None and 3 in {member.id for member in group}:  # an honest peer's: the liar is its neighbour
            lessons.append((step, tuple(found.teachers)))
        return found

    monkeypatch.setattr(Exchange, "lesson", lesson)
    settings = config(
        data={"limit": None, "size": 8, "clients": 4},
        model={"model": f"{__name__}:linear"},
        train={"steps": 60, "batch": 32, "public_batch": 32, "lr": 0.01, "augment": "none", "seed": 11},
        exchange={"liars": 1, "lie": lie, "broadcast_every": broadcast_every},
        simulation={"asynchronous": True, "liar_frames": 4},
    )
    found = simulate(settings)
    settled = [teachers for step, teachers in lessons if step >= 10]
    assert len(settled) >= 3 * 50
    assert sum(teachers == (3,) for teachers in settled) < len(settled) / 10
    honest = simulate(replace(settings, exchange=replace(settings.exchange, liars=None, lie=None)))
    reached = [sum(peer.accuracy or 0 for peer in summary.peers[:3]) / 3 for summary in (found, honest)]
    assert reached[0] > reached[1] - 0.05


def test_distilling_on_private_images_is_about_the_private_batch_and_leaves_the_public_images_alone() -> None:
    on_private = {"simulation": {"on_private": True}, "train": {"norm_from": "private"}}
    found = simulate(config(**on_private))
    assert [peer.bytes_sent for peer in found.peers] == [0] * 4
    assert weights(found) == weights(simulate(config(**on_private, data={"public_augment": "crop"})))
    assert weights(found) == weights(simulate(config(**on_private), jobs=2))
    assert not set(weights(found)) & set(weights(simulate(config())))
    assert not set(weights(found)) & set(weights(simulate(config(distill={"alpha": 1.0}))))


def test_step_on_private_images_is_that_of_its_two_losses() -> None:
    """Against the same step written out: labels and neighbours on one pass through the network."""
    settings = config(
        data={"clients": 2},
        model={"model": "resnet18"},
        distill={"combine": "geometric"},
        simulation={"on_private": True},
        train={"steps": 1, "norm_from": "private"},
    )
    group = dict(enumerate(load_group(settings.data, seed=settings.data_seed)))
    lockstep = Lockstep(group, settings)
    first, second = (Learner(group[id], settings, id) for id in (0, 1))
    images, labels = first._batches.at(0, first.device)
    with torch.no_grad():
        taught = second.model(normalise(images)).div(settings.distill.temperature).softmax(-1)
    logits = first.model(normalise(images))
    ours = label_loss(logits[0], labels, first._prior)
    theirs = distil([taught[0]], logits[0], settings.distill)
    ((1 - 0.5) * ours + 0.5 * settings.kd_weight * theirs).backward()
    done = next(lockstep.step(0))
    assert done.losses.distil is not None
    assert float(done.losses.distil) == pytest.approx(float(theirs.detach()), rel=1e-4)
    assert float(done.losses.labels) == pytest.approx(float(ours.detach()), rel=1e-4)
    rate = learning_rate(settings.train.schedule, settings.peak_lr, 0, settings.steps)
    for before, after in zip(first.model.parameters(), lockstep.learners[0].model.parameters(), strict=True):
        assert before.grad is not None
        moved = before - rate * (before.grad + settings.weight_decay * before)
        torch.testing.assert_close(after, moved, rtol=1e-3, atol=1e-6)
