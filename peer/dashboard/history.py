"""Curves over the training steps, kept in memory. A curve that gets too long loses every other point."""

from collections.abc import Iterable
from dataclasses import dataclass

from edgekd.protocol.messages import Status

MOST_POINTS = 400  # of a curve, at most

Point = tuple[int, float]  # step, value


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of a peer's status that is drawn as a curve over the steps."""

    name: str  # of the field of `Status`
    title: str  # of the chart


QUANTITIES = (
    Quantity("accuracy", "Accuracy"),
    Quantity("loss_labels", "Loss on labels"),
    Quantity("loss_distil", "Distillation loss"),
    Quantity("lessons", "Lessons"),
)


def extended(curve: tuple[Point, ...], step: int, value: float) -> tuple[Point, ...]:
    """Add a point to a curve; return the new curve, at most `MOST_POINTS` long, with ascending steps.

    Points at this step and at later ones are dropped, since the peer has gone back to a checkpoint. The first and the
    newest point are always kept.
    """
    if curve and curve[-1][0] >= step:
        curve = tuple(point for point in curve if point[0] < step)
    curve = (*curve, (step, value))
    if len(curve) <= MOST_POINTS:
        return curve
    return (*curve[:-1:2], curve[-1])


def sampled(curve: tuple[Point, ...], most: int) -> tuple[Point, ...]:
    """At most `most` (>= 2) evenly chosen points of the curve, with the first and the newest among them."""
    if len(curve) <= most:
        return curve
    return tuple(curve[round(index * (len(curve) - 1) / (most - 1))] for index in range(most))


class History:
    """The curves of all peers, one for each quantity."""

    def __init__(self) -> None:
        self._curves: dict[tuple[int, str], tuple[Point, ...]] = {}

    def note(self, status: Status) -> None:
        """Add the numbers of a status to the curves.

        Lessons are skipped until the status has a first step: the peer has not begun yet, or its protocol is older
        than 1.5.
        """
        for quantity in QUANTITIES:
            value = getattr(status, quantity.name)
            key = (status.id, quantity.name)
            if quantity.name == "lessons" and status.first_step is None:
                continue
            if value is not None:
                self._curves[key] = extended(self._curves.get(key, ()), status.step, float(value))

    def curve(self, id: int, quantity: Quantity) -> tuple[Point, ...]:
        """The curve of one peer; empty if nothing is known."""
        return self._curves.get((id, quantity.name), ())

    def keep(self, ids: Iterable[int]) -> None:
        """Forget the curves of all other peers."""
        kept = set(ids)
        self._curves = {key: curve for key, curve in self._curves.items() if key[0] in kept}
