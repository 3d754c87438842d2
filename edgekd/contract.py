"""Contracts: making one from a peer's settings, and taking over a group's contract as a newcomer.

A contract is what the peers of a group must agree on. This module also compares the settings that a checkpoint was made
with ("definition") with the present settings.
"""

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

EVALUATION = "evaluation"  # key in a definition: digest of the images that a common data set keeps for evaluation
LEAVE_OUT = "Leave out what differs, or start anew with another --out"


def make_contract(public: PublicSet, config: Config) -> Contract:
    """Make the contract of a peer with this public set and these settings."""
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
    """The mode in the contract: ``async``, ``sync/EVERY`` or, with two phases, ``sync/EVERY/STEPS``.

    EVERY is ``broadcast_every``, and STEPS is the length of the first phase.
    """
    if config.exchange.sync is None:
        return "async"
    phases = f"/{config.steps // 2}" if config.distill.two_phase else ""
    return f"sync/{config.exchange.broadcast_every}{phases}"


def data_definition(config: Config) -> dict[str, Any]:
    """The settings that determine which images a peer trains on and is evaluated on, by their names."""
    data, seeds = config.data, {"seed": config.train.seed, "data_seed": config.data_seed}
    if data.private is not None:
        return {"private": True, **seeds}
    # The kind of the data alone: a folder may have moved.
    names = ("limit", "clients", "iid", "dirichlet", "primary", "eval_fraction", "public_fraction")
    return {"private": False, "data": data.kind, "gamma": skew(data), **{n: getattr(data, n) for n in names}, **seeds}


def common_data(config: Config, size: int) -> str:
    """The settings of a common data set, as the text for a peer's Hello; "" if the peer has pictures of its own.

    `size` is the height and width of the images in pixels.
    """
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
    """The part of a definition that tells which images a peer is evaluated on.

    Args:
        config: all settings.
        images: the evaluation images, uint8 ``[N, 3, S, S]``.

    Returns:
        Their digest under `EVALUATION`; empty if the pictures are the box's own, since more may be added to these.
    """
    return {EVALUATION: set_digest(images)} if config.data.private is None else {}


def definition(data: PeerData, config: Config) -> dict[str, Any]:
    """The definition of a checkpoint that is made now: the data, and the settings that the contract fixes.

    The keys are the names of the settings.
    """
    evaluation = evaluation_definition(config, data.evaluation.images)
    return {**settings_definition(config), "public": data.public.sha256, **evaluation}


def settings_definition(config: Config) -> dict[str, Any]:
    """The part of a definition that follows from the settings alone."""
    return {
        **data_definition(config),
        "public_batch": config.public_batch,
        "temperature": config.distill.temperature,
        "sync": config.exchange.sync is not None,
        "broadcast_every": config.exchange.broadcast_every if config.exchange.sync is not None else None,
        "two_phase": config.distill.two_phase,
    }


def definition_before(made_with: dict[str, Any], run: Path) -> dict[str, Any]:
    """What an earlier run was made with, to be compared with the present settings by `check_same`.

    A warning is logged if it is not known which images the earlier run was evaluated on.

    Args:
        made_with: the `definition` that was saved in the run's checkpoint. It is returned as it is, unless it is empty,
            as in older checkpoints; then `settings_definition` makes it from the ``config.toml`` in `run`.
        run: the peer's folder.

    Raises:
        ConfigError: the settings in the folder cannot be read.
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
    """Check that a checkpoint is used with the settings that it was made with.

    Args:
        before: the `definition_before` of the checkpoint. What it does not contain is not compared.
        now: the `definition` of the present settings and data, or a part of it.
        advice: what the user can do if settings differ; it ends the error message.

    Raises:
        ConfigError: they differ. The message names each setting that differs.
    """
    others = {n: f"{n} was {_said(before[n])}, now {_said(now[n])}" for n in now if n in before and before[n] != now[n]}
    images = others.pop(EVALUATION, None)
    if others.keys() - ({"public"} if images else ()):  # if settings differ, other images are no surprise
        raise ConfigError(f"the checkpoint was made with other settings: {'; '.join(others.values())}. {advice}")
    if images is not None:
        raise ConfigError(
            f"the images to evaluate on are not those of the checkpoint ({images}): pictures of the data set were "
            "added, removed, renamed or changed, so images that were trained on could be among them. Undo that, start "
            "anew with another --out, or evaluate on other pictures with `edgekd eval --eval folder:PATH`"
        )


def load_public(path: Path, contract: Contract, watch: Watch = unwatched) -> PublicSet:
    """Read the public file of a group, and check it against the group's contract.

    Args:
        path: the public file.
        contract: the group's contract.
        watch: is told how much has been read.

    Raises:
        ConfigError: the file is not a public file, has other classes or another augmentation than the contract, or has
            too few images for a batch.
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
    return f"{value[:8]}..." if len(str(value)) == 64 else str(value)  # 64 characters: a SHA-256


def adopt(config: Config, contract: Contract, public: Path) -> Config:
    """The settings of a newcomer to a group: its own settings, with those that the contract fixes replaced.

    Args:
        config: the newcomer's own settings.
        contract: the group's contract.
        public: the public file of the group.

    Raises:
        ConfigError: this version does not know the contract's mode, the group trains in two phases, or the contract
            does not fit the settings.
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
