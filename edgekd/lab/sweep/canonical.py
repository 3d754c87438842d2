"""One way to write down what a simulation depends on, so that two cells that are the same are known to be."""

from dataclasses import fields, replace
from typing import TypeVar

from edgekd.config import UNSWEPT, Config, DataConfig, ExchangeConfig, ModelConfig, SimulationConfig, TrainConfig
from edgekd.data.splits import skew
from edgekd.simulation.asynchronous import STEP_JITTER

Section = TypeVar("Section", DataConfig, TrainConfig, ExchangeConfig)

# Settings that a simulation's end does not depend on: those of a process, of its clock and of its disk.
IDLE = ("eval", "eval_every", "checkpoint_every", "sync", "transport", *UNSWEPT)
LOCKSTEP = ("wait_for", "max_age", "linger")  # nor on these, in lockstep
# Settings that came later, and what all cells had before: a cell that still has it keeps the name that it had then.
LATER = {"norm_from": "private", "optimiser": "sgd", "head_start": "random"}


def canonical(config: Config, *, alone: bool) -> Config:
    """The same simulation: defaults written out, and what has no part in it at its default.

    Args:
        config: of a simulation.
        alone: its learners hear nobody, or there is one.
    """
    asynchronous = bool(config.simulation.asynchronous) and not alone
    idle = (*IDLE, *(() if asynchronous else LOCKSTEP))
    public_augment = "none" if alone else config.data.public_augmentation
    norm_from = "private" if alone and config.norm_from != "frozen" else config.norm_from  # alone there is no lesson
    found = replace(
        config,
        data=replace(_reset(config.data, DataConfig(), idle), public_augment=public_augment),
        train=replace(_reset(config.train, TrainConfig(), idle), norm_from=norm_from),
        exchange=_reset(config.exchange, ExchangeConfig(), idle),
    )
    exchange = found.exchange if found.exchange.liars else replace(found.exchange, liars=None, lie=None)
    seed = None if found.data.data_seed == found.train.seed else found.data.data_seed
    data = replace(found.data, gamma=skew(found.data), data_seed=seed)
    model = replace(found.model, weights=config.weights, head_start=config.head_start)
    if model.heads == 1:
        model = replace(model, head_layers=ModelConfig().head_layers)
    train = replace(
        found.train,
        optimiser=config.optimiser,
        lr=config.peak_lr,
        weight_decay=config.weight_decay,
        augment=config.augment,
        eval_every=0,
    )
    simulation = _simulation(found) if asynchronous else SimulationConfig()
    return replace(found, data=data, model=model, train=train, exchange=exchange, simulation=simulation)


def _simulation(config: Config) -> SimulationConfig:
    """The virtual clock with its defaults left out, however they were given."""
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
