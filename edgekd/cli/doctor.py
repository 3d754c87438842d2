"""``edgekd doctor``: checks whether a peer would start on this box, and work with its neighbours."""

import contextlib
import json
import os
import socket
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import click

import edgekd
from edgekd.cli.bars import decoding
from edgekd.cli.grouped import GroupedCommand
from edgekd.cli.lines import say
from edgekd.cli.options import FIRST, listed, peer_options, settings
from edgekd.config import AUTO, LYING, Config
from edgekd.doctor import machine
from edgekd.doctor.check import Check, examine
from edgekd.doctor.versions import constraints, load_all
from edgekd.errors import ConfigError
from edgekd.exit_codes import ExitCode
from edgekd.learning.computing import precision_here, settle, threads_here
from edgekd.protocol.addresses import format_address
from peer.node.before import (
    NO_FOLDER,
    check_discovery,
    check_honest,
    check_tensorboard,
    check_wait,
    metrics_address,
)
from peer.node.own_folder import with_public_file

EXAMPLES = """
\b
Examples:
  edgekd doctor
  edgekd doctor --config runs/20260101-120000-peer-2/config.toml --peers 0@box-a:7000,1@box-b:7000 --json
  edgekd doctor --id 2 --listen 0.0.0.0:7000 --certs certs/peer-2 --peers 0@box-a:7000,1@box-b:7000 \\
      --private folder:/data/private --public /data/public.safetensors
  edgekd doctor --constraints > constraints.txt && pip install -c constraints.txt 'edgekd[export]'
"""

MARKS = {True: "ok", False: "FAULT", None: "note"}
STALLED = 15.0  # seconds without data after which a download is given up
WITHOUT_TORCH = "not looked at, since PyTorch cannot be used"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Peer:
    """The peer that would be started."""

    config: Config
    id: int | None
    listen: str | None
    peers: tuple[str, ...]
    discover: bool
    metrics_port: str | None
    out: Path | None
    resume: bool
    timeout: float


@click.command(cls=GroupedCommand, first=FIRST, epilog=EXAMPLES)
@settings("data", "distill", "model", "train", "exchange", without=("topology", *LYING), forgiving=True)
@peer_options
@click.option(
    "--timeout", type=click.FloatRange(0.1), default=3.0, show_default=True, help="Seconds to wait for a neighbour."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
@click.option(
    "--constraints",
    "only_constraints",
    is_flag=True,
    help="Only print constraints for pip that keep the installed torch, torchvision and numpy.",
)
def command(
    config: Config,
    wrong: list[str],
    id: int | None,
    listen: str | None,
    peers: str,
    discover: bool,
    metrics_port: str | None,
    out: Path | None,
    resume: bool,
    timeout: float,
    as_json: bool,
    only_constraints: bool,
) -> None:
    """Check everything that a peer needs: this machine, its files, its keys, the network, its neighbours.

    It takes the flags of `edgekd peer`. For each check it prints what it found and what to do. It writes nothing,
    except what the start of a peer would download or put into --cache. The exit code is 1 if a fault would prevent
    the peer from starting or from reaching its neighbours.
    """
    if only_constraints:
        for line in constraints():
            say(line)
        return
    if resume and out is not None:
        config = with_public_file(config, out)
    elif resume:
        wrong = [*wrong, NO_FOLDER]
    peer = _Peer(
        config=config,
        id=id,
        listen=listen,
        peers=listed(peers),
        discover=discover,
        metrics_port=metrics_port,
        out=out,
        resume=resume,
        timeout=timeout,
    )
    found: list[Check] = []
    for check in _checks(peer, wrong):
        found.append(check)
        if not as_json:
            say(f"{MARKS[check.ok]:5}  {check.name}: {check.message}")
    faults = sum(check.ok is False for check in found)
    if as_json:
        say(json.dumps([{"check": each.name, "ok": each.ok, "message": each.message} for each in found]))
    else:
        say(f"{faults} fault{'s' if faults > 1 else ''} to mend" if faults else "nothing stands in the way of a peer")
    if faults:
        raise click.exceptions.Exit(ExitCode.FAILED)


def _checks(peer: _Peer, wrong: list[str]) -> Iterator[Check]:
    """Run all checks, one after the other; `wrong` are the errors found in the settings."""
    from peer.checks.keys import keys
    from peer.checks.network import listening, neighbours, proxies

    config, exchange = peer.config, peer.config.exchange
    yield examine("settings", partial(_settings, peer, wrong))
    yield machine.python()
    yield (torch := examine("torch and numpy", load_all))
    lockstep = exchange.sync is not None
    threads = threads_here(config, lockstep=lockstep)
    yield machine.threads(threads, auto=config.train.threads in (None, AUTO), lockstep=lockstep)
    installed = datetime.fromtimestamp(os.path.getmtime(edgekd.__file__), timezone.utc)
    yield machine.clock(datetime.now(timezone.utc), installed, keys=exchange.certs is not None)
    id = peer.id
    if id is None and peer.resume and peer.out is not None and torch.ok:
        from edgekd.files.checkpoint import peer_in

        id = peer_in(peer.out)
    found, owner = keys(exchange, id)
    yield from found
    id = owner if id is None else id
    hello = None
    if torch.ok:
        hello = yield from _learning(peer, 0 if id is None else id)  # for a trial on this box any id will do
    else:
        yield Check("files and training", None, WITHOUT_TORCH)
    yield listening(exchange, peer.listen)
    if peer.metrics_port is not None:
        yield examine("metrics", partial(_metrics, peer.metrics_port))
    yield from neighbours(exchange, id, peer.listen, peer.peers, hello, peer.timeout)
    yield proxies(os.environ)
    if peer.discover:
        yield examine("multicast", partial(_multicast, peer.listen))
    else:
        yield Check("multicast", None, "not asked for, see --discover")


def _settings(peer: _Peer, wrong: list[str]) -> str:
    if wrong:
        raise ConfigError("; ".join(wrong))
    check_honest(peer.config)
    check_wait(peer.config, len(peer.peers), open=bool(peer.listen) or peer.discover)
    check_tensorboard(peer.config)
    return "can be used"


def _multicast(listen: str | None) -> str:
    check_discovery(listen)
    from peer.checks.network import multicast

    return multicast(listen)


def _metrics(port: str) -> str:
    from peer.transports.binding import check_bindable

    address = format_address(*metrics_address(port))
    check_bindable(address)
    return f"{address} is free"


def _unused(out: Path) -> str:
    from peer.node.recorder import check_unused

    check_unused(out)
    return f"{out} holds no earlier run"


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Inside the block, give up downloads that stall, for example at a firewall. By default Python waits for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALLED)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _precision(config: Config) -> Check:
    """Report ``--precision`` and the precision that ``auto`` would choose."""
    sync, auto = config.exchange.sync is not None, replace(config, train=replace(config.train, precision=AUTO))
    there = "float32, as always with --sync" if sync else precision_here(auto)
    if config.train.precision == AUTO:
        return Check("precision", True, f"--precision auto takes {there}")
    return Check("precision", True, f"{config.precision}; --precision auto would take {there}")


def _learning(peer: _Peer, id: int) -> Generator[Check, None, Any]:
    """Run the checks that need torch: the files, and a training step.

    Returns:
        The peer's Hello; None: its contract is not known.
    """
    from edgekd.doctor import training
    from edgekd.doctor.files import pictures, public_file
    from edgekd.files.checkpoint import KEEP
    from peer.checks.resuming import checkpoint
    from peer.node.start import hello_of

    config, train = peer.config, peer.config.train
    how = decoding()
    check, public = public_file(config, how, joins=bool(peer.peers) or peer.discover)
    yield check
    data = yield from pictures(config, public, id, peer.out, how)
    public = data.public if data is not None else public
    yield (device := training.device(train.device))
    if device.ok is False:
        config = replace(config, train=replace(train, device="cpu"))
    yield _precision(config)
    config = settle(config, lockstep=config.exchange.sync is not None)
    with _impatient():
        weights = training.weights(config, id, public)
    yield weights
    step, size = training.step(config if weights.ok else training.without_weights(config), id, public)
    yield step
    status = Path("/proc/self/status")
    yield machine.memory(status.read_text() if status.is_file() else None, machine.free_memory())
    if peer.out is not None and peer.resume:
        yield checkpoint(peer.config, id, data, peer.out)
    elif peer.out is not None:
        yield examine("results", partial(_unused, peer.out))
    copies = KEEP + 1 + bool(train.keep_best)  # one more is written before the oldest is removed
    yield machine.disk(peer.out or Path("runs"), size, copies)
    return hello_of(peer.config, id, public) if public is not None else None
