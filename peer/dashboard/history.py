"""Curves over the steps, kept in memory, bounded: as a curve grows, every other point of it is dropped."""

from collections.abc import Iterable
from dataclasses import dataclass

from edgekd.protocol.messages import Status

MOST_POINTS = 400  # of a curve

Point = tuple[int, float]  # step, value


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is drawn over the steps."""

    name: str  # of the field of a `Status`
    title: str


QUANTITIES = (
    Quantity("accuracy", "Accuracy"),
    Quantity("loss_labels", "Loss on labels"),
    Quantity("loss_distil", "Distillation loss"),
    Quantity("lessons", "Lessons"),
)


def extended(curve: tuple[Point, ...], step: int, value: float) -> tuple[Point, ...]:
    """The curve with one point more, at most `MOST_POINTS` long, its steps ascending.

    What was known of this step and later ones is dropped: the peer has gone back to a checkpoint. The first and the
    newest point are never thinned out.
    """
    if curve and curve[-1][0] >= step:
        curve = tuple(point for point in curve if point[0] < step)
    curve = (*curve, (step, value))
    if len(curve) <= MOST_POINTS:
        return curve
    return (*curve[:-1:2], curve[-1])


def sampled(curve: tuple[Point, ...], most: int) -> tuple[Point, ...]:
    """At most `most` (>= 2) points of the curve, evenly chosen; the first and the newest stay."""
    if len(curve) <= most:
        return curve
    return tuple(curve[round(index * (len(curve) - 1) / (most - 1))] for index in range(most))


class History:
    """The curves of all peers, one a quantity."""

    def __init__(self) -> None:
        self._curves: dict[tuple[int, str], tuple[Point, ...]] = {}

    def note(self, status: Status) -> None:
        """Take in what a peer says; one that has not begun yet, or is older than protocol 1.5, counts no lessons."""
        for quantity in QUANTITIES:
            value = getattr(status, quantity.name)
            key = (status.id, quantity.name)
            if quantity.name == "lessons" and status.first_step is None:
                continue
            if value is not None:
                self._curves[key] = extended(self._curves.get(key, ()), status.step, float(value))

    def curve(self, id: int, quantity: Quantity) -> tuple[Point, ...]:
        """Of one peer; empty where nothing is known."""
        return self._curves.get((id, quantity.name), ())

    def keep(self, ids: Iterable[int]) -> None:
        """Forget the curves of all other peers."""
        kept = set(ids)
        self._curves = {key: curve for key, curve in self._curves.items() if key[0] in kept}
