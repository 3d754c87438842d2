"""From a peer's settings to its contract; and from a group's contract to the settings of a newcomer."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekd.config import Config
from edgekd.data.public import PublicSet
from edgekd.data.splits import skew
from edgekd.errors import ConfigError
from edgekd.protocol.messages import Contract

LEAVE_OUT = "Leave out what differs, or start anew with another --out"


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


def data_definition(config: Config) -> dict[str, Any]:
    """The settings that decide which images a peer trains on and which it is evaluated on, by name."""
    data, seeds = config.data, {"seed": config.train.seed, "data_seed": config.data_seed}
    if data.private is not None:
        return {"private": True, **seeds}
    kind = data.data.partition(":")[0]  # a folder may have moved
    names = ("limit", "clients", "iid", "dirichlet", "primary", "eval_fraction", "public_fraction")
    return {"private": False, "data": kind, "gamma": skew(data), **{n: getattr(data, n) for n in names}, **seeds}


def definition(public: PublicSet, config: Config) -> dict[str, Any]:
    """What a checkpoint was made with, by the names of the settings: the data, and what the contract fixes."""
    contract = make_contract(public, config)
    return {
        **data_definition(config),
        "public": contract.public_sha256,
        "public_batch": contract.public_batch,
        "temperature": contract.temperature,
        "sync": config.exchange.sync is not None,
        "broadcast_every": config.exchange.broadcast_every if config.exchange.sync is not None else None,
        "two_phase": config.distill.two_phase,
    }


def check_same(before: dict[str, Any], now: dict[str, Any], advice: str = LEAVE_OUT) -> None:
    """See to it that a checkpoint is used with the settings that it was made with.

    Args:
        before: `definition` of the checkpoint; empty in older ones, which say nothing.
        now: `definition` or `data_definition` of the settings at hand.
        advice: what the user can do.

    Raises:
        ConfigError: they differ; it names each setting.
    """
    others = [f"{n} was {_said(before[n])}, now {_said(now[n])}" for n in now if n in before and before[n] != now[n]]
    if others:
        raise ConfigError(f"the checkpoint was made with other settings: {'; '.join(others)}. {advice}")


def _said(value: Any) -> str:
    if value is None:
        return "not set"
    return f"{value[:8]}..." if len(str(value)) == 64 else str(value)  # a SHA-256 is as long


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
