"""A peer that runs: started, watched, asked and stopped. `edgekd peer` starts its peer in this way, too.

The training has a thread of its own, so that a program, or a notebook, goes on beside it; two peers of one program
teach one another. Each peer has a network thread besides.
"""

import atexit
import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.config import Config, check_own_word, from_mapping, read_run
from edgekd.errors import ConfigError
from edgekd.files.runs import PUBLIC, run_folder
from edgekd.files.watching import Watch, unwatched
from edgekd.paths import expanded
from edgekd.protocol.messages import Contract, Goodbye, Parting
from peer.node.access import check_access, check_addresses, key_folder
from peer.node.before import (
    NO_FOLDER,
    check_discovery,
    check_honest,
    check_id,
    check_tensorboard,
    check_wait,
    metrics_address,
    with_defaults,
)
from peer.node.own_folder import resume_from, with_public_file, write_settings

if TYPE_CHECKING:
    from torch import nn

    from edgekd.data.decoding import Decoding
    from edgekd.files.summary import PeerSummary
    from peer.node.node import Node
    from peer.node.progress import Progress

log = logging.getLogger("edgekd")

KEPT = 1000  # reports that wait for whoever iterates; older ones are forgotten
SLICE = 0.2  # seconds between two looks of a waiting thread: another thread may have got the signal that is to end it


@dataclass(kw_only=True)
class Frontend:
    """What ``edgekd peer`` adds to a start: what it shows, and what its signals do."""

    decoding: "Callable[[], Decoding] | None" = None  # how picture files are decoded; None: in this process, unseen
    hashing: Watch = unwatched  # of a public file's bytes
    fetching: Watch = unwatched
    stop: Callable[[], bool] = lambda: False  # becomes true when the peer is to end early
    paused: Callable[[], bool] = lambda: False
    faults: Callable[[], AbstractContextManager[object]] = (
        contextlib.nullcontext
    )  # around what may fail by its settings
    made: "Callable[[Node], object]" = lambda node: None  # called before the peer opens anything
    ready: Callable[[], object] = lambda: None  # called once there is a state worth writing
    undo: ExitStack = field(default_factory=ExitStack)  # closed, it takes back what the start has done so far


class _Reports:
    """What the training thread tells of itself, and whether it was asked to end."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting: deque[Progress] = deque(maxlen=KEPT)
        self.ended = False
        self.stop_asked = False  # no lock: a signal handler may set it

    def put(self, progress: "Progress") -> None:
        with self.changed:
            self.waiting.append(progress)
            self.changed.notify_all()

    def end(self) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def next(self) -> "Progress | None":
        """The oldest that waits, or the next one; None: there are no more."""
        with self.changed:
            while not self.waiting and not self.ended:
                self.changed.wait(SLICE)
            return self.waiting.popleft() if self.waiting else None


class Peer:
    """A running peer; `peer.start` makes one.

    Iterate over it for its progress. As a context manager it is stopped at the end of the block; else it is stopped
    when the program ends.

    >>> with peer.start(Config.of(clients=1, limit=100, steps=2), id=0, out="alone") as running:
    ...     steps = [progress.step for progress in running]
    >>> steps[-1], running.wait().steps
    (2, 2)

    Attributes:
        id: of the peer.
        address: "HOST:PORT" where it listens, for the `peers` of others; "" if it only dials.
        folder: of its results: ``config.toml``, ``metrics.jsonl``, checkpoints, ``summary.json``.
    """

    def __init__(self, node: "Node", folder: Path, beside: ExitStack, reports: _Reports) -> None:
        self.id, self.address, self.folder = node.learner.id, node.network.address, folder
        self._node, self._beside, self._reports = node, beside, reports
        self._result: PeerSummary | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._train, name=f"training-{self.id}", daemon=True)

    def __repr__(self) -> str:
        state = "starting" if self.progress is None else self.progress.state
        return f"<Peer {self.id}, {state}, {self.folder}>"

    @property
    def progress(self) -> "Progress | None":
        """Its last report; None: there is none yet."""
        return self._node.progress

    @property
    def accuracy(self) -> float | None:
        """The accuracy of its last evaluation, in [0, 1]; None: it was not evaluated yet."""
        return None if self.progress is None else self.progress.accuracy

    @property
    def model(self) -> "nn.Module":
        """A copy of its network with the weights of now, on the CPU, in evaluation mode: yours, whatever the peer does.

        It goes from normalised images, float ``[N, 3, S, S]``, to logits ``[N, classes]``. The training thread makes
        the copy between two passes through the network, so this waits for a step, or for an evaluation.
        """
        return self._node.errands.ask(self._node.learner.network)

    @property
    def unwritten(self) -> str:
        """Why the folder does not hold everything that it should, as where the disk is full; "" if it does."""
        return self._node.unwritten

    def stop(self) -> None:
        """Tell it to end early, and return at once: it says goodbye and writes a checkpoint. `wait` waits for that."""
        self._reports.stop_asked = True

    def wait(self, timeout: float | None = None) -> "PeerSummary":
        """Wait until it has ended: by its last step and after its neighbours' last, or by `stop`.

        Args:
            timeout: seconds; None: as long as it takes.

        Returns:
            What it has reached.

        Raises:
            TimeoutError: it has not ended by then.
            EdgeKDError: what has ended the training, such as `DivergedError` or `OutOfMemoryError`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._reports.changed:
            while not self._reports.ended:
                left = SLICE if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"peer {self.id} has not ended within {timeout} seconds")
                self._reports.changed.wait(min(left, SLICE))
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def __iter__(self) -> "Iterator[Progress]":
        """Its reports, until it has ended: after every evaluation, at every change of its state, some times a second.

        Each is given once. Of those that nobody has taken the newest 1,000 wait.

        Raises:
            EdgeKDError: what has ended the training.
        """
        while (report := self._reports.next()) is not None:
            yield report
        self.wait()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.stop()
        if kind is None:
            self.wait()
        else:  # it is the block's own error that is to be seen
            self._thread.join()

    def _begin(self) -> None:
        atexit.register(self._end_with_program)
        self._thread.start()

    def _train(self) -> None:
        import torch

        try:
            with self._beside:
                torch.set_num_threads(self._node.config.threads)  # each thread has a number of its own
                self._result = self._node.run()
        except BaseException as error:  # it is the caller's, in `wait`
            self._error = error
        finally:
            self._node.errands.close()
            self._reports.end()
            atexit.unregister(self._end_with_program)

    def _end_with_program(self) -> None:
        self.stop()
        self._thread.join()


def start(
    config: Config | None = None,
    *,
    id: int | None = None,
    listen: str | None = None,
    peers: str | Iterable[str] = (),
    discover: bool = False,
    metrics_port: str | int | None = None,
    out: "str | os.PathLike[str] | None" = None,
    resume: bool = False,
) -> Peer:
    """Start a peer in this process: once it listens and has found its data, it trains on a thread of its own.

    Two peers of one program, in lockstep:

    >>> config = Config.of(clients=2, limit=100, steps=2, sync=math.inf)
    >>> with peer.start(config, id=0, listen="127.0.0.1:0", out="runs/0") as first:
    ...     with peer.start(config, id=1, peers=[first.address], out="runs/1") as second:
    ...         reached = first.wait(), second.wait()
    >>> [each.lessons for each in reached]
    [2, 2]

    Torch's number of threads, `threads` of the settings, holds for the whole process, and so should be the same for all
    peers in it. The process keeps its niceness: `nice` is for ``edgekd peer``.

    Args:
        config: all settings, those of the exchange among them: keys, transport, encoding, lockstep, whom to wait for.
            None: the defaults, or with `resume` the settings in `out`.
        id: which peer of the group this is, from 0. With `resume` it may be left out: the checkpoints say it.
        listen: "HOST:PORT" where neighbours may dial in; port 0: any free one, see `Peer.address`. None: nowhere.
        peers: "HOST:PORT" or "ID@HOST:PORT" of the neighbours to dial.
        discover: find peers of the same group on the local network, too.
        metrics_port: PORT or "HOST:PORT" of metrics for Prometheus; None: there are none.
        out: the folder of results, which may exist; None: a new one, ``runs/TIME-peer-ID``.
        resume: go on from the newest sound checkpoint in `out`. A function, network or data set of one's own that the
            settings held must be handed in again.

    Raises:
        ConfigError: a setting, the data, the network, the keys or an address cannot be used; or `out` holds an earlier
            run, and `resume` is not given.
        TransientError: a port or the folder is in use.
    """
    folder = None if out is None else expanded(os.fspath(out))
    if resume and folder is None:
        raise ConfigError(NO_FOLDER)
    if config is None:
        config = _settings_in(folder) if resume and folder is not None else Config()
    if id is None and resume and folder is not None:
        from edgekd.files.checkpoint import peer_in

        id = peer_in(folder)
    if id is None:
        raise ConfigError("id is needed: which peer of the group this is, from 0")
    addresses = peers.split(",") if isinstance(peers, str) else peers
    return launch(
        config,
        id,
        listen,
        tuple(dict.fromkeys(address.strip() for address in addresses if address.strip())),
        discover=discover,
        metrics_port=None if metrics_port is None else str(metrics_port),
        out=folder,
        resume=resume,
    )


def launch(
    config: Config,
    id: int,
    listen: str | None,
    peers: tuple[str, ...],
    *,
    discover: bool,
    metrics_port: str | None,
    out: Path | None,
    resume: bool,
    frontend: Frontend | None = None,
) -> Peer:
    """`start`, for who has more to say of it: `frontend`."""
    frontend = frontend or Frontend()
    check_honest(config)
    with frontend.faults():
        check_addresses(peers, config.exchange.certs)
        check_access(config.exchange, id, listen, peers)
    metrics_at = None if metrics_port is None else metrics_address(metrics_port)
    check_id(config, id)
    check_wait(config, len(peers), open=bool(listen) or discover)
    if discover:
        check_discovery(listen)
    check_tensorboard(config)
    beside = frontend.undo
    try:
        folder = beside.enter_context(run_folder(out, f"peer-{id}"))
        running = _made(config, id, listen, peers, discover, metrics_at, folder, resume, frontend)
    except BaseException:
        beside.close()
        raise
    running._begin()
    return running


def _made(
    config: Config,
    id: int,
    listen: str | None,
    peers: tuple[str, ...],
    discover: bool,
    metrics_at: tuple[str, int] | None,
    folder: Path,
    resume: bool,
    frontend: Frontend,
) -> Peer:
    """The peer, which listens and has written its settings; it does not train yet."""
    from edgekd.data.decoding import IN_PROCESS  # loads torch, as the rest does: after what can be wrong without
    from edgekd.learning.computing import as_followed, follows_cores, settle
    from peer.node.recorder import check_unused
    from peer.node.start import make_node

    if resume:
        config = with_public_file(config, folder)
    else:
        check_unused(folder)
    beside, reports = frontend.undo, _Reports()
    # Until the peer has started, the folder stays as it is.
    with ExitStack() as undo:
        beside.callback(undo.close)
        with frontend.faults():
            if config.data.private is not None and config.data.public is None and (peers or discover):
                config = _joined(config, peers, discover, folder, undo, frontend)
            config = with_defaults(config, len(peers))
            follows = follows_cores(config)
            config = settle(config, lockstep=config.exchange.sync is not None)
            node = make_node(
                config,
                id,
                listen,
                peers,
                folder,
                stop=lambda: reports.stop_asked or frontend.stop(),
                on_progress=reports.put,
                how=frontend.decoding() if frontend.decoding else IN_PROCESS,
                paused=frontend.paused,
                follows_cores=follows,
            )
        frontend.made(node)
        if resume:
            resume_from(node, folder)
        frontend.ready()
        _open(node, metrics_at, listen, discover, frontend)
        undo.pop_all()
    write_settings(as_followed(config) if follows else config, node.data.held_out, folder, resume)
    return Peer(node, folder, beside, reports)


def _settings_in(folder: Path) -> Config:
    """The settings of the peer that goes on in `folder`."""
    file = folder / "config.toml"
    tables = read_run(file) if file.is_file() else {}
    check_own_word(tables, {})
    return from_mapping(tables)


def _joined(
    config: Config, peers: tuple[str, ...], discover: bool, folder: Path, undo: ExitStack, frontend: Frontend
) -> Config:
    """With the public file and the settings of a neighbour's group; `undo` takes the file away again."""
    from edgekd.contract import adopt, check_same, load_public
    from edgekd.files.atomic import discard_unfinished
    from edgekd.files.checkpoint import load_newest
    from peer.network.joining import join

    file, exchange, newest = (folder / PUBLIC).absolute(), config.exchange, load_newest(folder)

    def check(path: Path, contract: Contract) -> Config:
        if newest is not None:  # resumed, in a folder that its public file has gone from
            check_same(newest.info.made_with, {"public": contract.public_sha256})
        load_public(path, contract, frontend.hashing)
        return adopt(config, contract, file)

    log.info("asking the group for its public file and settings")
    if not file.exists():
        undo.callback(file.unlink, missing_ok=True)
    undo.callback(discard_unfinished, file)
    with _looking(config) if discover else contextlib.nullcontext() as found:
        contract, adopted = join(
            *(peers, file, check, exchange.transport, key_folder(exchange.certs), found), watch=frontend.fetching
        )
    about = f"public batch {contract.public_batch}, temperature {contract.temperature:g}, heads {contract.heads}"
    log.info("joined a group: public file %s..., %s, %s", contract.public_sha256[:8], about, contract.mode)
    return adopted


def _looking(config: Config) -> AbstractContextManager[Callable[[], tuple[str, ...]]]:
    from peer.network.discovery import found_peers

    return found_peers(config.exchange.allowed(), by_id=config.exchange.certs is not None)


def _open(
    node: "Node", metrics_at: tuple[str, int] | None, listen: str | None, discover: bool, frontend: Frontend
) -> None:
    """Open what others may connect to; at the end of the peer it is closed."""
    beside = frontend.undo
    if metrics_at is not None:
        from peer.node.metrics import PeerCollector
        from peer.node.metrics_server import MetricsServer

        server = MetricsServer(PeerCollector(lambda: node.progress, node.network), *metrics_at)
        beside.callback(server.stop)
        log.info("serving metrics on http://%s/metrics", server.address)
    with frontend.faults():
        node.network.start()
    beside.callback(node.network.stop, Goodbye(parting=Parting.LEAVING))
    if listen:
        log.info("listening on %s", node.network.address)
    if discover:
        from peer.network.discovery import Discovery

        network, by_id = node.network, node.config.exchange.certs is not None
        dial, forget = network.dial_also, network.forget
        discovery = Discovery(network.hello, network.address, dial=dial, forget=forget, by_id=by_id)
        discovery.start()
        beside.callback(discovery.stop)
