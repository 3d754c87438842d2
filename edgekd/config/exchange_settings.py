"""The settings of the exchange between peers: section ``[exchange]``."""

from dataclasses import dataclass

from edgekd.config.fields import check_fields, require, setting
from edgekd.errors import ConfigError
from edgekd.names import LIE_NAMES, TOPOLOGY_NAMES
from edgekd.protocol.addresses import ids
from edgekd.protocol.encodings import Packing
from edgekd.protocol.messages import Encoding
from edgekd.protocol.timing import TIMINGS, Timing

SECURITY, LIARS = "Security", "Liars"  # titles in --help
LYING = ("liars", "lie", "lie_from")  # only simulated peers use these
ACCESS = ("certs", "insecure", "allow")  # only `edgekd peer` uses these, to decide who may connect


@dataclass(frozen=True, kw_only=True, slots=True)
class ExchangeConfig:
    """How peers exchange predictions.

    >>> ExchangeConfig(allow="0,2").allowed() == {0, 2}
    True
    """

    sync: float | None = setting(
        None,
        "lockstep: a lesson waits for every live neighbour, at most SECONDS (without a number: without end)",
        endless=True,
    )
    wait_for: int | None = setting(
        None,
        "neighbours that are up before the first step; asynchronous peers begin without them after 120 s; default: all "
        "in run and with --sync, 0 in peer",
    )
    broadcast_every: int = setting(1, "steps between broadcasts")
    max_age: int = setting(64, "steps for which a neighbour's predictions serve")
    linger: float | None = setting(
        None, "seconds to go on teaching others when done; default 60 (run: inf, ten times the training)", endless=True
    )
    encoding: str = setting(
        "float16",
        "how predictions are packed: float32, float16, uint8, top-k:K (a row's K likeliest classes) or one-bit (one)",
        known=tuple(each.value for each in Encoding),
    )
    noise_std: float | None = setting(
        None, "standard deviation, in nats, of Gaussian noise on what is sent, log-probabilities; drawn from --seed"
    )
    topology: str = setting(
        "full",
        "who hears whom: full, ring, regular:D (random, D neighbours each) or a file with an edge, I J, a line",
        known=TOPOLOGY_NAMES,
        path=True,
    )
    transport: str = setting("grpc", "what carries the frames, the same for all of a group", ("grpc", "zmq"))
    certs: str | None = setting(
        None,
        "a peer's own folder of keys, made by `edgekd certs`: encryption, and none but peers with keys get in",
        path=True,
        group=SECURITY,
    )
    insecure: bool | None = setting(
        None, "listen to other boxes without --certs: no encryption, no proof of who is who", group=SECURITY
    )
    allow: str | None = setting(None, "the ids that may be neighbours, such as 0,1,2; default: any", group=SECURITY)
    timing: str | None = setting(
        None,
        "patience with neighbours: lan, or wan for links of long delay and short outages; default lan",
        tuple(TIMINGS),
    )
    # None keeps the hashes of older results valid:
    liars: int | None = setting(
        None, "the last N clients send lies instead of their predictions; simulated only", group=LIARS
    )
    lie: str | None = setting(
        None,
        "what liars send: random or flipped labels, always one, or the likeliest two swapped",
        LIE_NAMES,
        group=LIARS,
    )
    lie_from: int | None = setting(None, "steps for which liars are honest [default: 0]", group=LIARS)

    def __post_init__(self) -> None:
        check_fields(self)
        Packing.parse(self.encoding)
        require(self.noise_std is None or self.noise_std >= 0, "noise_std must be >= 0", self.noise_std)
        require(self.sync is None or self.sync > 0, "sync must be > 0 seconds", self.sync)
        require(self.wait_for is None or self.wait_for >= 0, "wait_for must be >= 0", self.wait_for)
        require(self.broadcast_every >= 1, "broadcast_every must be >= 1", self.broadcast_every)
        require(self.max_age >= 1, "max_age must be >= 1", self.max_age)
        require(self.linger is None or self.linger >= 0, "linger must be >= 0 seconds", self.linger)
        require(self.liars is None or self.liars >= 0, "liars must be >= 0", self.liars)
        require(self.lie_from is None or self.lie_from >= 0, "lie_from must be >= 0", self.lie_from)
        if self.liars and self.lie is None:
            raise ConfigError(f"liars need a lie: choose one of {', '.join(LIE_NAMES)}")
        if self.certs is not None and self.insecure:
            raise ConfigError("certs and insecure exclude one another: leave one of them out")
        self.allowed()

    def allowed(self) -> frozenset[int] | None:
        """The ids of the peers that may be neighbours; None allows all."""
        return None if self.allow is None else frozenset(ids(self.allow))

    def time_limits(self) -> Timing:
        """The time limits of the preset in `timing`; those of `lan` if it is None."""
        return TIMINGS[self.timing or "lan"]
