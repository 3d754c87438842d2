"""A token bucket: a burst of uses at once, then one further use in each interval.

It has no clock of its own: the caller passes `now`.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Allowance:
    """The uses that one sender has left. All times are seconds of one monotonic clock."""

    burst: float  # number of uses that may follow one another at once
    every: float  # seconds until one further use is added
    _used: float = 0.0  # uses taken from the burst
    _at: float = 0.0  # time at which `_used` was last updated

    def has(self, now: float) -> bool:
        """Whether a use is left."""
        return self.wait(now) == 0.0

    def wait(self, now: float) -> float:
        """Seconds until a use is left; 0 if one is left now."""
        self._used, self._at = max(0.0, self._used - (now - self._at) / self.every), now
        return max(0.0, self._used + 1 - self.burst) * self.every

    def use(self) -> None:
        """Take one use, even if none is left: then `wait` becomes longer."""
        self._used += 1
