"""Starting a peer in this process, from Python and by `edgekd peer`."""

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
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
from peer.node.running import Peer, Reports

if TYPE_CHECKING:
    from edgekd.data.decoding import Decoding
    from peer.node.node import Node

log = logging.getLogger("edgekd")


@dataclass(kw_only=True)
class Frontend:
    """What ``edgekd peer`` adds to a start: its progress bars, its signals and its messages."""

    decoding: "Callable[[], Decoding] | None" = None  # makes the way to read picture files; None: in this process
    hashing: Watch = unwatched  # shows the progress of hashing a public file
    fetching: Watch = unwatched  # shows the progress of fetching a public file
    stop: Callable[[], bool] = lambda: False  # becomes true when the peer should end early
    paused: Callable[[], bool] = lambda: False  # true while the peer should take no step
    faults: Callable[[], AbstractContextManager[object]] = nullcontext  # entered where the settings may cause a failure
    made: "Callable[[Node], object]" = lambda node: None  # called before the peer opens a port
    ready: Callable[[], object] = lambda: None  # called once there is a state to save
    undo: ExitStack = field(default_factory=ExitStack)  # closing it undoes what the start has done so far


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
    """Start a peer in this process. It returns when the peer has its data and listens; the training runs in a thread.

    Two peers in one program, in lockstep:

    >>> config = Config.of(clients=2, limit=100, steps=2, sync=math.inf)
    >>> with peer.start(config, id=0, listen="127.0.0.1:0", out="runs/0") as first:
    ...     with peer.start(config, id=1, peers=[first.address], out="runs/1") as second:
    ...         reached = first.wait(), second.wait()
    >>> [each.lessons for each in reached]
    [2, 2]

    The setting `threads` is torch's number of threads for the whole process, so give all peers in it the same. The
    niceness of the process is not changed: the setting `nice` is for ``edgekd peer``.

    Args:
        config: all settings, also those of the exchange, such as keys, transport, encoding, lockstep and `wait_for`.
            None: the defaults, or with `resume` the settings in `out`.
        id: of this peer in its group, >= 0. With `resume` it may be left out, since the checkpoints hold it.
        listen: "HOST:PORT" to listen on; port 0: any free port, see `Peer.address`. None: do not listen.
        peers: "HOST:PORT" or "ID@HOST:PORT" of the neighbours to dial.
        discover: also find peers of the same group on the local network.
        metrics_port: PORT or "HOST:PORT" for metrics in Prometheus's format; None: no metrics.
        out: the folder of results, which may exist; None: a new one, ``runs/TIME-peer-ID``.
        resume: continue from the newest valid checkpoint in `out`. Functions, networks or data sets of your own that
            the settings held must be passed again.

    Raises:
        ConfigError: a setting, the data, the network, the keys or an address cannot be used; or `out` holds an earlier
            run, and `resume` is not given.
        TransientError: a port or the folder is in use.
    """
    addresses = peers.split(",") if isinstance(peers, str) else [*peers] if isinstance(peers, Iterable) else [peers]
    _check_types(config, id, listen, addresses)
    folder = None if out is None else expanded(os.fspath(out))
    if out is not None and not os.fspath(out):
        raise ConfigError("out is empty: give the folder of results, or None for a new one")
    if resume and folder is None:
        raise ConfigError(NO_FOLDER)
    if config is None:
        config = _settings_in(folder) if resume and folder is not None else Config()
    if id is None and resume and folder is not None:
        from edgekd.files.checkpoint import peer_in

        id = peer_in(folder)
    if id is None:
        raise ConfigError("id is needed: which peer of the group this is, from 0")
    return launch(
        config,
        int(id),  # also of numpy's kinds
        listen,
        tuple(dict.fromkeys(address.strip() for address in addresses if address.strip())),
        discover=discover,
        metrics_port=None if metrics_port is None else str(metrics_port),
        out=folder,
        resume=resume,
    )


def _check_types(config: object, id: object, listen: object, addresses: Iterable[object]) -> None:
    """Check the arguments of `start` that a program may easily get wrong.

    Raises:
        ConfigError: one has another type.
    """
    if not isinstance(config, Config | None):
        advice = "Config.of makes one of settings, Config.load reads a file"
        raise ConfigError(f"config must be an edgekd.Config, got {type(config).__name__}: {advice}")
    if id is not None and (isinstance(id, bool) or not hasattr(id, "__index__")):
        raise ConfigError(f"id must be a whole number, got {id!r}")
    if not isinstance(listen, str | None):
        raise ConfigError(f'listen must be text, "HOST:PORT", got {listen!r}')
    for address in addresses:
        if not isinstance(address, str):
            raise ConfigError(f'peers must be the addresses of the neighbours, such as ["box-a:7000"], got {address!r}')


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
    """Check all arguments and start a peer, as `start` does, but with a `frontend`."""
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
    running.begin()
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
    """Make a peer that listens and has written its settings, but does not train yet."""
    from edgekd.data.decoding import IN_PROCESS  # these imports load torch, so they come after the quick checks
    from edgekd.learning.computing import as_followed, follows_cores, settle
    from peer.node.recorder import check_unused
    from peer.node.start import make_node

    if resume:
        config = with_public_file(config, folder)
    else:
        check_unused(folder)
    beside, reports = frontend.undo, Reports()
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
    """The settings of the peer that is resumed in `folder`."""
    file = folder / "config.toml"
    tables = read_run(file) if file.is_file() else {}
    check_own_word(tables, {})
    return from_mapping(tables)


def _joined(
    config: Config, peers: tuple[str, ...], discover: bool, folder: Path, undo: ExitStack, frontend: Frontend
) -> Config:
    """Fetch the public file of the group; return the settings with it and with the group's contract.

    Closing `undo` removes the file.
    """
    from edgekd.contract import adopt, check_same, load_public
    from edgekd.files.atomic import discard_unfinished
    from edgekd.files.checkpoint import load_newest
    from peer.network.joining import join

    file, exchange, newest = (folder / PUBLIC).absolute(), config.exchange, load_newest(folder)

    def check(path: Path, contract: Contract) -> Config:
        if newest is not None:  # resumed in a folder whose public file is gone
            check_same(newest.info.made_with, {"public": contract.public_sha256})
        load_public(path, contract, frontend.hashing)
        return adopt(config, contract, file)

    log.info("asking the group for its public file and settings")
    if not file.exists():
        undo.callback(file.unlink, missing_ok=True)
    undo.callback(discard_unfinished, file)
    with _looking(config) if discover else nullcontext() as found:
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
    """Start the metrics, the network and the discovery; `frontend.undo` closes them at the end of the peer."""
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
