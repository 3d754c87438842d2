"""``edgekd run``: runs N peers on this machine as real processes."""

import contextlib
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from edgekd.cli.grouped import GroupedCommand
from edgekd.cli.lines import say
from edgekd.cli.options import FROM_SCRATCH, PATH, refuse, settings
from edgekd.cli.signals import Stop, end_stopped, passing_on, pausable, stoppable
from edgekd.config import ACCESS, COLLECTING, LYING, Config
from edgekd.errors import ConfigError, DivergedError, EdgeKDError, OutOfMemoryError
from edgekd.extensions import spelt
from edgekd.learning.computing import settle

EXAMPLES = """
\b
Examples:
  edgekd run --baseline
  edgekd run --data folder:pictures --size 64 --limit 6000 --weights resnet18.safetensors --baseline
  edgekd run --clients 5 --model resnet18,mobilenet_v3_small,resnet18,resnet34,resnet18
  edgekd run --clients 8 --topology regular:3
"""


FIRST = ("data", "clients", "gamma", "model", "weights", "steps", "seed", "baseline", "out", "config")  # in --help


WHY: dict[int, tuple[str, str]] = {  # the reason and the advice, by the exit code of a peer
    DivergedError.exit_code: ("training has diverged", "use a smaller --lr, --kd-weight or --momentum"),
    OutOfMemoryError.exit_code: ("out of memory", "use a smaller --batch, --public-batch or --size"),
}


class PeerDiedError(EdgeKDError):
    """A peer of the run has ended with an error, or before its first step; the results of the others are kept."""


@click.command(cls=GroupedCommand, first=FIRST, epilog=EXAMPLES)
@settings("data", "distill", "model", "train", "exchange", without=(*ACCESS, *LYING, *COLLECTING))
@click.option("--out", type=PATH, metavar="DIR", help="Folder of results.  [default: runs/TIME-DATA]")
@click.option(
    "--baseline", is_flag=True, help="For comparison, also train the same peers alone, and one model on all shards."
)
@click.option("--dashboard", is_flag=True, help="Show the peers on a local web page while they train.")
@click.option("--json", "as_json", is_flag=True, help="Print only the summary, as JSON, on stdout.")
def command(config: Config, out: Path | None, baseline: bool, dashboard: bool, as_json: bool) -> None:
    """Start N peers on this machine. Each is a process of its own, and they teach one another."""
    if config.data.private is not None:
        raise ConfigError("run splits one data set among its peers: use --data; --private is for `edgekd peer`")
    refuse(config.exchange, ACCESS, "run stays on this machine's loopback, without keys")
    refuse(config.exchange, LYING, "liars are for `edgekd simulate` and `edgekd sweep`")
    if dashboard:
        from edgekd.cli.dashboard import check_installed

        check_installed()
    with stoppable() as stop:
        _run(config, out, baseline, dashboard, as_json, stop)


def _run(config: Config, out: Path | None, baseline: bool, dashboard: bool, as_json: bool, stop: Stop) -> None:
    from edgekd.files.runs import data_name, refuse_folder_of_peer, run_folder
    from edgekd.simulation.topology import neighbours

    config = settle(_with_defaults(config), lockstep=config.exchange.sync is not None, side_by_side=config.data.clients)
    graph = neighbours(config.exchange.topology, config.data.clients, config.data_seed)
    _check_before(config)
    with run_folder(out, data_name(config)) as folder:
        refuse_folder_of_peer(folder)
        if (folder / "summary.json").exists() or any(folder.glob("peer-*")):
            raise ConfigError(f"{folder} holds an earlier run; choose another --out")
        dead = _run_in(folder, config, graph, baseline, dashboard, as_json, stop)
    if dead:
        which = ", ".join(f"peer {id} ({why})" for id, why in sorted(dead.items()))
        advice = [f"; {do}" for why, do in WHY.values() if why in dead.values()]
        whose = "the others" if len(dead) < config.data.clients else "they"
        raise PeerDiedError(f"ended with an error: {which}{''.join(advice)}; what {whose} reached is in {folder}")


def _run_in(
    folder: Path,
    config: Config,
    graph: Sequence[Sequence[int]],
    baseline: bool,
    dashboard: bool,
    as_json: bool,
    stop: Stop,
) -> dict[int, str]:
    """Do the run and write its results to `folder`; return why peers have failed, by their ids."""
    from edgekd.cli.fleet import Fleet
    from edgekd.files.runs import write_config

    file = write_config(folder, config)
    baselines = None
    if baseline:
        from edgekd.cli.baselines import train_baselines

        baselines = train_baselines(config, quiet=as_json)
    if not as_json and config.from_scratch:
        say(f"peers begin {FROM_SCRATCH}", err=True)
    fleet = Fleet(file, folder, graph, config.exchange.wait_for, spelt(config.model.model))
    stop.hand_to(fleet.events.put, at_once=fleet.kill)  # from here on nothing is interrupted: all is written
    began = time.monotonic()
    with pausable(fleet.events.put), passing_on(fleet.tell), fleet, _shown(fleet, config, dashboard, as_json):
        dead = _Watch(fleet, config.data.clients, as_json=as_json).run()
    summary = _collect(folder, config.data.clients, time.monotonic() - began, baselines)
    if summary.peers:
        from edgekd.cli.bars import say_beside
        from edgekd.cli.run_files import write_results
        from edgekd.cli.tables import early_line

        write_results(folder, summary, baselines, config)
        _print_results(summary, folder, baselines, as_json)
        if stop.asked and (line := early_line(summary, config.steps, folder)):
            say_beside(f"edgekd: {line}")
    elif stop.asked and not dead:
        end_stopped("stopped before a peer had done anything")
    return dead


@contextlib.contextmanager
def _shown(fleet: Any, config: Config, dashboard: bool, as_json: bool) -> Iterator[None]:
    """Inside the block, show the peers on a web page if `dashboard`; else print on a terminal how to get one."""
    from edgekd.cli.bars import say_beside

    if dashboard:
        from edgekd.cli.dashboard import beside_run

        with beside_run(fleet.addresses, config.exchange) as url:
            say_beside(f"the peers are shown at {url}")
            yield
        return
    if sys.stderr.isatty() and not as_json:
        over = "" if config.exchange.transport == "grpc" else f" --transport {config.exchange.transport}"
        say_beside(f"to see the peers in a browser: edgekd dashboard {fleet.addresses[0]}{over}")
    yield


def _collect(folder: Path, clients: int, seconds: float, baselines: Any) -> Any:
    """Make the summary of the run from those of the peers, and from the baselines."""
    from edgekd.files.summary import merge

    found = [_read_summary(folder / f"peer-{id}" / "summary.json") for id in range(clients)]
    summary = merge([each for each in found if each is not None], seconds)
    if baselines is None:
        return summary
    return dataclasses.replace(summary, baseline=baselines.alone, balanced=baselines.balanced, pooled=baselines.pooled)


def _with_defaults(config: Config) -> Config:
    """The settings with a default for runs: all peers teach on (linger) until the last one has done its steps."""
    if config.exchange.linger is not None:
        return config
    return dataclasses.replace(config, exchange=dataclasses.replace(config.exchange, linger=float("inf")))


def _check_before(config: Config) -> None:
    """Check once, before peers are started, what would make every peer fail.

    Raises:
        ConfigError: the network, its weights, the device, the loss, the data or the split cannot be used.
    """
    import torch

    from edgekd.data.datasets import open_common
    from edgekd.data.public import check_enough
    from edgekd.learning.devices import choose_device
    from edgekd.learning.models import model_from_config
    from edgekd.losses.distillation import check_loss
    from peer.node.before import check_tensorboard

    check_tensorboard(config)
    choose_device(config.train.device)
    check_loss(config.distill)
    common = open_common(config.data, config.data_seed)
    check_enough(len(common.split.public), 2)
    with torch.random.fork_rng(devices=[]):
        for id in {config.model.for_client(id): id for id in range(config.data.clients)}.values():  # each network once
            classes, size = len(common.source.classes), common.source.size
            model_from_config(config.model, id, weights=config.weights, classes=classes, size=size)


class _Watch:
    """Shows the progress of the peers, and obeys the signals of this process.

    Args:
        fleet: runs the peers.
        clients: the number of peers.
        as_json: show no progress.
    """

    def __init__(self, fleet: Any, clients: int, *, as_json: bool) -> None:
        from edgekd.cli.progress import Screen

        self._fleet, self._clients, self._as_json = fleet, clients, as_json
        self._screen = Screen(f"{clients} peers teach one another")
        self._trained: set[int] = set()
        self._stopped = False

    def run(self) -> dict[int, str]:
        """Watch until all peers have ended; return why peers have failed, by their ids."""
        dead: dict[int, str] = {}
        running = self._clients
        with contextlib.closing(self._screen):
            while running:
                event = self._fleet.events.get()
                if isinstance(event, signal.Signals):
                    self._obey(event)
                elif event.progress is not None:
                    self._progress(event.progress)
                elif event.log is not None:
                    self._screen.log(event.log)
                else:
                    running -= 1
                    if why := self._wrong(event.id, event.code):
                        dead[event.id] = why
                        self._lose(event.id, why)
        return dead

    def _obey(self, number: signal.Signals) -> None:
        if number.name != "SIGTSTP":
            self._screen.log("stopping: the peers write what they have reached")
            self._stop()
        elif not self._stopped:
            self._fleet.pause()

    def _progress(self, progress: Any) -> None:
        if progress.step > 0:
            self._trained.add(progress.id)
        if not self._as_json:
            self._screen.show(progress)

    def _wrong(self, id: int, code: int) -> str:
        """The reason why a peer with this exit code has failed; "" if it has not."""
        if self._stopped and code in (0, -signal.SIGTERM):  # the second, if it had not begun
            return ""
        if code == 0:
            return "" if id in self._trained else "told to end before its first step"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return WHY[code][0] if code in WHY else f"exit code {code}"

    def _lose(self, id: int, why: str) -> None:
        self._screen.lost(id)
        self._screen.log(f"peer {id} died: {why}")
        if id not in self._trained:  # it has never begun, so the others would wait for it in vain
            self._stop()

    def _stop(self) -> None:
        self._stopped = True
        self._fleet.stop()


def _read_summary(path: Path) -> Any:
    from edgekd.files.summary import Summary

    if not path.is_file():
        return None
    return Summary.from_mapping(json.loads(path.read_text(encoding="utf-8")))


def _print_results(summary: Any, folder: Path, baselines: Any, as_json: bool) -> None:
    from edgekd.cli.gains import print_gains
    from edgekd.cli.progress import last_words
    from edgekd.cli.run_files import counted_by
    from edgekd.cli.tables import print_results, wide_console

    with last_words():
        if as_json:
            say(json.dumps(summary.to_mapping()))
        else:
            print_results(summary)
            if baselines is not None:
                print_gains(counted_by(folder, summary), baselines.confusions, wide_console())
            say(f"results in {folder} (report.html, summary.json, accuracy.png, config.toml to repeat it)")
