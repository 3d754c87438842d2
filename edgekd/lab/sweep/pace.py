"""An estimate of the time that the rest of a sweep takes, from the cells that this process has run, for each kind."""

from collections.abc import Sequence
from statistics import fmean

from edgekd.lab.sweep.records import Cell
from edgekd.lab.sweep.run import Failure, Result


class Pace:
    """The pace of one sweep.

    Args:
        left: the cells that this process will run.
        at_once: how many cells run in parallel; None: unknown, as on a cluster, so it is estimated.
    """

    def __init__(self, left: Sequence[Cell], at_once: int | None) -> None:
        self._left, self._at_once = dict.fromkeys(left), at_once
        self._seconds: dict[str, list[float]] = {}  # kind of cell -> seconds that cells took

    def note(self, result: Result) -> None:
        """Note that a cell has ended."""
        del self._left[result.cell]
        if not isinstance(result, Failure):
            self._seconds.setdefault(result.cell.kind, []).append(result.seconds)

    def seconds_left(self, elapsed: float) -> float | None:
        """Estimate the seconds that the remaining cells take; None: unknown.

        `elapsed` is the number of seconds since the start.
        """
        taken = [seconds for of_kind in self._seconds.values() for seconds in of_kind]
        if not taken or elapsed <= 0:
            return None
        means = {kind: fmean(of_kind) for kind, of_kind in self._seconds.items()}
        rest = sum(means.get(cell.kind, fmean(taken)) for cell in self._left)
        if self._at_once is None:
            return rest / max(1.0, sum(taken) / elapsed)
        begun = max(0.0, self._at_once * elapsed - sum(taken))  # seconds of work already done on the running cells
        return max(0.0, rest - begun) / self._at_once
