"""``edgekd dashboard``: shows a live group on a web page."""

import asyncio
import contextlib
import gc
import importlib.util
import os
import queue
import socket
import sys
import threading
import warnings
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from edgekd.cli.lines import say
from edgekd.cli.options import PATH, settings
from edgekd.cli.signals import end_stopped, stoppable
from edgekd.config import Config, ExchangeConfig
from edgekd.errors import ConfigError
from edgekd.protocol.addresses import format_address, is_loopback, parse_address

EXAMPLES = """
\b
Examples:
  edgekd dashboard 127.0.0.1:7000
  edgekd dashboard 0@box-a:7000 --certs certs/observer-office --port 9000
  edgekd dashboard box-a:7000 --host 0.0.0.0 --password-file password.txt
"""

PASSWORD = "EDGEKD_DASHBOARD_PASSWORD"
END_WITHIN = 5.0  # seconds for the page of `edgekd run --dashboard` to end
NO_EXTRA = "the dashboard needs NiceGUI: pip install 'edgekd[dashboard]'"


@click.command(epilog=EXAMPLES)
@settings("exchange", only=("transport", "certs"))
@click.argument("addresses", nargs=-1, required=True, metavar="[ID@]HOST:PORT...")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8070, show_default=True, help="Port of the page; 0: any free port."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address of the page. All but the default need a password."
)
@click.option(
    "--password-file", type=PATH, metavar="FILE", help=f"The first line is the password; default ${PASSWORD}."
)
def command(config: Config, addresses: tuple[str, ...], port: int, host: str, password_file: Path | None) -> None:
    """Show a live group on a web page: who hears whom, accuracy and losses, events.

    The address of one peer is enough, since each peer names its neighbours. The dashboard asks each peer for its status
    once a second and changes nothing.
    """
    from peer.node.access import check_addresses

    check_addresses(addresses, config.exchange.certs)
    host = _checked(host)
    check_installed()
    password = _password(host, password_file)
    from peer.dashboard.serve import listener

    with stoppable() as stop, listener(host, port) as listening:

        def begun(end: Callable[[], object]) -> None:
            say(_url(host, listening))
            stop.hand_to(lambda _: end())

        asyncio.run(_serve(addresses, config.exchange, listening, password, begun))
    gc.freeze()  # else the last garbage collection takes seconds, for objects that end anyway
    end_stopped("stopped")


def check_installed() -> None:
    """Check that the page can be served.

    Raises:
        ConfigError: NiceGUI is not installed.
    """
    if importlib.util.find_spec("nicegui") is None:
        raise ConfigError(NO_EXTRA)


def _checked(host: str) -> str:
    host = host.strip("[]")
    try:
        parse_address(format_address(host, 0))
    except ConfigError:
        raise ConfigError(f"--host takes a name or an address of this box, such as 0.0.0.0, got {host!r}") from None
    return host


def _password(host: str, file: Path | None) -> str | None:
    """The password that a browser must send; None: none is needed, since the page is for this box alone.

    Raises:
        ConfigError: other boxes can see the page and there is no password, or the password cannot be read.
    """
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ConfigError(f"{file} is no text in UTF-8: its first line is to be the password") from error
        password = lines[0] if lines else ""
    else:
        password = os.environ.get(PASSWORD, "")
        try:
            password.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"${PASSWORD} is no text in UTF-8") from error
        if is_loopback(host) and not password:
            return None
        if not password and sys.stdin.isatty():
            password = click.prompt("password for the page", hide_input=True, err=True)
    if not password:
        raise ConfigError(
            f"--host {host} shows the group to other boxes: give a password, --password-file FILE or ${PASSWORD}"
            if file is None
            else f"the first line of {file} is the password, and it is empty"
        )
    return password


async def _serve(
    addresses: Sequence[str],
    exchange: ExchangeConfig,
    listening: socket.socket,
    password: str | None,
    begun: Callable[[Callable[[], object]], object],
) -> None:
    """Serve the page of a group until cancelled or ended.

    Args:
        addresses: "[ID@]HOST:PORT" of peers of the group.
        exchange: the settings of transport and keys.
        listening: a listening socket.
        password: that a browser must send; None: none.
        begun: called at the start with a function that ends the serving; any thread or signal handler may call it.
    """
    from edgekd.protocol.frames import WITHOUT_PREDICTIONS
    from peer.dashboard.serve import serve
    from peer.dashboard.watcher import Watcher
    from peer.node.access import key_folder
    from peer.transports.by_name import make_transport

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # this is one
    transport = make_transport(exchange.transport, WITHOUT_PREDICTIONS, key_folder(exchange.certs))
    try:
        watcher = Watcher(transport, addresses, with_keys=exchange.certs is not None)
        begun(lambda: loop.call_soon_threadsafe(task.cancel))
        with contextlib.suppress(asyncio.CancelledError):
            await serve(watcher, listening, password)
    finally:
        await transport.close()


@contextmanager
def beside_run(addresses: Sequence[str], exchange: ExchangeConfig) -> Iterator[str]:
    """Inside the block, serve the page of the peers of this machine in a thread; yields the page's URL.

    If there is a display, the page is opened in a browser.

    Raises:
        ConfigError: the page cannot be served.
    """
    from peer.dashboard.serve import listener

    # NiceGUI inspects every object of the process, and for some of them torch warns.
    warnings.filterwarnings("ignore", category=FutureWarning, module="nicegui")
    ends: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
    with listener("127.0.0.1", 0) as listening:
        work = partial(asyncio.run, _serve(addresses, exchange, listening, None, ends.put))
        thread = threading.Thread(target=work, name="dashboard", daemon=True)
        thread.start()
        url = _url("127.0.0.1", listening)
        if has_display():
            webbrowser.open(url)
        try:
            yield url
        finally:
            with contextlib.suppress(queue.Empty, RuntimeError):  # a bug has ended it, and was printed
                ends.get(timeout=END_WITHIN)()
            thread.join(END_WITHIN)


def _url(host: str, listening: socket.socket) -> str:
    return f"http://{format_address(host, listening.getsockname()[1])}/"


def has_display() -> bool:
    """Whether this machine has a display that can show a browser."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY"))
