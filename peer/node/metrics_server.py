"""A server of metrics over HTTP for Prometheus, in its own thread, so that the training never waits for it.

There is no authentication: everybody who reaches the port can read the metrics. So the resources of all callers
together are limited: `MOST` connections, `REQUEST` bytes each, `DEADLINE` seconds each.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from edgekd.protocol.addresses import format_address
from peer.transports.binding import unbound

MOST = 8  # connections at the same time; one more ends the oldest
DEADLINE = 5.0  # seconds for a connection, from its beginning to the last byte of the answer
REQUEST = 8 * 1024  # bytes of a request, with its headers
PATHS = ("/", "/metrics")


class MetricsServer:
    """Serves the metrics of a collector and of this process at ``http://HOST:PORT/metrics``.

    The metrics of the process are its memory, its processor time and its open files.

    Args:
        collector: the metrics to serve.
        host: a name or an address; "0.0.0.0" and "::" stand for all addresses of this box.
        port: 0: any free port.

    Raises:
        ConfigError: the address cannot be bound; a `TransientError` if the cause may be temporary.
    """

    def __init__(self, collector: Collector, host: str, port: int) -> None:
        registry = CollectorRegistry()
        registry.register(collector)
        ProcessCollector(registry=registry)
        try:
            listener = _listener(host, port)
        except OSError as error:
            why = error.strerror or error
            where = format_address(host, port)
            raise unbound(error, f"cannot serve metrics on {where}: {why}; try another --metrics-port") from error
        self.address = format_address(host, listener.getsockname()[1])  # the bound one
        self._callers = _Callers(lambda: generate_latest(registry))
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._serve(listener),), name="metrics", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop the server and its thread. Afterwards the port is free."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self, listener: socket.socket) -> None:
        server = await asyncio.start_server(self._callers.serve, sock=listener, limit=REQUEST, backlog=MOST)
        await self._over.wait()
        server.close()
        await self._callers.end()


class _Callers:
    """The open connections, each in a task.

    Args:
        text: makes the text of the metrics.
    """

    def __init__(self, text: Callable[[], bytes]) -> None:
        self._text = text
        self._tasks: dict[asyncio.Task[None], None] = {}  # the oldest first

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, then end its connection."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= MOST:
            oldest = next(iter(self._tasks))
            del self._tasks[oldest]
            oldest.cancel()
        self._tasks[task] = None
        try:
            with contextlib.suppress(asyncio.TimeoutError, OSError, asyncio.CancelledError):
                await asyncio.wait_for(self._answer(reader, writer), DEADLINE)
        finally:
            self._tasks.pop(task, None)
            writer.transport.abort()

    async def end(self) -> None:
        """End all connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the sockets are closed in the next turn of the loop

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # the caller has gone
            return
        except asyncio.LimitOverrunError:
            request = b""
        for part in self._response(request):
            writer.write(part)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    def _response(self, request: bytes) -> Iterable[bytes]:
        method, _, rest = request.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        target, _, version = rest.rpartition(" ")
        if not version.startswith("HTTP/1."):
            status, kind, text = HTTPStatus.BAD_REQUEST, "text/plain", b"not HTTP/1.x\n"
        elif method != "GET":
            status, kind, text = HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"GET alone\n"
        elif target.partition("?")[0] not in PATHS:
            status, kind, text = HTTPStatus.NOT_FOUND, "text/plain", b"see /metrics\n"
        else:
            status, kind, text = HTTPStatus.OK, CONTENT_TYPE_LATEST, self._text()
        yield f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\n".encode()
        yield f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode()
        yield text


def _listener(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, where = found[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(MOST)  # callers may connect before the thread runs
    except BaseException:
        listener.close()
        raise
    return listener
