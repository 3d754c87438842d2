"""The race's pure parts: reading curves, idle seconds, rows and their table, and which runs a part has."""

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from race import command
from race.curves import Point, accuracy_at, final_accuracy, first_step, idle_seconds, read_points, value_at
from race.plans import core, mean_accuracy, tuned, tuning
from race.rows import CurvePoint, Row, read_rows, write_csv
from race.runs import Lab, Run
from race.settings import DIGITS, SMALL
from race.systems import SYSTEMS, lines_a_user_writes
from race.table import at_edgekds_time, markdown, mean_and_error
from race.task import Task

CURVE = [Point(5.0, 1), Point(6.0, 2), Point(7.0, 2, 0.5), Point(12.0, 3), Point(13.0, 3, 0.75)]


def test_accuracy_at_a_time_is_the_last_one_that_was_known_then() -> None:
    assert accuracy_at(CURVE, 6.9) is None
    assert accuracy_at(CURVE, 12.5) == 0.5
    assert final_accuracy(CURVE) == 0.75
    assert first_step(CURVE) == 5.0


def test_seconds_without_a_step_of_any_node_are_idle_if_the_gap_is_unusual() -> None:
    assert idle_seconds([CURVE], 5.0, 13.0, gap=2.0) == 6.0
    assert idle_seconds([CURVE, [Point(9.0, 1)]], 5.0, 13.0, gap=2.0) == 6.0  # 6 to 9, and 9 to 12
    assert idle_seconds([CURVE, [Point(8.0, 1), Point(10.0, 2)]], 5.0, 13.0, gap=2.0) == 0.0


def test_an_evaluation_and_a_repeated_line_are_no_steps() -> None:
    quiet = [Point(1.0, 1), Point(5.0, 1), Point(6.0, 1, 0.5)]
    assert idle_seconds([quiet], 1.0, 10.0, gap=2.0) == 9.0


def test_steps_after_a_restart_count_although_their_numbers_are_lower() -> None:
    restarted = [Point(1.0, 9), Point(3.0, 5), Point(5.0, 6)]
    assert idle_seconds([restarted], 1.0, 6.0, gap=2.5) == 0.0


def test_an_incomplete_last_line_of_a_curve_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "node-0.jsonl"
    file.write_text('{"time": 101.0, "step": 1}\n{"time": 102.0, "step": 1, "accuracy": 0.25}\n{"time": 10')
    assert read_points(file, 100.0) == [Point(1.0, 1), Point(2.0, 1, 0.25)]
    assert read_points(tmp_path / "none.jsonl", 100.0) == []


def test_value_at_a_time_is_the_last_sample_before_it() -> None:
    assert [value_at([1.0, 2.0], [10.0, 20.0], time) for time in (0.5, 1.5, 2.0)] == [10.0, 10.0, 20.0]


def _row(who: str, seed: int, node: str, accuracy: float | None, **more: object) -> Row:
    return Row(who=who, setting="digits", seed=seed, node=node, accuracy=accuracy, **more)  # type: ignore[arg-type]


def test_rows_survive_their_csv_file(tmp_path: Path) -> None:
    rows = [
        _row("edgekd", 101, "0", 0.5, bytes=123456789012, seconds=1.5, rss_mb=2.0, note="steps=3; idle=0.5; it ended"),
        Row(who="quinkgl", setting="digits", seed=101, node="", note="not installed: no, because = this"),
    ]
    write_csv(tmp_path / "rows.csv", Row, rows)
    assert read_rows(tmp_path / "rows.csv") == rows
    assert rows[0].notes == {"steps": 3.0, "idle": 0.5}
    assert rows[1].notes == {}


def test_table_has_the_mean_of_the_seeds_with_its_standard_error_and_the_worst_node() -> None:
    rows = [_row("edgekd", 101, "0", 0.5), _row("edgekd", 101, "1", 0.7), _row("edgekd", 102, "0", 0.8)]
    (line,) = [line for line in markdown(rows).splitlines() if line.startswith("| edgekd")]
    assert line.split(" | ")[1:3] == ["0.700 ± 0.100", "0.650 ± 0.150"]
    assert mean_and_error([1.0]) == (1.0, None)


def test_accuracy_at_edgekds_time_is_known_once_every_node_has_one() -> None:
    def point(node: str, seconds: float, accuracy: float) -> CurvePoint:
        return CurvePoint(
            who="p2pfl",
            setting="digits",
            seed=101,
            node=node,
            step=15,
            accuracy=accuracy,
            seconds=seconds,
            processor_seconds=1.0,
            bytes=1,
        )

    nodes = [_row("p2pfl", 101, node, 0.9) for node in "01"]
    curve = [point("0", 10.0, 0.3), point("0", 20.0, 0.9), point("1", 12.0, 0.5), point("1", 25.0, 0.9)]
    assert at_edgekds_time(nodes, [_row("edgekd", 101, "0", 0.5, seconds=15.0)], curve) == pytest.approx(0.4)
    assert at_edgekds_time(nodes, [_row("edgekd", 101, "0", 0.5, seconds=11.0)], curve) is None
    assert at_edgekds_time(nodes, [], curve) is None


def test_table_tells_why_a_system_has_no_figures_and_keeps_the_server_out_of_the_means() -> None:
    rows = [
        Row(who="quinkgl", setting="digits", seed=101, node="", note="not installed: no wheel"),
        _row("flower-fedavg", 101, "0", 0.5, bytes=1_000_000),
        _row("flower-fedavg", 101, "server", None, bytes=9_000_000, processor_seconds=3.0, rss_mb=100.0),
    ]
    text = markdown(rows)
    assert "- quinkgl: not installed: no wheel" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| flower-fedavg")]
    assert line.split(" | ")[4] == "1.0"
    assert "server's box besides: 9.0 MB, 3 processor s, RSS 100 MB" in text


def test_table_of_a_fault_leaves_the_victim_out_and_counts_idle_seconds_after_the_fault() -> None:
    rows = [
        _row("p2pfl", 101, "0", 0.5, seconds=90.0, note="first_step=10; steps=40; idle=70; fault_at=30; idle_after=50"),
        _row("p2pfl", 101, "1", 0.1, seconds=30.0, note="steps=20; idle=70; fault_at=30; idle_after=50; victim=1"),
    ]
    (line,) = [line for line in markdown(rows).splitlines() if line.startswith("| p2pfl")]
    cells = line.strip("| ").split(" | ")
    assert (cells[1], cells[9], cells[10], cells[11]) == ("0.500", "2.000", "50.0", "40")


def test_rounds_cover_all_steps_and_the_last_one_is_shorter(tmp_path: Path) -> None:
    tables = SMALL.with_steps(40).tables(3)
    task = Task(folder=".", tables=tables, shards=".", nodes=3, addresses=("a:1",), seed=1, epoch=15, local_epochs=1)
    assert [len(task.steps_of(round)) for round in range(task.rounds)] == [15, 15, 10]
    task.save(tmp_path / "task.json")
    assert Task.load(tmp_path / "task.json") == task


def test_every_system_is_tuned_with_six_runs_on_seeds_that_are_not_reported(tmp_path: Path) -> None:
    for who in SYSTEMS:
        runs = tuning(who, DIGITS)
        assert len({run.name for run in runs}) == 6
        assert {run.seed for run in runs} <= {11, 12}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(out=tmp_path, venvs=tmp_path, cores=1.0, limit=1.0)


def _result(lab: Lab, run: Run, rows: list[dict[str, object]]) -> None:
    folder = lab.folder(run)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"rows": rows, "curve": []}))


def test_best_tuning_run_gives_the_rate_and_the_local_epochs(lab: Lab) -> None:
    assert tuned(lab, "p2pfl", DIGITS) == (None, 1)
    for run, accuracy in zip(tuning("p2pfl", DIGITS), (0.1, 0.2, 0.3, 0.6, 0.5, None), strict=True):
        _result(lab, run, [{"accuracy": accuracy}])
    assert tuned(lab, "p2pfl", DIGITS) == (0.03, 2)
    assert mean_accuracy([{"accuracy": None}]) == 0.0


def test_a_system_that_is_faster_than_edgekd_runs_again_for_as_long(lab: Lab) -> None:
    def rows(who: str, seconds: float) -> list[dict[str, object]]:
        note = "first_step=10"
        return [{"who": who, "setting": "s", "seed": 1, "node": "0", "accuracy": 0.5, "seconds": seconds, "note": note}]

    _result(lab, Run(who="edgekd", setting=SMALL, seed=101), rows("edgekd", 50.0))
    _result(lab, Run(who="alone", setting=SMALL, seed=101), rows("alone", 30.0))
    _result(lab, Run(who="pooled", setting=SMALL, seed=101), rows("pooled", 49.0))
    runs = list(core(lab, ["edgekd", "alone", "pooled"], [SMALL], [101]))
    longer = [run for run in runs if run.label]
    assert [(run.who, run.setting.steps, run.shown) for run in longer] == [("alone", 400, "small, same time")]


def test_other_steps_and_another_quota_are_another_run(lab: Lab) -> None:
    run = Run(who="alone", setting=SMALL, seed=101)
    _result(lab, run, [])
    assert lab.has(run)
    assert not lab.has(dataclasses.replace(run, setting=SMALL.with_steps(7)))
    assert not dataclasses.replace(lab, cores=0.5).has(run)


def test_lines_that_a_user_writes_leave_out_comments_and_blank_lines() -> None:
    assert lines_a_user_writes(SYSTEMS["edgekd"]) == 4
    assert lines_a_user_writes(SYSTEMS["p2pfl"]) > lines_a_user_writes(SYSTEMS["alone"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["core", "--only", "flowers"], "unknown system flowers; known: edgekd,"),
        (["core", "--setting", "mnist"], "unknown setting mnist; known: digits, small, cifar10"),
        (["core", "--setting", "cifar10"], "cifar10 needs --pictures FOLDER and --weights FILE"),
    ],
)
def test_a_mistake_in_the_command_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.setattr(command, "why_no_boxes", lambda: "")
    result = CliRunner().invoke(command.main, arguments)
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {said}")
    assert result.output.count("\n") == 1


def test_a_machine_without_boxes_is_told_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "why_no_boxes", lambda: "network namespaces need Linux and root")
    result = CliRunner().invoke(command.main, ["core"])
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert "network namespaces need Linux and root" in result.output
