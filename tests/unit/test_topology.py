"""Who hears whom: symmetric, of the degree asked for, connected, and the same everywhere."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from edgekd.cli import cli
from edgekd.errors import ConfigError
from edgekd.simulation.topology import LARGEST_FILE, neighbours

Graph = tuple[tuple[int, ...], ...]


def is_simple(graph: Graph) -> bool:
    """No loops, nobody twice, and whoever is heard hears."""
    ascending = all(list(others) == sorted(set(others)) and i not in others for i, others in enumerate(graph))
    return ascending and all(i in graph[j] for i, others in enumerate(graph) for j in others)


def reached_from_the_first(graph: Graph) -> set[int]:
    reached: set[int] = set()
    new = {0}
    while new:
        reached |= new
        new = {j for i in new for j in graph[i]} - reached
    return reached


@st.composite
def regular(draw: st.DrawFn) -> tuple[int, int]:
    """Clients and a degree that they can have."""
    clients = draw(st.integers(3, 40))
    degree = draw(st.integers(2, clients - 1).filter(lambda degree: degree * clients % 2 == 0))
    return clients, degree


@settings(deadline=None, max_examples=200)
@given(shape=regular(), seed=st.integers(0, 2**62))
def test_random_graph_is_simple_connected_of_its_degree_and_drawn_from_its_seed(shape, seed) -> None:
    clients, degree = shape
    graph = neighbours(f"regular:{degree}", clients, seed)
    assert is_simple(graph)
    assert [len(others) for others in graph] == [degree] * clients
    assert reached_from_the_first(graph) == set(range(clients))
    assert graph == neighbours(f"regular:{degree}", clients, seed)


@pytest.mark.parametrize(
    ("clients", "degree", "graphs"),
    [
        (6, 3, 70),  # 10 relabelled K(3,3), 60 prisms
        (6, 2, 60),  # the rings
        (5, 4, 1),
        (7, 4, 465),  # 360 + 105: the complements of one ring, and of two
    ],
)
def test_each_connected_regular_graph_is_as_likely_as_any_other(clients: int, degree: int, graphs: int) -> None:
    drawn = 10 * graphs
    seen = Counter(neighbours(f"regular:{degree}", clients, seed) for seed in range(drawn))
    assert len(seen) <= graphs
    statistic = sum((count - 10) ** 2 / 10 for count in seen.values()) + 10 * (graphs - len(seen))
    assert statistic <= chi2.ppf(1 - 1e-6, max(1, graphs - 1))


def test_random_graph_is_the_same_on_every_platform() -> None:
    eight = ((2, 3, 7), (4, 6, 7), (0, 5, 6), (0, 5, 7), (1, 5, 6), (2, 3, 4), (1, 2, 4), (0, 1, 3))
    assert neighbours("regular:3", 8, 1) == eight
    graphs = [neighbours(f"regular:{degree}", clients, 7) for clients, degree in ((2, 1), (20, 2), (64, 5), (30, 20))]
    digest = hashlib.sha256(repr(graphs).encode()).hexdigest()
    assert digest == "cac05e5be360dcf4ec64d9eb0b56d16177c5ac2659a2e6939b9fa7980cc400f6"


@given(clients=st.integers(1, 30))
def test_full_and_ring_have_everybody_and_the_two_beside_one(clients: int) -> None:
    full, ring = (neighbours(topology, clients, 0) for topology in ("full", "ring"))
    assert full == tuple(tuple(j for j in range(clients) if j != i) for i in range(clients))
    beside = [{(i - 1) % clients, (i + 1) % clients} - {i} for i in range(clients)]
    assert ring == tuple(tuple(sorted(ids)) for ids in beside)


def test_ring_of_two_is_one_edge_and_of_one_none() -> None:
    assert neighbours("ring", 2, 0) == ((1,), (0,))
    assert neighbours("ring", 1, 0) == neighbours("full", 1, 0) == ((),)


@settings(deadline=None)
@given(
    edges=st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda e: e[0] != e[1]), min_size=1),
    seed=st.integers(0, 9),
)
def test_file_is_read_as_it_stands(tmp_path_factory: pytest.TempPathFactory, edges, seed) -> None:
    file = tmp_path_factory.mktemp("topology") / "edges.txt"
    pairs = [*edges, *((i, i + 1) for i in range(0, 12, 2))]  # so that everybody has one
    file.write_text("".join(f"{i} {j}\n" for i, j in pairs))
    graph = neighbours(str(file), 12, seed)
    assert is_simple(graph)
    assert {(i, j) for i, others in enumerate(graph) for j in others} == {e for i, j in pairs for e in ((i, j), (j, i))}


def test_file_may_have_comments_blank_lines_repeated_edges_and_several_groups(tmp_path: Path) -> None:
    file = tmp_path / "edges.txt"
    file.write_bytes(b"\xef\xbb\xbf# two pairs\r\n\r\n0 1  # first\r\n1\t0\r\n   3 2\r\n")
    assert neighbours(str(file), 4, 0) == ((1,), (0,), (3,), (2,))


@pytest.mark.parametrize(
    ("topology", "clients", "said"),
    [
        ("star", 3, "must be full, ring, regular:D or a file with an edge, I J, a line, got 'star': No such file"),
        ("", 3, "got '': "),
        ("a\nb\0", 3, r"got 'a\nb\x00': "),
        ("Ring", 3, "got 'Ring': "),
        ("regular", 3, "regular:D takes a whole number D >= 1, got ''"),
        ("regular:two", 3, "regular:D takes a whole number D >= 1, got 'two'"),
        ("regular:-2", 3, "regular:D takes a whole number D >= 1, got '-2'"),
        ("regular:0", 3, "regular:D takes a whole number D >= 1, got '0'"),
        ("regular:2.0", 3, "regular:D takes a whole number D >= 1, got '2.0'"),
        ("regular:" + "9" * 5000, 3, "regular:D takes a whole number D >= 1, got '999"),
        ("regular:999999999", 3, "needs more than 999999999 clients, got 3"),
        ("regular:4", 4, "needs more than 4 clients, got 4"),
        ("regular:1", 1, "needs more than 1 clients, got 1"),
        ("regular:3", 5, "needs an even number of clients, got 5: choose an even D"),
        ("regular:1", 4, "would part 4 clients into pairs that hear of nobody else: choose D >= 2"),
        ("ring", 0, "1 to 2048 clients, got 0"),
        ("full", 2**31 - 1, "1 to 2048 clients, got 2147483647"),
    ],
)
def test_impossible_topology_is_one_line_with_the_rule_and_the_value(topology: str, clients: int, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        neighbours(topology, clients, 0)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"0 1\n1 2\n2 4\n", "line 3: an edge is I J, the ids of two clients from 0 to 3, got '2 4'"),
        (b"0 1\n\n-1 2\n", "line 3: an edge is I J, the ids of two clients from 0 to 3, got '-1 2'"),
        (b"0 1\n2 2\n", "line 2: an edge is I J, the ids of two clients from 0 to 3, got '2 2'"),
        (b"0 1 0.5\n", "line 1: an edge is I J, the ids of two clients from 0 to 3, got '0 1 0.5'"),
        (b"0,1\n", "line 1: an edge is I J, the ids of two clients from 0 to 3, got '0,1'"),
        (b"0 99999999999999999999\n", "line 1: an edge is I J"),
        (b"\x89PNG\xff\xfe\x00", "line 1: an edge is I J"),
        (b"0 1\n1 3\n", "gives client 2 of 4 no neighbour: add an edge for each"),
        (b"# nothing yet\n", "gives client 0, 1, 2, 3 of 4 no neighbour"),
        (b" " * (LARGEST_FILE + 1), f"has more than {LARGEST_FILE} bytes: that is no list of edges"),
    ],
)
def test_wrong_file_is_one_line_that_names_the_place(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "edges.txt"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        neighbours(str(file), 4, 0)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folder_is_no_list_of_edges(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        neighbours(str(tmp_path), 4, 0)


def test_peer_has_no_topology_of_its_own_and_run_has_one() -> None:
    helps = {name: CliRunner().invoke(cli, [name, "--help"]).output for name in ("peer", "run")}
    assert "--topology" not in helps["peer"]
    assert "--peers" in helps["peer"]
    assert "--topology" in helps["run"]
