"""``edgekd peer``: one peer on this box."""

import contextlib
import dataclasses
import gc
import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli.bars import decoding, fetching, hashing
from edgekd.cli.grouped import GroupedCommand
from edgekd.cli.lines import say
from edgekd.cli.logs import PeerLines, log_to_stderr
from edgekd.cli.options import FIRST, FROM_SCRATCH, listed, peer_options, settings
from edgekd.cli.progress import Screen, last_words
from edgekd.cli.signals import PAUSE, on_stop, stop_early
from edgekd.cli.tables import peer_line
from edgekd.config import LYING, Config
from edgekd.errors import ConfigError, TransientError
from edgekd.exit_codes import IN_SHORT
from edgekd.learning.computing import go_last
from peer.node.before import NO_FOLDER
from peer.node.launch import Frontend, launch

if TYPE_CHECKING:
    from peer.node.node import Node
    from peer.node.progress import Progress

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
STOPPING = "stopping: saying goodbye and writing what has been reached"


class _Stop:
    """The requests to end the peer, by SIGINT, SIGTERM or SIGHUP; calling it returns whether there was one.

    A second request changes nothing for `PATIENCE` seconds. After that it ends the process at once: a peer ends within
    5 s, so it hangs. (`signals.Stop` is for the other commands, which need the third request for that.)
    """

    def __init__(self, lines: PeerLines) -> None:
        self.asked = False
        self._lines = lines
        self._asked_at = 0.0
        self.ready = False  # whether there is a state to save
        self.undo = contextlib.ExitStack()  # closing it removes what an interrupted start has written
        self.screen: Screen | None = None  # whose table must not be overwritten
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
            self.undo.close()
            stop_early(number, frame)
        if self.asked and time.monotonic() - self._asked_at > PATIENCE:
            os._exit(128 + number)
        if not self.asked:
            self.asked, self._asked_at = True, time.monotonic()
            self._unsaid = self.screen is not None and self.screen.live  # the next call prints it above the table
            if not self._unsaid:
                with contextlib.suppress(OSError):  # Ctrl-C may also have ended the reader of stderr
                    os.write(2, f"{self._lines.line('INFO', STOPPING)}\n".encode())  # safe in a handler

    def make_ready(self) -> None:
        """Let a request end the training from now on. Before this call it ends the process at once."""
        self.ready = True

    def ignore_signals(self) -> None:
        """Ignore all further requests, since only the end of the interpreter is left."""
        on_stop(signal.SIG_IGN)
        gc.freeze()  # else the last garbage collection takes seconds, for objects that end anyway


@click.command(cls=GroupedCommand, first=FIRST, epilog=EXAMPLES)
@settings("data", "distill", "model", "train", "exchange", without=("topology", *LYING))  # --peers says it
@peer_options
@click.option(
    "--json", "as_json", is_flag=True, help="Print progress as JSON lines on stdout; the last line is the summary."
)
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
    if resume and out is None:
        raise ConfigError(NO_FOLDER)
    if id is None:
        id = id_in(out if resume else None)
    lines = log_to_stderr(id)
    stop = _Stop(lines)
    PAUSE.listen()
    neighbours = listed(peers)
    niceness = go_last(config.train.nice)  # before any thread or worker starts, since these inherit it
    screen = stop.screen = Screen()

    def made(node: "Node") -> None:
        log.info(_computes(node, niceness))
        if config.from_scratch and not resume and not as_json:  # `edgekd run` prints it once for all peers
            log.info("it begins %s", FROM_SCRATCH)
        lines.step = lambda: int(node.learner.step)

    frontend = Frontend(
        decoding=partial(decoding, log.info),
        hashing=partial(hashing, tell=log.info),
        fetching=partial(fetching, tell=log.info),
        stop=stop,
        paused=PAUSE,
        faults=_naming_the_doctor,
        made=made,
        ready=stop.make_ready,
        undo=stop.undo,
    )
    try:
        running = launch(
            config,
            id,
            listen,
            neighbours,
            discover=discover,
            metrics_port=metrics_port,
            out=out,
            resume=resume,
            frontend=frontend,
        )
        show = partial(_print_progress, stop) if as_json else screen.show
        with running:
            for progress in running:
                show(progress)
            reached = running.wait()
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
            say(f"{peer_line(reached)}; results in {running.folder}")
    if running.unwritten:
        raise TransientError(f"not everything could be written to {running.folder}: {running.unwritten}")


def id_in(folder: Path | None) -> int:
    """The id of the peer whose checkpoints lie in `folder`.

    Raises:
        click.UsageError: `folder` is None.
        ConfigError: no valid checkpoint in the folder tells the id.
    """
    if folder is None:
        raise click.UsageError("Missing option '--id'.")
    from edgekd.files.checkpoint import peer_in

    id = peer_in(folder)
    if id is None:
        raise ConfigError(f"no sound checkpoint in {folder} says which peer this is: give --id")
    return id


def _computes(node: "Node", niceness: int | None) -> str:
    """A line about the device, the threads and the precision of a peer."""
    config = node.config
    threads = f"{config.threads} thread{'s' if config.threads > 1 else ''}"
    beside = f", niceness {niceness}" if niceness is not None else ""
    return f"computing on {node.learner.device}: {threads}, {config.precision}{beside}"


@contextlib.contextmanager
def _naming_the_doctor() -> Iterator[None]:
    """Inside the block, add to every ConfigError a hint at `edgekd doctor`, which finds all faults at once."""
    try:
        yield
    except ConfigError as error:
        raise type(error)(f"{error} ({DOCTOR}, looks at everything)") from error


def _print_progress(stop: _Stop, progress: "Progress") -> None:
    try:
        _print_json({"event": "progress", **dataclasses.asdict(progress)})
    except BrokenPipeError:  # the program that has started this peer has ended, so this peer ends, too
        stop.asked = True
    except OSError:  # a full disk does not end the training
        pass


def _print_json(content: dict[str, Any]) -> None:
    say(json.dumps(content))
