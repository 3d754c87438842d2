"""The canonical form of a simulation's settings, so that two cells with the same result are recognised as equal."""

from dataclasses import fields, replace
from typing import TypeVar

from edgekd.config import (
    BEFORE,
    UNSWEPT,
    Config,
    DataConfig,
    ExchangeConfig,
    ModelConfig,
    SimulationConfig,
    TrainConfig,
    written_out,
)
from edgekd.data.splits import skew
from edgekd.simulation.asynchronous import STEP_JITTER

Section = TypeVar("Section", DataConfig, TrainConfig, ExchangeConfig)

# Settings on which the result of a simulation does not depend: those of a process, its clock and its disk.
IDLE = ("eval", "eval_every", "checkpoint_every", "sync", "transport", *UNSWEPT)
LOCKSTEP = ("wait_for", "max_age", "linger")  # in lockstep also these
# Settings that were added later, with the value that all cells had before. A cell with this value keeps its old name.
LATER = {**BEFORE["model"], **BEFORE["train"]}


def canonical(config: Config, *, alone: bool) -> Config:
    """The same simulation with defaults written out, and with settings that have no effect at their defaults.

    Args:
        config: the settings of a simulation.
        alone: True if its learners have no neighbours, or if there is one learner.
    """
    config = written_out(config)
    asynchronous = bool(config.simulation.asynchronous) and not alone
    idle = (*IDLE, *(() if asynchronous else LOCKSTEP))
    data, train = _reset(config.data, DataConfig(), idle), _reset(config.train, TrainConfig(), idle)
    model, exchange = config.model, _reset(config.exchange, ExchangeConfig(), idle)
    on_private = (config.simulation.on_private or None) if not alone else None
    if alone or on_private:  # no lesson is about public images, so these have no effect
        data = replace(data, public_augment="none")
        train = replace(train, norm_from="frozen" if train.norm_from == "frozen" else "private")
    seed = None if config.data_seed == train.seed else config.data_seed
    if not exchange.liars:
        exchange = replace(exchange, liars=None, lie=None)
    if not exchange.liars or not exchange.lie_from:
        exchange = replace(exchange, lie_from=None)
    if alone:
        model = replace(model, head_end="trained")
    if model.heads == 1:
        model = replace(model, head_layers=ModelConfig().head_layers)
    return replace(
        config,
        data=replace(data, gamma=skew(data), data_seed=seed),
        model=model,
        train=replace(train, eval_every=0, threads=config.threads, precision=config.precision),
        exchange=exchange,
        simulation=_simulation(config) if asynchronous else SimulationConfig(on_private=on_private),
    )


def _simulation(config: Config) -> SimulationConfig:
    """The settings of the virtual clock, with defaults left out, however they were given."""
    given = config.simulation
    ratios = [time / given.times()[0] for time in given.times()]
    times = "1" if set(ratios) == {1.0} else ":".join(f"{ratio:.12g}" for ratio in ratios)
    down = ",".join(map(str, sorted(given.outages(), key=lambda outage: (outage.id, outage.begins)))) or None
    idle = {"step_jitter": STEP_JITTER, "step_seconds": 1.0, "delay": 0.0, "jitter": 0.0, "loss": 0.0}
    found = replace(given, step_times=None if times == "1" else times, down=down, asynchronous=True)
    if not config.exchange.liars:
        found = replace(found, liar_frames=None)
    return replace(found, **{name: None for name, default in idle.items() if getattr(given, name) == default})


def _reset(section: Section, default: Section, names: tuple[str, ...]) -> Section:
    return replace(section, **{f.name: getattr(default, f.name) for f in fields(section) if f.name in names})
