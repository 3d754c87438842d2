"""Serves the web page over HTTP, while a watcher asks the group."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from edgekd.errors import LocalProtocolError
from edgekd.protocol.addresses import format_address
from peer.dashboard.gate import Gate
from peer.dashboard.page import Page
from peer.dashboard.watcher import Watcher
from peer.transports.base import start
from peer.transports.binding import unbound

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><g stroke="#2f7ed8" stroke-width="3">'
    '<path d="M16 6 6 25h20z" fill="none"/></g><g fill="#2f7ed8"><circle cx="16" cy="6" r="5"/>'
    '<circle cx="6" cy="25" r="5"/><circle cx="26" cy="25" r="5"/></g></svg>'
)


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: the command handles signals itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def run_on(self, listening: socket.socket) -> None:
        """Serve on this socket until `should_exit`.

        Raises:
            LocalProtocolError: a bug has ended the server.
        """
        ended = "the server of the page has ended by itself"
        try:
            await self.serve(sockets=[listening])
        except SystemExit as error:  # newer versions raise this if the page cannot start; older ones return
            raise LocalProtocolError(ended) from error
        if not self.should_exit or not self.started:
            raise LocalProtocolError(ended)


def listener(host: str, port: int) -> socket.socket:
    """Make a socket that listens at this address; port 0: any free port.

    Raises:
        ConfigError: the address cannot be bound; a `TransientError` if the cause may be temporary.
    """
    address = format_address(host, port)
    try:
        family, _, _, _, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(found[:2], family=family)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]
        raise unbound(error, f"cannot serve the page at {address}: {why}; try another --port or --host") from error


async def serve(watcher: Watcher, listening: socket.socket, password: str | None) -> None:
    """Run the watcher and serve the page, until cancelled.

    Args:
        watcher: of the group.
        listening: a listening socket, such as that of `listener`.
        password: that a browser must send; None: no password.

    Raises:
        LocalProtocolError: a bug has ended the watcher or the server.
    """

    @ui.page("/", title="edgekd", dark=None, response_timeout=30.0)
    async def index() -> None:
        await Page(watcher).follow_browser()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    ui.run_with(app, title="edgekd", favicon=ICON, dark=None, tailwind=False, show_welcome_message=False)
    config = uvicorn.Config(
        Gate(app, password), log_level="error", access_log=False, server_header=False, timeout_graceful_shutdown=1
    )
    server = _Server(config)
    serving, watching = start(server.run_on(listening)), start(watcher.run())
    try:
        done, _ = await asyncio.wait((serving, watching), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # do not log that connections are cut off
        server.should_exit = True
        watching.cancel()
        await asyncio.gather(serving, watching, return_exceptions=True)
