"""A curve in a few characters: how an accuracy has gone, from 0 at the foot to 1 at the top."""

BLOCKS = "▁▂▃▄▅▆▇█"
DIGITS = "0123456789"  # tenths, where the encoding has no blocks
WIDTH = 6  # characters
MOST = 64  # values that are kept; of more, every second one goes


class Curve:
    """The values of one curve, in [0, 1], as they come; of many, a sample of even distance."""

    def __init__(self) -> None:
        self._values: list[float] = []
        self._every = 1  # one of so many values is kept
        self._count = 0
        self._last = 0.0

    def add(self, value: float) -> None:
        """Go on with this value."""
        if self._count % self._every == 0:
            self._values.append(value)
        self._count, self._last = self._count + 1, value
        if len(self._values) > MOST:
            self._values, self._every = self._values[::2], 2 * self._every

    def text(self, *, ascii_only: bool = False) -> str:
        """At most `WIDTH` characters, from the first value to the last; "-": there is none yet."""
        if not self._count:
            return "-"
        values = self._values[:-1] if (self._count - 1) % self._every == 0 else self._values
        values = [*values, self._last]
        if len(values) > WIDTH:
            values = [values[round(i * (len(values) - 1) / (WIDTH - 1))] for i in range(WIDTH)]
        levels = DIGITS if ascii_only else BLOCKS
        return "".join(levels[max(0, min(int(value * len(levels)), len(levels) - 1))] for value in values)
