"""Which classes a peer has gained from its neighbours, and the page of a run that shows it."""

import json
import re
from pathlib import Path

import pytest

from edgekd.cli.gains import print_gains
from edgekd.cli.tables import plain_console
from edgekd.files.evaluation_file import Counted, read_counted, write_counted
from edgekd.files.history import POINTS, History, read_history
from edgekd.files.summary import PeerSummary, Summary
from edgekd.lab.report.gains import ALONE, BALANCED, class_gains, gain_text
from edgekd.lab.report.run_page import RunStory, run_page

NAMES = ("cat", "dog", "emu")
POOR = ((0, 0, 40), (0, 1, 10), (1, 0, 50))  # cat 0.8, dog 0, no emus
GOOD = ((0, 0, 41), (0, 1, 9), (1, 0, 10), (1, 1, 40))  # cat 0.82, dog 0.8


def counted(id: int, confusion: tuple[tuple[int, int, int], ...] = GOOD, names: tuple[str, ...] = NAMES) -> Counted:
    return Counted(id=id, step=40, classes=names, private=(90, 2, 0), confusion=confusion)


def peer(id: int) -> PeerSummary:
    return PeerSummary(id=id, accuracy=0.81, own_accuracy=0.8, steps=40, evaluation_samples=100, private_samples=92)


def test_gain_is_counted_from_the_balanced_peer_and_only_what_is_no_chance_is_marked() -> None:
    gains = class_gains({0: counted(0)}, {ALONE: {0: ((0, 0, 50), (1, 0, 50))}, BALANCED: {0: POOR}}, [0, 1])
    cat, dog, emu = gains[0]
    assert (cat.alone, cat.together, cat.private) == ({ALONE: 1.0, BALANCED: 0.8}, 0.82, 90)
    assert [gain_text(each) for each in (cat, dog, emu)] == ["+0.02", "+0.80*", "-"]
    assert [gain_text(each) for each in gains[1]] == ["-"] * 3, "a peer that was stopped has counted nothing"
    without = class_gains({0: counted(0)}, {ALONE: {0: POOR}}, [0])
    assert without[0][1].gain == pytest.approx(0.8)
    assert class_gains({0: counted(0)}, {}, [0])[0][1].gain is None


def test_all_right_of_a_few_images_is_no_sure_gain() -> None:
    few = class_gains({0: counted(0, ((1, 1, 2),))}, {ALONE: {0: ((1, 0, 2),)}}, [0])
    assert (few[0][1].gain, few[0][1].sure) == (1.0, False)


def test_counts_are_read_as_they_were_written_and_damaged_ones_are_done_without(tmp_path: Path) -> None:
    assert read_counted(tmp_path) is None
    write_counted(tmp_path, counted(3))
    assert read_counted(tmp_path) == counted(3)
    sound = json.loads((tmp_path / "evaluation.json").read_text())
    for damage in ({"private": [1]}, {"confusion": [[0, 7, 1]]}, {"confusion": [[0, 1]]}, {"classes": 3}):
        (tmp_path / "evaluation.json").write_text(json.dumps(sound | damage))
        assert read_counted(tmp_path) is None, damage
    (tmp_path / "evaluation.json").write_text("[]")
    assert read_counted(tmp_path) is None


def test_history_counts_who_taught_and_makes_long_curves_short(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert read_history(file) == History()
    lines = [
        json.dumps({"step": step, "teachers": [1, 2] if step % 2 else [], "labels": 2.0, "distil": None})
        for step in range(1, 1001)
    ]
    file.write_text("\n".join([*lines[:500], "garbled", '{"step": "x"}', "[3]", *lines[500:]]) + "\n")
    found = read_history(file)
    assert (found.steps, found.lessons, found.taught) == (1000, 500, {1: 500, 2: 500})
    assert len(found.labels) == POINTS
    assert found.labels[0] == (3.0, 2.0)
    assert found.distil == ()


def test_terminal_shows_the_classes_with_the_largest_gains_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    names = tuple(f"class{i:02}" for i in range(30))
    right = tuple((i, i if i % 3 == 0 else 29 - i, 50) for i in range(30))
    wrong = tuple((i, (i + 1) % 30, 50) for i in range(30))
    together = {id: Counted(id=id, step=1, classes=names, private=(1,) * 30, confusion=right) for id in (0, 1)}
    print_gains(together, {ALONE: {0: wrong, 1: wrong}}, plain_console(width=1000))
    said = capsys.readouterr().out
    assert {f"class{i:02}" for i in range(0, 30, 3)} <= set(re.findall(r"class\d\d", said))
    assert said.count("+1.00*") == 20
    assert said.startswith("Accuracy by class, together minus alone:\n")
    assert said.endswith("10 more classes are in report.html.\n")


def story(names: tuple[str, ...] = NAMES, *, baseline: bool = True, peers: int = 2) -> RunStory:
    ids = range(peers)
    lone = Summary(peers=tuple(map(peer, ids)))
    alone = {ALONE: dict.fromkeys(ids, POOR), BALANCED: dict.fromkeys(ids, POOR)}
    curve = dict.fromkeys(ids, ((20, 0.5), (40, 0.8)))
    return RunStory(
        title="<script>, 2 peers",
        summary=Summary(peers=lone.peers, **({"baseline": lone, "balanced": lone, "pooled": 0.9} if baseline else {})),
        curves={"together": curve, **({ALONE: curve, BALANCED: curve} if baseline else {})},
        counted={id: counted(id, names=names) for id in ids},
        alone=alone if baseline else {},
        histories={id: History(steps=40, lessons=30, taught={1 - id: 30}, labels=((1, 2.0),)) for id in ids},
    )


def test_page_of_a_run_tells_what_each_peer_has_gained_and_loads_nothing() -> None:
    page = run_page(story(("<b>cat</b>", "$dog", "emu")))
    assert "Peer 0 gained $dog +0.80." in page
    assert "&lt;b&gt;cat&lt;/b&gt;" in page
    assert not re.search(r"<script|<b>cat|https?:|//\w+\.|url\(\s*[^#\s]", page)
    for heading in ("Accuracy over the steps", "Gain by class", "Who taught whom", "Losses", "Messages"):
        assert f">{heading}</h2>" in page


def test_page_of_a_run_without_baseline_says_how_to_get_one() -> None:
    page = run_page(story(baseline=False))
    assert "<code>--baseline</code>" in page
    assert "Alone" not in page


def test_page_of_many_peers_draws_the_first_and_tabulates_all() -> None:
    page = run_page(story(peers=30))
    assert "The first 12 of 30 peers." in page
    assert page.count("<svg") == 24, "too many peers for a map of gains"
    assert "Peer 29: 3 classes" in page


def test_page_of_a_run_that_was_stopped_before_it_measured_anything_is_made() -> None:
    nobody = PeerSummary(id=0, accuracy=None, own_accuracy=None, steps=1)
    page = run_page(
        RunStory(title="t", summary=Summary(peers=(nobody,)), curves={"together": {0: []}}, counted={}, histories={})
    )
    assert "No peer was evaluated." in page
