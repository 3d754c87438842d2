"""A curve drawn with a few characters, for an accuracy between 0 (the lowest block) and 1 (the highest)."""

BLOCKS = "▁▂▃▄▅▆▇█"
DIGITS = "0123456789"  # tenths, used if the encoding has no blocks
WIDTH = 6  # characters, at most
MOST = 64  # values to keep; if there are more, every second one is dropped


class Curve:
    """The values of one curve, each in [0, 1]; of many values an evenly spaced sample is kept."""

    def __init__(self) -> None:
        self._values: list[float] = []
        self._every = 1  # one in this many values is kept
        self._count = 0
        self._last = 0.0

    def add(self, value: float) -> None:
        """Add the next value."""
        if self._count % self._every == 0:
            self._values.append(value)
        self._count, self._last = self._count + 1, value
        if len(self._values) > MOST:
            self._values, self._every = self._values[::2], 2 * self._every

    def text(self, *, ascii_only: bool = False) -> str:
        """The curve from the first value to the last, at most `WIDTH` characters; "-" if there is no value."""
        if not self._count:
            return "-"
        values = self._values[:-1] if (self._count - 1) % self._every == 0 else self._values
        values = [*values, self._last]
        if len(values) > WIDTH:
            values = [values[round(i * (len(values) - 1) / (WIDTH - 1))] for i in range(WIDTH)]
        levels = DIGITS if ascii_only else BLOCKS
        return "".join(levels[max(0, min(int(value * len(levels)), len(levels) - 1))] for value in values)
