"""The standard gRPC health service. Strangers may use it, so the resources of every call are limited.

A Check has a deadline for its request: gRPC itself would wait for one without end. There are at most `MOST_WATCHES`
Watches. The peer is SERVING for as long as it listens, so a Watch tells nothing that a Check does not tell.
"""

import asyncio
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2

NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
REQUEST_WITHIN = 5.0  # seconds
MOST_WATCHES = 8


class HealthService:
    """Serves the health of "", the whole peer, and of one service, both SERVING."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()  # serves "" from the start
        self._watches = 0

    async def serving(self, service: str) -> None:
        """Report that `service` is SERVING, too."""
        await self._servicer.set(service, health_pb2.HealthCheckResponse.SERVING)

    def handler(self) -> Any:
        """The method handlers for a gRPC server. Both methods read their requests themselves, with a deadline."""
        encode = health_pb2.HealthCheckResponse.SerializeToString
        methods = {
            "Check": grpc.stream_unary_rpc_method_handler(self._check, response_serializer=encode),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch, response_serializer=encode),
        }
        return grpc.method_handlers_generic_handler(NAME, methods)

    async def _check(self, _: Any, context: Any) -> Any:
        return await self._servicer.Check(await _request(context), context)

    async def _watch(self, _: Any, context: Any) -> None:
        if self._watches >= MOST_WATCHES:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MOST_WATCHES} callers watch already; use Check")
        self._watches += 1
        try:
            await self._servicer.Watch(await _request(context), context)
        finally:
            self._watches -= 1


async def _request(context: Any) -> Any:
    try:
        data = await asyncio.wait_for(context.read(), REQUEST_WITHIN)
        if data is not grpc.aio.EOF:
            return health_pb2.HealthCheckRequest.FromString(data)
    except asyncio.TimeoutError:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"no request within {REQUEST_WITHIN:g} s")
    except DecodeError:
        pass
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "this is no HealthCheckRequest")
