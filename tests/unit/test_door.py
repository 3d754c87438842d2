"""The door: callers that read the public file slowly do not keep others from fetching it."""

import asyncio

from hellos import hello

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.messages import Ask, Asked, Frame, Piece, Status
from edgekd.protocol.timing import Timing
from peer.network.door import MAX_ASKING, Door

DEADLINE = 30.0  # seconds


class Slow:
    """A stream whose other side asks for the public file and reads no piece of it."""

    def __init__(self, holder: int | None) -> None:
        self.holder, self.remote = holder, "127.0.0.1:7000"
        self.is_sent = asyncio.Event()

    async def send(self, frame: Frame) -> None:
        if isinstance(frame, Piece):
            self.is_sent.set()
            await asyncio.Event().wait()

    async def receive(self) -> Frame:
        return Ask(what=Asked.PUBLIC)

    async def close(self) -> None:
        pass


def no_status() -> Status:
    raise AssertionError("nobody asks for it")


def test_one_proven_id_is_sent_the_public_file_once_at_a_time_and_all_together_eight_times() -> None:
    refused: list[str] = []

    def refuse(who: str, error: RemoteProtocolError) -> None:
        refused.append(error.reason)

    async def main() -> None:
        door = Door(
            hello=lambda: hello(0),
            status=no_status,
            public=lambda: [b"file"],
            refuse=refuse,
            evict=lambda stream: None,
            revoked=frozenset,
            timing=Timing(refusal_delay=0.001),
        )
        greetings: list[asyncio.Task[object]] = []

        async def is_answered(holder: int | None) -> bool:
            stream = Slow(holder)
            greeting = asyncio.create_task(door.greet(stream, dialled=False))
            greetings.append(greeting)
            sent = asyncio.create_task(stream.is_sent.wait())
            await asyncio.wait([greeting, sent], timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
            sent.cancel()
            return not greeting.done()

        assert [await is_answered(5) for _ in range(MAX_ASKING)] == [True] + [False] * (MAX_ASKING - 1)
        assert await is_answered(6), "another id"
        assert [await is_answered(None) for _ in range(MAX_ASKING)] == [True] * (MAX_ASKING - 2) + [False] * 2
        for greeting in greetings:
            greeting.cancel()
        await asyncio.gather(*greetings, return_exceptions=True)

    asyncio.run(main())
    assert set(refused) == {"busy"}
