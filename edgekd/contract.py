"""From a peer's settings to its contract; and from a group's contract to the settings of a newcomer."""

import math
from dataclasses import replace
from pathlib import Path

from edgekd.config import Config
from edgekd.data.public import PublicSet
from edgekd.errors import ConfigError
from edgekd.protocol.messages import Contract


def make_contract(public: PublicSet, config: Config) -> Contract:
    """The contract of a peer with this public set and these settings."""
    return Contract(
        public_sha256=public.sha256,
        public_batch=config.train.public_batch,
        classes=len(public.classes),
        heads=config.model.heads,
        temperature=config.distill.temperature,
        augment=public.augment,
        mode=_mode(config),
    )


def _mode(config: Config) -> str:
    """``async`` or ``sync/EVERY``; with two phases ``sync/EVERY/STEPS``, STEPS being the length of the first phase."""
    if config.exchange.sync is None:
        return "async"
    phases = f"/{config.train.steps // 2}" if config.distill.two_phase else ""
    return f"sync/{config.exchange.broadcast_every}{phases}"


def adopt(config: Config, contract: Contract, public: Path) -> Config:
    """The settings of a newcomer to a group: its own settings, replaced by those that the contract fixes.

    Args:
        config: the newcomer's own settings.
        contract: of the group.
        public: the public file of the group.

    Raises:
        ConfigError: this version does not know the contract's mode, or the contract does not fit the settings.
    """
    exchange = config.exchange
    kind, _, every = contract.mode.partition("/")
    if kind == "async" and not every:
        exchange = replace(exchange, sync=None)
    elif kind == "sync" and every.isdecimal():
        exchange = replace(exchange, sync=exchange.sync or math.inf, broadcast_every=int(every))
    elif kind == "sync" and "/" in every:
        raise ConfigError("the group trains in two phases in lockstep, which all begin together: it takes no newcomer")
    else:
        raise ConfigError(f"the group's mode is {contract.mode!r}, which this version does not know: upgrade edgekd")
    return replace(
        config,
        data=replace(config.data, public=str(public)),
        distill=replace(config.distill, temperature=contract.temperature),
        model=replace(config.model, heads=contract.heads),
        train=replace(config.train, public_batch=contract.public_batch),
        exchange=exchange,
    )
