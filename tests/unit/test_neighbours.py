"""The table of neighbours: the traffic never decreases, even with any number of ids."""

from types import SimpleNamespace
from typing import Any

from hellos import hello

from edgekd.protocol.counts import Traffic
from edgekd.protocol.members import MAX_NEIGHBOURS, on_replaced
from edgekd.protocol.messages import Encoding, SoftPredictions
from peer.network.neighbours import Neighbours

SENT = SoftPredictions(round=0, encoding=Encoding.FLOAT16, heads=1, rows=1, classes=3, payload=bytes(6))


def test_traffic_never_falls_when_ids_are_forgotten() -> None:
    table = Neighbours(log=lambda subject, level, line: None, changed=lambda: None)
    ids = 3 * MAX_NEIGHBOURS
    for id in range(ids):
        connection: Any = SimpleNamespace(id=id, hello=hello(id))
        table.connect(connection, f"box-{id}:7000", now=float(id))
        table.sent(connection, SENT)
        table.members[id] = on_replaced(table.members[id], 1)
        table.disconnect(connection)
        assert table.traffic() == Traffic(bytes_sent=6 * (id + 1), replaced=id + 1)
    assert len(table.members) < ids, "some were forgotten"
