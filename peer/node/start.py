"""A peer made from its settings: its data, its learner, its network."""

import secrets
from collections.abc import Callable
from pathlib import Path

import torch

from edgekd.config import Config
from edgekd.contract import common_data, make_contract
from edgekd.data.datasets import load_peer_data
from edgekd.data.decoding import IN_PROCESS, Decoding
from edgekd.data.held_out import own_seed
from edgekd.data.public import PublicSet
from edgekd.files.folders import checkpoints
from edgekd.learning.learner import Learner
from edgekd.protocol.encodings import Packing
from edgekd.protocol.frames import longest_frame
from edgekd.protocol.messages import MAJOR, MINOR, Encoding, Hello
from peer.network.thread import Network
from peer.node.access import key_folder
from peer.node.node import Node
from peer.node.progress import OnProgress
from peer.node.scanner import Scanner, first_look
from peer.node.threads import CoreFollower
from peer.transports.by_name import make_transport


def make_node(
    config: Config,
    id: int,
    listen: str | None,
    peers: tuple[str, ...],
    out: Path,
    *,
    stop: Callable[[], bool],
    on_progress: OnProgress,
    how: Decoding = IN_PROCESS,
    paused: Callable[[], bool] = lambda: False,
    follows_cores: bool = False,
) -> Node:
    """Make a peer that is ready to run; its network is not started yet.

    Args:
        config: all settings. ``config.threads`` becomes the number of torch threads of this process.
        id: of the peer.
        listen: "HOST:PORT" to listen on; None: do not listen.
        peers: "HOST:PORT" or "ID@HOST:PORT" of the neighbours to dial.
        out: an existing folder for the results.
        stop: becomes true when the peer should end early.
        on_progress: called with the peer's progress.
        how: how picture files are decoded.
        paused: true while the peer should take no step.
        follows_cores: whether the number of torch threads follows the cores that the process may use.

    Raises:
        ConfigError: the data, the network, its weights, the device or the keys cannot be used.
    """
    torch.set_num_threads(config.threads)
    there = first_look(config.data) if config.data.rescan else {}  # before reading, so that no picture is missed
    trained = out if checkpoints(out) else None  # without a checkpoint, pictures may be held out anew
    data = load_peer_data(config.data, id, config.data_seed, trained, how)
    hello = hello_of(config, id, data.public)
    contract = hello.contract
    packing = Packing.parse(config.exchange.encoding)
    packing.row_bytes(contract.classes)  # raises if the packing cannot name all classes
    network = Network(
        lambda: make_transport(config.exchange.transport, longest_frame(contract), key_folder(config.exchange.certs)),
        hello,
        listen=listen,
        peers=peers,
        lockstep=config.exchange.sync is not None,
        packing=packing,
        public=data.public.pieces,
        allow=config.exchange.allowed(),
        timing=config.exchange.time_limits(),
    )
    scanner = Scanner(data, config.data, there, own_seed(config.data_seed, id)) if config.data.rescan else None
    learner, cores = Learner(data, config, id), CoreFollower() if follows_cores else None
    return Node(
        learner,
        data,
        network,
        config,
        out,
        scanner=scanner,
        cores=cores,
        stop=stop,
        paused=paused,
        on_progress=on_progress,
    )


def hello_of(config: Config, id: int, public: PublicSet) -> Hello:
    """Make the Hello of peer `id` with these settings and this public set; its address is still empty."""
    return Hello(
        major=MAJOR,
        minor=MINOR,
        id=id,
        instance=secrets.randbelow(2**63 - 1) + 1,
        contract=make_contract(public, config),
        encodings=tuple(Encoding),
        newest_round=-1,
        address="",
        common_data=common_data(config, public.images.shape[-1]),
    )
