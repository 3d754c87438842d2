"""Errands: functions that other threads ask the training thread to call, when it does not use the neural network."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Errands:
    """A queue of errands. The training thread calls `run` between two passes of the network, and `close` at its end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._closed = False

    @property
    def waiting(self) -> bool:
        """Whether there are errands."""
        return bool(self._waiting)

    def ask(self, do: Callable[[], T]) -> T:
        """Let the training thread call `do` (after `close`: call it here); return its result, or raise its error."""
        errand: Future[T] = Future()
        with self._lock:
            closed = self._closed
            if not closed:
                self._waiting.append((do, errand))
        return do() if closed else errand.result()

    def run(self) -> None:
        """Do all errands. The training thread calls this."""
        while self._waiting:
            do, errand = self._waiting.popleft()
            try:
                errand.set_result(do())
            except Exception as error:  # `ask` raises it
                errand.set_exception(error)

    def close(self) -> None:
        """Do the errands that are left; from now on `ask` calls its function itself."""
        with self._lock:
            self._closed = True
        self.run()
