"""All time limits between peers, in one place, with two presets. Pure: the caller has the clock."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """How long a peer waits for what; the defaults are those of the preset `lan`.

    Nothing here is part of the contract: peers with different time limits work together.

    Raises:
        ValueError: a value is not a positive number, or two of them do not go together.
    """

    heartbeat_every: float = 1.0  # seconds; short against `down_after`, long against the cost of a frame of 30 bytes
    down_after: float = 5.0  # seconds without a frame: five heartbeats, so that losing a few does no harm
    hello_within: float = 5.0  # seconds for each Hello: a silent caller is not kept longer than a silent neighbour
    probe_for: float = 1.0  # seconds to answer a probe: many round trips, but the newcomer waits all that time
    dial_timeout: float = 2.0  # seconds to connect, TLS included: some five round trips, and one lost packet
    backoff_first: float = 0.2  # seconds before the second try: a peer that is just starting is found at once
    backoff_max: float = 3.0  # seconds between two tries: a peer that comes back is found within `down_after`
    self_again: float = 60.0  # seconds until an address that was this peer itself is dialled again, to be sure of it
    send_within: float = 10.0  # seconds to hand over one frame: a neighbour that reads nothing for so long has gone
    close_timeout: float = 1.0  # seconds that a goodbye may take: a few round trips for predictions and their acks
    refusal_delay: float = 1.0  # seconds before a refused caller is disconnected: else refusing takes all the processor
    answer_within: float = 10.0  # seconds to take one piece of an answer, 32 KiB: the slowest link that is served
    stop_timeout: float = 4.0  # seconds from goodbye to end: a peer has to be gone within 5 s of a SIGTERM

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if not 0 < value < float("inf"):  # written so that NaN fails too
                raise ValueError(f"{f.name} must be > 0 seconds and finite, got {value}")
        for short, long in (
            ("heartbeat_every", "down_after"),  # else every neighbour is down between two heartbeats
            ("backoff_first", "backoff_max"),
            ("close_timeout", "stop_timeout"),  # else the process ends before its goodbye
        ):
            if not getattr(self, short) < getattr(self, long):
                raise ValueError(
                    f"{short} must be < {long}, got {getattr(self, short)} and {getattr(self, long)} seconds"
                )


LAN = Timing()

# For links with round trips of up to a second and outages of some seconds: mobile networks, satellites. It changes
# patience only. The heartbeat's interval stays: it feeds the patience of others, who may use `lan`.
WAN = Timing(
    down_after=15.0,  # rides out a handover; no longer, since the transports' own keepalives end a dead stream at 15 s
    hello_within=10.0,  # a Hello may need two retransmissions, 1 s and 2 s after the first try, and a round trip each
    probe_for=4.0,  # a probe and its answer, each lost once
    send_within=30.0,  # a frame of 400 KB at 1 Mbit/s takes 3 s; and outages of some seconds
    dial_timeout=8.0,  # TCP, TLS and HTTP/2 take some five round trips of a second, and one packet is lost
    close_timeout=3.0,  # last predictions, their acks and the goodbye are three trips
    stop_timeout=6.0,  # `close_timeout` and what the transport needs to close: a peer is gone within 7 s of a SIGTERM
)

TIMINGS = {"lan": LAN, "wan": WAN}  # by the name that ``--timing`` gives
