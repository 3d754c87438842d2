"""A liar among real peers, with real predictions and heartbeats: it can neither move the round nor stop the lessons."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import EXCHANGES_WITHIN, SLACK, SMALL, addresses, metrics, peer, start, until_status

from edgekd.config import from_mapping
from edgekd.protocol.messages import Goodbye, Heartbeat, Parting, State
from peer.network.thread import Network
from peer.node.start import make_node

LIAR, HONEST, NEWCOMER = 3, (0, 1, 2), 4
FAR = 2**61
LESSONS_WITHIN = 2 * EXCHANGES_WITHIN  # seconds from a first Hello


class Group:
    """Three honest peers, perhaps with keys, and whoever joins them."""

    def __init__(self, spawn: Any, out: Path, transport: str, *, keys: bool) -> None:
        self._spawn, self._out = spawn, out
        self.where = addresses(5)
        self._more = ["--steps", 0, "--checkpoint-every", 20, "--transport", transport, "--clients", 5]
        self.exchange: dict[str, Any] = {"transport": transport}
        self.keys = keys
        if keys:
            assert start(["certs", "--ids", "0,1,2,3,4"], out).wait() == 0

    def certs(self, id: int) -> str:
        return str(self._out / "certs" / f"peer-{id}")

    def peers(self, ids: tuple[int, ...] = HONEST) -> list[str]:
        return [f"{id}@{self.where[id]}" if self.keys else self.where[id] for id in ids]

    def start(self, id: int, *more: object) -> Any:
        certs = ["--certs", self.certs(id)] if self.keys else []
        command = peer(id, self._out, *self._more, *certs, *more, listen=self.where[id], peers=self.peers())
        return self._spawn([argument for argument in command if not (self.keys and argument == "--insecure")])

    @contextlib.contextmanager
    def liar(self) -> Iterator[Network]:
        """A real peer's network, which says what a test makes it say."""
        small = dict(zip((str(flag)[2:].replace("-", "_") for flag in SMALL[::2]), SMALL[1::2], strict=True))
        sections = {"data": ("data", "limit", "gamma"), "model": ("model",), "train": ("batch", "public_batch")}
        tables: dict[str, Any] = {name: {key: small[key] for key in keys} for name, keys in sections.items()}
        tables["data"]["clients"] = 5
        tables["exchange"] = self.exchange | ({"certs": self.certs(LIAR)} if self.keys else {})
        folder = self._out / "liar"
        folder.mkdir()
        made = make_node(
            from_mapping(tables),
            LIAR,
            None,
            tuple(self.peers()),
            folder,
            stop=lambda: False,
            on_progress=lambda _: None,
        )
        made.network.start()
        try:
            made.network.tell(Heartbeat(step=1, steps=0, round=-1, done=False), State.TRAINING)
            while sum(member.up for member in made.network.members) < len(HONEST):
                made.network.look()
                made.network.wait_for_news(EXCHANGES_WITHIN, lambda: False)
            yield made.network
        finally:
            made.network.stop(Goodbye(parting=Parting.LEAVING))


def always_the_first_class() -> torch.Tensor:
    probs = torch.full((1, 8, 10), 0.001 / 9)
    probs[..., 0] = 0.999
    return probs.log()


@pytest.fixture(params=[("grpc", False), ("grpc", True), ("zmq", False), ("zmq", True)], ids=lambda p: f"{p[0]}-{p[1]}")
def group(request: pytest.FixtureRequest, spawn: Any, tmp_path: Path) -> Group:
    transport, keys = request.param
    return Group(spawn, tmp_path, transport, keys=keys)


def until_has_lessons(process: Any) -> None:
    hello = process.until_says(" is up at ")
    assert process.until_exchanging(after=hello) - hello < LESSONS_WITHIN + SLACK


def test_far_claim_shuts_out_neither_who_returns_nor_who_is_new(group: Group) -> None:
    peers = [group.start(id, "--wait-for", 2) for id in HONEST]
    for each in peers:
        each.until_exchanging(up=2)
    peers[2].until_step(25)
    with group.liar() as liar:
        liar.publish(FAR, always_the_first_class())  # from now on its heartbeats say so, too
        for process in peers:
            process.until(lambda p: p.last["up"] == 3)
            process.until_step(process.last["step"] + 40)  # two heartbeats at the least
        peers[2].kill9()
        again, newcomer = group.start(2, "--resume"), group.start(NEWCOMER)
        for process in (again, newcomer):
            until_has_lessons(process)
            process.until_step(process.last["step"] + 10)
        for process in (*peers[:2], again, newcomer):
            assert process.last["round"] < 10**6
            assert process.last["up"] >= 3
        if not group.keys:
            seen = until_status(group.where[0], lambda s: True, transport=group.exchange["transport"])
            assert not seen.refused
    for process in (*peers[:2], again, newcomer):
        process.terminate()


def test_liar_on_rounds_of_its_own_takes_less_than_a_tenth_of_the_lessons(group: Group, tmp_path: Path) -> None:
    peers = [group.start(id, "--wait-for", 2) for id in HONEST]
    for each in peers:
        each.until_exchanging(up=2)
    with group.liar() as liar:
        over = threading.Event()
        thread = threading.Thread(target=_teach_without_end, args=(liar, over.wait))
        thread.start()
        try:
            for process in peers:
                process.until(lambda p: p.last["up"] == 3)
            began = [process.last["step"] for process in peers]
            for process, step in zip(peers, began, strict=True):
                process.until_step(step + 200)
        finally:
            over.set()
            thread.join()
    for process in peers:
        process.terminate()
    for id in HONEST:
        found = [each["teachers"] for each in metrics(tmp_path, id) if each["step"] > began[id]]
        assert len(found) >= 190
        assert sum(teachers == [LIAR] for teachers in found) < len(found) / 10


def _teach_without_end(liar: Network, pause: Callable[[float], bool]) -> None:
    for round in itertools.count(FAR):
        liar.publish(round, always_the_first_class())
        if pause(0.0125):  # a step of such a peer takes some 0.05 s
            return
