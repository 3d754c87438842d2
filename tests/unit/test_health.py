"""The gRPC health service of a peer: strangers can use only limited resources of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from peer.transports.grpc import health
from peer.transports.grpc.transport import GrpcTransport

DEADLINE = 30.0  # seconds


def served(use: Callable[[Any, Any], Awaitable[None]]) -> None:
    """Run `use` with two channels to a listener."""

    async def nobody(stream: Any) -> None:
        raise AssertionError("no stream is opened here")

    async def main() -> None:
        transport = GrpcTransport(1 << 16)
        try:
            address = await transport.listen("127.0.0.1:0", nobody)
            alone = [("grpc.use_local_subchannel_pool", 1)]  # a connection each: one has so many streams at most
            async with (
                grpc.aio.insecure_channel(address, alone) as one,
                grpc.aio.insecure_channel(address, alone) as two,
            ):
                await asyncio.wait_for(use(one, two), DEADLINE)
        finally:
            await transport.close()

    asyncio.run(main())


def asked(service: str = "") -> Any:
    return health_pb2.HealthCheckRequest(service=service)


def test_check_without_a_request_ends_and_garbage_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REQUEST_WITHIN", 0.2)

    async def use(channel: Any, more: Any) -> None:
        check = channel.stream_unary(f"/{health.NAME}/Check")
        assert await check().code() is grpc.StatusCode.DEADLINE_EXCEEDED
        for requests in ([b"\xff"], []):
            assert await check(iter(requests)).code() is grpc.StatusCode.INVALID_ARGUMENT

    served(use)


def test_few_watch_at_once_and_one_that_ends_makes_room() -> None:
    async def use(channel: Any, more: Any) -> None:
        stub = health_pb2_grpc.HealthStub(channel)
        other = health_pb2_grpc.HealthStub(more)
        watches = [stub.Watch(asked()) for _ in range(health.MOST_WATCHES)]
        for watch in watches:
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        assert await other.Watch(asked()).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await other.Check(asked())).status == health_pb2.HealthCheckResponse.SERVING
        watches[0].cancel()
        while not isinstance(await other.Watch(asked()).read(), health_pb2.HealthCheckResponse):
            await asyncio.sleep(0.01)

    served(use)
