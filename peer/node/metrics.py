"""A peer's metrics for Prometheus: from its last progress report, and from its network.

Both are snapshots that other threads replace as a whole. `peer/node/metrics_server.py` serves the metrics over HTTP.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgekd.protocol.members import seen_by
from edgekd.protocol.messages import State
from peer.node.recorder import FILES

if TYPE_CHECKING:
    from peer.network.thread import Network
    from peer.node.progress import Progress

STATES = tuple(state.value for state in State if state is not State.STARTING)


class PeerCollector(Collector):
    """The metrics of one peer.

    Args:
        progress: returns the peer's last report; None: there is none yet.
        network: the peer's.
    """

    def __init__(self, progress: "Callable[[], Progress | None]", network: "Network") -> None:
        self._progress, self._network = progress, network

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, with the values that are known by now."""
        progress, members, refused = self._progress(), self._network.members, self._network.refused
        if progress is not None:
            yield from _of_the_peer(progress)
        yield _gauge("neighbours_up", "Neighbours that are up.", sum(member.up for member in members))
        yield _counter("refused", "Frames and neighbours refused.", refused.items(), "reason")
        step = progress.step if progress else 0
        seen = [(str(member.id), seen_by(member, step)) for member in members]
        each = [(id, n.up) for id, n in seen]
        yield _gauge("neighbour_up", "Whether a neighbour is up.", each, "id")
        ages = [(id, n.age) for id, n in seen]
        yield _gauge("neighbour_age_steps", "Steps since a neighbour's last predictions arrived.", ages, "id")
        disagreements = [(id, n.disagreement) for id, n in seen]
        yield _gauge(
            "neighbour_disagreement_ratio", "How far one's predictions disagree with the rest's.", disagreements, "id"
        )
        sent = [(id, n.bytes_sent) for id, n in seen]
        yield _counter("neighbour_sent_bytes", "Payload of predictions sent to a neighbour.", sent, "id")
        received = [(id, n.bytes_received) for id, n in seen]
        yield _counter("neighbour_received_bytes", "Payload of predictions received from one.", received, "id")
        replaced = [(id, n.replaced) for id, n in seen]
        yield _counter(
            "neighbour_replaced_predictions", "Predictions for one that newer ones took the place of.", replaced, "id"
        )


def _of_the_peer(peer: "Progress") -> Iterator[Metric]:
    yield _gauge("peer_info", "1, labelled with the peer's own id.", [(str(peer.id), 1)], "peer")
    yield _gauge("state", "1 for the state that the peer is in.", [(s, s == peer.state) for s in STATES], "state")
    yield _counter("steps", "Training steps done, those before a restart included.", peer.step)
    yield _gauge("steps_wanted", "Training steps to do, 0: without end.", peer.steps)
    yield _gauge("round", "Newest round published, -1: none.", peer.round)
    yield _gauge("accuracy_ratio", "Accuracy of the last evaluation.", peer.accuracy)
    yield _gauge("evaluation_images", "Images that this accuracy was measured on.", peer.evaluation_samples)
    yield _gauge("best_accuracy_ratio", "The best accuracy so far.", peer.best)
    yield _counter(
        "accuracy_falls", "Falls of the accuracy clearly below the best, in training without end.", peer.falls
    )
    yield _gauge("private_images", "Images of the private set that it trains on.", peer.private_samples)
    losses = [("labels", peer.labels), ("distil", peer.distil)]
    yield _gauge("loss", "Losses of the last reported step, as far as it had them.", losses, "part")
    yield _gauge("lesson_age_steps", "Steps since the youngest of what it learns from arrived.", peer.age)
    yield _counter("lessons", "Steps that learned from neighbours.", peer.lessons)
    yield _counter("fresh_lessons", "Of these, those with something not learned from before.", peer.fresh_lessons)
    yield _counter("steps_without_lesson", "Steps that learned from labels alone.", peer.step - peer.lessons)
    yield _counter("waits", "Synchronous steps that waited for the network.", peer.waits)
    yield _counter("missing_predictions", "Predictions that synchronous lessons did without.", peer.missing)
    yield _counter("training_seconds", "Time spent training, since the process started.", peer.seconds)
    failing = [(name, name in peer.failing) for name in FILES]
    yield _gauge("write_failed", "Whether the last try to write to the peer's folder failed.", failing, "file")


Values = Iterable[tuple[str, float | None]]


def _gauge(name: str, help: str, values: Values | float | None, label: str = "") -> Metric:
    return _filled(GaugeMetricFamily(f"edgekd_{name}", help, labels=[label] if label else []), values)


def _counter(name: str, help: str, values: Values | float, label: str = "") -> Metric:
    """Make a counter. Prometheus's library adds ``_total`` to the name."""
    return _filled(CounterMetricFamily(f"edgekd_{name}", help, labels=[label] if label else []), values)


def _filled(family: Any, values: Values | float | None) -> Metric:
    for label, value in values if isinstance(values, Iterable) else [(None, values)]:
        if value is not None:
            family.add_metric([] if label is None else [label], float(value))
    result: Metric = family
    return result
