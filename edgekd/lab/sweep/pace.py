"""How long the rest of a sweep takes, judged by the cells that this process has run, each kind by itself."""

from collections.abc import Sequence
from statistics import fmean

from edgekd.lab.sweep.records import Cell
from edgekd.lab.sweep.run import Failure, Result


class Pace:
    """The pace of one sweep.

    Args:
        left: the cells that this process is to run.
        at_once: how many of them run at a time; None: that is to be found out, as on a cluster.
    """

    def __init__(self, left: Sequence[Cell], at_once: int | None) -> None:
        self._left, self._at_once = dict.fromkeys(left), at_once
        self._seconds: dict[str, list[float]] = {}  # that cells took, by their kind

    def note(self, result: Result) -> None:
        """Take in that a cell has ended."""
        del self._left[result.cell]
        if not isinstance(result, Failure):
            self._seconds.setdefault(result.cell.kind, []).append(result.seconds)

    def seconds_left(self, elapsed: float) -> float | None:
        """How long the cells that are left take, `elapsed` seconds after the start; None: that is not known yet."""
        taken = [seconds for of_kind in self._seconds.values() for seconds in of_kind]
        if not taken or elapsed <= 0:
            return None
        means = {kind: fmean(of_kind) for kind, of_kind in self._seconds.items()}
        rest = sum(means.get(cell.kind, fmean(taken)) for cell in self._left)
        if self._at_once is None:
            return rest / max(1.0, sum(taken) / elapsed)
        begun = max(0.0, self._at_once * elapsed - sum(taken))  # of cells that are under way
        return max(0.0, rest - begun) / self._at_once
