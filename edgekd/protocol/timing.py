"""All time limits between peers, with two presets, `LAN` and `WAN`.

They are only numbers: the clock is the caller's.
"""

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """The time limits of a peer, in seconds; the defaults are those of the preset `lan`.

    They are not part of the contract: peers with different time limits work together.

    Raises:
        ValueError: a value is not positive and finite, or two values do not fit together.
    """

    heartbeat_every: float = 1.0  # seconds; much shorter than `down_after`; a frame of 30 bytes a second costs little
    down_after: float = 5.0  # seconds without a frame; five heartbeats, so losing some does no harm
    hello_within: float = 5.0  # seconds for each Hello; a silent caller is kept no longer than a silent neighbour
    probe_for: float = 1.0  # seconds to answer a probe; many round trips, but a newcomer waits for all this time
    dial_timeout: float = 2.0  # seconds to connect, with TLS; about five round trips, and one lost packet
    backoff_first: float = 0.2  # seconds before the second try; a peer that is just starting is soon found
    backoff_max: float = 3.0  # seconds between two tries; a peer that comes back is found within `down_after`
    self_again: float = 60.0  # seconds until an address that turned out to be this peer itself is dialled again
    send_within: float = 10.0  # seconds to hand over one frame; a neighbour that reads nothing for so long is gone
    close_timeout: float = 1.0  # seconds for a goodbye; a few round trips for predictions and their acknowledgements
    refusal_delay: float = 1.0  # seconds before a refused caller is disconnected; else refusing could take all the CPU
    answer_within: float = 10.0  # seconds to send one piece of an answer, 32 KiB: sets the slowest link that is served
    stop_timeout: float = 4.0  # seconds from goodbye to end; a peer must have ended within 5 s of a SIGTERM

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if not 0 < value < float("inf"):  # written so that NaN fails too
                raise ValueError(f"{f.name} must be > 0 seconds and finite, got {value}")
        for short, long in (
            ("heartbeat_every", "down_after"),  # otherwise every neighbour would be down between two heartbeats
            ("backoff_first", "backoff_max"),
            ("close_timeout", "stop_timeout"),  # otherwise the process would end before its goodbye is sent
        ):
            if not getattr(self, short) < getattr(self, long):
                raise ValueError(
                    f"{short} must be < {long}, got {getattr(self, short)} and {getattr(self, long)} seconds"
                )


LAN = Timing()

# For links with round trips of up to a second and outages of some seconds: mobile networks, satellites. Only limits for
# waiting change. The interval of the heartbeats stays, since other peers, which may use `lan`, depend on it.
WAN = Timing(
    down_after=15.0,  # survives a handover; not longer, since the transports' keepalives end a dead stream after 15 s
    hello_within=10.0,  # a Hello may need two retransmissions, 1 s and 2 s after the first try, each with a round trip
    probe_for=4.0,  # a probe and its answer, each lost once
    send_within=30.0,  # a frame of 400 KB at 1 Mbit/s takes 3 s, and there may be an outage of some seconds
    dial_timeout=8.0,  # TCP, TLS and HTTP/2 need about five round trips of a second, and one packet may be lost
    close_timeout=3.0,  # the last predictions, their acknowledgements and the goodbye take three trips
    stop_timeout=6.0,  # `close_timeout`, and time for the transport to close: the peer ends within 7 s of a SIGTERM
)

TIMINGS = {"lan": LAN, "wan": WAN}  # the presets by their names for ``--timing``
