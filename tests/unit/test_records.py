"""A sweep's results on disk: what is written is read, what a kill leaves is cleared away."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.config import Config, from_mapping, overlay, read_toml
from edgekd.config.presets import PRESETS, find_preset
from edgekd.errors import ConfigError
from edgekd.files.summary import PeerSummary
from edgekd.lab.sweep.grid import configs as configs_of
from edgekd.lab.sweep.grid import plan
from edgekd.lab.sweep.records import (
    ALONE,
    COLUMNS,
    POOLED,
    TOGETHER,
    Cell,
    Outcome,
    append_outcome,
    read_outcomes,
    split_name,
    tidy,
)


def outcome(kind: str = TOGETHER, seed: int = 0, **distill: object) -> Outcome:
    config = from_mapping({"data": {"gamma": 15.0}, "distill": distill, "train": {"seed": seed}})
    cell = Cell(kind, config)
    peers = tuple(
        PeerSummary(
            id=id,
            accuracy=(id + 1) / 7,
            own_accuracy=1 / 3,
            steps=config.steps,
            head_accuracies=(0.25, (id + 1) / 7),
            private_samples=10 + id,
            evaluation_samples=180,
            bytes_sent=640,
            weights_sha256="ab" * 32,
        )
        for id in range(cell.rows)
    )
    return Outcome(cell, peers, 1.5, "cpu, x86_64")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = [outcome(), outcome(seed=1, measure="sed", alpha=0.1 + 0.2), outcome(ALONE), outcome(POOLED)]
    for each in written:
        append_outcome(tmp_path, each)
    assert read_outcomes(tmp_path) == written
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert [(row["client"], row["measure"], row["split"], row["gamma"]) for row in rows[:3]] == [
        (str(id), "kl", "gamma", "15.0") for id in range(3)
    ]
    assert list(rows[0]) == list(COLUMNS)


def test_file_of_before_processors_were_noted_is_read_and_gets_the_column(tmp_path: Path) -> None:
    append_outcome(tmp_path, outcome())
    path = tmp_path / "results.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    names = [name for name in rows[0] if name != "processor"]
    lines = [",".join(f'"{row[name]}"' for name in names) for row in rows]
    path.write_text("\n".join([",".join(names), *lines]) + "\n")
    tidy(tmp_path)
    append_outcome(tmp_path, outcome(seed=1))
    assert [each.processor for each in read_outcomes(tmp_path)] == ["", "cpu, x86_64"]


configs = st.builds(
    lambda data, distill, model, train: from_mapping(
        {"data": data, "distill": distill, "model": model, "train": train}
    ),
    st.sampled_from([{"iid": True}, {"gamma": 3.5}, {"dirichlet": 0.1}, {"data": "folder:a, b/c"}, {"limit": 7}]),
    st.fixed_dictionaries(
        {"alpha": st.floats(0.01, 1), "temperature": st.floats(1e-6, 1e6), "measure": st.sampled_from(["kl", "a.b:c"])}
    ),
    st.sampled_from([{}, {"head_layers": "none"}, {"weights": 'a "quoted", name.safetensors', "heads": 3}]),
    st.fixed_dictionaries({"seed": st.integers(0, 2**31 - 1), "lr": st.none() | st.floats(1e-9, 10)}).map(
        lambda table: {name: value for name, value in table.items() if value is not None}
    ),
)


@given(configs)
@settings(deadline=None)
def test_any_settings_survive_the_file(tmp_path_factory: pytest.TempPathFactory, config: Config) -> None:
    folder = tmp_path_factory.mktemp("results")
    cell = Cell(POOLED, config)
    append_outcome(folder, Outcome(cell, outcome(POOLED).peers, 0.5))
    assert read_outcomes(folder)[0].cell == cell


def test_liars_row_says_so_and_only_the_honest_count(tmp_path: Path) -> None:
    config = from_mapping({"exchange": {"liars": 1, "lie": "flip"}})
    peers = tuple(replace(peer, liar=peer.id == 2) for peer in outcome().peers)
    append_outcome(tmp_path, Outcome(Cell(TOGETHER, config), peers, 1.5))
    (read,) = read_outcomes(tmp_path)
    assert read.peers == peers
    assert read.accuracies == [1 / 7, 2 / 7]
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert [(row["client"], row["liar"], row["liars"], row["lie"]) for row in rows] == [
        ("0", "False", "1", "flip"),
        ("1", "False", "1", "flip"),
        ("2", "True", "1", "flip"),
    ]


def test_file_of_before_there_were_liars_is_read_and_its_cells_keep_their_names(tmp_path: Path) -> None:
    append_outcome(tmp_path, outcome())
    path = tmp_path / "results.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    names = [name for name in rows[0] if name not in ("liar", "liars", "lie")]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    assert read_outcomes(tmp_path) == [outcome()]
    train = {"steps": 120, "batch": 32, "public_batch": 32, "optimiser": "sgd", "norm_from": "private"}
    then = {"distill": {"combine": "geometric", "kd_weight": 2.0}, "train": train, "data": {"public_augment": "none"}}
    first = Cell(TOGETHER, from_mapping(overlay({"data": {"gamma": 15.0}}, then)))
    assert first.name == "e7bd637664a5", "as it has been since before"


def test_torn_end_is_left_out_and_cleared_away_wherever_it_was_torn(tmp_path: Path) -> None:
    append_outcome(tmp_path, outcome())
    path = tmp_path / "results.csv"
    whole = path.read_bytes()
    append_outcome(tmp_path, outcome(seed=1))
    both = path.read_bytes()
    for length in range(len(whole), len(both)):
        path.write_bytes(both[:length])
        assert read_outcomes(tmp_path) == [outcome()], length
        if length % 50 == 0:
            tidy(tmp_path)
            assert path.read_bytes() == whole
            append_outcome(tmp_path, outcome(seed=1))
            assert path.read_bytes() == both


def test_torn_character_is_torn_away_too(tmp_path: Path) -> None:
    config = from_mapping({"data": {"data": "folder:Größe", "gamma": 1.0}})
    append_outcome(tmp_path, outcome())
    append_outcome(tmp_path, Outcome(Cell(TOGETHER, config), outcome().peers, 1.0))
    path = tmp_path / "results.csv"
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex("ö".encode()) + 1])
    assert read_outcomes(tmp_path) == [outcome()]


def test_settings_of_a_newer_version_are_not_dropped_but_refused(tmp_path: Path) -> None:
    append_outcome(tmp_path, outcome())
    path = tmp_path / "results.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{head},colour", *(f"{row},red" for row in rows)]) + "\n")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="does not know: colour; upgrade edgekd"):
        tidy(tmp_path)
    assert path.read_bytes() == before


def test_results_of_an_older_version_have_the_defaults_of_settings_that_it_did_not_know(tmp_path: Path) -> None:
    append_outcome(tmp_path, outcome())
    path = tmp_path / "results.csv"
    rows = list(csv.reader(path.read_text().splitlines()))
    missing = rows[0].index("sharpen")
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([row[:missing] + row[missing + 1 :] for row in rows])
    assert read_outcomes(tmp_path) == [outcome()]
    tidy(tmp_path)
    assert list(csv.reader(path.read_text().splitlines())) == rows


@pytest.mark.parametrize(
    "content", ["a,b\n1,2\n", "cell,kind\nx,together\n", "cell,kind,client\nx,grid,0\n", "\x00\xff"]
)
def test_other_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.csv").write_text(content)
    with pytest.raises(ConfigError, match=r"results\.csv"):
        read_outcomes(tmp_path)


def test_empty_folder_has_no_results(tmp_path: Path) -> None:
    tidy(tmp_path)
    assert read_outcomes(tmp_path) == []


def test_split_is_named() -> None:
    tables: list[dict[str, object]] = [{"iid": True}, {}, {"gamma": 2.0}, {"dirichlet": 1.0}]
    assert [split_name(from_mapping({"data": table})) for table in tables] == ["iid", "gamma", "gamma", "dirichlet"]


def test_client_that_was_off_for_good_has_no_accuracy_and_comes_back_without_one(tmp_path: Path) -> None:
    found = outcome()
    lost = replace(found.peers[0], accuracy=None, own_accuracy=None, head_accuracies=())
    found = replace(found, peers=(lost, *found.peers[1:]))
    append_outcome(tmp_path, found)
    (again,) = read_outcomes(tmp_path)
    assert [peer.accuracy for peer in again.peers] == [peer.accuracy for peer in found.peers]
    assert again.accuracies == [peer.accuracy for peer in found.peers[1:]]


def test_cells_of_the_projects_own_sweeps_keep_their_names() -> None:
    """A setting that is added later must not orphan what was measured before: its default is left out of the name."""
    results = Path(__file__).parents[2] / "experiments" / "results"
    found = 0
    for folder in sorted(path.parent for path in results.glob("*/results.csv")):
        files = [path for name in ("results.csv", "baselines.csv") if (path := folder / name).exists()]
        stored = {row["cell"] for path in files for row in csv.DictReader(path.read_text().splitlines())}
        assert {outcome.cell.name for outcome in read_outcomes(folder)} == stored, folder.name
        found += len(stored)
    assert found >= 1094


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ({"step_times": "2:3:6", "step_jitter": 0.1}, {"step_times": "1:1.5:3"}),
        ({"down": "2:1-2,1:3-"}, {"down": "1:3-:checkpoint,2:1.0-2.0:checkpoint"}),
        ({"step_times": "1:1:1", "delay": 0.0, "loss": 0.0, "step_seconds": 1.0}, {}),
        ({"liar_frames": 4}, {}),
    ],
)
def test_asynchronous_cells_that_would_give_the_same_are_one(one: dict[str, object], same: dict[str, object]) -> None:
    cells = [Cell(TOGETHER, from_mapping({"simulation": {"asynchronous": True, **each}})) for each in (one, same)]
    assert cells[0] == cells[1]
    assert cells[0].name == cells[1].name


def test_what_lockstep_does_not_depend_on_counts_in_an_asynchronous_cell() -> None:
    def name(asynchronous: bool, **exchange: object) -> str:
        simulation = {"asynchronous": True} if asynchronous else {}
        return Cell(TOGETHER, from_mapping({"simulation": simulation, "exchange": exchange})).name

    for exchange in ({"max_age": 8}, {"linger": 0.0}, {"wait_for": 0}):
        assert name(False, **exchange) == name(False)
        assert name(True, **exchange) != name(True)
    assert name(True) != name(False)


EXPERIMENTS = Path(__file__).parents[2] / "experiments"
# Settings whose defaults may change: what the stored results were made with stands in the files.
PINNED = {
    "data": ("public_augment",),
    "distill": (
        "alpha",
        "measure",
        "combine",
        "sharpen",
        "temperature",
        "kd_weight",
        "kd_warmup",
        "kd_scale",
        "balance",
    ),
    "model": ("head_start", "head_end"),
    "train": ("optimiser", "norm_from", "freeze", "schedule", "steps", "batch", "public_batch"),
    "exchange": ("encoding",),
}


def test_files_of_the_experiments_plan_all_cells_that_are_stored() -> None:
    planned = {
        cell.name
        for file in EXPERIMENTS.glob("*.toml")
        for cell in plan(list(configs_of(read_toml(file))), baseline=True)
    }
    found = 0
    for path in [*EXPERIMENTS.glob("results/*/results.csv"), *EXPERIMENTS.glob("results/*/baselines.csv")]:
        stored = {row["cell"] for row in csv.DictReader(path.read_text().splitlines())}
        assert stored <= planned, path
        found += len(stored)
    assert found >= 1300


@pytest.mark.parametrize("file", sorted(EXPERIMENTS.glob("*.toml")), ids=lambda file: file.stem)
def test_files_of_the_experiments_leave_nothing_to_defaults_that_may_change(file: Path) -> None:
    tables = read_toml(file)
    for grid in tables.get("grid", [{}]):
        whole = overlay({name: table for name, table in tables.items() if name != "grid"}, grid)
        open_ = {f"{section}.{name}" for section, names in PINNED.items() for name in names}
        open_ -= {f"{section}.{name}" for section in PINNED for name in whole.get(section, {})}
        assert not open_


@pytest.mark.parametrize("preset", [name for name in PRESETS if name.startswith("paper")])
def test_presets_leave_nothing_to_defaults_that_may_change(preset: str) -> None:
    free = {"distill": ("measure",), "exchange": ("encoding",)}  # the user's choice; no part of the paper
    for section, names in PINNED.items():
        assert {*names} - {*free.get(section, ())} <= find_preset(preset).get(section, {}).keys(), section
