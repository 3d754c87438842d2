"""All settings, in frozen dataclasses: each class is a section of the TOML file, and each field is a flag.

The flag has the name of the field with dashes instead of underscores (``kd_weight`` is ``--kd-weight``).
"""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edgekd.config.exchange_settings import ACCESS, ExchangeConfig
from edgekd.config.fields import Images, check_fields, is_dataset, is_function, require, setting
from edgekd.config.recipes import PRETRAINED, SCRATCH, Recipe
from edgekd.config.virtual import SimulationConfig
from edgekd.errors import ConfigError
from edgekd.extensions import OBJECT, Function, is_extension, is_own_network, spelt
from edgekd.names import COMBINATION_NAMES, DEVICE_NAMES, MEASURE_NAMES, NWAY, NWAY_MEASURES, WEIGHT_NAMES, with_nearest

DATA_SETS = ("digits", "cifar10", "sun397")  # data sets that have a name
AUGMENTATIONS = ("none", "crop", "crop+flip")
EACH = "-each"  # ending of public augmentations in which each image has a crop and flip of its own
PUBLIC_AUGMENTATIONS = (*AUGMENTATIONS, f"crop{EACH}", f"crop+flip{EACH}")
PUBLIC_AUGMENTATION_OF_PICTURES = f"crop+flip{EACH}"  # the default of every public set but that of digits
COLLECTING = ("rescan", "keep")  # only for `edgekd peer`, whose folder of pictures may change
# Settings of real peers, on which no simulation depends.
LIVE = (*ACCESS, "timing", "keep_best", "tensorboard", "nice", *COLLECTING)
UNSWEPT = (*LIVE, "cache")  # settings that no cell of a sweep has; the cache only makes the start faster
MOST_SECONDS = 86_400  # largest time between two scans

AUTO = "auto"  # value of threads and precision: chosen for this machine
COMPUTING = "Computing"  # title in --help for the settings of [train] about processor, threads and precision
STRONGEST_PULL = 0.4  # largest product of the default distillation weight and SGD's learning rate


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What a peer trains on: a common data set that is split by number, or a box's own files.

    >>> DataConfig(data="digits", clients=4, gamma=15.0).digits
    True
    """

    data: Images = setting(
        "digits",
        "common data set: digits, cifar10, sun397, or a folder with one subfolder for each class",
        known=DATA_SETS,
        path=True,
        takes=is_dataset,
    )
    limit: int | None = setting(None, "use only N images of the data set, drawn at random with the data seed")
    size: int | None = setting(
        None, "width and height of the input images in pixels; default 32 (sun397: 224, folder: 64)"
    )
    private: Images | None = setting(
        None,
        "a box's own labelled images, a folder with one subfolder for each class, instead of --data; needs --public",
        path=True,
        takes=is_dataset,
    )
    public: str | None = setting(None, "the group's public file, made by `edgekd public` or `edgekd split`", path=True)
    eval: Images | None = setting(
        None,
        "labelled images to evaluate on, a folder with one subfolder for each class; default: a tenth of the private "
        "images",
        path=True,
        takes=is_dataset,
    )
    clients: int = setting(3, "number of peers that share the data set")
    iid: bool = setting(False, "split without skew: every client gets an equal, random part")
    gamma: float | None = setting(
        None,
        "skewed split, the default with 15 (sun397: 10): an image of a client's primary labels is 1 + G times as "
        "likely to go to this client as to another one",
    )
    dirichlet: float | None = setting(
        None, "skewed split: the clients' shares of each label are drawn from a Dirichlet distribution with parameter B"
    )
    primary: int | None = setting(
        None,
        "skewed split: each client draws N primary labels for itself; default: each label is primary for one client",
    )
    eval_fraction: float = setting(0.1, "fraction of all images in the common evaluation set")
    public_fraction: float = setting(0.1, "fraction of all images in the public set; their labels are removed")
    public_augment: str | None = setting(
        None,
        "augmentation of the public batch: the same for all its images, or (-each) another for each image; all peers "
        "of a group need the same value [default: crop+flip-each, for digits none]",
        PUBLIC_AUGMENTATIONS,
    )
    data_seed: int | None = setting(None, "seed of what the group shares: the split of the data; default: --seed")
    cache: str | None = setting(
        None,
        "keep decoded and resized pictures in DIR, so that the next start is faster; peers on one box may share DIR; "
        "it holds private pictures",
        path=True,
    )
    rescan: float | None = setting(
        None,
        "look at the private folder every SECONDS while the peer trains; use new, moved and removed pictures from "
        "the next step on",
    )
    keep: int | None = setting(
        None,
        "keep at most N private pictures in memory: the newest ones, with equal numbers from each class where possible",
    )

    # A data set that was set as an object is the same only as itself, and is shown by its name.

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataConfig) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        shown = (f"{name}={spelt(value) if is_dataset(value) else repr(value)}" for name, value in values.items())
        return f"DataConfig({', '.join(shown)})"

    def _identity(self) -> tuple[object, ...]:
        values = (getattr(self, f.name) for f in fields(self))
        return tuple(id(value) if is_dataset(value) else value for value in values)

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("data", "private", "eval"):
            object.__setattr__(self, name, _with_kind(getattr(self, name), named=name == "data"))
        if self.kind not in (*(known := (*DATA_SETS, "folder")), OBJECT[:-1]):
            why = f"data must be digits, cifar10, sun397 or a folder that exists, got {self.data}"
            raise ConfigError(with_nearest(why, self.kind, known))
        require(self.limit is None or self.limit >= 1, "limit must be >= 1", self.limit)
        require(self.size is None or self.size >= 8, "size must be >= 8 pixels", self.size)
        require(self.clients >= 1, "clients must be >= 1", self.clients)
        chosen = [
            n
            for n, on in (
                ("iid", self.iid),
                ("gamma", self.gamma is not None),
                ("dirichlet", self.dirichlet is not None),
            )
            if on
        ]
        require(len(chosen) <= 1, "choose one of iid, gamma and dirichlet", " and ".join(chosen))
        require(self.gamma is None or self.gamma >= 0, "gamma must be >= 0", self.gamma)
        require(self.dirichlet is None or self.dirichlet > 0, "dirichlet must be > 0", self.dirichlet)
        require(self.primary is None or self.primary >= 1, "primary must be >= 1", self.primary)
        for name in ("eval_fraction", "public_fraction"):
            require(0 < getattr(self, name) < 1, f"{name} must be in (0, 1)", getattr(self, name))
        for name in ("public", *COLLECTING):
            if getattr(self, name) is not None and self.private is None:
                raise ConfigError(f"--{name} goes with --private folder:PATH, the box's own images")
        for name in COLLECTING:
            if getattr(self, name) is not None and not isinstance(self.private, str):
                raise ConfigError(f"{name} goes with a private folder, whose pictures come and go, not with an object")
        rule = f"rescan must be from 0.05 to {MOST_SECONDS} seconds"
        require(self.rescan is None or 0.05 <= self.rescan <= MOST_SECONDS, rule, self.rescan)
        require(
            self.keep is None or self.keep >= 2, "keep must be >= 2: one to train on, one to evaluate on", self.keep
        )

    @property
    def kind(self) -> str:
        """The kind of the common data set: ``digits``, ``cifar10``, ``sun397``, ``folder`` or ``object``."""
        return spelt(self.data).partition(":")[0]

    @property
    def digits(self) -> bool:
        """Whether the images are the digits, which are trained from scratch and of which a mirrored one is none."""
        return self.private is None and self.kind == "digits"

    @property
    def public_augmentation(self) -> str:
        """The augmentation of the public set: the setting, or its default for this data set."""
        return self.public_augment or ("none" if self.digits else PUBLIC_AUGMENTATION_OF_PICTURES)


def _with_kind(setting: Images | None, *, named: bool) -> Images | None:
    """A plain path as ``folder:PATH``; other settings, and objects, as they are.

    Args:
        setting: ``folder:PATH``, a path or a name.
        named: names of data sets are allowed, so a path must look like one, or exist.
    """
    if not isinstance(setting, str) or setting in DATA_SETS or setting.startswith(("folder:", OBJECT)):
        return setting
    is_path = os.sep in setting or setting[:1] in (".", "~") or os.path.isdir(setting)
    return f"folder:{setting}" if is_path or not named else setting


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillConfig:
    """How a peer learns from the others.

    >>> DistillConfig(measure="sed", alpha=0.8).combine
    'agreement'
    """

    alpha: float = setting(
        0.5,
        "weight of the labels' loss, in [0, 1]; the distillation loss has weight 1 - alpha; 0 needs two heads or two "
        "phases",
    )
    measure: Function = setting(
        "kl",
        f"dissimilarity to distil with: {', '.join(MEASURE_NAMES)}, or a function of your own, FILE.py:function or "
        "package.module:function",
        known=MEASURE_NAMES,
        path=True,
        takes=is_function,
    )
    combine: Function = setting(
        "agreement",
        f"how the predictions of several teachers make one loss: {', '.join(COMBINATION_NAMES)} (js and sed only), or "
        "a function of your own, FILE.py:function or package.module:function",
        known=COMBINATION_NAMES,
        path=True,
        takes=is_function,
    )
    sharpen: float = setting(
        1.0, "exponent of the combined target, which is then normalised; above 1 the target is more confident"
    )
    temperature: float = setting(
        2.0,
        "temperature of the softmax of predictions, > 0; higher is softer; all peers of a group need the same value",
    )
    temperature_scaling: bool = setting(False, "multiply the distillation loss by the square of the temperature")
    kd_weight: float | None = setting(
        None, "factor of the distillation loss, > 0; default 4, with sgd 2 but at most 0.4 / learning rate"
    )
    kd_warmup: int = setting(0, "number of steps over which the factor of the distillation loss grows from 0")
    kd_scale: str = setting(
        "matched",
        "matched: scale each measure so that all agree with KL for small differences; raw: as in the paper",
        ("matched", "raw"),
    )
    kd_reduction: str = setting("mean", "how the distillation loss is reduced over the batch", ("mean", "sum"))
    balance: str = setting(
        "on",
        "correct the labels' loss for the class frequencies of the private images (balanced softmax)",
        ("on", "off"),
    )
    two_phase: bool = setting(
        False,
        "learn from the labels alone for the first half of the steps; after that a frozen copy teaches the neighbours",
    )

    def __post_init__(self) -> None:
        check_fields(self)
        require(0 <= self.alpha <= 1, "alpha must be in [0, 1]", self.alpha)
        for name, known in (("measure", MEASURE_NAMES), ("combine", COMBINATION_NAMES)):
            value = getattr(self, name)
            if value not in known and not is_extension(value):
                own = "FILE.py:function or package.module:function"
                why = f"{name} must be one of {', '.join(known)}, {own}, got {value}"
                raise ConfigError(with_nearest(why, value, known))
        if self.combine == NWAY and (self.measure not in NWAY_MEASURES or self.sharpen != 1):
            raise ConfigError(
                f"combine nway goes with measure {' or '.join(NWAY_MEASURES)} and no sharpening, "
                f"got {spelt(self.measure)} and sharpen {self.sharpen:g}"
            )
        require(self.sharpen > 0, "sharpen must be > 0", self.sharpen)
        require(self.temperature > 0, "temperature must be > 0", self.temperature)
        require(self.kd_weight is None or self.kd_weight > 0, "kd_weight must be > 0", self.kd_weight)
        require(self.kd_warmup >= 0, "kd_warmup must be >= 0", self.kd_warmup)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The network.

    >>> ModelConfig(model="mobilenet_v3_small", heads=2, head_layers="64,32").hidden_layers()
    (64, 32)
    """

    model: Function = setting(
        "resnet18",
        "torchvision classifier, timm:NAME, or a function of your own, package.module:function or FILE.py:function; "
        "run and simulate also take a list, one name for each client: resnet18,mobilenet_v3_small",
        takes=is_function,
    )
    weights: str | None = setting(
        None,
        "start from imagenet, none (random), FILE.safetensors or FILE.pth; default: imagenet for pictures, none for "
        "digits and for a network of your own",
        known=WEIGHT_NAMES,
        path=True,
    )

    heads: int = setting(
        1,
        "1: one head learns from labels and neighbours; 2 or more: head 0 learns from labels, head i from the "
        "neighbours' head i - 1",
    )
    head_layers: str = setting(
        "512,256", "widths of the hidden layers of the heads after the first; none: these heads are linear"
    )
    head_start: str | None = setting(
        None,
        "initial weights of head 0: random, or the linear discriminant of the private images' features [default: "
        "discriminant, with --weights none random]",
        ("random", "discriminant"),
    )

    head_end: str | None = setting(
        None,
        "final weights of the head: as trained, or moved half the way to the linear discriminant of the private "
        "images' features (by their labels) and the public images' features (by the neighbours' predictions) "
        "[default: discriminant if possible, with --weights none trained]",
        ("trained", "discriminant"),
    )

    def __post_init__(self) -> None:
        check_fields(self)
        require(1 <= self.heads <= 16, "heads must be from 1 to 16", self.heads)
        self.hidden_layers()

    def hidden_layers(self) -> tuple[int, ...]:
        """The widths of the hidden layers of all heads except the first."""
        if self.head_layers == "none":
            return ()
        widths = [width.strip() for width in self.head_layers.split(",")]
        if not all(width.isdecimal() and 1 <= int(width) <= 65536 for width in widths):
            raise ConfigError(
                f"head_layers must be none or widths from 1 to 65536 such as 512,256, got {self.head_layers}"
            )
        return tuple(int(width) for width in widths)

    def for_client(self, id: int) -> Function:
        """The network of client `id`, or its name. With several names, each client takes the next one in turn."""
        names = self.names()
        return names[id % len(names)]

    def names(self) -> list[Function]:
        """The names of all networks, in the order in which clients take them; or the one network that is an object."""
        return [name.strip() for name in self.model.split(",")] if isinstance(self.model, str) else [self.model]

    @property
    def all_own(self) -> bool:
        """Whether all networks are functions of the user."""
        return all(map(is_own_network, self.names()))


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How a peer trains.

    >>> TrainConfig(steps=50, device="cpu").eval_every
    20
    """

    steps: int | None = setting(
        None,
        "number of training steps; 0: train until SIGTERM, at a constant learning rate; default 80, with --weights "
        "none 120",
    )
    batch: int | None = setting(None, "private images in a step; default 90, with --weights none 32")
    public_batch: int | None = setting(
        None,
        "public images in a round; at most all images of the public file are used; all peers of a group need the "
        "same value; default 80, for digits 32",
    )
    optimiser: str | None = setting(
        None, "optimiser of the weights [default: adamw, with --weights none sgd]", ("sgd", "adamw")
    )
    lr: float | None = setting(
        None, "highest learning rate; default 0.001 with adamw; with sgd 0.02, with --weights none 0.03"
    )
    momentum: float = setting(0.9, "momentum of sgd, in [0, 1); with adamw its first beta")
    weight_decay: float | None = setting(None, "weight decay; default 0.0005, with adamw 0.01")
    schedule: str = setting(
        "onecycle",
        "learning rate over the steps: onecycle (up, then down), cosine (down) or constant",
        ("onecycle", "cosine", "constant"),
    )
    augment: str | None = setting(
        None,
        "augmentation of private images: random crops and flips; default crop+flip, for digits crop",
        AUGMENTATIONS,
    )
    norm_from: str | None = setting(
        None,
        "images that update the running statistics of batch norm in a step with a lesson: private, public, or both, "
        "which go through the network as one batch; frozen: the pretrained statistics are used and never updated "
        "[default: public, with --weights none private]",
        ("private", "public", "both", "frozen"),
    )
    freeze: float | None = setting(
        None,
        "fraction of the network's layers, from the first one on, that are not trained; default 0.25, with --weights "
        "none 0",
    )
    precision: str = setting(
        "float32",
        "floating-point type of the forward pass; bfloat16 uses autocast; auto: bfloat16 if the processor or GPU "
        "supports it, but float32 in run, in simulate and with --sync",
        ("float32", "bfloat16", AUTO),
        group=COMPUTING,
    )
    threads: int | str | None = setting(
        None,
        "torch threads of a peer, a number or auto: all cores that the process may use, minus one if there are more "
        "than two; run and simulate --async divide the cores among the peers; lockstep uses 1 [default: auto; in a "
        "sweep 1]",
        words=(AUTO,),
        group=COMPUTING,
    )
    nice: int | None = setting(
        None,
        "lowest niceness of the process, so that other programs go first; 0: leave the niceness as it is [default: 5]",
        group=COMPUTING,
    )
    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps", known=DEVICE_NAMES, group=COMPUTING)
    seed: int = setting(
        0,
        "seed of what belongs to one peer: initial weights, order of images, augmentation; with a common data set "
        "also of the split",
    )
    eval_every: int = setting(20, "number of steps between evaluations; 0: only at the end")
    checkpoint_every: int = setting(200, "number of steps between checkpoints; 0: only at the end")
    keep_best: bool | None = setting(None, "also keep the checkpoint of the best evaluation, as best.safetensors")
    tensorboard: bool | None = setting(None, "also write the numbers of metrics.jsonl as event files for TensorBoard")

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("steps", "weight_decay", "eval_every", "checkpoint_every", "seed"):
            require((getattr(self, name) or 0) >= 0, f"{name} must be >= 0", getattr(self, name))
        for name in ("batch", "public_batch"):
            value = getattr(self, name)
            require(value is None or value >= 2, f"{name} must be >= 2 (batch norm needs two images)", value)
        require(not isinstance(self.threads, int) or self.threads >= 1, "threads must be >= 1", self.threads)
        require(self.nice is None or 0 <= self.nice <= 19, "nice must be from 0 to 19", self.nice)
        require(self.lr is None or self.lr > 0, "lr must be > 0", self.lr)
        require(0 <= self.momentum < 1, "momentum must be in [0, 1)", self.momentum)
        require(self.freeze is None or 0 <= self.freeze <= 1, "freeze must be in [0, 1]", self.freeze)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """All settings of a run; ``config.toml`` in a run folder holds the same. `Config.of` takes single settings.

    >>> Config(train=TrainConfig(steps=50)) == Config.of(steps=50)
    True
    """

    data: DataConfig = DataConfig()
    distill: DistillConfig = DistillConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    exchange: ExchangeConfig = ExchangeConfig()
    simulation: SimulationConfig = SimulationConfig()

    @classmethod
    def of(cls, **settings: Any) -> "Config":
        """Make the settings from single ones, which have the names of the flags, with underscores.

        >>> Config.of(measure="sed", steps=50).distill.measure
        'sed'

        Args:
            settings: of any section. A setting that is not given, or is None, has its default. Some settings take an
                object instead of a name: `measure` and `combine` a function; `model` a ``torch.nn.Module``, or a
                function that makes one for a number of classes; `data`, `private` and `eval` an `ImageDataset`. No file
                can hold such an object. So a program that repeats or resumes the run must pass the object again.

        Raises:
            ConfigError: a setting is unknown (the known ones are listed), of the wrong type, or out of range.
        """
        from edgekd.config.tables import from_mapping, in_sections  # here, because `tables` imports this module

        return from_mapping(in_sections(settings))

    @classmethod
    def load(cls, path: "str | os.PathLike[str]", **settings: Any) -> "Config":
        """Read the settings from a TOML file, such as the ``config.toml`` of a run; `settings` override the file.

        >>> Config.load("box/config.toml", steps=200).steps
        200

        Args:
            path: the file.
            settings: as in `of`; None replaces a value of the file by the default. If the file names a network of your
                own, give `model`, too: a file alone never makes edgekd run your code.

        Raises:
            ConfigError: as in `of`; or the file cannot be read, is not TOML, or names a network of your own that
                `settings` does not name.
        """
        from edgekd.config.tables import check_own_word, from_mapping, in_sections, overlay, read_toml, without

        given = in_sections(settings)
        tables = overlay(read_toml(Path(path).expanduser()), given)
        check_own_word(tables, given)
        reset = {name for name, value in settings.items() if value is None}
        return from_mapping(without(tables, reset))

    def __post_init__(self) -> None:
        for f in fields(self):
            section, kind = getattr(self, f.name), type(f.default)
            if not isinstance(section, kind):
                advice = "edgekd.Config.of makes a Config"
                raise ConfigError(f"{f.name} must be a {kind.__name__}, got {section!r}; {advice}")
        models, clients = len(self.model.names()), self.data.clients
        if self.data.private is None and models not in (1, clients):
            raise ConfigError(
                f"model takes one name, or one for each of the {clients} clients, got {spelt(self.model.model)}"
            )
        if (self.exchange.liars or 0) >= clients:
            raise ConfigError(f"liars must be fewer than the {clients} clients, got {self.exchange.liars}")
        if self.simulation.on_private and self.exchange.liars:
            raise ConfigError("on_private and liars exclude one another: nothing is sent, so nobody can lie")
        if self.simulation.asynchronous and self.exchange.sync is not None:
            raise ConfigError("async and sync exclude one another: leave one of them out")
        if self.data.rescan is not None and self.exchange.sync is not None:
            raise ConfigError(
                "rescan and sync exclude one another: lockstep trains the same whenever it is repeated, and when a "
                "picture is taken up is a matter of the clock; leave one of them out"
            )
        for outage in self.simulation.outages():
            if outage.id >= clients:
                raise ConfigError(f"down names box {outage.id}, and the {clients} clients are those below {clients}")
        if self.model.weights == "imagenet" and self.model.all_own:
            raise ConfigError(
                f"there are no ImageNet weights of {spelt(self.model.model)}: use --weights none, which leaves what "
                "the function returns as it is, or a file"
            )
        if self.norm_from == "frozen" and self.from_scratch:
            raise ConfigError("norm_from frozen needs pretrained weights, whose statistics it uses: choose --weights")
        if self.freeze and self.from_scratch:
            raise ConfigError(
                f"freeze {self.freeze:g} needs pretrained weights, since frozen layers learn nothing: choose --weights "
                "or --freeze 0"
            )
        if self.model.head_end == "discriminant" and not self._one_head_learns_from_all:
            raise ConfigError(
                "head_end discriminant goes with one head, one phase, public images and an end: choose trained"
            )
        heads, two_phase = self.model.heads, self.distill.two_phase
        if self.distill.alpha == 0 and heads == 1 and not two_phase:
            raise ConfigError(
                "alpha 0 uses no labels, so nobody would ever learn from them: add --heads 2 or --two-phase"
            )
        if two_phase and heads > 2:
            raise ConfigError(f"two_phase goes with 1 or 2 heads, since only head 0 learns in the first, got {heads}")
        if two_phase and self.steps < 2:
            raise ConfigError(f"two_phase needs an end and two steps, got steps {self.steps}")

    @property
    def weights(self) -> str:
        """The weights to begin with, ``none``, ``imagenet`` or a file; the default depends on data set and networks."""
        return self.model.weights or ("none" if self.data.digits or self.model.all_own else "imagenet")

    @property
    def from_scratch(self) -> bool:
        """Whether networks begin with random weights; False for functions of the user, of which this is not known."""
        return self.weights == "none" and not self.model.all_own

    @property
    def augment(self) -> str:
        """The augmentation of private images; the default mirrors images, but not digits."""
        return self.train.augment or ("crop" if self.data.digits else "crop+flip")

    @property
    def recipe(self) -> Recipe:
        """The defaults of training for these weights."""
        return SCRATCH if self.weights == "none" else PRETRAINED

    @property
    def steps(self) -> int:
        """The number of training steps; 0: training has no end."""
        return self.recipe.steps if self.train.steps is None else self.train.steps

    @property
    def batch(self) -> int:
        """The number of private images in a step."""
        return self.train.batch or self.recipe.batch

    @property
    def public_batch(self) -> int:
        """The largest number of public images in a round.

        A group must agree on it, so the default depends on the data and not on the network.
        """
        return self.train.public_batch or (32 if self.data.digits else 80)

    @property
    def threads(self) -> int:
        """The number of torch threads that each learner computes with.

        As long as the setting is ``auto``, this is 1; `edgekd.learning.computing.settle` replaces ``auto`` by a number.
        """
        return self.train.threads if isinstance(self.train.threads, int) else 1

    @property
    def precision(self) -> str:
        """The number format of the forward pass, ``float32`` or ``bfloat16``; float32 as long as it is ``auto``."""
        return "float32" if self.train.precision == AUTO else self.train.precision

    @property
    def optimiser(self) -> str:
        """The optimiser: ``sgd`` or ``adamw``."""
        return self.train.optimiser or self.recipe.optimiser

    @property
    def peak_lr(self) -> float:
        """The largest learning rate of the schedule."""
        if self.optimiser == "adamw":
            return self.train.lr or 0.001
        return self.train.lr or (0.03 if self.weights == "none" else 0.02)

    @property
    def weight_decay(self) -> float:
        """The weight decay; the default is much larger with ``adamw``, where it is not part of the gradient."""
        default = 0.01 if self.optimiser == "adamw" else 5e-4
        return default if self.train.weight_decay is None else self.train.weight_decay

    @property
    def kd_weight(self) -> float:
        """The factor of the distillation loss; the default is 4 with AdamW, and at most 2 with SGD.

        With SGD, the product of this factor and the learning rate determines how strongly the neighbours pull in a
        step. Above `STRONGEST_PULL`, training from random weights collapses (experiments/gap.md), so the default is
        smaller if necessary. AdamW divides the gradient by its own size, so it needs no such limit.
        """
        if self.distill.kd_weight is not None:
            return self.distill.kd_weight
        return 4.0 if self.optimiser == "adamw" else min(2.0, STRONGEST_PULL / self.peak_lr)

    @property
    def norm_from(self) -> str:
        """The images that move batch norm's running statistics: ``private``, ``public``, ``both`` or ``frozen``."""
        return self.train.norm_from or self.recipe.norm_from

    @property
    def freeze(self) -> float:
        """The fraction of the network's layers that are frozen, in [0, 1]."""
        return self.recipe.freeze if self.train.freeze is None else self.train.freeze

    @property
    def head_start(self) -> str:
        """How head 0 begins: ``random`` or ``discriminant``."""
        return self.model.head_start or self.recipe.head_start

    @property
    def head_end(self) -> str:
        """How the head ends: ``trained`` or ``discriminant``."""
        if self.model.head_end is not None:
            return self.model.head_end
        return self.recipe.head_end if self._one_head_learns_from_all else "trained"

    @property
    def _one_head_learns_from_all(self) -> bool:
        """Whether a single head learns from labels and neighbours in all steps, and training has an end."""
        public = not self.simulation.on_private
        return self.model.heads == 1 and not self.distill.two_phase and public and self.steps > 0

    @property
    def data_seed(self) -> int:
        """The seed of what a group shares, such as the split of the data set."""
        return self.train.seed if self.data.data_seed is None else self.data.data_seed
