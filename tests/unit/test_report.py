"""The report of made-up sweeps, with the paper's findings: what is written, and that its numbers are right."""

import csv
import dataclasses
import itertools
import json
import random
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgekd.cli.report import command
from edgekd.config import Config, DataConfig, DistillConfig, ExchangeConfig, ModelConfig, TrainConfig, read_toml
from edgekd.errors import ConfigError
from edgekd.files.summary import PeerSummary
from edgekd.lab.findings.cost import write_ratios
from edgekd.lab.report.document import Grid, Heading, Text, to_html, to_markdown
from edgekd.lab.report.figures import STYLES
from edgekd.lab.report.write import gather
from edgekd.lab.sweep.grid import configs
from edgekd.lab.sweep.records import ALONE, POOLED, TOGETHER, Cell, Outcome, append_outcome
from edgekd.simulation.groups import lone

FILES = {"index.html", "report.md", "figure2.png", "figure2.svg", "tables.csv", "findings.json"}
CIFAR = "folder:/data/cifar10/train"
SKEWED, IID = DataConfig(data=CIFAR, gamma=15.0), DataConfig(data=CIFAR, iid=True)
SUN = DataConfig(data="folder:/data/sun15", gamma=10.0)


def write(folder: Path, kind: str, config: Config, mean: float, spread: float = 0.03) -> None:
    """A cell of two clients that lie `spread` to either side of the mean."""
    peers = tuple(
        PeerSummary(
            id=id,
            accuracy=accuracy,
            own_accuracy=accuracy,
            steps=9,
            head_accuracies=(accuracy,) * config.model.heads,
            evaluation_samples=600,
        )
        for id, accuracy in enumerate([mean] if kind == POOLED else [mean - spread, mean + spread])
    )
    folder.mkdir(parents=True, exist_ok=True)
    append_outcome(folder, Outcome(Cell(kind, config), peers, seconds=1.0))


def cell(data: DataConfig, seed: int, heads: int = 1, **distill: Any) -> Config:
    settings = {"balance": "off", "kd_weight": 1.0, "kd_scale": "raw", "combine": "average", **distill}
    data = DataConfig(data=data.data, gamma=data.gamma, iid=data.iid, clients=2)
    return Config(
        data=data, distill=DistillConfig(**settings), model=ModelConfig(heads=heads), train=TrainConfig(seed=seed)
    )


def baselines(folder: Path, data: DataConfig, seeds: Sequence[int], alone: float, pooled: float) -> None:
    for seed in seeds:
        config = lone(cell(data, seed), balance="off")
        write(folder, ALONE, config, alone)
        write(folder, ALONE, lone(config, balance="on"), alone + 0.05)
        write(folder, POOLED, config, pooled)


def sweep(folder: Path, data: DataConfig, seeds: Sequence[int], gain: float) -> None:
    """A figure 2 of two measures, 0.4 alone."""
    for measure, alpha, combine, seed in itertools.product(
        ("kl", "sed"), (0.0, 0.2, 0.5, 0.8), ("sum", "average"), seeds
    ):
        config = cell(data, seed, heads=1 if alpha else 2, measure=measure, alpha=alpha, combine=combine)
        write(folder, TOGETHER, config, 0.4 + gain + 0.001 * seed * (measure == "sed"))
    baselines(folder, data, seeds, alone=0.4, pooled=0.6)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Figure 2 of two data sets, with a scale grid; and a folder of ingredients."""
    root = tmp_path_factory.mktemp("results")
    cifar, scenes, gap = root / "cifar", root / "scenes", root / "gap"
    sweep(cifar, SKEWED, range(3), gain=0.1)
    sweep(cifar, IID, range(3), gain=0.0)
    sweep(scenes, SUN, range(3), gain=0.1)
    for measure, weight, seed in itertools.product(("kl", "sed"), (4.0, 16.0), range(3)):
        write(cifar, TOGETHER, cell(SKEWED, seed, measure=measure, kd_weight=weight), 0.5 + weight / 1000)
    for mean, changed in [
        (0.58, {"balance": "on", "sharpen": 2.0}),
        (0.55, {"balance": "on"}),
        (0.50, {}),
    ]:
        for seed in range(3):
            write(gap, TOGETHER, cell(SKEWED, seed, measure="js", temperature=4.0, **changed), mean + 0.001 * seed)
    middle = {"torch kl_div": 1.0, "ce": 0.5, "kl": 1.0, "js": 1.2, "td": 0.8, "sed": 1.3}
    write_ratios(cifar, {"[256, 10]": {name: [time, time + 0.01, time + 0.02] for name, time in middle.items()}})
    return [cifar, scenes, gap]


@pytest.fixture(scope="module")
def printed(results: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the command prints, and the folder that it fills."""
    out = tmp_path_factory.mktemp("reports") / "deep" / "report"
    return report(results, out).output, out


@pytest.fixture(scope="module")
def made(printed: tuple[str, Path]) -> Path:
    return printed[1]


def report(folders: Sequence[Path], out: Path) -> Result:
    result = CliRunner().invoke(command, [*map(str, folders), "--paper", "--out", str(out)])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "tables.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["table"] == name]


def findings(folder: Path) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads((folder / "findings.json").read_text(encoding="utf-8"))
    return content


def test_all_files_are_there_and_each_data_set_has_its_figure(made: Path) -> None:
    assert {path.name for path in made.iterdir()} == FILES | {"figure2-sun15.png", "figure2-sun15.svg"}
    assert (made / "figure2.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (made / "figure2.svg").read_text(encoding="utf-8")


def test_command_prints_each_verdict_and_where_the_report_is(printed: tuple[str, Path]) -> None:
    output, out = printed
    for finding in findings(out):
        assert re.search(rf"{finding['id']}\s*│\s*{finding['verdict']}", output), finding["id"]
    assert "index.html" in output


class Loads(HTMLParser):
    """Notes all that a page would load, and its anchors and links."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: set[str] = set()
        self.ids: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data", "poster", "action"):
                (self.links.add if (value or "").startswith("#") else self.loaded.append)(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag in ("script", "link", "iframe", "object", "embed", "base"):
            self.loaded.append(tag)
        if tag in ("table", "tr", "td", "th", "details", "figure", "div", "section", "svg"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("table", "tr", "td", "th", "details", "figure", "div", "section", "svg"):
            assert self.open.pop() == tag


def test_page_loads_nothing_and_its_links_lead_somewhere(made: Path) -> None:
    text = (made / "index.html").read_text(encoding="utf-8")
    page = Loads()
    page.feed(text)
    assert page.loaded == []
    assert page.open == []
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    assert {link[1:] for link in page.links} <= set(page.ids)


def test_page_has_every_panel_and_follows_the_readers_colours(made: Path) -> None:
    text = (made / "index.html").read_text(encoding="utf-8")
    assert text.count("<svg") == 6  # four of CIFAR-10, two of the scenes
    assert "prefers-color-scheme: dark" in text
    assert "currentColor" in text


@pytest.mark.parametrize("folder", ["gap", "figure"])
def test_a_combination_with_one_alpha_only_is_no_panel_beside_whole_ones(tmp_path: Path, folder: str) -> None:
    sweep(tmp_path / "figure", SKEWED, range(2), gain=0.1)
    for seed in range(2):
        write(tmp_path / folder, TOGETHER, cell(SKEWED, seed, combine="confident"), 0.777)
    report([tmp_path / "figure", *([tmp_path / "gap"] if folder == "gap" else [])], tmp_path / "out")
    assert {row["combine"] for row in table(tmp_path / "out", "figure2")} == {"sum", "average"}
    assert [(row["combine"], row["mean"]) for row in table(tmp_path / "out", "gap")] == [("confident", "0.777")]


def test_a_single_seed_is_drawn_hollow_and_is_not_the_best_beside_cells_of_more_seeds(tmp_path: Path) -> None:
    for measure, alpha, seeds, accuracy in [
        *(("kl", alpha, range(2), 0.4) for alpha in (0.2, 0.5, 0.8)),
        *(("sed", alpha, range(1), 0.9) for alpha in (0.2, 0.5, 0.8)),
    ]:
        for seed in seeds:
            write(
                tmp_path / "figure", TOGETHER, cell(SKEWED, seed, measure=measure, combine="sum", alpha=alpha), accuracy
            )
    report([tmp_path / "figure"], tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "**0.400" in text
    assert "**0.900" not in text
    styles = re.findall(r'style="([^"]*)"', (tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    hollow = {style for style in styles if "fill-opacity: 0" in style}
    assert any(STYLES["sed"][0] in style for style in hollow)
    assert not any(STYLES["kl"][0] in style for style in hollow)


def test_two_seeds_have_an_effect_without_an_interval_and_equal_cells_are_both_the_best(tmp_path: Path) -> None:
    for seed in range(2):
        for measure, alpha in itertools.product(("kl", "sed"), (0.2, 0.5)):
            write(tmp_path / "figure", TOGETHER, cell(SKEWED, seed, measure=measure, combine="sum", alpha=alpha), 0.5)
    baselines(tmp_path / "figure", SKEWED, range(2), alone=0.4, pooled=0.6)
    report([tmp_path / "figure"], tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "| distillation - alone, sum, alpha 0.5 | it is above 0 | +0.100 | 2 | 2 | undecided |" in text
    assert text.count("**0.500") == 4


def test_dollars_in_names_are_no_mathematics(tmp_path: Path) -> None:
    sweep(tmp_path / "results", DataConfig(data="folder:pics$^$x", gamma=15.0), seeds=(1, 2, 3), gain=0.1)
    report([tmp_path / "results"], tmp_path / "out")
    assert list((tmp_path / "out").glob("figure2*.svg"))


def test_an_unfinished_sweep_without_any_line_is_drawn_as_points(tmp_path: Path) -> None:
    for measure in ("kl", "sed"):
        write(tmp_path / "figure", TOGETHER, cell(SKEWED, 0, measure=measure, combine="sum", alpha=0.2), 0.5)
        write(tmp_path / "figure", TOGETHER, cell(SKEWED, 0, measure=measure, combine="average", alpha=0.5), 0.5)
    report([tmp_path / "figure"], tmp_path / "out")
    assert {row["combine"] for row in table(tmp_path / "out", "figure2")} == {"sum", "average"}


def test_markdown_links_only_files_beside_it(made: Path) -> None:
    targets = re.findall(r"\]\(([^)]+)\)", (made / "report.md").read_text(encoding="utf-8"))
    assert sorted(targets) == ["figure2-sun15.png", "figure2.png"]
    assert all((made / target).is_file() for target in targets)


def test_findings_have_their_schema(made: Path) -> None:
    found = findings(made)
    assert [finding["id"][:2] for finding in found] == [*(f"{i}-" for i in range(1, 9)), "co"]
    for finding in found:
        assert finding.keys() >= {"id", "claim", "verdict", "effect", "low", "high", "n", "noise", "unit", "details"}
        assert finding["verdict"] in ("supported", "not supported", "undecided")
        assert isinstance(finding["n"], int)
        numbers = [finding["low"], finding["effect"], finding["high"]]
        assert numbers == sorted(numbers) if None not in numbers else finding["verdict"] == "undecided"
    assert found[1]["verdict"] == "supported"
    assert found[1]["effect"] == pytest.approx(0.1 + 0.001 / 2)


def test_points_of_figure_2_are_means_over_clients_and_seeds(made: Path) -> None:
    rows = table(made, "figure2")
    (row,) = [
        r
        for r in rows
        if (r["data"], r["split"], r["combine"], r["measure"], r["alpha"])
        == ("cifar10", "gamma 15", "sum", "sed", "0.5")
    ]
    assert float(row["mean"]) == pytest.approx(0.501)  # seeds 0 to 2: 0.500, 0.501, 0.502
    assert float(row["std_clients"]) == pytest.approx(0.03)
    assert float(row["std_error"]) == pytest.approx(0.001 / 3**0.5, rel=1e-4)
    assert row["n"] == "3"


def test_cells_at_alpha_0_have_other_heads_and_are_in_the_figure_all_the_same(made: Path) -> None:
    alphas = {row["alpha"] for row in table(made, "figure2") if row["measure"] == "kl"}
    assert alphas == {"0", "0.2", "0.5", "0.8"}


def test_alpha_1_is_the_lone_baseline_in_each_panel(made: Path) -> None:
    rows = [row for row in table(made, "figure2") if row["measure"] == "alone"]
    assert len(rows) == 6
    assert {(row["alpha"], row["mean"]) for row in rows} == {("1", "0.4")}


def test_baselines_stand_beside_the_tables(made: Path) -> None:
    found = {row["label"]: row["mean"] for row in table(made, "baselines") if row["panel"] == "cifar10, gamma 15"}
    assert found == {"alone": "0.4", "alone, balanced": "0.45", "pooled": "0.6"}


def test_scale_grid_has_all_weights_of_otherwise_equal_cells(made: Path) -> None:
    rows = [row for row in table(made, "scale") if row["measure"] == "kl"]
    assert [(row["kd_weight"], row["mean"]) for row in rows] == [("1", "0.5"), ("4", "0.504"), ("16", "0.516")]


def test_gap_table_counts_from_the_plainest_configuration_whatever_finished_first(made: Path) -> None:
    rows = table(made, "gap")
    assert [row["label"] for row in rows] == [
        "base (sharpen 1.0, balance off)",
        "balance on",
        "sharpen 2.0, balance on",
    ]
    assert [row["gain"] for row in rows] == ["", "0.05", "0.08"]
    assert float(rows[0]["gap_closed"]) == pytest.approx((0.501 - 0.4) / (0.6 - 0.4))
    assert float(rows[0]["gap_low"]) < float(rows[0]["gap_closed"]) < float(rows[0]["gap_high"])


def test_ingredients_that_other_folders_hold_too_are_in_the_table_of_their_own(tmp_path: Path) -> None:
    figure, gap = tmp_path / "figure", tmp_path / "gap"
    sweep(figure, SKEWED, range(2), gain=0.1)
    ingredients = [{}, {"balance": "on"}, {"combine": "sum"}, {"kd_weight": 4.0}, {"kd_weight": 2.0}]
    for changed in [*ingredients, {"measure": "sed", "kd_scale": "matched"}]:
        for seed in range(2):
            write(gap, TOGETHER, cell(SKEWED, seed, **changed), 0.52)
    report([figure, gap], tmp_path / "out")
    rows = table(tmp_path / "out", "gap")
    assert {row["mean"] for row in rows} == {"0.52"}, "of the cells that both hold its own, which ran beside the others"
    labels = [row["label"] for row in rows]
    assert labels[0].startswith("base (measure kl, combine average")
    assert set(labels[1:]) == {
        "balance on",
        "combine sum",
        "kd_weight 4.0",
        "kd_weight 2.0",
        "measure sed, kd_scale matched",
    }


def test_ingredients_of_the_projects_own_experiment_are_counted_from_its_first_cell(tmp_path: Path) -> None:
    tables = read_toml(Path(__file__).parents[2] / "experiments" / "ingredients.toml")
    few = {"data": {**tables["data"], "clients": 2}, "train": {**tables["train"], "seed": [1, 2]}}
    cells = list(configs({**tables, **few}))
    for config in cells:
        write(tmp_path / "gap", TOGETHER, config, 0.5)
    report([tmp_path / "gap"], tmp_path / "out")
    rows = table(tmp_path / "out", "gap")
    assert len(rows) == len(cells) / 2
    assert "temperature 1.0" in rows[0]["label"]
    labels = {row["label"] for row in rows[1:]}
    assert {"temperature 2.0", "balance on", "two_phase True", "kd_warmup 20"} <= labels


def test_times_come_from_the_file_that_the_benchmark_wrote(made: Path) -> None:
    times = {row["measure"]: float(row["time"]) for row in table(made, "cost")}
    assert times["td"] == pytest.approx(0.81)
    assert times["torch kl_div"] == pytest.approx(1.01)
    assert findings(made)[5]["verdict"] == "supported"


def test_order_of_rows_and_folders_changes_nothing(results: list[Path], made: Path, tmp_path: Path) -> None:
    for folder in results:
        (tmp_path / folder.name).mkdir()
        for path in folder.glob("*.csv"):
            header, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
            random.Random(0).shuffle(rows)
            (tmp_path / folder.name / path.name).write_text("".join([header, *rows]), encoding="utf-8")
    report([tmp_path / folder.name for folder in reversed(results)], tmp_path / "out")
    assert findings(tmp_path / "out") == findings(made)
    assert sorted((tmp_path / "out" / "tables.csv").read_text().splitlines()) == sorted(
        (made / "tables.csv").read_text().splitlines()
    )
    for name in ("figure2.svg", "figure2-sun15.svg"):
        assert (tmp_path / "out" / name).read_bytes() == (made / name).read_bytes()


def test_one_cell_is_enough_for_a_report_that_decides_nothing(tmp_path: Path) -> None:
    write(tmp_path / "results", TOGETHER, cell(SKEWED, 0, measure="mine.losses:odd"), 0.5)
    report([tmp_path / "results"], tmp_path / "report")
    assert {path.name for path in (tmp_path / "report").iterdir()} == FILES
    swept = findings(tmp_path / "report")
    assert {(f["verdict"], f["n"], f["effect"]) for f in swept} == {("undecided", 0, None)}
    assert all("Missing" in f["details"] for f in swept)


def test_times_that_are_not_whole_are_refused(results: list[Path], tmp_path: Path) -> None:
    for path in results[0].glob("*.csv"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    lines = (tmp_path / "cost.csv").read_text().splitlines(keepends=True)
    (tmp_path / "cost.csv").write_text("".join(lines[:-1]))
    assert "run benchmarks/measures.py --out anew" in refusal(tmp_path)
    (tmp_path / "cost.csv").write_text("shape,measure\n[256],kl\n")
    assert "run that anew" in refusal(tmp_path)


def refusal(folder: Path) -> str:
    result = CliRunner().invoke(command, [str(folder), "--out", str(folder / "report")])
    assert isinstance(result.exception, ConfigError)
    assert not (folder / "report").exists()
    return str(result.exception)


def test_wrong_folders_are_refused_in_a_line_that_says_what_to_do(tmp_path: Path) -> None:
    assert "no folder" in refusal(tmp_path / "nowhere")
    assert "edgekd sweep --out" in refusal(tmp_path)
    baselines(tmp_path, SKEWED, [0], alone=0.4, pooled=0.6)
    assert "only baselines" in refusal(tmp_path)
    (tmp_path / "results.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    assert "results.csv is not a sweep's results" in refusal(tmp_path)


def test_text_is_escaped_in_both_forms() -> None:
    blocks = [Heading(1, "a < b"), Text(("**x** & `y`",)), Grid(("a|b",), (("1 < 2 | 3",),))]
    assert "<h1>a &lt; b</h1>" in to_html(blocks)
    assert "<b>x</b> &amp; <code>y</code>" in to_html(blocks)
    assert "| 1 < 2 \\| 3 |" in to_markdown(blocks)


def lied_to(config: Config, liars: int, lie: str) -> Config:
    return dataclasses.replace(config, exchange=ExchangeConfig(liars=liars, lie=lie))


def poisoned(folder: Path, config: Config, honest: float, liar: float) -> None:
    """A cell of two clients, of which the second lies if there are liars."""
    lying = bool(config.exchange.liars)
    peers = tuple(
        PeerSummary(
            id=id, accuracy=accuracy, own_accuracy=accuracy, steps=9, evaluation_samples=600, liar=lying and id > 0
        )
        for id, accuracy in enumerate([honest, liar])
    )
    folder.mkdir(exist_ok=True)
    append_outcome(folder, Outcome(Cell(TOGETHER, config), peers, seconds=1.0))


def test_liars_have_a_table_of_the_honest_clients_and_enter_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "poison"
    for seed in range(2):
        for measure in ("kl", "sed"):
            plain = cell(SKEWED, seed, measure=measure)
            poisoned(folder, plain, 0.6 + 0.01 * seed, 0.9)
            poisoned(folder, lied_to(plain, 1, "flip"), 0.5 + 0.02 * seed, 0.8)
        baselines(folder, SKEWED, [seed], alone=0.4, pooled=0.7)
    poisoned(folder, lied_to(cell(SKEWED, 0, measure="td"), 1, "swap"), 0.55, 0.8)
    report([folder], tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    section = text.partition("## Neighbours that lie")[2].partition("\n## ")[0]
    assert "**cifar10, gamma 15: 1 of 1 neighbours lie**" in section
    assert "| KL | average | 0.605 ± 0.005, n 2 | 0.510 ± 0.010 (-0.095), n 2 | - |" in section
    assert "| TD | average | - | - | 0.550, n 1 |" in section
    assert "alone, balanced 0.420" in section, "of the honest clients"
    with (tmp_path / "report" / "tables.csv").open() as file:
        rows = list(csv.DictReader(file))
    lies = [row for row in rows if row["table"] == "poison"]
    assert [(r["measure"], r["label"], r["n"], r["gain"]) for r in lies] == [
        ("kl", "no liars", "2", ""),
        ("kl", "flip", "2", "-0.095"),
        ("td", "swap", "1", ""),
        ("sed", "no liars", "2", ""),
        ("sed", "flip", "2", "-0.095"),
    ]
    assert "4 cells and 5 with liars," in text
    assert not [row for row in rows if row["table"] == "gap"], "what liars are compared with is no ingredient"


def test_report_of_nothing_but_liars_says_what_to_run(tmp_path: Path) -> None:
    poisoned(tmp_path / "poison", lied_to(cell(SKEWED, 0), 1, "flip"), 0.5, 0.8)
    with pytest.raises(ConfigError, match="with --liars 0 too"):
        gather([tmp_path / "poison"])
