"""What to choose: every value of what varies against one of them, paired; a report of one's own sweep opens with it."""

import csv
import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
from click.testing import CliRunner

from edgekd.cli.report import command
from edgekd.config import Config, DataConfig, DistillConfig, ExchangeConfig, TrainConfig
from edgekd.errors import ConfigError
from edgekd.files.summary import PeerSummary
from edgekd.lab.findings.asked import choices
from edgekd.lab.findings.choice import AS_GOOD, BETTER, DEPENDS, OPEN, WORSE, Answer, Question
from edgekd.lab.report.choosing import advice
from edgekd.lab.sweep.records import TOGETHER, Cell, Outcome, append_outcome

OWN = "losses/mymeasures.py:hellinger"
JITTER = (0.004, -0.003, 0.001, -0.002, 0.002)  # of the seeds
Settings = dict[str, Any]


def outcome(
    accuracy: float,
    seed: int,
    *,
    data: DataConfig | None = None,
    train: Settings | None = None,
    exchange: Settings | None = None,
    bytes_sent: int = 1000,
    **distill: Any,
) -> Outcome:
    """A cell of three clients that all have one accuracy."""
    config = Config(
        data=data or DataConfig(),
        distill=DistillConfig(**distill),
        train=TrainConfig(seed=seed, **(train or {})),
        exchange=ExchangeConfig(**(exchange or {})),
    )
    peers = tuple(
        PeerSummary(
            id=id,
            accuracy=accuracy,
            own_accuracy=accuracy,
            steps=9,
            evaluation_samples=600,
            bytes_sent=bytes_sent,
        )
        for id in range(config.data.clients)
    )
    return Outcome(Cell(TOGETHER, config), peers, seconds=1.0)


def measured(gains: dict[str, float], seeds: Iterable[int] = range(5), **given: Any) -> list[Outcome]:
    """Measures that differ from 0.5 by their gain, each seed by a little more."""
    place = itertools.count()
    return [
        outcome(
            0.5 + 0.01 * seed + gain + JITTER[(seed + next(place)) % 5] * bool(gain), seed, measure=measure, **given
        )
        for measure, gain in gains.items()
        for seed in seeds
    ]


def asked(cells: list[Outcome], *against: str) -> Question:
    """The only question."""
    (question,) = choices(cells, against).questions
    return question


def answer(question: Question, value: Any) -> Answer:
    (found,) = [each for each in question.answers if each.value == value]
    return found


def written(folder: Path, cells: Iterable[Outcome]) -> Path:
    folder.mkdir()
    for cell in cells:
        append_outcome(folder, cell)
    return folder


def report(folder: Path, *flags: str) -> tuple[str, str]:
    """What is printed, and the report as Markdown."""
    out = folder / "report"
    result = CliRunner().invoke(command, [str(folder), *flags, "--out", str(out)])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output, (out / "report.md").read_text(encoding="utf-8")


def test_a_report_of_ones_own_sweep_opens_with_ones_own_measure_and_leaves_the_paper_out(tmp_path: Path) -> None:
    folder = written(tmp_path / "results", measured({"kl": 0.0, "sed": -0.06, OWN: 0.07}))
    printed, text = report(folder)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[:2] == ["What to choose", "Every configuration"]
    assert "### measure: kl, sed, mymeasures.py:hellinger" in text
    assert "choose `mymeasures.py:hellinger`. Its accuracy is 0.07" in text
    assert "`sed` is worse, by 0.0" in text
    assert "paper" not in text
    assert {path.name for path in (folder / "report").iterdir()} == {"index.html", "report.md", "tables.csv"}
    assert re.search(r"measure mymeasures.py:hellinger\s*│ kl.*│ better", printed)
    assert "choose mymeasures.py:hellinger" in printed


def test_the_paper_comes_after_the_choice_if_it_is_asked_for(tmp_path: Path) -> None:
    folder = written(tmp_path / "results", measured({"kl": 0.0, "sed": -0.06}))
    printed, text = report(folder, "--paper")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[:2] == ["What to choose", "The paper's findings"]
    assert {"findings.json", "figure2.png"} <= {path.name for path in (folder / "report").iterdir()}
    assert printed.index("keep kl") < printed.index("1-iid-no-gain")


def test_numbers_are_those_of_a_paired_t_test_over_the_seeds(tmp_path: Path) -> None:
    cells = measured({"kl": 0.0, "js": 0.03, "sed": -0.06})
    by = {(o.cell.config.distill.measure, o.cell.config.train.seed): o.accuracies[0] for o in cells}
    tests = {
        m: scipy.stats.ttest_rel([by[m, s] for s in range(5)], [by["kl", s] for s in range(5)]) for m in ("js", "sed")
    }
    report(written(tmp_path / "results", cells))
    with (tmp_path / "results" / "report" / "tables.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["label"]: row for row in csv.DictReader(file) if row["table"] == "choice"}
    assert rows.keys() == {"measure js - kl", "measure sed - kl"}
    first, second = sorted(tests.values(), key=lambda test: float(test.pvalue))
    corrected = {first.pvalue: 2 * first.pvalue, second.pvalue: max(2 * first.pvalue, second.pvalue)}  # by Holm
    for name, test in tests.items():
        row, interval = rows[f"measure {name} - kl"], test.confidence_interval(0.95)
        assert (row["data"], row["split"], row["n"]) == ("digits", "gamma 15", "5")
        assert float(row["difference_low"]) == pytest.approx(interval.low, rel=1e-4)
        assert float(row["difference_high"]) == pytest.approx(interval.high, rel=1e-4)
        assert float(row["p"]) == pytest.approx(corrected[test.pvalue], rel=1e-4)


def test_every_value_is_compared_with_the_one_that_is_named() -> None:
    cells = measured({"kl": 0.0, "sed": -0.06, OWN: 0.07})
    for name in (
        f"measure={OWN}",
        "measure=mymeasures.py:hellinger",
        f"measure={Path(OWN.partition(':')[0]).resolve()}:hellinger",
    ):
        question = asked(cells, name)
        assert question.reference == OWN
        assert [each.value for each in question.answers] == ["kl", "sed"]
        assert {each.verdict for each in question.answers} == {WORSE}
    assert advice(question).startswith("keep `mymeasures.py:hellinger`: it is shown that no other value is better")


def test_without_other_measures_what_varies_is_compared_with_its_default_or_the_first_value() -> None:
    cells = [
        outcome(0.5 + rate, seed, train={"lr": rate}, combine=combine)
        for rate in (0.01, 0.03, 0.1)
        for combine in ("average", "sum")
        for seed in range(3)
    ]
    found = {question.setting: question for question in choices(cells).questions}
    assert found.keys() == {"combine", "lr"}
    assert found["lr"].reference == 0.03, "what --lr is on digits if nothing is said"
    assert found["combine"].reference == "sum", "the first, since geometric is not there"
    assert answer(found["lr"], 0.1).found.effect == pytest.approx(0.07)
    assert asked(cells, "lr=1e-2").reference == 0.01
    assert asked(cells, "combine").setting == "combine"


def test_several_settings_can_be_asked_for_and_the_others_are_named(tmp_path: Path) -> None:
    cells = [*measured({"kl": 0.0, "sed": -0.06}), *measured({"kl": 0.01, "sed": -0.05}, combine="sum", alpha=0.2)]
    cells += measured({"kl": 0.01, "sed": -0.05}, alpha=0.2)
    assert [question.setting for question in choices(cells).questions] == ["measure"]
    assert [q.setting for q in choices(cells, ["alpha", "measure=sed"]).questions] == ["alpha", "measure"]
    _, text = report(written(tmp_path / "results", cells))
    assert "`--against alpha`, `--against combine`" in text


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_give_no_interval_and_no_verdict(tmp_path: Path, seeds: int) -> None:
    folder = written(tmp_path / "results", measured({"kl": 0.0, "sed": -0.3}, range(seeds)))
    _, text = report(folder)
    row = next(line for line in text.splitlines() if line.startswith("| digits, gamma 15 | `sed`"))
    assert [cell.strip() for cell in row.split("|")[6:9]][1:] == ["-", str(seeds)]
    assert "[" not in row
    assert row.endswith("| open |")
    assert "nothing is decided, since a verdict takes 3 seeds" in text


def test_what_only_one_of_many_values_shows_by_chance_is_not_better() -> None:
    lucky = {seed: 0.5 + 0.03 + 0.024 * (seed - 1) for seed in range(3)}  # p of about 0.05 by itself
    few = [outcome(0.5, seed, measure="kl") for seed in range(3)]
    few += [outcome(lucky[seed] + 0.012 * (1 - seed), seed, measure="sed") for seed in range(3)]
    assert answer(asked(few), "sed").verdict == BETTER
    many = few + [outcome(0.5 + 0.1 * (seed - 1), seed, measure=m) for seed in range(3) for m in ("js", "td", "mse")]
    found = answer(asked(many), "sed")
    assert (found.found, found.verdict) == (answer(asked(few), "sed").found, OPEN)
    assert found.p == pytest.approx(4 * found.found.p)


def test_only_cells_that_differ_in_nothing_else_are_paired() -> None:
    cells = measured({"kl": 0.0, "sed": 0.05}, range(4))
    other = [outcome(0.9, 4, measure="sed"), outcome(0.9, 0, measure="sed", alpha=0.2), outcome(0.1, 0, alpha=0.8)]
    found = answer(asked([*cells, *other]), "sed")
    assert found == answer(asked(cells), "sed")
    assert found.found.n == 4


def test_of_an_unfinished_sweep_all_seeds_count_that_most_settings_have() -> None:
    whole = measured({"kl": 0.0, "sed": 0.05}, alpha=0.2) + measured({"kl": 0.0, "sed": 0.05}, alpha=0.5)
    begun = measured({"kl": 0.0, "sed": 0.3}, range(1), alpha=0.8)
    found = answer(asked([*whole, *begun], "measure"), "sed")
    assert (found.found.n, len(found.single)) == (5, 2)
    assert found.found == answer(asked(whole, "measure"), "sed").found


def test_a_value_that_is_better_under_some_settings_and_worse_under_others_is_no_advice(tmp_path: Path) -> None:
    cells = measured({"kl": 0.0, "sed": 0.3}, alpha=0.2) + measured({"kl": 0.0, "sed": -0.1}, alpha=0.8)
    question = asked(cells, "measure")
    assert answer(question, "sed").found.low > 0.02
    assert answer(question, "sed").verdict == DEPENDS
    assert "it depends on the other settings" in advice(question)
    assert "choose" not in advice(question)
    _, text = report(written(tmp_path / "results", cells))
    assert re.search(r"\| alpha 0.2 \| `sed` \| `kl` \| \+0.3", text)
    assert re.search(r"\| alpha 0.8 \| `sed` \| `kl` \| -0.1", text)


def test_each_place_has_an_answer_of_its_own_and_liars_make_one(tmp_path: Path) -> None:
    four = DataConfig(clients=4)
    lying = {"liars": 1, "lie": "flip"}
    cells = [
        outcome(0.5 + gain, seed, data=four, combine=combine, exchange=exchange)
        for exchange, gains in (({}, (0.0, 0.0)), (lying, (-0.3, 0.0)))
        for combine, gain in zip(("geometric", "median"), gains, strict=True)
        for seed in range(3)
    ]
    _, text = report(written(tmp_path / "results", cells))
    assert "| combine | digits, gamma 15 | `geometric` | shown: no other value is better by 0.02 |" in text
    assert "| combine | digits, gamma 15, 1 of 3 neighbours lies | `median` | +0.300" in text


def test_what_is_as_good_and_sends_less_is_told() -> None:
    cells = [
        outcome(0.5 + 0.001 * seed, seed, exchange={"encoding": encoding}, bytes_sent=size)
        for encoding, size in (("float16", 1000), ("uint8", 500))
        for seed in range(3)
    ]
    question = asked(cells)
    assert (question.reference, answer(question, "uint8").verdict) == ("float16", AS_GOOD)
    assert "`uint8` sends 50 % fewer bytes." in advice(question)


def test_where_only_the_group_varies_that_is_compared() -> None:
    cells = [outcome(0.5, seed, data=DataConfig(clients=clients)) for clients in (3, 5) for seed in range(3)]
    assert (asked(cells).setting, asked(cells).reference) == ("clients", 3)


def test_without_anything_to_compare_the_report_says_what_to_run(tmp_path: Path) -> None:
    printed, text = report(written(tmp_path / "results", [outcome(0.5, seed) for seed in range(3)]))
    for said in (printed, text):
        assert "nothing to compare" in said
        assert "--measure kl,sed --seed 0,1,2" in said


def test_names_that_are_not_utf_8_are_printed(tmp_path: Path) -> None:
    data = DataConfig(data="folder:/data/" + os.fsdecode(b"b\xff"), clients=2)
    cells = [outcome(0.5, seed, data=data, measure=measure) for measure in ("kl", "sed") for seed in range(3)]
    printed, _ = report(written(tmp_path / "results", cells))
    assert "keep kl" in printed


@pytest.mark.parametrize(
    ("against", "said"),
    [
        ("mesure=kl", "no setting 'mesure'; did you mean measure?"),
        ("=kl", "there is no setting ''"),
        ("alpha=0.5", "no two cells of one seed differ in alpha alone; in these alone some do: measure"),
        ("seed=1", "no two cells of one seed differ in seed alone"),
        ("measure=js", "has measure js; some have kl, sed"),
        ("measure=", r"has measure \(nothing\); some have kl, sed"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_line_that_says_what_can(against: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        choices(measured({"kl": 0.0, "sed": 0.05}), [against])
