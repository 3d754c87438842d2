"""One step, driven as the simulation and the process drive it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edgekd.config import Config, from_mapping
from edgekd.contract import make_contract
from edgekd.data.augment import normalise
from edgekd.data.datasets import PeerData, load_peer_data
from edgekd.data.sources import Labelled
from edgekd.errors import ConfigError, LocalProtocolError
from edgekd.learning.batches import PrivateBatches
from edgekd.learning.devices import choose_device
from edgekd.learning.discriminant import SHRINKAGE_AT_END, discriminant
from edgekd.learning.learner import Learner
from edgekd.protocol.messages import Lesson
from edgekd.seeds import derive

torch.set_num_threads(1)
SMALL = {
    "data": {"data": "digits", "limit": 300},
    "train": {"steps": 6, "batch": 8, "public_batch": 8, "eval_every": 0},
}


@pytest.fixture(scope="module")
def data() -> PeerData:
    return load_peer_data(config().data, 0, seed=0)


def config(**sections: dict[str, object]) -> Config:
    return from_mapping({name: {**SMALL.get(name, {}), **sections.get(name, {})} for name in {*SMALL, *sections}})


def lesson(round: int, rows: int = 8, seed: int = 1, heads: int = 1) -> Lesson:
    generator = torch.Generator().manual_seed(seed)
    return Lesson(round, {1: torch.randn(heads, rows, 10, generator=generator).softmax(-1)})


def steps(learner: Learner, count: int, lessons: bool) -> str:
    for step in range(count):
        learner.teach(step, keep=lessons)
        learner.study()
        learner.learn(lesson(step) if lessons else None)
    return learner.weights_sha256()


def test_same_seed_gives_the_same_weights_and_another_seed_or_id_gives_others(data: PeerData) -> None:
    first = steps(Learner(data, config(), 0), 2, lessons=True)
    assert steps(Learner(data, config(), 0), 2, lessons=True) == first
    assert steps(Learner(data, config(), 1), 2, lessons=True) != first
    assert steps(Learner(data, config(train={"seed": 5}), 0), 2, lessons=True) != first


def test_without_a_lesson_the_step_is_a_lone_peers_whether_or_not_it_teaches(data: PeerData) -> None:
    teaching = steps(Learner(data, config(), 0), 3, lessons=False)
    alone = Learner(data, config(distill={"alpha": 1.0}), 0)
    for _ in range(3):
        alone.study()
        alone.learn(None)
    assert alone.weights_sha256() == teaching


def test_at_alpha_one_a_lesson_changes_nothing(data: PeerData) -> None:
    learner = Learner(data, config(distill={"alpha": 1.0}), 0)
    assert steps(learner, 2, lessons=True) == steps(Learner(data, config(), 0), 2, lessons=False)


def test_pass_kept_from_teaching_gives_the_same_gradient_as_a_new_one(data: PeerData) -> None:
    weights = []
    for keep in (True, False):
        learner = Learner(data, config(), 0)
        learner.teach(4, keep=keep)
        learner.study()
        learner.learn(lesson(4))
        weights.append(learner.weights_sha256())
    assert weights[0] == weights[1]


def test_lesson_about_another_round_than_the_one_taught_is_learned_on_its_own_images(data: PeerData) -> None:
    weights = []
    for taught in (4, 5):
        learner = Learner(data, config(), 0)
        learner.teach(taught, keep=True)
        learner.study()
        learner.learn(lesson(5))
        weights.append(learner.weights_sha256())
    assert weights[0] == weights[1]


def test_teaching_leaves_every_weight_and_statistic_alone(data: PeerData) -> None:
    learner = Learner(data, config(), 0)
    before = learner.weights_sha256()
    learner.teach(0)
    assert learner.weights_sha256() == before


def statistics(learner: Learner) -> list[torch.Tensor]:
    return [tensor.clone() for name, tensor in learner.model.state_dict().items() if "running" in name]


@pytest.mark.parametrize("keep", [True, False])
def test_running_statistics_move_by_the_pass_that_norm_from_names(data: PeerData, keep: bool) -> None:
    found = {}
    for norm_from in ("private", "public"):
        learner = Learner(data, config(train={"norm_from": norm_from}), 0)
        learner.teach(4, keep=keep)
        learner.study()
        learner.learn(lesson(4))
        found[norm_from] = statistics(learner)
    alone = Learner(data, config(), 0)
    steps(alone, 1, lessons=False)
    private, public = found["private"][0], found["public"][0]  # of the first layer: before any weight has changed
    assert torch.equal(private, statistics(alone)[0])
    assert not torch.equal(private, public)
    images = data.public.batch(4, 8)
    alone = Learner(data, config(), 0)
    backbone = alone.model.backbone
    mean = backbone.conv1(normalise(images)).mean(dim=(0, 2, 3))
    torch.testing.assert_close(public, 0.1 * mean, rtol=1e-4, atol=1e-6)


def test_private_and_public_images_can_be_one_batch_of_batch_norm(data: PeerData) -> None:
    learner = Learner(data, config(train={"norm_from": "both", "augment": "none"}), 0)
    private = learner._batches.at(0, learner.device)[0]
    images = normalise(torch.cat([private, data.public.batch(4, 8)]))
    mean = learner.model.backbone.conv1(images).mean(dim=(0, 2, 3))
    learner.study()
    learner.learn(lesson(4))
    torch.testing.assert_close(statistics(learner)[0], 0.1 * mean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm_from", ["private", "public", "both"])
def test_what_is_taught_does_not_depend_on_the_private_images_of_the_step(data: PeerData, norm_from: str) -> None:
    other = replace(data, private=replace(data.private, images=255 - data.private.images))
    taught = [Learner(each, config(train={"norm_from": norm_from}), 0).teach(4, keep=True) for each in (data, other)]
    assert torch.equal(*taught)


def test_with_one_batch_for_both_a_step_without_a_lesson_is_still_a_lone_peers(data: PeerData) -> None:
    both = Learner(data, config(train={"norm_from": "both"}), 0)
    assert steps(both, 3, lessons=False) == steps(Learner(data, config(), 0), 3, lessons=False)
    kept = Learner(data, config(train={"norm_from": "both"}), 0)
    for step in range(3):
        kept.teach(step, keep=True)
        kept.study()
        kept.learn(None)
    assert kept.weights_sha256() == both.weights_sha256()


def test_frozen_statistics_are_used_in_training_and_never_move(data: PeerData, tmp_path: Path) -> None:
    weights = tmp_path / "backbone.safetensors"
    pretrained = Learner(data, config(), 0)
    steps(pretrained, 2, lessons=False)
    save_file(
        {n[9:]: t.contiguous() for n, t in pretrained.model.state_dict().items() if n.startswith("backbone.")}, weights
    )
    learner = Learner(data, config(model={"weights": str(weights)}, train={"norm_from": "frozen"}), 0)
    before = statistics(learner)
    learner.evaluate(data.evaluation)
    steps(learner, 2, lessons=True)
    assert all(map(torch.equal, statistics(learner), before))
    taught = learner.teach(0)
    learner.model.eval()
    assert torch.equal(learner.teach(0), taught), "in training mode as in evaluation mode"
    with pytest.raises(ConfigError, match="needs pretrained weights"):
        config(model={"weights": "none"}, train={"norm_from": "frozen"})


def test_head_may_begin_as_the_discriminant_of_the_private_images(data: PeerData) -> None:
    random, begun = (Learner(data, config(model={"head_start": start}), 0) for start in ("random", "discriminant"))
    for name, tensor in begun.model.state_dict().items():
        assert torch.equal(tensor, random.model.state_dict()[name]) == ("heads.0" not in name), name
    found = [learner.evaluate(data.private) for learner in (random, begun)]
    assert found[1] is not None
    assert found[0] is not None
    assert found[1].overall > found[0].overall + 0.3


def test_with_norm_from_public_a_step_without_a_lesson_is_still_a_lone_peers(data: PeerData) -> None:
    public = Learner(data, config(train={"norm_from": "public"}), 0)
    assert steps(public, 3, lessons=False) == steps(Learner(data, config(), 0), 3, lessons=False)


def test_pass_kept_from_teaching_moves_the_statistics_as_a_new_one_does(data: PeerData) -> None:
    weights = []
    for keep in (True, False):
        learner = Learner(data, config(train={"norm_from": "public"}), 0)
        for step in range(3):
            learner.teach(step, keep=keep)
            learner.study()
            learner.learn(lesson(step))
        weights.append(learner.weights_sha256())
    assert weights[0] == weights[1]


def test_taught_predictions_are_log_probabilities_softened_by_the_temperature(data: PeerData) -> None:
    hard = Learner(data, config(distill={"temperature": 1.0}), 0).teach(0)
    soft = Learner(data, config(distill={"temperature": 4.0}), 0).teach(0)
    assert hard.shape == (1, 8, 10)
    torch.testing.assert_close(hard.exp().sum(-1), torch.ones(1, 8))
    torch.testing.assert_close(soft, torch.log_softmax(hard / 4.0, dim=-1))


def test_noise_is_on_what_is_sent_only_and_the_same_whenever_a_round_is_spoken_of(data: PeerData) -> None:
    plain, noisy = Learner(data, config(), 0), Learner(data, config(exchange={"noise_std": 2.0}), 0)
    clean, said = plain.teach(3), noisy.teach(3)
    assert torch.equal(noisy.teach(3), said)
    torch.testing.assert_close(said.exp().sum(-1), torch.ones(1, 8))
    added = (said - clean) - (said - clean).mean(dim=-1, keepdim=True)  # log-softmax takes a constant out of each row
    assert 1.5 < float(added.std()) < 2.5
    assert not torch.equal(noisy.teach(4) - plain.teach(4), said - clean)
    assert steps(noisy, 3, lessons=True) == steps(plain, 3, lessons=True), "its own learning is without"


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_learner_goes_on_from_its_state_as_if_it_had_never_stopped(data: PeerData, optimiser: str) -> None:
    settings = config(train={"optimiser": optimiser})
    whole = Learner(data, settings, 0)
    expected = steps(whole, 4, lessons=True)
    first = Learner(data, settings, 0)
    steps(first, 2, lessons=True)
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    second = Learner(data, settings, 0)
    second.restore(state, 2)
    for step in (2, 3):
        second.teach(step, keep=True)
        second.study()
        second.learn(lesson(step))
    assert second.weights_sha256() == expected


def test_head_that_has_skipped_steps_goes_on_with_its_own_number_of_updates(data: PeerData) -> None:
    settings = config(train={"optimiser": "adamw"}, model={"heads": 2, "head_layers": "16"})

    def train(learner: Learner, until: int) -> str:
        while learner.step < until:
            learner.study()
            learner.learn(lesson(learner.step, heads=2) if learner.step == 1 or learner.step > 3 else None)
        return learner.weights_sha256()

    whole, first, second = (Learner(data, settings, 0) for _ in range(3))
    expected = train(whole, 6)
    train(first, 3)
    second.restore({name: tensor.clone() for name, tensor in first.state().items()}, 3)
    assert train(second, 6) == expected


def test_scores_are_part_of_the_state_and_weigh_what_is_learned_after_it(data: PeerData) -> None:
    def train(learner: Learner, until: int) -> str:
        while learner.step < until:
            round = learner.step
            two = torch.cat([lesson(round, seed=1).teachers[1], lesson(round, seed=round).teachers[1] ** 8])
            probs = two / two.sum(-1, keepdim=True)
            learner.study()
            learner.learn(Lesson(round, {3: probs[:1], 7: probs[1:]}))
        return learner.weights_sha256()

    settings = config(distill={"combine": "agreement"})
    whole, first, second, forgetful = (Learner(data, settings, 0) for _ in range(4))
    expected = train(whole, 6)
    train(first, 3)
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    assert first.disagreements.keys() == {3, 7}
    second.restore(state, 3)
    assert second.disagreements == first.disagreements
    assert train(second, 6) == expected
    assert second.disagreements == whole.disagreements
    forgetful.restore({name: tensor for name, tensor in state.items() if not name.startswith("score.")}, 3)
    assert forgetful.disagreements == {}, "a checkpoint of before there were scores"
    assert train(forgetful, 6) != expected


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_neighbour_that_says_what_the_learner_does_is_scored_by_the_heads_that_teach(
    data: PeerData, heads: int
) -> None:
    model, train = {"heads": heads, "head_layers": "16"}, {"norm_from": "private"}
    learner = Learner(data, config(model=model, train=train), 0)
    assert learner.disagreements == {}
    echo = learner.teach(0).exp()
    stranger = torch.eye(10)[torch.arange(8) % 10].expand(heads, 8, 10)
    if heads > 1:
        echo[-1] = stranger[-1]  # the last head teaches nobody
    learner.study()
    learner.learn(Lesson(0, {1: echo, 2: stranger}))
    assert learner.disagreements[1] == pytest.approx(0, abs=1e-4)
    assert learner.disagreements[2] > 0.2


def test_lone_learner_scores_nobody(data: PeerData) -> None:
    learner = Learner(data, config(distill={"alpha": 1.0}), 0)
    learner.study()
    learner.learn(lesson(0))
    assert learner.disagreements == {}


@pytest.mark.parametrize(("made", "resumed"), [("sgd", "adamw"), ("adamw", "sgd")])
def test_state_of_the_other_optimiser_is_refused(data: PeerData, made: str, resumed: str) -> None:
    first = Learner(data, config(train={"optimiser": made}), 0)
    steps(first, 1, lessons=False)
    with pytest.raises(ConfigError, match=f"made with --optimiser {made}"):
        Learner(data, config(train={"optimiser": resumed}), 0).restore(first.state(), 1)


def test_public_set_smaller_than_a_public_batch_is_taught_whole(data: PeerData) -> None:
    learner = Learner(data, config(train={"public_batch": 1000}), 0)
    assert learner.teach(0).shape == (1, len(data.public), 10)
    assert make_contract(data.public, learner.config).public_batch == len(data.public)


def test_state_of_another_network_is_refused(data: PeerData) -> None:
    learner = Learner(data, config(), 0)
    with pytest.raises(ConfigError, match="another network"):
        learner.restore({"model.heads.0.weight": torch.zeros(3, 3)}, 1)


def test_small_last_batch_is_filled_up_from_the_next_epoch(data: PeerData) -> None:
    few = replace(data.private, images=data.private.images[:5], labels=data.private.labels[:5])
    batches = PrivateBatches(few, 8, lambda images: images, lambda *names: derive(0, *names))
    counts = torch.zeros(5, dtype=torch.int64)
    for step in range(5):  # 5 batches of 8 out of 5 images: 8 epochs
        images, _ = batches.at(step, torch.device("cpu"))
        assert images.shape == (8, 3, 32, 32)
        matches = (images[:, None] == few.images[None]).flatten(2).all(-1)
        counts += matches.sum(0)
    assert counts.tolist() == [8] * 5


def test_earlier_state_is_evaluated_as_it_was_then_and_the_learner_goes_on_unchanged(data: PeerData) -> None:
    settings = config(distill={"two_phase": True}, model={"heads": 2})

    def train(learner: Learner, count: int) -> None:
        for _ in range(count):
            learner.study()
            learner.learn(None)

    learner, same = Learner(data, settings, 0), Learner(data, settings, 0)
    train(learner, 2)  # of the first phase, in which head 0 answers
    state, then = {name: tensor.clone() for name, tensor in learner.state().items()}, learner.evaluate(data.evaluation)
    assert then is not None
    train(learner, 2)
    found = learner.evaluate_as(state, 2, data.evaluation)
    assert (found, found and found.confusion) == (then, then.confusion)
    assert learner.evaluate_as(state, 2, data.evaluation, stop=lambda: True) is None
    train(learner, 1)
    train(same, 5)
    assert learner.weights_sha256() == same.weights_sha256()


def some(data: PeerData, places: slice) -> Labelled:
    return Labelled(images=data.private.images[places], labels=data.private.labels[places])


def test_learner_whose_private_images_change_goes_on_as_one_that_was_restarted_with_them(data: PeerData) -> None:
    few, more = some(data, slice(0, 40)), some(data, slice(20, None))
    running = Learner(replace(data, private=few), config(), 0)
    steps(running, 2, lessons=True)
    state = running.state()
    restarted = Learner(replace(data, private=more), config(), 0)
    restarted.restore({name: tensor.clone() for name, tensor in state.items()}, 2)
    running.train_on(more)
    assert steps(running, 3, lessons=True) == steps(restarted, 3, lessons=True)
    assert running.evaluate(data.evaluation) == restarted.evaluate(data.evaluation), "its class frequencies, too"


def test_learner_that_is_given_the_images_that_it_has_changes_nothing(data: PeerData) -> None:
    learner = Learner(data, config(), 0)
    for _ in range(3):
        learner.train_on(some(data, slice(None)))
        steps(learner, 1, lessons=False)
    other = Learner(data, config(), 0)
    for _ in range(3):
        weights = steps(other, 1, lessons=False)
    assert learner.weights_sha256() == weights


def test_class_frequencies_of_the_balance_follow_the_private_images(data: PeerData) -> None:
    one_class = data.private.labels == data.private.labels[0]
    learner = Learner(data, config(), 0)
    before = learner.evaluate(data.evaluation)
    learner.train_on(Labelled(images=data.private.images[one_class], labels=data.private.labels[one_class]))
    after = learner.evaluate(data.evaluation)
    assert before is not None
    assert after is not None
    # With the prior of one class a network that knows nothing says this class, which is all that the shard has.
    assert before.own < 0.9 < after.own


def test_private_images_change_between_steps_only(data: PeerData) -> None:
    learner = Learner(data, config(), 0)
    learner.study()
    with pytest.raises(LocalProtocolError):
        learner.train_on(data.private)


def heads_that_change(learner: Learner, lesson: Lesson | None) -> list[int]:
    """Which heads one step changes; weight decay is off in `HEADS`."""
    before = [[p.clone() for p in head.parameters()] for head in learner.model.heads]  # type: ignore[union-attr,operator]
    learner.study()
    learner.learn(lesson)
    after = [list(head.parameters()) for head in learner.model.heads]  # type: ignore[union-attr,operator]
    return [i for i in range(len(before)) if not all(map(torch.equal, before[i], after[i]))]


PLAIN: dict[str, object] = {"weight_decay": 0.0, "schedule": "constant"}


def test_chain_of_heads_without_a_lesson_trains_the_first_alone_and_with_one_all(data: PeerData) -> None:
    settings = config(distill={"alpha": 0.0}, model={"heads": 3, "head_layers": "16"}, train=PLAIN)
    learner = Learner(data, settings, 0)
    assert learner.teach(0).shape == (3, 8, 10)
    assert heads_that_change(learner, None) == [0]
    assert heads_that_change(learner, lesson(0, heads=3)) == [0, 1, 2]
    accuracy = learner.evaluate(data.evaluation)
    assert accuracy is not None
    assert len(accuracy.heads) == 3
    assert accuracy.overall == accuracy.heads[2]


def test_in_two_phases_the_first_is_alone_and_a_frozen_copy_teaches_in_the_second(data: PeerData) -> None:
    settings = config(distill={"two_phase": True}, model={"heads": 2, "head_layers": "16"}, train=PLAIN)
    learner = Learner(data, settings, 0)
    alone = Learner(data, config(distill={"alpha": 1.0}, train={**PLAIN, "steps": 3}), 0)
    for step in range(3):
        assert learner.is_alone
        assert heads_that_change(learner, lesson(step, heads=2)) == [0], "it has no lessons yet"
        alone.study()
        alone.learn(None)
    assert not learner.is_alone
    assert torch.equal(learner.teach(0)[0], alone.teach(0)[0]), "the first phase is a lone peer's whole training"
    said = learner.teach(5)
    assert heads_that_change(learner, lesson(3, heads=2)) == [1]
    assert torch.equal(learner.teach(5), said)


@pytest.mark.parametrize("heads", [1, 2])
def test_in_two_phases_labels_can_have_no_part_in_the_second(data: PeerData, heads: int) -> None:
    settings = config(distill={"two_phase": True, "alpha": 0.0}, model={"heads": heads}, train={**PLAIN, "steps": 2})
    learner = Learner(data, settings, 0)
    assert heads_that_change(learner, None) == [0]
    assert heads_that_change(learner, lesson(1, heads=heads)) == [heads - 1]


@pytest.mark.parametrize("stopped", [2, 3, 4])
def test_learner_in_two_phases_goes_on_from_its_state_as_if_it_had_never_stopped(data: PeerData, stopped: int) -> None:
    settings = config(distill={"two_phase": True}, model={"heads": 2})

    def train(learner: Learner, until: int) -> None:
        while learner.step < until:
            if not learner.is_alone:
                learner.teach(learner.step, keep=True)
            learner.study()
            learner.learn(lesson(learner.step, heads=2))

    whole, first, second = (Learner(data, settings, 0) for _ in range(3))
    train(whole, 6)
    train(first, stopped)
    second.restore({name: tensor.clone() for name, tensor in first.state().items()}, stopped)
    train(second, 6)
    assert second.weights_sha256() == whole.weights_sha256()
    assert torch.equal(second.teach(9), whole.teach(9))


@pytest.mark.parametrize(
    ("made", "resumed", "step"),
    [
        ({"two_phase": True}, {"two_phase": False}, 4),
        ({"two_phase": False}, {"two_phase": True}, 4),
        ({"two_phase": True}, {"two_phase": True, "steps": 4}, 2),
    ],
)
def test_checkpoint_of_the_other_phase_is_refused(
    data: PeerData, made: dict[str, object], resumed: dict[str, object], step: int
) -> None:
    def of(settings: dict[str, object]) -> Learner:
        train = {**PLAIN, "steps": settings.get("steps", 6)}
        return Learner(data, config(distill={"two_phase": settings["two_phase"]}, train=train), 0)

    first = of(made)
    while first.step < step:
        first.study()
        first.learn(None)
    with pytest.raises(ConfigError, match="resume with those that it was made with"):
        of(resumed).restore(first.state(), step)


def test_in_two_phases_the_first_head_answers_until_the_last_has_begun_to_learn(data: PeerData) -> None:
    settings = config(distill={"two_phase": True}, model={"heads": 2}, train={**PLAIN, "steps": 4})
    learner = Learner(data, settings, 0)
    for step, answers in ((1, 0), (2, 0), (3, 1)):
        learner.study()
        learner.learn(lesson(step, heads=2))
        assert learner.step == step
        accuracy = learner.evaluate(data.evaluation)
        assert accuracy is not None
        assert accuracy.overall == accuracy.heads[answers]


def test_learn_without_study_is_a_bug(data: PeerData) -> None:
    with pytest.raises(LocalProtocolError):
        Learner(data, config(), 0).learn(None)


def test_stopped_evaluation_has_no_result(data: PeerData) -> None:
    learner = Learner(data, config(), 0)
    assert learner.evaluate(data.evaluation, stop=lambda: True) is None
    accuracy = learner.evaluate(data.evaluation)
    assert accuracy is not None
    assert 0 <= accuracy.overall <= 1
    assert learner.model.training


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", ["resnet18", "mobilenet_v3_small"])
def test_other_backbones_and_precisions_learn(data: PeerData, model: str, precision: str) -> None:
    learner = Learner(data, config(model={"model": model}, train={"precision": precision}), 0)
    before = learner.weights_sha256()
    assert steps(learner, 1, lessons=True) != before


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "nonsense"])
def test_device_that_is_not_there_is_a_clear_error(name: str) -> None:
    with pytest.raises(ConfigError, match="device"):
        choose_device(name)


def finished(data: PeerData, lessons: int = 3, **sections: dict[str, object]) -> Learner:
    sections.setdefault("train", {"steps": 3})
    learner = Learner(data, config(**sections), 0)
    for step in range(learner.config.steps):
        learner.study()
        learner.learn(lesson(step) if step < lessons else None)
    return learner


def test_head_ends_half_way_to_the_discriminant_of_the_private_and_of_the_public_images(data: PeerData) -> None:
    settings: dict[str, dict[str, object]] = {"train": {"steps": 3, "norm_from": "private"}}
    plain, ended = (finished(data, model={"head_end": end}, **settings) for end in ("trained", "discriminant"))
    for one, other in zip(plain.model.backbone.parameters(), ended.model.backbone.parameters(), strict=True):
        assert torch.equal(one, other)
    before, after = (learner.model.heads[0].requires_grad_(False) for learner in (plain, ended))
    said, rows = ended.state()["said"], sorted({n for r in range(3) for n in data.public.numbers(r, 8).tolist()})
    assert said.sum(dim=1).nonzero().flatten().tolist() == rows
    images = (data.private.images, data.public.images[rows])
    ended.model.eval()
    with torch.no_grad():
        own, public = (ended.model.backbone(normalise(each)) for each in images)
    targets = torch.cat([torch.nn.functional.one_hot(data.private.labels, 10).float(), said[rows]])
    weights = torch.cat([torch.full((len(own),), 1 / len(own)), torch.full((len(rows),), 1 / len(rows))])
    weight, bias = discriminant(torch.cat([own, public]), targets, SHRINKAGE_AT_END, weights)
    added, features = 2 * after.weight - before.weight, torch.cat([own, public])
    scale = (added / weight).median()
    torch.testing.assert_close(added, scale * weight, rtol=1e-2, atol=2e-3 * float(added.abs().max()))
    torch.testing.assert_close(2 * after.bias - before.bias, scale * bias, rtol=1e-2, atol=1e-3)
    loud = [
        float((features @ w.T + b).std()) for w, b in ((before.weight, before.bias), (scale * weight, scale * bias))
    ]
    assert loud[0] == pytest.approx(loud[1], rel=1e-2)


@pytest.mark.parametrize("norm_from", ["private", "public", "both"])
def test_statistics_are_measured_anew_at_the_end(data: PeerData, norm_from: str) -> None:
    few = replace(data, private=replace(data.private, images=data.private.images[:8], labels=data.private.labels[:8]))
    train: dict[str, object] = {"steps": 1, "norm_from": norm_from}
    learner = finished(few, lessons=1, train=train, model={"head_end": "discriminant"})
    images = {"private": few.private.images, "public": data.public.images[data.public.numbers(0, 8)]}
    mixed = torch.cat(list(images.values()))
    with torch.no_grad():
        mean = learner.model.backbone.conv1(normalise(mixed)).mean(dim=(0, 2, 3))
    torch.testing.assert_close(statistics(learner)[0], mean, rtol=1e-4, atol=1e-5)


def test_head_ends_as_it_was_trained_if_nobody_taught_or_there_is_no_end(data: PeerData) -> None:
    alone, trained = (finished(data, lessons=0, model={"head_end": end}) for end in ("discriminant", "trained"))
    assert alone.weights_sha256() == trained.weights_sha256()
    for sections in ({"model": {"heads": 2}}, {"distill": {"two_phase": True}}, {"train": {"steps": 0}}):
        assert config(**sections).head_end == "trained"
        with pytest.raises(ConfigError, match="head_end discriminant goes with one head"):
            config(**{**sections, "model": {**sections.get("model", {}), "head_end": "discriminant"}})


def test_what_neighbours_said_is_kept_without_the_temperature_and_the_newest_counts(data: PeerData) -> None:
    learner = Learner(data, config(distill={"temperature": 2.0}, model={"head_end": "discriminant"}), 0)
    for each in (lesson(0, seed=1), lesson(0, seed=2)):
        learner.study()
        learner.learn(each)
    (probs,) = each.teachers.values()
    sharp = probs[0] ** 2
    torch.testing.assert_close(
        learner.state()["said"][data.public.numbers(0, 8)], sharp / sharp.sum(dim=1, keepdim=True)
    )


def test_learner_that_has_diverged_keeps_its_head(data: PeerData) -> None:
    learner = Learner(data, config(train={"steps": 1}, model={"head_end": "discriminant"}), 0)
    with torch.no_grad():
        next(learner.model.backbone.parameters()).fill_(torch.nan)
    before = learner.model.heads[0].weight.shape
    learner.study()
    learner.learn(lesson(0))
    assert learner.model.heads[0].weight.shape == before
    assert not learner.model.heads[0].weight.isfinite().all()


def test_who_is_stopped_while_the_head_ends_keeps_the_one_that_was_trained(data: PeerData) -> None:
    model: dict[str, object] = {"head_end": "discriminant"}
    asked = {}
    for patience in (0, 1):
        learner = Learner(data, config(train={"steps": 1}, model=model), 0)
        answers = iter([False] * patience)
        learner.study()
        learner.learn(lesson(0), stop=lambda answers=answers: next(answers, True))  # type: ignore[misc]
        asked[patience] = learner.model.heads[0].weight.clone()
        assert learner.step == 1
        accuracy = learner.evaluate(data.evaluation)
        assert accuracy is not None
    trained = finished(data, lessons=1, train={"steps": 1}, model={"head_end": "trained"}).model.heads[0].weight
    whole = finished(data, lessons=1, train={"steps": 1}, model=model).model.heads[0].weight
    assert all(torch.equal(weight, trained) for weight in asked.values())
    assert not torch.equal(whole, trained)


def test_end_looks_at_a_bounded_number_of_images(data: PeerData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.learning.discriminant.MOST_OF_A_KIND", 10)
    seen: list[int] = []
    learner = Learner(data, config(train={"steps": 1}, model={"head_end": "discriminant"}), 0)
    learner.study()
    learner.model.backbone.register_forward_hook(
        lambda _, images, __: seen.append(len(images[0])) if not learner.model.backbone.training else None
    )
    learner.learn(lesson(0))
    assert 2 <= sum(seen) <= 2 * 10
