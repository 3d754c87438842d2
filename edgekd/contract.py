"""From a peer's settings to its contract; and from a group's contract to the settings of a newcomer."""

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from edgekd.config import Config, from_mapping, read_run
from edgekd.data.datasets import PeerData
from edgekd.data.held_out import set_digest
from edgekd.data.public import PublicSet, check_enough
from edgekd.data.splits import skew
from edgekd.errors import ConfigError
from edgekd.files.watching import Watch, unwatched
from edgekd.protocol.common_data import as_text
from edgekd.protocol.messages import Contract

log = logging.getLogger("edgekd")

EVALUATION = "evaluation"  # in a definition: the digest of the images that a common data set keeps for evaluation
LEAVE_OUT = "Leave out what differs, or start anew with another --out"


def make_contract(public: PublicSet, config: Config) -> Contract:
    """The contract of a peer with this public set and these settings."""
    return Contract(
        public_sha256=public.sha256,
        public_batch=public.rows(config.public_batch),
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
    phases = f"/{config.steps // 2}" if config.distill.two_phase else ""
    return f"sync/{config.exchange.broadcast_every}{phases}"


def data_definition(config: Config) -> dict[str, Any]:
    """The settings that decide which images a peer trains on and which it is evaluated on, by name."""
    data, seeds = config.data, {"seed": config.train.seed, "data_seed": config.data_seed}
    if data.private is not None:
        return {"private": True, **seeds}
    # The kind of the data alone: a folder may have moved.
    names = ("limit", "clients", "iid", "dirichlet", "primary", "eval_fraction", "public_fraction")
    return {"private": False, "data": data.kind, "gamma": skew(data), **{n: getattr(data, n) for n in names}, **seeds}


def common_data(config: Config, size: int) -> str:
    """What a peer's Hello says of the common data set, with images of `size` pixels; "": its pictures are its own."""
    data = config.data
    if data.private is not None:
        return ""
    gamma = skew(data)
    skewed = f"gamma {gamma:g}" if gamma is not None else None
    settings = {
        "data": data.kind,
        "size": size,
        "limit": data.limit,
        "eval-fraction": f"{data.eval_fraction:g}",
        "public-fraction": f"{data.public_fraction:g}",
        "seed": config.data_seed,
        "clients": data.clients,
        "split": skewed or ("iid" if data.dirichlet is None else f"dirichlet {data.dirichlet:g}"),
        "primary": data.primary,
    }
    return as_text({name: value for name, value in settings.items() if value is not None})


def evaluation_definition(config: Config, images: Tensor) -> dict[str, Any]:
    """Which images a peer is evaluated on, uint8 ``[N, 3, S, S]``; empty for a box's own, which may become more."""
    return {EVALUATION: set_digest(images)} if config.data.private is None else {}


def definition(data: PeerData, config: Config) -> dict[str, Any]:
    """What a checkpoint was made with, by the names of the settings: the data, and what the contract fixes."""
    evaluation = evaluation_definition(config, data.evaluation.images)
    return {**settings_definition(config), "public": data.public.sha256, **evaluation}


def settings_definition(config: Config) -> dict[str, Any]:
    """What a definition says that follows from the settings alone."""
    return {
        **data_definition(config),
        "public_batch": config.public_batch,
        "temperature": config.distill.temperature,
        "sync": config.exchange.sync is not None,
        "broadcast_every": config.exchange.broadcast_every if config.exchange.sync is not None else None,
        "two_phase": config.distill.two_phase,
    }


def definition_before(made_with: dict[str, Any], run: Path) -> dict[str, Any]:
    """What a checkpoint in the folder `run` was made with.

    Args:
        made_with: what the checkpoint says of it. Of older ones, which say nothing, the folder's settings are taken.
        run: the peer's folder.

    Raises:
        ConfigError: the folder's settings cannot be read.
    """
    settings = run / "config.toml"
    before = made_with
    if not made_with and settings.is_file():
        before = settings_definition(from_mapping(read_run(settings)))
    if before.get("private") is not True and EVALUATION not in before:
        log.warning(
            "the checkpoint in %s was made before edgekd noted which images it is evaluated on. They are the same if "
            "no picture of the data set was added, removed or renamed; else images that were trained on are among them",
            run,
        )
    return before


def check_same(before: dict[str, Any], now: dict[str, Any], advice: str = LEAVE_OUT) -> None:
    """See to it that a checkpoint is used with the settings that it was made with.

    Args:
        before: `definition_before` of the checkpoint; what it does not say is not compared.
        now: `definition`, or a part of it, of the settings and the data at hand.
        advice: what the user can do about other settings.

    Raises:
        ConfigError: they differ; it names each setting.
    """
    others = {n: f"{n} was {_said(before[n])}, now {_said(now[n])}" for n in now if n in before and before[n] != now[n]}
    images = others.pop(EVALUATION, None)
    if others.keys() - ({"public"} if images else ()):  # other images follow from other settings
        raise ConfigError(f"the checkpoint was made with other settings: {'; '.join(others.values())}. {advice}")
    if images is not None:
        raise ConfigError(
            f"the images to evaluate on are not those of the checkpoint ({images}): pictures of the data set were "
            "added, removed, renamed or changed, so images that were trained on could be among them. Undo that, start "
            "anew with another --out, or evaluate on other pictures with `edgekd eval --eval folder:PATH`"
        )


def load_public(path: Path, contract: Contract, watch: Watch = unwatched) -> PublicSet:
    """Read the public file of a group, and see whether it is what the group's contract says.

    `watch` is told of what was read.

    Raises:
        ConfigError: it is no public file, has other classes, another augmentation, or too few images for a batch.
    """
    public = PublicSet.load(path, watch)
    rules = (("classes", len(public.classes), contract.classes), ("augmentation", public.augment, contract.augment))
    for name, found, due in rules:
        if found != due:
            raise ConfigError(f"the contract says {name} {due}, the public file {found}")
    check_enough(len(public), contract.public_batch)
    return public


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
