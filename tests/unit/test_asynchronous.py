"""Peers under a virtual clock: what arrives when, who learns from whom, and that nothing else decides the result."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from edgekd.cli import cli
from edgekd.config import Config, from_mapping
from edgekd.errors import ConfigError
from edgekd.files.summary import PeerSummary, Summary
from edgekd.simulation.box import StepReport
from edgekd.simulation.events import TICKS, Queue
from edgekd.simulation.groups import simulate
from edgekd.simulation.links import Links, Sent
from edgekd.simulation.stand_in import MODEL
from edgekd.simulation.station import TAUGHT

torch.set_num_threads(1)

FRAME = 32 * 10 * 2  # bytes of a frame of stand-ins


def config(*, learn: bool = False, **sections: dict[str, Any]) -> Config:
    small: dict[str, dict[str, Any]] = {
        "data": {"data": "digits", "limit": 300},
        "model": {"model": "mobilenet_v3_small" if learn else MODEL},
        "train": {"steps": 4 if learn else 40, "eval_every": 0, **({"batch": 8, "public_batch": 8} if learn else {})},
        "simulation": {"asynchronous": True},
    }
    return from_mapping({name: {**small.get(name, {}), **sections.get(name, {})} for name in {*small, *sections}})


def peers(**sections: dict[str, Any]) -> tuple[PeerSummary, ...]:
    return simulate(config(**sections)).peers


def share(peer: PeerSummary, *, fresh: bool = False) -> float:
    return (peer.fresh_lessons if fresh else peer.lessons) / peer.steps


def untimed(summary: Summary) -> Summary:
    """The summary without the time that the run took."""
    return replace(summary, seconds=0.0)


# -- the same settings give the same result ----------------------------------------------------------------------------


def test_result_does_not_depend_on_how_many_learners_compute_at_once() -> None:
    settings = config(learn=True, simulation={"step_times": "1:1.5:3", "delay": 0.3, "down": "1:1-3:fresh"})
    reports: list[list[StepReport]] = [[], []]
    one, three = (untimed(simulate(settings, reports[i].append, jobs=jobs)) for i, jobs in enumerate((1, 3)))
    assert one == three
    assert [(r.id, r.step) for r in reports[0]] == [(r.id, r.step) for r in reports[1]]
    assert len({peer.weights_sha256 for peer in one.peers}) == 3


def test_seed_decides_the_offsets_and_the_jitter() -> None:
    settings = {"step_times": "1:1.5:3", "jitter": 0.5, "loss": 0.1, "delay": 0.5}
    found = [untimed(simulate(config(train={"seed": seed}, simulation=settings))) for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_speaking_to_nobody_gives_the_weights_of_a_lone_learner_in_lockstep() -> None:
    alone = {"data": {"clients": 1}}
    lockstep = simulate(config(learn=True, simulation={"asynchronous": False}, **alone))
    virtual = simulate(config(learn=True, **alone))
    assert [p.weights_sha256 for p in virtual.peers] == [p.weights_sha256 for p in lockstep.peers]


# -- what arrives ------------------------------------------------------------------------------------------------------


def test_without_delay_everybody_has_a_lesson_and_nothing_is_replaced() -> None:
    for peer in peers(simulation={"step_times": "1:1.5:3"}):
        assert share(peer) >= 0.95
        assert share(peer, fresh=True) >= 0.5
        assert peer.replaced == 0
        assert peer.ages is not None
        assert len(peer.ages) == peer.lessons


def test_lessons_are_older_where_messages_take_longer() -> None:
    def median(delay: float) -> int:
        found = [age for peer in peers(simulation={"delay": delay, "step_jitter": 0.3}) for age in peer.ages or ()]
        return sorted(found)[len(found) // 2]

    assert median(0.0) == 0
    late = peers(simulation={"delay": 8.0}, train={"steps": 100})
    assert all(share(peer) < 1.0 for peer in late), "nothing has arrived in the first steps"
    assert all(peer.replaced == 0 for peer in late), "many frames are on their way at once"
    assert all(share(peer, fresh=True) >= 0.8 for peer in late), "as many as there are steps, but for the first ones"


def test_slow_uplink_carries_the_newest_predictions_and_no_queue_of_old_ones() -> None:
    slow = peers(simulation={"bandwidth": FRAME / 2}, train={"steps": 60})  # two neighbours: a frame to each in 4 steps
    for peer in slow:
        assert peer.bytes_sent / FRAME == pytest.approx(60 / 2, rel=0.2)
        assert peer.bytes_sent / FRAME + peer.replaced >= 2 * 60 - 2
        assert max(peer.ages or (0,)) <= 8


def test_loss_delays_and_loses_nothing() -> None:
    clean, lossy = (peers(simulation={"delay": 0.1, "loss": loss, "step_seconds": 0.5}) for loss in (0.0, 0.4))
    for a, b in zip(clean, lossy, strict=True):
        assert b.bytes_received + b.replaced * FRAME > 0.5 * a.bytes_received
        assert sum(b.ages or ()) >= sum(a.ages or ())


def test_frames_of_one_link_stay_in_their_order_whatever_the_jitter() -> None:
    found = peers(simulation={"jitter": 5.0, "delay": 0.1})
    assert all(peer.lessons > 0 for peer in found)  # a frame that overtakes would make older ones ignored
    assert all(peer.bytes_received > 0 for peer in found)


# -- boxes that come and go --------------------------------------------------------------------------------------------


def test_box_that_comes_back_with_its_checkpoint_does_the_rest_of_its_steps() -> None:
    done: list[tuple[int, int]] = []
    summary = simulate(
        config(simulation={"down": "1:10-30:checkpoint"}), lambda report: done.append((report.id, report.step))
    )
    assert [peer.steps for peer in summary.peers] == [40, 40, 40]
    assert [step for id, step in done if id == 1] == list(range(1, 41)), "no step is done twice"


@pytest.mark.parametrize("how", ["checkpoint", "fresh"])
def test_counts_agree_after_a_box_was_off(how: str) -> None:
    for peer in peers(simulation={"down": f"1:10-15:{how}"}):
        assert peer.ages is not None
        assert len(peer.ages) == peer.lessons
    fresh = peers(simulation={"down": "1:30-35:fresh"})[1]
    assert fresh.bytes_sent >= 40 * FRAME * 2, "of its second start, which did all of its steps"
    assert fresh.bytes_sent < 60 * FRAME * 2


def test_box_that_comes_back_fresh_begins_anew() -> None:
    done: list[tuple[int, int]] = []
    simulate(config(simulation={"down": "1:10-30:fresh"}), lambda report: done.append((report.id, report.step)))
    steps = [step for id, step in done if id == 1]
    assert steps.count(1) == 2
    assert steps[-1] == 40


def test_box_that_never_comes_back_is_no_longer_waited_for() -> None:
    summary = simulate(config(simulation={"down": "2:10-"}))
    assert [peer.steps for peer in summary.peers[:2]] == [40, 40]
    assert summary.peers[2].steps < 12


@pytest.mark.parametrize("begins", ["0.00001", "0.00004", "0"])
def test_box_that_is_off_from_the_very_beginning_starts_once(begins: str) -> None:
    done: list[int] = []
    summary = simulate(
        config(simulation={"down": f"0:{begins}-5:fresh"}, train={"steps": 5}),
        lambda report: done.append(report.step) if report.id == 0 else None,
    )
    assert summary.peers[0].steps == 5
    assert done == [1, 2, 3, 4, 5]


def test_waiting_and_lingering_peers_plan_no_more_the_longer_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    longest, at = 0, Queue.at

    def counted(self: Queue, *event: Any) -> None:
        nonlocal longest
        at(self, *event)
        longest = max(longest, len(self._events))

    monkeypatch.setattr(Queue, "at", counted)
    peers(simulation={"step_times": "1:1:300"}, train={"steps": 3}, exchange={"linger": 10_000.0})
    assert longest < 60


def test_newcomer_hears_the_newest_predictions_at_once() -> None:
    late = peers(simulation={"down": "2:0-20:fresh"}, exchange={"wait_for": 1})
    assert [peer.steps for peer in late] == [40, 40, 40]
    assert share(late[2]) >= 0.95


def test_who_is_done_teaches_the_slow_ones_on() -> None:
    slowest = peers(simulation={"step_times": "1:1:8"}, train={"steps": 30})[2]
    assert share(slowest, fresh=True) >= 0.9
    deserted = peers(simulation={"step_times": "1:1:8"}, train={"steps": 30}, exchange={"linger": 0.0, "max_age": 4})[2]
    assert share(deserted) < 0.5


def test_who_is_done_takes_a_teaching_pass_to_answer_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    published: dict[int, dict[int, int]] = {0: {}, 1: {}}  # by sender: the tick of each round
    publish = Links.publish

    def note(links: Links, sender: int, sent: Sent) -> int:
        published[sender][sent.frame.round] = links._queue.now
        return publish(links, sender, sent)

    monkeypatch.setattr(Links, "publish", note)
    peers(data={"clients": 2}, train={"steps": 20}, simulation={"step_times": "1:3", "step_jitter": 0.0})
    answered = [round for round in published[0] if round >= 20]  # its own steps were about those before
    assert len(answered) > 10
    waits = {published[0][round] - published[1][round] for round in answered}
    assert waits == {int(TAUGHT * TICKS)}


# -- liars -------------------------------------------------------------------------------------------------------------


def test_liars_learn_as_all_do_and_may_speak_of_rounds_of_their_own() -> None:
    found = peers(
        data={"clients": 4}, exchange={"liars": 1, "lie": "flip"}, simulation={"liar_frames": 4}, train={"steps": 20}
    )
    assert [peer.liar for peer in found] == [False, False, False, True]
    assert found[3].bytes_sent > 3 * found[0].bytes_sent


def test_lies_within_a_step_do_not_depend_on_how_many_learners_compute_at_once() -> None:
    lying = {"exchange": {"liars": 1, "lie": "flip"}, "simulation": {"liar_frames": 4}}
    one, three = (untimed(simulate(config(learn=True, **lying), jobs=jobs)) for jobs in (1, 3))
    assert one == three


# -- fleets ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [3, 8])
def test_in_a_fleet_of_many_nobody_starves(degree: int) -> None:
    found = peers(
        data={"clients": 120},
        exchange={"topology": f"regular:{degree}"},
        simulation={"step_times": "1:1.5:3", "delay": 0.2},
        train={"steps": 20},
    )
    assert len(found) == 120
    assert min(map(share, found)) >= 0.9
    assert min(share(peer, fresh=True) for peer in found) >= 0.5


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"step_times": "1:0"}, "step_times must be positive numbers"),
        ({"step_times": "fast"}, "step_times must be positive numbers"),
        ({"down": "1"}, "down must be such as"),
        ({"down": "1:5-3:fresh"}, "must end after it begins"),
        ({"down": "9:1-2:fresh"}, "down names box 9"),
        ({"down": "1:1-5:fresh,1:4-6:fresh"}, "must not overlap"),
        ({"step_times": "1:1e9"}, "step_times must be within 1000 times the first one"),
        ({"loss": 1.0}, r"loss must be from 0 to 0\.9"),
        ({"delay": -1.0}, "delay must be from 0 to"),
        ({"delay": 1e305}, "delay must be from 0 to"),
        ({"bandwidth": 0.0}, "bandwidth must be from 1 to"),
        ({"step_seconds": 20001.0}, "step_seconds must be from 0.001 to 10000"),
        ({"liar_frames": 10**8}, "liar_frames must be from 1 to 1000"),
        ({"asynchronous": False, "delay": 1.0}, "delay is for an asynchronous simulation: add --async"),
    ],
)
def test_wrong_setting_of_the_virtual_clock_is_a_clear_error(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        config(simulation=settings)


def test_lockstep_and_asynchronous_exclude_one_another() -> None:
    with pytest.raises(ConfigError, match="async and sync exclude one another"):
        config(exchange={"sync": 5.0})


def test_stand_ins_are_for_the_asynchronous_simulation_alone() -> None:
    with pytest.raises(ConfigError, match="add --async"):
        simulate(config(simulation={"asynchronous": False}))


def test_summary_comes_back_from_json_with_its_ages() -> None:
    summary = simulate(config())
    again = Summary.from_mapping(summary.to_mapping())
    assert again.peers == summary.peers
    assert "ages" not in simulate(config(learn=True, simulation={"asynchronous": False})).to_mapping()["peers"][0]


# -- the command line --------------------------------------------------------------------------------------------------


def edgekd(*arguments: object) -> Any:
    result = CliRunner().invoke(cli, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result


def test_config_that_a_simulation_writes_repeats_it(tmp_path: Path) -> None:
    clock = ["--async", "--step-times", "1:1.5:3", "--delay", 0.5, "--down", "1:5-10:fresh,2:3-4:checkpoint"]
    first = edgekd("simulate", *clock, "--model", MODEL, "--steps", 20, "--out", tmp_path / "a", "--json")
    again = edgekd("simulate", "--config", tmp_path / "a" / "config.toml", "--out", tmp_path / "b", "--json")
    found = [json.loads(result.stdout)["peers"] for result in (first, again)]
    assert found[0] == found[1]
    assert set(found[0][0]) >= {
        *("id", "weights_sha256", "steps", "lessons", "fresh_lessons", "replaced", "ages", "teachers")
    }


def test_terminal_tells_who_heard_how_much_and_how_late(tmp_path: Path) -> None:
    result = edgekd("simulate", "--async", "--model", MODEL, "--steps", 20, "--delay", 3, "--out", tmp_path / "a")
    assert "steps with a lesson: least 0." in result.stdout
    assert "age of lessons in steps: median " in result.stdout
    assert "accuracy" not in result.stdout.splitlines()[0]


def test_stand_ins_are_not_swept(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["sweep", "--async", "--model", MODEL, "--out", str(tmp_path)])
    assert isinstance(result.exception, ConfigError)
    assert "no accuracy to sweep" in str(result.exception)
