"""Asks the peers of a group for their status again and again, and keeps the answers."""

import asyncio
import time
from collections.abc import Callable, Iterable

from edgekd.errors import LocalProtocolError
from peer.dashboard.event_log import Event, changes, noted
from peer.dashboard.group import Group, Place, asked, begin, due, on_answer, on_failure, on_tick
from peer.dashboard.history import History
from peer.network.asking import ask_who
from peer.transports.base import Transport, start

ANSWER_WITHIN = 3.0  # seconds
LOOK_EVERY = 0.2  # seconds between two checks of whom to ask
AT_ONCE = 32  # questions at the same time, at most


class Watcher:
    """What is known of a group, kept up to date while `run` runs.

    Args:
        transport: used to ask; the caller closes it.
        addresses: "HOST:PORT" or "ID@HOST:PORT" of the first peers to ask. They name their neighbours.
        with_keys: whether the group uses keys. Then each address is asked as "ID@HOST:PORT".
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        transport: Transport,
        addresses: Iterable[str],
        *,
        with_keys: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport, self._with_keys, self._clock = transport, with_keys, clock
        self._questions: set[asyncio.Task[None]] = set()
        self.group: Group = begin(addresses, clock())
        self.history = History()
        self.events: tuple[Event, ...] = ()  # in the order of `noted`

    async def run(self) -> None:
        """Ask until cancelled.

        Raises:
            LocalProtocolError: a bug has ended a question.
        """
        try:
            while True:
                self._begin_asking()
                self._become(on_tick(self.group, self._clock()))
                self.history.keep(self.group.peers)
                await asyncio.sleep(LOOK_EVERY)
                for question in [each for each in self._questions if each.done()]:
                    self._questions.discard(question)
                    if (error := question.exception()) is not None:
                        raise LocalProtocolError(f"a question has ended by {type(error).__name__}: {error}") from error
        finally:
            for question in self._questions:
                question.cancel()
            await asyncio.gather(*self._questions, return_exceptions=True)

    def _begin_asking(self) -> None:
        now = self._clock()
        chosen = due(self.group, now)[: max(0, AT_ONCE - len(self._questions))]
        self.group = asked(self.group, chosen, now, patience=3 * ANSWER_WITHIN)
        for place in chosen:
            self._questions.add(start(self._ask(place)))

    async def _ask(self, place: Place) -> None:
        address = f"{place.id}@{place.address}" if self._with_keys else place.address
        try:
            hello, status = await asyncio.wait_for(
                ask_who(self._transport, address, timeout=ANSWER_WITHIN), 2 * ANSWER_WITHIN
            )
        except (OSError, asyncio.TimeoutError) as error:
            self._become(on_failure(self.group, place.address, str(error) or "no answer in time", self._clock()))
            return
        before = self.group.peers.get(hello.id)
        self._become(on_answer(self.group, place.address, hello, status, self._clock()))
        if self.group.peers.get(hello.id) is not before:
            self.history.note(status)

    def _become(self, group: Group) -> None:
        self.events = noted(self.events, changes(self.group, group, self._clock()))
        self.group = group
