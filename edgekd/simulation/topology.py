"""The topology of a simulated group: the neighbours of each client.

Edges have no direction: neighbours teach each other. The result is a pure function of the arguments, on every platform.
Random graphs are drawn from the raw bits of Philox, as splits are, since the random numbers of a graph library may
change with its version.
"""

from collections.abc import Iterable, Sequence

from edgekd.data.splits import permutation, uniforms
from edgekd.errors import ConfigError
from edgekd.names import TOPOLOGY_NAMES, with_nearest
from edgekd.paths import expanded
from edgekd.seeds import derive

MOST_CLIENTS = 2048  # a limit, so that every answer takes only seconds
LARGEST_FILE = 2**25  # bytes; all edges between so many clients need less
SWAPS = 10  # proposed swaps for each edge of a random graph

Edge = tuple[int, int]  # (i, j), i < j


def neighbours(topology: str, clients: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """The ids of the neighbours of each client, ascending.

    Args:
        topology: ``full``; ``ring``; ``regular:D``, a random connected graph with D neighbours for each client; or a
            text file with one edge, ``I J``, on each line. There ``#`` begins a comment, an edge may be repeated, and
            the graph need not be connected.
        clients: the number of clients K, from 1 to 2048; the ids are 0 to K - 1.
        seed: the seed that the group shares.

    Raises:
        ConfigError: there is no such topology for this number of clients, or the file is wrong.
    """
    if not 1 <= clients <= MOST_CLIENTS:
        raise ConfigError(f"a topology is for 1 to {MOST_CLIENTS} clients, got {clients}")
    kind, _, degree = topology.partition(":")
    if topology == "full":
        edges = _all_edges(clients)
    elif topology == "ring":
        edges = _ring(range(clients))
    elif kind == "regular":
        edges = _connected(_checked_degree(degree, clients), clients, seed)
    else:
        edges = _read(topology, clients)
    return _adjacent(edges, clients)


def _adjacent(edges: Iterable[Edge], clients: int) -> tuple[tuple[int, ...], ...]:
    found: list[list[int]] = [[] for _ in range(clients)]
    for i, j in edges:
        found[i].append(j)
        found[j].append(i)
    return tuple(tuple(sorted(each)) for each in found)


def _edge(i: int, j: int) -> Edge:
    return (i, j) if i < j else (j, i)


def _all_edges(clients: int) -> set[Edge]:
    return {(i, j) for j in range(clients) for i in range(j)}


def _ring(ids: Sequence[int]) -> set[Edge]:
    """The edges of a ring: one edge for two ids, none for one id."""
    return {_edge(ids[k - 1], ids[k]) for k in range(len(ids)) if ids[k - 1] != ids[k]}


def _checked_degree(text: str, clients: int) -> int:
    degree, name = _number(text), f"topology regular:{text}"
    if degree is None or degree < 1:
        raise ConfigError(f"topology regular:D takes a whole number D >= 1, got {text!r}")
    if degree >= clients:
        raise ConfigError(f"{name} needs more than {degree} clients, got {clients}: choose a smaller D or more clients")
    if degree * clients % 2:
        raise ConfigError(f"{name} needs an even number of clients, got {clients}: choose an even D or another number")
    if degree == 1 and clients > 2:
        raise ConfigError(f"{name} would part {clients} clients into pairs that hear of nobody else: choose D >= 2")
    return degree


def _connected(degree: int, clients: int, seed: int) -> set[Edge]:
    if degree == 2:  # a connected graph of degree 2 is a ring, and few random ones are connected
        return _ring(permutation(clients, derive(seed, "topology")).tolist())
    attempt = 0
    while not _is_connected(edges := _regular(degree, clients, derive(seed, "topology", attempt)), clients):
        attempt += 1
    return edges


def _regular(degree: int, clients: int, key: int) -> set[Edge]:
    """A random graph in which every client has `degree` neighbours; it need not be connected.

    It begins as a lattice. Then random pairs of edges swap ends, if this makes no loop and no double edge. After many
    swaps, all such graphs are equally probable.

    Source: Cooper, Dyer and Greenhill 2007, Sampling regular graphs and a peer-to-peer network.
    """
    if 2 * degree >= clients:  # faster through the complement, the graph of those that are not neighbours
        return _all_edges(clients) - _regular(clients - 1 - degree, clients, key)
    offsets = [*range(1, degree // 2 + 1), *([clients // 2] if degree % 2 else [])]
    known = {_edge(i, (i + offset) % clients) for i in range(clients) for offset in offsets}
    edges = sorted(known)
    draws = uniforms(2 * SWAPS * len(edges), key) * (2 * len(edges))  # for an edge, and for its direction
    picks = [divmod(pick, 2) for pick in draws.astype(int).tolist()]
    for (first, _), (second, turned) in zip(picks[::2], picks[1::2], strict=True):
        (a, b), (c, d) = edges[first], edges[second]
        if turned:
            c, d = d, c
        one, other = _edge(a, d), _edge(c, b)
        if a != d and c != b and one not in known and other not in known:
            known.difference_update((edges[first], edges[second]))
            known.update((one, other))
            edges[first], edges[second] = one, other
    ids = permutation(clients, derive(key, "ids")).tolist()
    return {_edge(ids[i], ids[j]) for i, j in edges}


def _is_connected(edges: set[Edge], clients: int) -> bool:
    adjacent, seen, todo = _adjacent(edges, clients), {0}, [0]
    while todo:
        new = set(adjacent[todo.pop()]) - seen
        seen |= new
        todo += new
    return len(seen) == clients


def _read(name: str, clients: int) -> set[Edge]:
    try:
        with expanded(name).open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        allowed = "full, ring, regular:D or a file with an edge, I J, a line"
        why = f"topology must be {allowed}, got {name!r}: {getattr(error, 'strerror', error)}"
        raise ConfigError(with_nearest(why, name.partition(":")[0], TOPOLOGY_NAMES)) from error
    if len(content) > LARGEST_FILE:
        raise ConfigError(f"topology {name!r} has more than {LARGEST_FILE} bytes: that is no list of edges")
    edges = set()
    for number, line in enumerate(content.decode("utf-8-sig", "replace").splitlines(), start=1):
        ids = [_number(word) for word in line.partition("#")[0].split()]
        match ids:
            case []:
                pass
            case [int(i), int(j)] if i != j and max(i, j) < clients:
                edges.add(_edge(i, j))
            case _:
                rule = f"an edge is I J, the ids of two clients from 0 to {clients - 1}"
                raise ConfigError(f"topology {name!r}, line {number}: {rule}, got {line.strip()[:40]!r}")
    alone = [str(id) for id, others in enumerate(_adjacent(edges, clients)) if not others]
    if alone and clients > 1:
        shown = ", ".join(alone[:5]) + (" and more" if alone[5:] else "")
        raise ConfigError(f"topology {name!r} gives client {shown} of {clients} no neighbour: add an edge for each")
    return edges


def _number(text: str) -> int | None:
    """Parse a whole number of at most 9 digits; None for other text."""
    return int(text) if text.isdecimal() and len(text) <= 9 else None
