"""Many peers in one process that only answer questions for their status, over a real transport.

    python answerers.py TRANSPORT ADDRESS,ADDRESS,... [FIRST [LAST]]

The list holds the addresses of the whole group, by id. The process answers as peers FIRST to LAST (default: all). It
prints a line when all of them listen.
"""

import asyncio
import math
import sys
import time
from collections.abc import Sequence

from hellos import hello

from edgekd.protocol.frames import WITHOUT_PREDICTIONS
from edgekd.protocol.messages import Ask, Neighbour, State, Status
from peer.network.asking import answer
from peer.transports.base import Stream
from peer.transports.by_name import make_transport

STEPS_A_SECOND = 20
NASTY = "<img src=x onerror=alert(1)>"  # the state of peer 1, since a newer peer may send any text


def status(id: int, addresses: Sequence[str], seconds: float) -> Status:
    """The status of one of these peers after `seconds`; all peers are neighbours."""
    step = int(STEPS_A_SECOND * seconds)
    traffic = int(700 * (1 + id % 5) * seconds)
    neighbours = tuple(
        Neighbour(
            id=other,
            address=address,
            up=True,
            step=step,
            age=(id + other) % 7,
            replaced=0,
            bytes_sent=traffic,
            bytes_received=traffic,
            disagreement=abs(math.sin(id * other)) / 3,
        )
        for other, address in enumerate(addresses)
        if other != id
    )
    return Status(
        id=id,
        state=NASTY if id == 1 else str(State.TRAINING),
        step=step,
        steps=100_000,
        round=step,
        accuracy=1 - math.exp(-0.02 * step * (1 + id / 40)),
        bytes_sent=traffic * len(neighbours),
        bytes_received=traffic * len(neighbours),
        refused={"old": 3} if id % 9 == 0 else {},
        neighbours=neighbours,
        loss_labels=2.3 * math.exp(-0.01 * step * (1 + id / 60)),
        loss_distil=0.4 * math.exp(-0.008 * step * (1 + id / 60)),
        lessons=max(0, step - id),
        fresh_lessons=max(0, step - 2 * id),
        failing=("checkpoint",) if id == 2 else (),
        evaluation_images=180,
        seconds=seconds,
        lesson_age=id % 3,
        first_step=0,
    )


async def serve(name: str, addresses: Sequence[str], first: int, last: int) -> None:
    """Answer until killed."""
    began = time.monotonic()

    async def listen(id: int) -> None:
        own = hello(id, address=addresses[id])

        async def accept(stream: Stream) -> None:
            await stream.send(own)
            frame = await stream.receive()
            assert isinstance(frame, Ask)
            await answer(stream, frame, lambda: status(id, addresses, time.monotonic() - began), (), within=3.0)

        await make_transport(name, WITHOUT_PREDICTIONS).listen(addresses[id], accept)

    for id in range(first, last + 1):
        await listen(id)
    print("listening", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    group = sys.argv[2].split(",")
    numbers = [int(text) for text in sys.argv[3:]] or [0, len(group) - 1]
    asyncio.run(serve(sys.argv[1], group, numbers[0], numbers[-1]))
