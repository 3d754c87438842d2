"""The settings that only simulations have, above all the virtual clock and its links: section ``[simulation]``."""

import math
import re
from dataclasses import dataclass, fields
from itertools import pairwise

from edgekd.config.fields import check_fields, require, setting
from edgekd.errors import ConfigError

MOST_TIMES = 1000  # largest ratio of the step times of two clients
# Smallest and largest value of each number. Outside, a simulation would never end, or its clock would stand still.
_BOUNDS = (
    ("delay", 0.0, 1e6),
    ("jitter", 0.0, 1e6),
    ("bandwidth", 1.0, 1e15),
    ("loss", 0.0, 0.9),
    ("step_seconds", 1e-3, 1e4),
    ("liar_frames", 1, 1000),
)


@dataclass(frozen=True, slots=True)
class Outage:
    """A time for which a box is off, in units (steps of the first client)."""

    id: int
    begins: float
    ends: float  # infinity: it does not come back
    fresh: bool  # True: it begins again from nothing; False: it continues after the last step that it had done

    def __str__(self) -> str:
        ends = "" if math.isinf(self.ends) else f"{self.ends:.12g}"
        return f"{self.id}:{self.begins:.12g}-{ends}:{'fresh' if self.fresh else 'checkpoint'}"

    @classmethod
    def parse(cls, text: str) -> "Outage":
        """Parse ``ID:FROM-TO:checkpoint`` or ``ID:FROM-TO:fresh``; without TO, the box does not come back.

        Raises:
            ConfigError: `text` has another form.
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
    """The virtual clock of an asynchronous simulation, its boxes and its links; and `on_private`, as in the paper.

    Times are in units of the first client's step. Everything defaults to None, so that the cells of sweeps from before
    there was such a clock keep their names.

    >>> SimulationConfig(asynchronous=True, step_times="1:1.5:3").times()
    (1.0, 1.5, 3.0)
    """

    asynchronous: bool | None = setting(None, "simulate asynchronous peers under a virtual clock instead of lockstep")
    step_times: str | None = setting(
        None,
        "duration of a step of each client, T:T:..., repeated if there are more clients, in units: a step of the "
        "first client [default: 1]",
    )
    step_jitter: float | None = setting(
        None, "largest random change of the duration of each step, as a fraction of it [default: 0.1]"
    )
    delay: float | None = setting(None, "delay of a message, in units [default: 0]")
    jitter: float | None = setting(
        None, "largest random addition to the delay, in units; messages of a link keep their order [default: 0]"
    )
    bandwidth: float | None = setting(
        None, "bytes that the uplink of each box carries in a unit [default: without limit]"
    )
    loss: float | None = setting(
        None, "probability that a message is lost and sent again; this only delays the message [default: 0]"
    )
    down: str | None = setting(None, "outages of boxes, ID:FROM-TO:checkpoint|fresh,...; without TO the box stays off")
    step_seconds: float | None = setting(
        None, "seconds in a unit; heartbeats and time limits are in seconds [default: 1]"
    )
    liar_frames: int | None = setting(
        None, "liars send N messages in each step about rounds of their own, far from the group's"
    )
    on_private: bool | None = setting(
        None,
        "distil on each client's private images, with the networks of all clients in one process, as the paper's "
        "script does; nothing is sent; only in lockstep",
    )

    def __post_init__(self) -> None:
        check_fields(self)
        for name, least, most in _BOUNDS:
            value = getattr(self, name)
            require(value is None or least <= value <= most, f"{name} must be from {least:g} to {most:g}", value)
        require(
            self.step_jitter is None or 0 <= self.step_jitter < 1, "step_jitter must be in [0, 1)", self.step_jitter
        )
        apart = ("asynchronous", "on_private")
        given = [f.name for f in fields(self) if f.name not in apart and getattr(self, f.name) is not None]
        if given and not self.asynchronous:
            raise ConfigError(f"{given[0]} is for an asynchronous simulation: add --async")
        if self.on_private and self.asynchronous:
            raise ConfigError("on_private and async exclude one another: leave one of them out")
        self.times()
        self.outages()

    def times(self) -> tuple[float, ...]:
        """The units that a step takes, for each client; if there are more clients, the list starts again."""
        texts = (self.step_times or "1").split(":")
        times = tuple(map(_positive, texts))
        if any(time is None for time in times):
            raise ConfigError(f"step_times must be positive numbers such as 1:1.5:3, got {self.step_times}")
        if any(not 1 / MOST_TIMES <= (time or 0.0) / (times[0] or 1.0) <= MOST_TIMES for time in times):
            raise ConfigError(f"step_times must be within {MOST_TIMES} times the first one, got {self.step_times}")
        return tuple(time or 0.0 for time in times)

    def outages(self) -> tuple[Outage, ...]:
        """The times for which boxes are off.

        Raises:
            ConfigError: `down` has another form, or two times of one box overlap.
        """
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
