"""Errands: what other threads ask of the training thread, which does it when the network is in nobody's hands."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Errands:
    """Between two passes through the network the training thread calls `run`; at its end it calls `close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._closed = False

    @property
    def waiting(self) -> bool:
        """Whether something is asked for."""
        return bool(self._waiting)

    def ask(self, do: Callable[[], T]) -> T:
        """What `do` returns or raises, done by the training thread; once that has ended, by this one."""
        errand: Future[T] = Future()
        with self._lock:
            closed = self._closed
            if not closed:
                self._waiting.append((do, errand))
        return do() if closed else errand.result()

    def run(self) -> None:
        """Do what is asked for; called by the training thread."""
        while self._waiting:
            do, errand = self._waiting.popleft()
            try:
                errand.set_result(do())
            except Exception as error:  # whoever asked has it
                errand.set_exception(error)

    def close(self) -> None:
        """Do what is left; from now on whoever asks does it."""
        with self._lock:
            self._closed = True
        self.run()
