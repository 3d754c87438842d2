"""A token bucket: so much at once, and then one more in every so many seconds. Pure: `now` is an argument."""

from dataclasses import dataclass


@dataclass(slots=True)
class Allowance:
    """What somebody may still do; all times are seconds of one monotonic clock."""

    burst: float  # at once
    every: float  # seconds that each further one takes
    _used: float = 0.0  # of the burst
    _at: float = 0.0  # when `_used` was right

    def has(self, now: float) -> bool:
        """Whether there is one left."""
        return self.wait(now) == 0.0

    def wait(self, now: float) -> float:
        """Seconds until there is one left; 0: there is."""
        self._used, self._at = max(0.0, self._used - (now - self._at) / self.every), now
        return max(0.0, self._used + 1 - self.burst) * self.every

    def use(self) -> None:
        """Take one: one that is left, or one that there will be."""
        self._used += 1
