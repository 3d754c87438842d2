"""A running peer in a Python program: its progress, its accuracy, its network, and how to stop it.

A peer trains in its own thread, so that a program or a notebook can go on, and two peers of one program can teach one
another. Each peer also has a network thread.
"""

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.printable import typed_line

if TYPE_CHECKING:
    from torch import nn

    from edgekd.files.summary import PeerSummary
    from peer.node.node import Node
    from peer.node.progress import Progress

log = logging.getLogger("edgekd")

KEPT = 1000  # reports that wait to be read; older ones are dropped
SLICE = 0.2  # seconds after which a waiting thread wakes up, to handle a signal that another thread has got


class Reports:
    """The reports of the training thread, and whether it was asked to end."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting: deque[Progress] = deque(maxlen=KEPT)
        self.ended = False
        self.stop_asked = False  # no lock: a signal handler may set it

    def put(self, progress: "Progress") -> None:
        with self.changed:
            self.waiting.append(progress)
            self.changed.notify_all()

    def end(self) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def next(self) -> "Progress | None":
        """Return the oldest report that waits, or wait for the next one; None: the training has ended."""
        with self.changed:
            while not self.waiting and not self.ended:
                self.changed.wait(SLICE)
            return self.waiting.popleft() if self.waiting else None


class Peer:
    """A running peer; `peer.start` makes one.

    Iterate over it to get its progress. Used as a context manager, it is stopped at the end of the block; otherwise it
    is stopped when the program ends.

    >>> with peer.start(Config.of(clients=1, limit=100, steps=2), id=0, out="alone") as running:
    ...     steps = [progress.step for progress in running]
    >>> steps[-1], running.wait().steps
    (2, 2)

    Attributes:
        id: of the peer.
        address: "HOST:PORT" where it listens, for the `peers` of other peers; "" if it only dials.
        folder: holds its results: ``config.toml``, ``metrics.jsonl``, checkpoints, ``summary.json``.
    """

    def __init__(self, node: "Node", folder: Path, beside: ExitStack, reports: Reports) -> None:
        self.id, self.address, self.folder = node.learner.id, node.network.address, folder
        self._node, self._beside, self._reports = node, beside, reports
        self._result: PeerSummary | None = None
        self._error: BaseException | None = None
        self._told = False  # whether the caller has got the error
        self._thread = threading.Thread(target=self._train, name=f"training-{self.id}", daemon=True)

    def __repr__(self) -> str:
        state = "starting" if self.progress is None else self.progress.state
        if self._error is not None:
            state = f"failed: {typed_line(self._error)}"
        return f"<Peer {self.id}, {state}, {self.folder}>"

    @property
    def progress(self) -> "Progress | None":
        """Its last report; None: there is no report yet."""
        return self._node.progress

    @property
    def accuracy(self) -> float | None:
        """The accuracy of its last evaluation, in [0, 1]; None: there was no evaluation yet."""
        return None if self.progress is None else self.progress.accuracy

    @property
    def model(self) -> "nn.Module":
        """A copy of its network with the present weights, on the CPU, in evaluation mode. The peer never changes it.

        It maps normalised images, float ``[N, 3, S, S]``, to logits ``[N, classes]``. The training thread makes the
        copy between two passes through the network, so this waits for the end of a step or an evaluation.
        """
        return self._node.errands.ask(self._node.learner.network)

    @property
    def unwritten(self) -> str:
        """The reason why a result could not be written, such as a full disk; "" if all were."""
        return self._node.unwritten

    def stop(self) -> None:
        """Tell the peer to end early, and return at once. It then says goodbye and writes a checkpoint; see `wait`."""
        self._reports.stop_asked = True

    def wait(self, timeout: float | None = None) -> "PeerSummary":
        """Wait until the peer has ended, after its last step and the last step of its neighbours, or after `stop`.

        Args:
            timeout: seconds; None: without limit.

        Returns:
            The summary of its results.

        Raises:
            TimeoutError: it has not ended in time.
            EdgeKDError: the error that has ended the training, such as `DivergedError` or `OutOfMemoryError`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._reports.changed:
            while not self._reports.ended:
                left = SLICE if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"peer {self.id} has not ended within {timeout} seconds")
                self._reports.changed.wait(min(left, SLICE))
        if self._error is not None:
            self._told = True
            raise self._error
        assert self._result is not None
        return self._result

    def __iter__(self) -> "Iterator[Progress]":
        """Yield its reports until it has ended: after every evaluation and change of its state, and about 4 a second.

        Each report is yielded once. The newest 1,000 reports wait to be read.

        Raises:
            EdgeKDError: the error that has ended the training.
        """
        while (report := self._reports.next()) is not None:
            yield report
        self.wait()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.stop()
        if kind is None:
            self.wait()
        else:  # the error of the block is raised, not an error of the training
            self._thread.join()

    def begin(self) -> None:
        """Start the training thread. `peer.start` has done this already."""
        atexit.register(self._end_with_program)
        self._thread.start()

    def _train(self) -> None:
        import torch

        try:
            with self._beside:
                torch.set_num_threads(self._node.config.threads)  # torch has a number for each thread
                self._result = self._node.run()
        except BaseException as error:  # `wait` raises it
            self._error = error
        finally:
            self._node.errands.close()
            self._reports.end()
            if self._error is None:
                atexit.unregister(self._end_with_program)

    def _end_with_program(self) -> None:
        self.stop()
        self._thread.join()
        if self._error is not None and not self._told:
            why = typed_line(self._error)
            log.error("the training of peer %d had failed, and nobody asked for the result: %s", self.id, why)
