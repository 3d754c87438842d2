"""Every setting, in frozen dataclasses: one section of the TOML file each, one flag a field.

A field's name is the flag's with dashes for underscores (``kd_weight`` is ``--kd-weight``); its help is the flag's.
"""

import math
import re
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

from edgekd.errors import ConfigError
from edgekd.extensions import is_extension
from edgekd.names import COMBINATION_NAMES, LIE_NAMES, MEASURE_NAMES, NWAY, NWAY_MEASURES
from edgekd.protocol.addresses import ids
from edgekd.protocol.encodings import Packing
from edgekd.protocol.timing import TIMINGS, Timing

LARGEST = 2**31 - 1  # of whole numbers: more is a slip of the finger

AUGMENTATIONS = ("none", "crop", "crop+flip")

LYING = ("liars", "lie")  # of [exchange]: only simulated peers lie
ACCESS = ("certs", "insecure", "allow")  # of [exchange]: who gets in is a matter of `edgekd peer` alone
LIVE = (*ACCESS, "timing")  # of [exchange]: settings of real peers, which no simulation depends on


def _setting(default: Any, help: str, choices: tuple[str, ...] | None = None, *, endless: bool = False) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices, "endless": endless})


def _require(holds: bool, rule: str, value: object) -> None:
    # Callers write conditions so that NaN fails them too.
    if not holds:
        raise ConfigError(f"{rule}, got {value}")


def _check_fields(section: Any) -> None:
    for f in fields(section):
        choices, value = f.metadata["choices"], getattr(section, f.name)
        if choices and value is not None and value not in choices:
            raise ConfigError(f"{f.name} must be one of {', '.join(choices)}, got {value}")
        if isinstance(value, float) and not math.isfinite(value) and not f.metadata["endless"]:
            raise ConfigError(f"{f.name} must be finite, got {value}")
        if isinstance(value, int) and value > LARGEST:
            raise ConfigError(f"{f.name} must be at most {LARGEST}, got {value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What a peer trains on: a common data set that is split by number, or a box's own files."""

    data: str = _setting("digits", "common data set: digits, cifar10, sun397 or folder:PATH (one subfolder a class)")
    limit: int | None = _setting(None, "use only N images of the data set, drawn with the data seed")
    size: int | None = _setting(None, "side of the input images in pixels; default 32 (sun397: 224, folder: 64)")
    private: str | None = _setting(
        None, "a box's own labelled images, folder:PATH, instead of --data; goes with --public"
    )
    public: str | None = _setting(None, "the group's public file, made by `edgekd public` or `edgekd split`")
    eval: str | None = _setting(
        None, "labelled images to evaluate on, folder:PATH; default: a tenth of the private ones"
    )
    clients: int = _setting(3, "how many peers share the data set")
    iid: bool = _setting(False, "split alike: shuffle and cut evenly")
    gamma: float | None = _setting(
        None,
        "skewed split (the default, with 15, sun397 10): a client is 1 + G times likelier to get its primary labels",
    )
    dirichlet: float | None = _setting(None, "split by label shares drawn from Dirichlet(B)")
    primary: int | None = _setting(None, "skewed split: every client draws so many primary labels of its own")
    eval_fraction: float = _setting(0.1, "share of all images that everybody is evaluated on")
    public_fraction: float = _setting(0.1, "share of all images whose labels are thrown away: the public set")
    public_augment: str | None = _setting(
        None,
        "augmentation of the public batch, one for all its images; part of the contract [default: none]",
        AUGMENTATIONS,
    )
    data_seed: int | None = _setting(None, "seed of what the group shares, the split; default: --seed")

    def __post_init__(self) -> None:
        _check_fields(self)
        kind = self.data.partition(":")[0]
        _require(
            kind in ("digits", "cifar10", "sun397", "folder"),
            "data must be digits, cifar10, sun397 or folder:PATH",
            self.data,
        )
        _require(self.limit is None or self.limit >= 1, "limit must be >= 1", self.limit)
        _require(self.size is None or self.size >= 8, "size must be >= 8 pixels", self.size)
        _require(self.clients >= 1, "clients must be >= 1", self.clients)
        chosen = [
            n
            for n, on in (
                ("iid", self.iid),
                ("gamma", self.gamma is not None),
                ("dirichlet", self.dirichlet is not None),
            )
            if on
        ]
        _require(len(chosen) <= 1, "choose one of iid, gamma and dirichlet", " and ".join(chosen))
        _require(self.gamma is None or self.gamma >= 0, "gamma must be >= 0", self.gamma)
        _require(self.dirichlet is None or self.dirichlet > 0, "dirichlet must be > 0", self.dirichlet)
        _require(self.primary is None or self.primary >= 1, "primary must be >= 1", self.primary)
        for name in ("eval_fraction", "public_fraction"):
            _require(0 < getattr(self, name) < 1, f"{name} must be in (0, 1)", getattr(self, name))
        if self.public is not None and self.private is None:
            raise ConfigError("--public goes with --private folder:PATH, the box's own images")
        for name in ("private", "eval"):
            value = getattr(self, name)
            _require(value is None or value.startswith("folder:"), f"{name} must be folder:PATH", value)


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillConfig:
    """How a peer learns from the others."""

    alpha: float = _setting(
        0.5,
        "weight of the labels, in [0, 1]; the neighbours' predictions weigh 1 - alpha; 0 needs two heads or phases",
    )
    measure: str = _setting(
        "kl",
        f"dissimilarity to distil with: {', '.join(MEASURE_NAMES)}, or a function of your own, package.module:function",
    )
    combine: str = _setting(
        "geometric",
        f"how several teachers make one loss: {', '.join(COMBINATION_NAMES)} (js and sed only), or a function of your "
        "own, package.module:function",
    )
    sharpen: float = _setting(1.0, "what the combined target is raised to, renormalised; > 1 makes it surer")
    temperature: float = _setting(2.0, "softens the predictions, > 0; part of the contract")
    temperature_scaling: bool = _setting(False, "multiply the distillation loss by temperature squared")
    kd_weight: float = _setting(2.0, "multiplies the distillation loss, > 0")
    kd_warmup: int = _setting(0, "steps over which the distillation weight grows from 0")
    kd_scale: str = _setting(
        "matched", "matched: all measures agree with KL to second order; raw: as in the paper", ("matched", "raw")
    )
    kd_reduction: str = _setting("mean", "how the distillation loss is reduced over the batch", ("mean", "sum"))
    balance: str = _setting(
        "on", "take the shard's class frequencies out of the labels' loss (balanced softmax)", ("on", "off")
    )
    two_phase: bool = _setting(
        False, "train alone for the first half of the steps; then a frozen copy teaches while the learner goes on"
    )

    def __post_init__(self) -> None:
        _check_fields(self)
        _require(0 <= self.alpha <= 1, "alpha must be in [0, 1]", self.alpha)
        for name, known in (("measure", MEASURE_NAMES), ("combine", COMBINATION_NAMES)):
            value = getattr(self, name)
            if value not in known and not is_extension(value):
                raise ConfigError(f"{name} must be one of {', '.join(known)} or package.module:function, got {value}")
        if self.combine == NWAY and (self.measure not in NWAY_MEASURES or self.sharpen != 1):
            raise ConfigError(
                f"combine nway goes with measure {' or '.join(NWAY_MEASURES)} and no sharpening, "
                f"got {self.measure} and sharpen {self.sharpen:g}"
            )
        _require(self.sharpen > 0, "sharpen must be > 0", self.sharpen)
        _require(self.temperature > 0, "temperature must be > 0", self.temperature)
        _require(self.kd_weight > 0, "kd_weight must be > 0", self.kd_weight)
        _require(self.kd_warmup >= 0, "kd_warmup must be >= 0", self.kd_warmup)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The network."""

    model: str = _setting(
        "resnet18", "torchvision classifier; in run and simulate also a list, one a client: resnet18,mobilenet_v3_small"
    )
    weights: str | None = _setting(
        None, "imagenet, none, FILE.safetensors or FILE.pth; default: imagenet for real images, none for digits"
    )

    heads: int = _setting(
        1, "1: both losses on one head; 2 or more: head 0 learns from labels, head i from the neighbours' head i - 1"
    )
    head_layers: str = _setting("512,256", "hidden layers of the heads after the first; none: they are linear too")

    def __post_init__(self) -> None:
        _check_fields(self)
        _require(1 <= self.heads <= 16, "heads must be from 1 to 16", self.heads)
        self.hidden_layers()

    def hidden_layers(self) -> tuple[int, ...]:
        """Widths of the hidden layers of the heads after the first."""
        if self.head_layers == "none":
            return ()
        widths = [width.strip() for width in self.head_layers.split(",")]
        if not all(width.isdecimal() and 1 <= int(width) <= 65536 for width in widths):
            raise ConfigError(
                f"head_layers must be none or widths from 1 to 65536 such as 512,256, got {self.head_layers}"
            )
        return tuple(int(width) for width in widths)

    def for_client(self, id: int) -> str:
        """The name of client `id`'s network; a list is dealt out in turn."""
        names = self.model.split(",")
        return names[id % len(names)].strip()


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How a peer trains."""

    steps: int = _setting(120, "training steps; 0: until SIGTERM, at a constant learning rate")
    batch: int = _setting(32, "private images a step")
    public_batch: int = _setting(32, "public images a round; part of the contract")
    lr: float | None = _setting(None, "peak learning rate; default 0.03 from scratch, 0.02 from pretrained weights")
    momentum: float = _setting(0.9, "momentum of SGD, in [0, 1)")
    weight_decay: float = _setting(5e-4, "weight decay of SGD")
    schedule: str = _setting(
        "onecycle", "how the learning rate goes: up and down, down, or constant", ("onecycle", "cosine", "constant")
    )
    augment: str | None = _setting(
        None, "augmentation of private images by whole pixels; default crop+flip, for digits crop", AUGMENTATIONS
    )
    precision: str = _setting("float32", "numbers of the forward pass; bfloat16 by autocast", ("float32", "bfloat16"))
    threads: int = _setting(1, "torch threads a peer")
    device: str = _setting("auto", "auto, cpu, cuda, cuda:N or mps")
    seed: int = _setting(
        0, "seed of what is a peer's own (initial weights, order, augmentation); with one data set also of the split"
    )
    eval_every: int = _setting(20, "steps between evaluations; 0: only at the end")
    checkpoint_every: int = _setting(200, "steps between checkpoints; 0: only at the end")

    def __post_init__(self) -> None:
        _check_fields(self)
        for name in ("steps", "eval_every", "checkpoint_every", "seed", "weight_decay"):
            _require(getattr(self, name) >= 0, f"{name} must be >= 0", getattr(self, name))
        for name in ("batch", "public_batch"):
            _require(
                getattr(self, name) >= 2, f"{name} must be >= 2 (batch norm needs two images)", getattr(self, name)
            )
        _require(self.threads >= 1, "threads must be >= 1", self.threads)
        _require(self.lr is None or self.lr > 0, "lr must be > 0", self.lr)
        _require(0 <= self.momentum < 1, "momentum must be in [0, 1)", self.momentum)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExchangeConfig:
    """How peers exchange predictions."""

    sync: float | None = _setting(
        None,
        "lockstep: a lesson waits for every live neighbour, at most SECONDS (without a number: without end)",
        endless=True,
    )
    wait_for: int | None = _setting(
        None, "neighbours that are up before the first step; default: all in run and with --sync, 0 in peer"
    )
    broadcast_every: int = _setting(1, "steps between broadcasts")
    max_age: int = _setting(64, "steps for which a neighbour's predictions serve")
    linger: float | None = _setting(
        None, "seconds to go on teaching others when done; default 60 (run: no limit)", endless=True
    )
    encoding: str = _setting(
        "float16",
        "how predictions are packed: float32, float16, uint8, top-k:K (a row's K likeliest classes) or one-bit (one)",
    )
    noise_std: float | None = _setting(
        None, "standard deviation, in nats, of Gaussian noise on what is sent, log-probabilities; drawn from --seed"
    )
    topology: str = _setting(
        "full", "who hears whom: full, ring, regular:D (random, D neighbours each) or a file with an edge, I J, a line"
    )
    transport: str = _setting("grpc", "what carries the frames, the same for all of a group", ("grpc", "zmq"))
    certs: str | None = _setting(
        None, "a peer's own folder of keys, made by `edgekd certs`: encryption, and none but peers with keys get in"
    )
    insecure: bool | None = _setting(
        None, "listen to other boxes without --certs: no encryption, no proof of who is who"
    )
    allow: str | None = _setting(None, "the ids that may be neighbours, such as 0,1,2; default: any")
    timing: str | None = _setting(
        None,
        "patience with neighbours: lan, or wan for links of long delay and short outages; default lan",
        tuple(TIMINGS),
    )
    # None keeps the hashes of older results valid:
    liars: int | None = _setting(None, "the last N clients send lies instead of their predictions; simulated only")
    lie: str | None = _setting(
        None, "what liars send: random or flipped labels, always one, or the likeliest two swapped", LIE_NAMES
    )

    def __post_init__(self) -> None:
        _check_fields(self)
        Packing.parse(self.encoding)
        _require(self.noise_std is None or self.noise_std >= 0, "noise_std must be >= 0", self.noise_std)
        _require(self.sync is None or self.sync > 0, "sync must be > 0 seconds", self.sync)
        _require(self.wait_for is None or self.wait_for >= 0, "wait_for must be >= 0", self.wait_for)
        _require(self.broadcast_every >= 1, "broadcast_every must be >= 1", self.broadcast_every)
        _require(self.max_age >= 1, "max_age must be >= 1", self.max_age)
        _require(self.linger is None or self.linger >= 0, "linger must be >= 0 seconds", self.linger)
        _require(self.liars is None or self.liars >= 0, "liars must be >= 0", self.liars)
        if self.liars and self.lie is None:
            raise ConfigError(f"liars need a lie: choose one of {', '.join(LIE_NAMES)}")
        if self.certs is not None and self.insecure:
            raise ConfigError("certs and insecure exclude one another: leave one of them out")
        self.allowed()

    def allowed(self) -> frozenset[int] | None:
        """The ids that may be neighbours; None: any."""
        return None if self.allow is None else frozenset(ids(self.allow))

    def time_limits(self) -> Timing:
        """The preset that `timing` names; None: `lan`."""
        return TIMINGS[self.timing or "lan"]


@dataclass(frozen=True, slots=True)
class Outage:
    """A box that is off for a while; times in units."""

    id: int
    begins: float
    ends: float  # infinite: it does not come back
    fresh: bool  # it comes back with nothing; else it goes on from the last step that it had done

    @classmethod
    def parse(cls, text: str) -> "Outage":
        """``ID:FROM-TO:checkpoint`` or ``ID:FROM-TO:fresh``.

        Raises:
            ConfigError: it is something else.
        """
        match = re.fullmatch(r"(\d+):([\d.]+)-([\d.]*)(?::(checkpoint|fresh))?", text)
        try:
            if match is None:
                raise ValueError(text)
            begins, ends = float(match[2]), float(match[3] or "inf")
        except ValueError:
            raise ConfigError(f"down must be such as 1:40-80:checkpoint or 2:10-30:fresh, got {text!r}") from None
        if not begins < ends:
            raise ConfigError(f"down must end after it begins, got {text!r}")
        return cls(int(match[1]), begins, ends, match[4] == "fresh")


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationConfig:
    """The virtual clock of an asynchronous simulation, and what happens to its boxes and links.

    Times are in units of the first client's step. Everything defaults to None, so that the cells of sweeps from before
    there was such a clock keep their names.
    """

    asynchronous: bool | None = _setting(None, "simulate asynchronous peers under a virtual clock, not lockstep")
    step_times: str | None = _setting(
        None, "time of a step for each client, T:T:..., dealt out in turn, in units of the first one's [default: 1]"
    )
    step_jitter: float | None = _setting(
        None, "each step takes up to this share longer or shorter, drawn from the seed [default: 0.1]"
    )
    delay: float | None = _setting(None, "units that a message takes [default: 0]")
    jitter: float | None = _setting(None, "units that a message takes longer, at most; never reorders [default: 0]")
    bandwidth: float | None = _setting(None, "bytes a unit that each box's uplink carries [default: without limit]")
    loss: float | None = _setting(
        None, "probability that a message is lost and sent again, which only delays it [default: 0]"
    )
    down: str | None = _setting(
        None, "boxes that are off for a while, ID:FROM-TO:checkpoint|fresh,...; without TO for good"
    )
    step_seconds: float | None = _setting(
        None, "seconds in a unit: places heartbeats, silence, waiting and lingering [default: 1]"
    )
    liar_frames: int | None = _setting(
        None, "liars speak of rounds of their own, far from the group's, N times in a step"
    )

    def __post_init__(self) -> None:
        _check_fields(self)
        for name in ("delay", "jitter"):
            value = getattr(self, name)
            _require(value is None or value >= 0, f"{name} must be >= 0 units", value)
        for name in ("bandwidth", "step_seconds"):
            value = getattr(self, name)
            _require(value is None or value > 0, f"{name} must be > 0", value)
        _require(
            self.step_jitter is None or 0 <= self.step_jitter < 1, "step_jitter must be in [0, 1)", self.step_jitter
        )
        _require(self.loss is None or 0 <= self.loss < 1, "loss must be in [0, 1)", self.loss)
        _require(self.liar_frames is None or self.liar_frames >= 1, "liar_frames must be >= 1", self.liar_frames)
        given = [f.name for f in fields(self) if f.name != "asynchronous" and getattr(self, f.name) is not None]
        if given and not self.asynchronous:
            raise ConfigError(f"{given[0]} is for an asynchronous simulation: add --async")
        self.times()
        self.outages()

    def times(self) -> tuple[float, ...]:
        """Units that a step of each client takes, dealt out in turn."""
        texts = (self.step_times or "1").split(":")
        times = tuple(map(_positive, texts))
        if any(time is None for time in times):
            raise ConfigError(f"step_times must be positive numbers such as 1:1.5:3, got {self.step_times}")
        return tuple(time or 0.0 for time in times)

    def outages(self) -> tuple[Outage, ...]:
        """Who is off when."""
        texts = [text.strip() for text in (self.down or "").split(",") if text.strip()]
        found = tuple(Outage.parse(text) for text in texts)
        for earlier, later in pairwise(sorted(found, key=lambda outage: (outage.id, outage.begins))):
            if earlier.id == later.id and earlier.ends >= later.begins:
                raise ConfigError(f"down must not overlap for one box, got {self.down}")
        return found


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """All settings of a run; also what a run folder's ``config.toml`` holds."""

    data: DataConfig = DataConfig()
    distill: DistillConfig = DistillConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    exchange: ExchangeConfig = ExchangeConfig()
    simulation: SimulationConfig = SimulationConfig()

    def __post_init__(self) -> None:
        models, clients = len(self.model.model.split(",")), self.data.clients
        if self.data.private is None and models not in (1, clients):
            raise ConfigError(f"model takes one name, or one for each of the {clients} clients, got {self.model.model}")
        if (self.exchange.liars or 0) >= clients:
            raise ConfigError(f"liars must be fewer than the {clients} clients, got {self.exchange.liars}")
        if self.simulation.asynchronous and self.exchange.sync is not None:
            raise ConfigError("async and sync exclude one another: leave one of them out")
        for outage in self.simulation.outages():
            if outage.id >= clients:
                raise ConfigError(f"down names box {outage.id}, and the {clients} clients are those below {clients}")
        heads, two_phase = self.model.heads, self.distill.two_phase
        if self.distill.alpha == 0 and heads == 1 and not two_phase:
            raise ConfigError(
                "alpha 0 uses no labels, so nobody would ever learn from them: add --heads 2 or --two-phase"
            )
        if two_phase and heads > 2:
            raise ConfigError(f"two_phase goes with 1 or 2 heads, since only head 0 learns in the first, got {heads}")
        if two_phase and self.train.steps < 2:
            raise ConfigError(f"two_phase needs an end and two steps, got steps {self.train.steps}")

    @property
    def weights(self) -> str:
        """``none``, ``imagenet`` or a file; drawn from the data set where nothing was said."""
        return self.model.weights or (
            "none" if self.data.private is None and self.data.data == "digits" else "imagenet"
        )

    @property
    def augment(self) -> str:
        """The augmentation of private images; where nothing was said it is the data set's: a mirrored digit is none."""
        digits = self.data.private is None and self.data.data == "digits"
        return self.train.augment or ("crop" if digits else "crop+flip")

    @property
    def peak_lr(self) -> float:
        """The learning rate at its highest."""
        return self.train.lr or (0.03 if self.weights == "none" else 0.02)

    @property
    def data_seed(self) -> int:
        """The seed of what a group shares."""
        return self.train.seed if self.data.data_seed is None else self.data.data_seed
