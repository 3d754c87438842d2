"""``edgekd peer``: one peer on this box."""

import contextlib
import dataclasses
import gc
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import click

from edgekd.cli.bars import decoding, fetching, hashing
from edgekd.cli.grouped import GroupedCommand
from edgekd.cli.lines import say
from edgekd.cli.logs import PeerLines, log_to_stderr
from edgekd.cli.options import FIRST, FROM_SCRATCH, listed, peer_options, refuse, settings
from edgekd.cli.progress import Screen, last_words
from edgekd.cli.resuming import id_in, resume_from, with_public_file, write_settings
from edgekd.cli.signals import PAUSE, on_stop, stop_early
from edgekd.cli.tables import peer_line
from edgekd.config import LYING, Config, ExchangeConfig
from edgekd.errors import ConfigError, TransientError
from edgekd.exit_codes import IN_SHORT
from edgekd.learning.computing import as_followed, follows_cores, go_last, settle
from edgekd.printable import first_line
from edgekd.protocol.addresses import parse_address
from edgekd.protocol.messages import Contract, Goodbye, Parting

log = logging.getLogger("edgekd")

EXAMPLES = """
\b
Examples:
  edgekd peer --id 0 --listen 127.0.0.1:7000 --peers 127.0.0.1:7001,127.0.0.1:7002 --wait-for 2
  edgekd peer --id 2 --listen 0.0.0.0:7000 --certs certs/peer-2 --peers 0@box-a:7000,1@box-b:7000 \\
      --private folder:/data/private --public /data/public.safetensors --weights resnet18.safetensors
  edgekd peer --id 3 --certs certs/peer-3 --peers 0@box-a:7000 \\
      --private folder:/data/private                # joins: fetches the public file and settings
  edgekd peer --id 4 --certs certs/peer-4 --listen 0.0.0.0:7000 --discover \\
      --private folder:/data/private                # finds the others on the local network, and joins them

\b
Exit codes:
""" + "\n".join(f"  {code:<3} {meaning}" for code, meaning in IN_SHORT.items())


PATIENCE = 5.0  # seconds
DOCTOR = "`edgekd doctor`, which takes the same flags"
LIARS = "liars are for `edgekd simulate` and `edgekd sweep`"
NO_FOLDER = "--resume needs --out DIR: the folder that holds the checkpoints"
STOPPING = "stopping: saying goodbye and writing what has been reached"


class _Stop:
    """Becomes true at the first SIGINT, SIGTERM or SIGHUP; impatience changes nothing for `PATIENCE` seconds.

    After that the second request ends the process: a peer is through within 5 s, so it hangs. `signals.Stop`, of the
    commands that wait for their children and write results, obeys the third.
    """

    def __init__(self, lines: PeerLines) -> None:
        self.asked = False
        self._lines = lines
        self._asked_at = 0.0
        self.ready = False  # there is a state worth writing
        self.undo: Callable[[], object] = lambda: None  # takes away what a start that goes no further has written
        self.screen: Screen | None = None  # what it shows is not written over
        self._unsaid = False
        on_stop(self._on_signal)

    def __call__(self) -> bool:
        if self._unsaid:
            self._unsaid = False
            log.info(STOPPING)
        return self.asked

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.ready:
            on_stop(signal.SIG_IGN)
            self.undo()
            stop_early(number, frame)
        if self.asked and time.monotonic() - self._asked_at > PATIENCE:
            os._exit(128 + number)
        if not self.asked:
            self.asked, self._asked_at = True, time.monotonic()
            self._unsaid = self.screen is not None and self.screen.live  # it is said above the table, soon
            if not self._unsaid:
                with contextlib.suppress(OSError):  # Ctrl-C also ended the `tee` that it went to
                    os.write(2, f"{self._lines.line('INFO', STOPPING)}\n".encode())  # safe in a handler

    def ignore_signals(self) -> None:
        """The peer is through: what is left is the interpreter's own end."""
        on_stop(signal.SIG_IGN)
        gc.freeze()  # else its last collection takes seconds over what ends with the process anyway


@click.command(cls=GroupedCommand, first=FIRST, epilog=EXAMPLES)
@settings("data", "distill", "model", "train", "exchange", without=("topology", *LYING))  # --peers says it
@peer_options
@click.option("--json", "as_json", is_flag=True, help="Progress as JSON lines on stdout, the summary last.")
def command(
    config: Config,
    id: int | None,
    listen: str | None,
    peers: str,
    discover: bool,
    metrics_port: str | None,
    out: Path | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Start one peer: it trains on its own images and exchanges predictions with its neighbours."""
    refuse(config.exchange, LYING, LIARS)
    if resume and out is None:
        raise ConfigError(NO_FOLDER)
    if id is None:
        id = id_in(out if resume else None)
    lines = log_to_stderr(id)
    stop = _Stop(lines)
    PAUSE.listen()
    from peer.node.access import check_access, check_addresses

    neighbours = listed(peers)
    with _naming_the_doctor():
        check_addresses(neighbours, config.exchange.certs)
        check_access(config.exchange, id, listen, neighbours)
    metrics_at = None if metrics_port is None else metrics_address(metrics_port)
    if config.data.private is None and id >= config.data.clients:
        wanted = f"--id must be below --clients {config.data.clients}, got {id}"
        raise ConfigError(f"{wanted}: into so many shards --data is cut; with --private any id will do")
    check_wait(config, len(neighbours), open=bool(listen) or discover)
    if discover:
        check_discovery(listen)
    check_tensorboard(config)
    niceness = go_last(config.train.nice)  # before any thread or worker is started: they inherit it
    from edgekd.files.runs import run_folder
    from peer.node.recorder import check_unused  # loads torch: after what can be wrong without
    from peer.node.start import make_node

    screen = stop.screen = Screen()
    on_progress = _print_progress(stop) if as_json else screen.show
    try:
        with contextlib.ExitStack() as beside:
            stop.undo = beside.close
            folder = beside.enter_context(run_folder(out, f"peer-{id}"))
            if resume:
                config = with_public_file(config, folder)
            else:
                check_unused(folder)
            # Until the peer has started, the folder stays as it is.
            with contextlib.ExitStack() as undo:
                beside.callback(undo.close)
                with _naming_the_doctor():
                    if config.data.private is not None and config.data.public is None and (neighbours or discover):
                        config = _joined(config, neighbours, discover, folder, undo)
                    config, how = _with_defaults(config, len(neighbours)), decoding(log.info)
                    follows = follows_cores(config)
                    config = settle(config, lockstep=config.exchange.sync is not None)
                    node = make_node(
                        config,
                        id,
                        listen,
                        neighbours,
                        folder,
                        stop=stop,
                        on_progress=on_progress,
                        how=how,
                        paused=PAUSE,
                        follows_cores=follows,
                    )
                log.info(_computes(node, niceness))
                if config.from_scratch and not resume and not as_json:  # `run` says it once for all of its peers
                    log.info("it begins %s", FROM_SCRATCH)
                lines.step = lambda: int(node.learner.step)
                if resume:
                    resume_from(node, folder)
                stop.ready = True
                _start(node, metrics_at, listen, discover, beside)
                undo.pop_all()
            write_settings(as_followed(config) if follows else config, node.data.held_out, folder, resume)
            reached = node.run()
    finally:
        screen.close()
        if stop.ready:
            stop.ignore_signals()
    if reached.steps and not reached.lessons and config.distill.alpha < 1:
        if listen or neighbours or discover:
            log.warning("it learned from nobody: no neighbour's predictions arrived; see --wait-for and %s", DOCTOR)
        else:
            log.info("it has trained alone: to learn from others it needs --listen, --peers or --discover")
    with last_words():
        if as_json:
            _print_json({"event": "summary", **dataclasses.asdict(reached)})
        else:
            say(f"{peer_line(reached)}; results in {folder}")
    if node.unwritten:
        raise TransientError(f"not everything could be written to {folder}: {node.unwritten}")


def _computes(node: Any, niceness: int | None) -> str:
    """The line about what a peer computes with."""
    config = node.config
    threads = f"{config.threads} thread{'s' if config.threads > 1 else ''}"
    beside = f", niceness {niceness}" if niceness is not None else ""
    return f"computing on {node.learner.device}: {threads}, {config.precision}{beside}"


@contextlib.contextmanager
def _naming_the_doctor() -> Iterator[None]:
    """Name the command that looks at everything, where a start fails by the first thing of many."""
    try:
        yield
    except ConfigError as error:
        raise type(error)(f"{error} ({DOCTOR}, looks at everything)") from error


def _joined(config: Config, peers: tuple[str, ...], discover: bool, folder: Path, undo: contextlib.ExitStack) -> Config:
    """With the public file and the settings of a neighbour's group; `undo` takes the file away again."""
    from edgekd.contract import adopt, check_same, load_public
    from edgekd.files.atomic import discard_unfinished
    from edgekd.files.checkpoint import load_newest
    from edgekd.files.runs import PUBLIC
    from peer.network.joining import join
    from peer.node.access import key_folder

    file, exchange, newest = (folder / PUBLIC).absolute(), config.exchange, load_newest(folder)

    def check(path: Path, contract: Contract) -> Config:
        if newest is not None:  # resumed, in a folder that its public file has gone from
            check_same(newest.info.made_with, {"public": contract.public_sha256})
        load_public(path, contract, partial(hashing, tell=log.info))
        return adopt(config, contract, file)

    log.info("asking the group for its public file and settings")
    if not file.exists():
        undo.callback(file.unlink, missing_ok=True)
    undo.callback(discard_unfinished, file)
    with _looking(exchange) if discover else contextlib.nullcontext() as found:
        contract, adopted = join(
            *(peers, file, check, exchange.transport, key_folder(exchange.certs), found),
            watch=partial(fetching, tell=log.info),
        )
    about = f"public batch {contract.public_batch}, temperature {contract.temperature:g}, heads {contract.heads}"
    log.info("joined a group: public file %s..., %s, %s", contract.public_sha256[:8], about, contract.mode)
    return adopted


def _looking(exchange: ExchangeConfig) -> contextlib.AbstractContextManager[Callable[[], tuple[str, ...]]]:
    from peer.network.discovery import found_peers

    return found_peers(exchange.allowed(), by_id=exchange.certs is not None)


def _start(
    node: Any, metrics_at: tuple[str, int] | None, listen: str | None, discover: bool, beside: contextlib.ExitStack
) -> None:
    """Open what others may connect to; `beside` closes it."""
    if metrics_at is not None:
        _serve_metrics(node, *metrics_at, beside)
    with _naming_the_doctor():
        node.network.start()
    beside.callback(node.network.stop, Goodbye(parting=Parting.LEAVING))
    if listen:
        log.info("listening on %s", node.network.address)
    if discover:
        _discover(node, beside, by_id=node.config.exchange.certs is not None)


def _with_defaults(config: Config, neighbours: int) -> Config:
    """Synchronous peers wait for all their neighbours, asynchronous ones for nobody."""
    if config.exchange.wait_for is not None:
        return config
    others = neighbours or config.data.clients - 1  # without --peers it is the others that dial
    wait_for = others if config.exchange.sync is not None else 0
    return dataclasses.replace(config, exchange=dataclasses.replace(config.exchange, wait_for=wait_for))


def check_wait(config: Config, neighbours: int, *, open: bool) -> None:
    """See whether the neighbours that the first step waits for can be there at all.

    Raises:
        ConfigError: this peer dials fewer, and none can find it.
    """
    wanted = _with_defaults(config, neighbours).exchange.wait_for or 0
    if not open and wanted > neighbours:
        flag = "--sync" if config.exchange.wait_for is None else "--wait-for"
        raise ConfigError(
            f"{flag} waits for {wanted} neighbours, and so many can never be there: this peer dials "
            f"{neighbours or 'nobody'}, and nobody can dial it; give --listen HOST:PORT, the neighbours' addresses "
            "with --peers, or --discover"
        )


def metrics_address(text: str) -> tuple[str, int]:
    """The host and port of "HOST:PORT" or "PORT"; without a host, only this box can ask.

    Raises:
        ConfigError: `text` has another form.
    """
    try:
        return parse_address(text if ":" in text else f"127.0.0.1:{text}")
    except ConfigError:
        raise ConfigError(
            f"--metrics-port takes PORT or HOST:PORT, such as 9100 or 0.0.0.0:9100, got {text!r}"
        ) from None


def _serve_metrics(node: Any, host: str, port: int, beside: contextlib.ExitStack) -> None:
    from peer.node.metrics import PeerCollector
    from peer.node.metrics_server import MetricsServer

    server = MetricsServer(PeerCollector(lambda: node.progress, node.network), host, port)
    beside.callback(server.stop)
    log.info("serving metrics on http://%s/metrics", server.address)


def check_tensorboard(config: Config) -> None:
    """See whether ``--tensorboard`` can work.

    Raises:
        ConfigError: TensorBoard is not installed, or is broken.
    """
    if config.train.tensorboard:
        try:
            import peer.node.event_file  # noqa: F401
        except Exception as error:  # one that does not go with this protobuf raises its TypeError
            why = "" if isinstance(error, ModuleNotFoundError) else f" ({first_line(error)})"
            raise ConfigError(f"--tensorboard needs TensorBoard: pip install 'edgekd[tensorboard]'{why}") from None


def check_discovery(listen: str | None) -> None:
    """See whether ``--discover`` can work.

    Raises:
        ConfigError: zeroconf is not installed, or the peer does not listen where it could be found.
    """
    try:
        from peer.network.discovery import check_discoverable
    except ImportError:
        raise ConfigError("--discover needs zeroconf: pip install zeroconf") from None
    check_discoverable(listen)


def _discover(node: Any, beside: contextlib.ExitStack, *, by_id: bool) -> None:
    from peer.network.discovery import Discovery

    network = node.network
    dial, forget = network.dial_also, network.forget
    discovery = Discovery(network.hello, network.address, dial=dial, forget=forget, by_id=by_id)
    discovery.start()
    beside.callback(discovery.stop)


def _print_progress(stop: _Stop) -> Callable[[Any], None]:
    def show(progress: Any) -> None:
        try:
            _print_json({"event": "progress", **dataclasses.asdict(progress)})
        except BrokenPipeError:  # whoever started this peer has gone: so does the peer
            stop.asked = True
        except OSError:  # a full disk ends no training
            pass

    return show


def _print_json(content: dict[str, Any]) -> None:
    say(json.dumps(content))
