"""The table of neighbours: the record of each, and the present stream of each that is connected."""

import logging
from collections.abc import Callable

from edgekd.protocol.counts import Traffic
from edgekd.protocol.members import Member, joined, on_down, on_frame, on_sent, total, without_the_long_gone
from edgekd.protocol.messages import Frame, SoftPredictions
from peer.network.connection import Connection


class Neighbours:
    """Who is connected, and what is known of each neighbour, connected or not.

    Args:
        log: called with a subject, a level and a line, when a neighbour comes up or goes down.
        changed: called after that.
    """

    def __init__(self, log: Callable[[str, int, str], None], changed: Callable[[], None]) -> None:
        self._log, self._changed = log, changed
        self.members: dict[int, Member] = {}  # by id
        self.connections: dict[int, Connection] = {}  # by id; each is in `members`, too
        self._forgotten = Traffic()  # with those that are no longer in `members`
        self.leaving = False  # this peer leaves: that a neighbour goes down is no news

    def connect(self, connection: Connection, address: str, now: float) -> None:
        """Make this the neighbour's present stream; `address` is "HOST:PORT" where it listens, else speaks from."""
        id, hello = connection.id, connection.hello
        self.connections[id] = connection
        member = joined(hello, address, now, self.members.get(id))
        all_members = {**self.members, id: member}
        self.members = without_the_long_gone(all_members, self.connections)
        gone = (each for id, each in all_members.items() if id not in self.members)
        self._forgotten = total(self._forgotten, gone)
        self._changed()

    def traffic(self) -> Traffic:
        """With all neighbours since the start: it never falls."""
        return total(self._forgotten, self.members.values())

    def is_current(self, connection: Connection) -> bool:
        """Whether this is the neighbour's present stream: nothing has replaced it, and it was not taken out."""
        return self.connections.get(connection.id) is connection

    def disconnect(self, connection: Connection) -> bool:
        """Take the stream out, if it is the neighbour's present one; returns whether it was."""
        current = self.is_current(connection)
        if current:
            del self.connections[connection.id]
        return current

    def heard(self, connection: Connection, frame: Frame, now: float) -> Member:
        """Note a frame that has come over the stream; returns the neighbour's record after it."""
        id, before = connection.id, self.members[connection.id]
        member = self.members[id] = on_frame(before, frame, now, current=self.is_current(connection))
        if member.up and not before.up:
            self._log(f"peer {id}", logging.INFO, f"peer {id} is up at {member.address}")
            self._changed()
        return member

    def sent(self, connection: Connection, frame: SoftPredictions) -> None:
        """Note predictions that were handed to the network."""
        if connection.id in self.members:  # else it was dropped long ago, and forgotten since
            self.members[connection.id] = on_sent(self.members[connection.id], frame)

    def down(self, id: int, why: str) -> None:
        """Note that a neighbour is down; `why` is for the log."""
        before = self.members[id]
        self.members[id] = on_down(before)
        if before.up and not self.leaving:
            self._log(f"peer {id}", logging.INFO, f"peer {id} is {'done' if before.done else f'down: {why}'}")
        self._changed()
