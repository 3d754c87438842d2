"""The table of neighbours: a record of each, and the current stream of each that is connected."""

import logging
from collections.abc import Callable

from edgekd.protocol.counts import Traffic
from edgekd.protocol.members import Member, joined, on_down, on_frame, on_sent, total, without_the_long_gone
from edgekd.protocol.messages import Frame, SoftPredictions
from peer.network.connection import Connection


class Neighbours:
    """The neighbours of one peer, connected or not. A member is this peer's record of one neighbour.

    Args:
        log: called with a subject, a level and a line when a neighbour comes up or goes down.
        changed: called when the table has changed.
    """

    def __init__(self, log: Callable[[str, int, str], None], changed: Callable[[], None]) -> None:
        self._log, self._changed = log, changed
        self.members: dict[int, Member] = {}  # by id
        self.connections: dict[int, Connection] = {}  # by id; each is in `members`, too
        self._forgotten = Traffic()  # the traffic with neighbours that are no longer in `members`
        self.leaving = False  # this peer is stopping, so neighbours that go down are not logged

    def connect(self, connection: Connection, address: str, now: float) -> None:
        """Make this the neighbour's current stream.

        Args:
            connection: the stream and the neighbour's Hello.
            address: "HOST:PORT" where the neighbour listens. If it does not listen: where it connects from.
            now: seconds.
        """
        id, hello = connection.id, connection.hello
        self.connections[id] = connection
        member = joined(hello, address, now, self.members.get(id))
        all_members = {**self.members, id: member}
        self.members = without_the_long_gone(all_members, self.connections)
        gone = (each for id, each in all_members.items() if id not in self.members)
        self._forgotten = total(self._forgotten, gone)
        self._changed()

    def traffic(self) -> Traffic:
        """The traffic with all neighbours since the start, also those that were forgotten. It never decreases."""
        return total(self._forgotten, self.members.values())

    def is_current(self, connection: Connection) -> bool:
        """Whether this is the neighbour's current stream: not replaced by another one, and not removed."""
        return self.connections.get(connection.id) is connection

    def disconnect(self, connection: Connection) -> bool:
        """Remove the stream if it is the neighbour's current one; return whether it was."""
        current = self.is_current(connection)
        if current:
            del self.connections[connection.id]
        return current

    def heard(self, connection: Connection, frame: Frame, now: float) -> Member:
        """Note that a frame has arrived over the stream; return the neighbour's new record."""
        id, before = connection.id, self.members[connection.id]
        member = self.members[id] = on_frame(before, frame, now, current=self.is_current(connection))
        if member.up and not before.up:
            self._log(f"peer {id}", logging.INFO, f"peer {id} is up at {member.address}")
            self._changed()
        return member

    def sent(self, connection: Connection, frame: SoftPredictions) -> None:
        """Note that predictions were passed to the network."""
        if connection.id in self.members:  # else the neighbour is long gone and was forgotten
            self.members[connection.id] = on_sent(self.members[connection.id], frame)

    def down(self, id: int, why: str) -> None:
        """Note that neighbour `id` is down; `why` is the reason for the log."""
        before = self.members[id]
        self.members[id] = on_down(before)
        if before.up and not self.leaving:
            self._log(f"peer {id}", logging.INFO, f"peer {id} is {'done' if before.done else f'down: {why}'}")
        self._changed()
