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
        "lockstep: each step waits for the predictions of all neighbours that are up, at most SECONDS (without a "
        "number: for ever)",
        endless=True,
    )
    wait_for: int | None = setting(
        None,
        "neighbours that must be up before the first step; asynchronous peers wait at most 120 s for them; default: "
        "all in run and with --sync, 0 in peer",
    )
    broadcast_every: int = setting(1, "number of steps between broadcasts of predictions")
    max_age: int = setting(64, "number of steps for which a neighbour's predictions are used")
    linger: float | None = setting(
        None,
        "seconds for which a peer that has done its steps goes on teaching; default 60 (run: inf, at most ten times "
        "its training)",
        endless=True,
    )
    encoding: str = setting(
        "float16",
        "how predictions are packed: float32, float16, uint8, top-k:K (the K likeliest classes) or one-bit (the "
        "likeliest class)",
        known=tuple(each.value for each in Encoding),
    )
    noise_std: float | None = setting(
        None,
        "standard deviation, in nats, of Gaussian noise that is added to the log-probabilities before they are sent; "
        "drawn from --seed",
    )
    topology: str = setting(
        "full",
        "which peers exchange predictions: full, ring, regular:D (random, D neighbours for each peer) or a file with "
        "one edge, I J, on each line",
        known=TOPOLOGY_NAMES,
        path=True,
    )
    transport: str = setting(
        "grpc", "transport of the messages; all peers of a group need the same value", ("grpc", "zmq")
    )
    certs: str | None = setting(
        None,
        "this peer's folder of keys, made by `edgekd certs`: the connection is encrypted, and only peers with keys "
        "may connect",
        path=True,
        group=SECURITY,
    )
    insecure: bool | None = setting(
        None, "listen to other boxes without --certs: no encryption, and no proof of identity", group=SECURITY
    )
    allow: str | None = setting(
        None, "ids of the peers that may be neighbours, such as 0,1,2; default: any", group=SECURITY
    )
    timing: str | None = setting(
        None,
        "time limits for neighbours: lan, or wan for links with long delays and short outages; default lan",
        tuple(TIMINGS),
    )
    # None keeps the hashes of older results valid:
    liars: int | None = setting(
        None, "the last N clients send lies instead of their predictions; only in simulations", group=LIARS
    )
    lie: str | None = setting(
        None,
        "what liars send: random labels, flipped labels, always the same label, or their predictions with the two "
        "likeliest classes swapped",
        LIE_NAMES,
        group=LIARS,
    )
    lie_from: int | None = setting(
        None, "number of steps for which liars are honest at first [default: 0]", group=LIARS
    )

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
