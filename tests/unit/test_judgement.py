"""What `edgekd eval` tells of a checkpoint: its scores, its surest mistakes, and the page of it."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from networks import CLASSES, images, network, write_checkpoint

from edgekd.config import Config
from edgekd.data.sources import Labelled
from edgekd.errors import ConfigError, DivergedError
from edgekd.files.evaluation_file import Counted, write_counted
from edgekd.lab.report.checkpoint_page import checkpoint_page
from edgekd.learning.evaluation import evaluate
from edgekd.losses.distillation import log_prior
from edgekd.use.judgement import Judgement, judge, judge_counts
from edgekd.use.scores import Scores, Shard, scores
from edgekd.use.trained import load_trained

NAMES = ("a", "b", "c", "d")


def set_of(labels: list[int], files: tuple[Path, ...] = ()) -> Labelled:
    return Labelled(images=images(len(labels)), labels=torch.tensor(labels), files=files)


def scored(labels: list[int], probabilities: list[list[float]], shard: Shard | None = None, top: int = 5) -> Scores:
    logits = torch.tensor(probabilities, dtype=torch.float64).log()
    return scores(logits, set_of(labels), NAMES[: logits.shape[1]], top=top, shard=shard)


def test_classes_without_images_or_predictions_say_nothing_instead_of_zero() -> None:
    # a: 2 of 3 right; b: none right, and predicted once; c: never predicted; d: no images, predicted once
    sure = [[0.97 if i == j else 0.01 for j in range(4)] for i in range(4)]
    found = scored([0, 0, 0, 1, 2], [sure[0], sure[0], sure[1], sure[3], sure[0]])
    a, b, c, d = found.classes
    assert (a.precision, a.recall, a.support) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 3)
    assert (b.precision, b.recall, b.f1) == (0, 0, 0)
    assert (c.precision, c.recall, c.f1) == (None, 0, 0)
    assert (d.precision, d.recall, d.support) == (0, None, 0)
    assert found.confusion.tolist() == [[2, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert found.macro_f1 == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert [found.most_taken_for(i) for i in (1, 3)] == [("d", 1.0), None]


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_top_k_is_counted_below_the_number_of_classes(classes: int) -> None:
    rows = torch.tensor([[0.5, 0.3, 0.15, 0.05][:classes]] * classes).tolist()
    found = scored(list(range(classes)), rows)  # the k-th likeliest is right for the k-th image
    assert found.top_k == {k: pytest.approx(k / classes) for k in range(1, classes)}
    assert scored(list(range(classes)), rows, top=1).top_k == {1: 1 / classes}


def test_calibration_error_is_the_distance_of_probability_and_accuracy_over_the_images() -> None:
    found = scored([0, 0, 1, 1, 0], [[0.9, 0.1]] * 4 + [[0.35, 0.65]])
    assert [(b.images, round(b.accuracy, 6), round(b.confidence, 6)) for b in found.bins] == [
        (1, 0.0, 0.65),
        (4, 0.5, 0.9),
    ]
    assert found.calibration_error == pytest.approx((1 * 0.65 + 4 * 0.4) / 5)
    assert found.confidence == pytest.approx((4 * 0.9 + 0.65) / 5)


@pytest.mark.parametrize("right", [True, False])
def test_network_that_is_always_right_or_always_wrong_is_scored(right: bool) -> None:
    found = scored([0 if right else 1] * 3, [[1.0, 0.0]] * 3)
    assert (found.accuracy, found.calibration_error) == ((1.0, 0.0) if right else (0.0, 1.0))


@pytest.mark.parametrize("balanced", [True, False])
def test_own_accuracy_is_that_of_training(balanced: bool) -> None:
    evaluation = set_of([0, 0, 1, 1, 1, 2] * 5)
    logits = torch.randn(30, 4, generator=torch.Generator().manual_seed(1))
    counts = (30, 1, 9, 4)
    prior = log_prior(torch.arange(4).repeat_interleave(torch.tensor(counts)), 4) if balanced else None
    trained = evaluate(lambda _: logits[None], evaluation, shard=torch.tensor(counts), log_prior=prior)
    assert trained is not None
    found = scores(logits, evaluation, NAMES, top=1, shard=Shard(counts=counts, balanced=balanced))
    assert found.own_accuracy == pytest.approx(trained.own)
    elsewhere = scores(logits, evaluation, NAMES, top=1, shard=Shard(counts=(0, 0, 0, 4), balanced=balanced))
    assert elsewhere.own_accuracy is None


def judged(folder: Path, evaluation: Labelled, heads: int = 1) -> Judgement:
    write_checkpoint(folder, network(heads=heads), heads=heads)
    return judge(load_trained(folder), evaluation, Config(), torch.device("cpu"), top=5)


def test_every_head_is_scored_and_the_surest_mistakes_come_first(tmp_path: Path) -> None:
    files = tuple(Path(f"/set/cat/{place}.jpg") for place in range(40))
    found = judged(tmp_path, set_of([place % 3 for place in range(40)], files), heads=3)
    mapping = json.loads(json.dumps(found.to_mapping()))
    assert (mapping["head"], len(mapping["heads"]), mapping["own_accuracy"]) == (2, 3, None)
    assert [each["accuracy"] for each in mapping["heads"]] == mapping["head_accuracies"]
    assert mapping["accuracy"] == mapping["head_accuracies"][2]
    assert [each["name"] for each in mapping["classes"]] == list(CLASSES)
    assert sum(map(sum, mapping["confusion"])) == mapping["evaluation_samples"] == 40
    mistakes = mapping["surest_mistakes"]
    sure = [each["probability"] for each in mistakes]
    assert sure == sorted(sure, reverse=True)
    for each in mistakes:
        assert each["file"] == f"/set/cat/{each['place']}.jpg"
        assert each["label"] == CLASSES[each["place"] % 3] != each["predicted"]


def test_shard_is_known_by_the_file_of_the_same_peer_alone(tmp_path: Path) -> None:
    evaluation = set_of([0, 1, 2] * 4)
    counted = Counted(id=0, step=60, classes=CLASSES, private=(5, 1, 1), confusion=((0, 0, 3),))
    write_counted(tmp_path, counted)
    assert judged(tmp_path, evaluation).scores.own_accuracy is not None
    write_counted(tmp_path, Counted(id=1, step=60, classes=CLASSES, private=(5, 1, 1), confusion=((0, 0, 3),)))
    assert judged(tmp_path, evaluation).scores.own_accuracy is None
    (tmp_path / "evaluation.json").write_text('{"id": 0, "step": 60, "classes": ["cat"], "private": [1, 2]')
    assert judged(tmp_path, evaluation).scores.own_accuracy is None


def test_counts_alone_tell_of_the_classes_what_the_network_would(tmp_path: Path) -> None:
    evaluation = set_of([0, 1, 2, 2] * 10)
    logits = torch.randn(40, 3, generator=torch.Generator().manual_seed(3))
    measured = evaluate(lambda _: logits[None], evaluation, shard=torch.ones(3, dtype=torch.int64))
    assert measured is not None
    write_counted(tmp_path, Counted(id=4, step=7, classes=CLASSES, private=(1,) * 3, confusion=measured.confusion))
    found = judge_counts(tmp_path)
    whole = scores(logits, evaluation, CLASSES, top=1, shard=None)
    assert found.scores.classes == whole.classes
    assert (found.scores.confusion == whole.confusion).all()
    mapping = json.loads(json.dumps(found.to_mapping()))
    assert (mapping["id"], mapping["evaluation_samples"], mapping["accuracy"]) == (4, 40, pytest.approx(whole.accuracy))
    for unknown in ("head", "own_accuracy", "expected_calibration_error"):
        assert mapping[unknown] is None
    page = checkpoint_page(found, None, "set")
    assert ">Confusions</h2>" in page
    assert "Calibration</h2>" not in page
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(ConfigError, match="does not hold the counts of an evaluation"):
        judge_counts(tmp_path)
    with pytest.raises(ConfigError, match="a peer writes it at its first evaluation"):
        judge_counts(tmp_path / "nothing.json")


def test_box_that_trains_predicts_and_reports_loads_no_scikit_learn() -> None:
    code = "import sys, peer.node.start, edgekd.cli.run_files, edgekd.use.answers; sys.exit('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0


def test_network_of_nan_is_named(tmp_path: Path) -> None:
    broken = {name: tensor * math.nan for name, tensor in network().state_dict().items() if tensor.is_floating_point()}
    write_checkpoint(tmp_path, state={f"model.{name}": tensor for name, tensor in broken.items()})
    with pytest.raises(DivergedError):
        judge(load_trained(tmp_path), set_of([0, 1, 2]), Config(), torch.device("cpu"), top=5)


def test_page_loads_nothing_and_shows_names_from_outside_as_text(tmp_path: Path) -> None:
    hostile = ('<img src=x onerror="alert(1)">', "$\\frac", "dog\u202e\x1b[31m")
    files = tuple(Path(f'/set/cat/"><script>{place}.jpg') for place in range(30))
    evaluation = set_of([place % 3 for place in range(30)], files)
    write_checkpoint(tmp_path, classes=hostile)
    found = judge(load_trained(tmp_path), evaluation, Config(), torch.device("cpu"), top=5)
    assert found.mistakes
    page = checkpoint_page(found, evaluation, "<b>set")
    assert not re.search(r"<script|<img src=x|<b>set|\x1b|\u202e", page)
    assert "&lt;img src=x" in page
    assert not re.search(r"https?:|//\w+\.|url\(\s*[^#\s]", page), "nothing is loaded"
    assert set(re.findall(r'(?:src|href)="([^#"][^"]{4})', page)) == {"data:"}
    assert page.count('<img src="data:image/png;base64,') == len(found.mistakes)


@pytest.mark.parametrize("count", [2, 21, 60])
def test_page_is_made_with_few_and_with_many_classes(count: int) -> None:
    names = tuple(f"class {i}" for i in range(count))
    logits = torch.randn(200, count, generator=torch.Generator().manual_seed(0))
    evaluation = set_of([place % count for place in range(200)])
    found = scores(logits, evaluation, names, top=5, shard=None)
    page = checkpoint_page(Judgement(id=0, step=60, about="net", scores=found), evaluation, "set")
    assert all(name in page for name in names)
    assert "image/png" in page, "the matrix"
    assert len(page) < 300_000
