"""Finding peers on the local network: mDNS (multicast DNS) with DNS-SD (service discovery), as ``_edgekd._tcp``.

A peer looks for peers with the same contract, a newcomer for peers of any group. Everything runs on one asyncio loop
in its own thread. Addresses that are found are passed on to be dialled. IPv4 only.
"""

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface
from typing import Any

import ifaddr
import zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from edgekd.errors import ConfigError, RemoteProtocolError
from edgekd.protocol.addresses import format_address, parse_address, place
from edgekd.protocol.announcements import Announcement, Roster, nearest
from edgekd.protocol.messages import Hello
from peer.network.news import News
from peer.transports.base import as_bug

log = logging.getLogger("edgekd")

SERVICE = "_edgekd._tcp.local."
GROUP = "224.0.0.251"  # the multicast address of mDNS
ANYWHERE = ("", "0.0.0.0", "::")  # hosts that stand for every address of this box
LOOK_EVERY = 5.0  # seconds between two checks of the box's own addresses, which change: Wi-Fi comes late, and goes
RENEW_EVERY = 30.0  # seconds between two announcements, for boxes whose network was down for a while
TTL = 120  # seconds for which an announcement is valid
QUIET_FOR = 10.0  # seconds after which the log says that nobody was found
LOOK_UPS, LOOK_UP_FOR = 5, 3000  # tries, and milliseconds for each, to learn the address of an announced peer
MAX_LOOK_UPS = 64  # at the same time
STOP_TIMEOUT = 1.5  # seconds
STATIC = "addresses in --peers work all the same"


class Discovery:
    """Announces a peer and finds others.

    Args:
        hello: this peer's; None: it is in no group yet, and looks for peers of any group.
        listens: "HOST:PORT" where this peer listens, with the real port; "": nowhere, so it is not announced.
        dial: called with each address that was found and the id of the peer that is said to listen there.
        forget: called with each address that is no longer announced.
        by_id: make the addresses "ID@HOST:PORT", so that only this peer's key is accepted there. Announcements are
            not authenticated.
    """

    def __init__(
        self,
        hello: Hello | None,
        listens: str,
        *,
        dial: Callable[[str, int], None],
        forget: Callable[[str], None],
        by_id: bool = False,
    ) -> None:
        self._announcement = Announcement.of(hello) if hello else None
        self._dial, self._forget = dial, forget
        self._by_id = by_id
        self._host, self._port = parse_address(listens) if listens else ("", 0)
        self._roster, self._news = Roster(), News()
        self._own: list[IPv4Interface] = []
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._info: AsyncServiceInfo | None = None  # the announcement; None: nothing is announced
        self._renewed = 0.0
        self._found = False  # whether a peer of any group was found
        self._look_ups: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None  # set once the thread runs
        self._begun = threading.Event()  # the loop runs, or could not be started
        self._thread = threading.Thread(target=self._live, name="discovery", daemon=True)

    def start(self) -> None:
        """Start the thread. If discovery does not work on this box, the log says so, and it is tried again."""
        logging.getLogger("zeroconf").setLevel(logging.CRITICAL)  # this module logs the errors that matter
        self._thread.start()
        self._begun.wait()

    def stop(self) -> None:
        """Withdraw the announcement and end the thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(STOP_TIMEOUT)

    def dialled_as(self, id: int, hosts: list[str], port: int) -> list[str]:
        """The addresses to dial for peer `id`, which is announced on these hosts."""
        named = f"{id}@" if self._by_id else ""
        return [named + format_address(host, port) for host in hosts]

    # -- the thread --------------------------------------------------------------------------------------------------

    def _live(self) -> None:
        try:
            asyncio.run(self._run())
        except OSError as error:  # too many open files for another loop
            log.warning("discovery does not work here: %s; %s", error.strerror or error, STATIC)
        except Exception:
            log.exception("a bug has ended the discovery of peers; %s", STATIC)
        finally:
            self._begun.set()

    async def _run(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._begun.set()
        quiet = time.monotonic() + QUIET_FOR
        while not self._stopping.is_set():
            try:
                await self._keep_up(time.monotonic())
            except (OSError, zeroconf.Error) as error:
                why = getattr(error, "strerror", None) or str(error) or type(error).__name__
                self._say("here", logging.WARNING, f"discovery does not work here: {why}; {STATIC}")
                await self._close()
            if self._zeroconf is not None and not self._found and time.monotonic() >= quiet:
                why = "nobody else is up, or multicast does not get through (containers, isolating access points)"
                self._say("nobody", logging.INFO, f"discovery has found nobody so far: {why}; {STATIC}")
                quiet = float("inf")
            self._news.catch_up(time.monotonic())
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), LOOK_EVERY)
        await self._close()

    async def _keep_up(self, now: float) -> None:
        """Adapt to changes of the box's addresses, renew the announcement, and forget peers that are gone."""
        own = own_interfaces(self._host)
        if own != self._own or self._zeroconf is None:
            await self._close()
            self._own = own
            await self._open()
        elif self._info is not None and now - self._renewed >= RENEW_EVERY:
            self._renewed = now
            await (await self._zeroconf.async_update_service(self._info))
        for address in self._roster.stale(now):
            self._forget(address)

    async def _open(self) -> None:
        usable = in_multicast(self._own)
        self._zeroconf = AsyncZeroconf(interfaces=usable, ip_version=zeroconf.IPVersion.V4Only)
        self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, SERVICE, handlers=[self._heard])
        if not self._port or self._announcement is None:
            self._say("here", logging.INFO, f"looking for peers on {', '.join(usable)}")
            return
        self._info = AsyncServiceInfo(
            SERVICE,
            f"{self._announcement.name}.{SERVICE}",
            port=self._port,
            properties=self._announcement.texts(),
            server=f"{self._announcement.name}.local.",
            parsed_addresses=_for_others(self._own),
            host_ttl=TTL,
            other_ttl=TTL,
        )
        alone = all(each.ip.is_loopback for each in self._own)
        here = " alone, where only peers of this box hear it" if alone else ""
        self._say("here", logging.INFO, f"announcing this peer on {', '.join(usable)}{here}")
        self._renewed = time.monotonic()
        await (await self._zeroconf.async_register_service(self._info, cooperating_responders=True))

    async def _close(self) -> None:
        for task in self._look_ups:
            task.cancel()
        if self._zeroconf is not None:
            if self._browser is not None:
                await self._browser.async_cancel()
            await self._zeroconf.async_close()
            self._roster.all_gone(time.monotonic())
        self._zeroconf = self._browser = self._info = None

    # -- what others announce ----------------------------------------------------------------------------------------

    def _heard(self, *, name: str, state_change: zeroconf.ServiceStateChange, **_: Any) -> None:
        if state_change is zeroconf.ServiceStateChange.Removed:
            self._roster.gone(name, time.monotonic())
        elif len(self._look_ups) < MAX_LOOK_UPS:
            task = asyncio.get_running_loop().create_task(self._look_up(name))
            self._look_ups.add(task)
            task.add_done_callback(self._look_ups.discard)

    async def _look_up(self, name: str) -> None:
        assert self._zeroconf is not None
        try:
            info = AsyncServiceInfo(SERVICE, name)
            for _ in range(LOOK_UPS):
                if await info.async_request(self._zeroconf.zeroconf, LOOK_UP_FOR):
                    break
            if info.port:
                self._take(name, info)
        except (zeroconf.Error, RemoteProtocolError):  # not an announcement of a peer
            pass
        except Exception as error:
            self._say("bug", logging.ERROR, f"an announcement was left out by {as_bug(error)}")

    def _take(self, name: str, info: AsyncServiceInfo) -> None:
        """Dial the peer that has sent this announcement, unless it is in another group.

        Raises:
            RemoteProtocolError: the announcement is not one of a peer.
        """
        assert info.port is not None
        other = Announcement.from_texts(info.decoded_properties)
        ours = self._announcement
        if ours is not None and other.instance == ours.instance:
            return
        self._found = True
        hosts = nearest(info.parsed_addresses(zeroconf.IPVersion.V4Only), self._own)
        addresses = self.dialled_as(other.id, hosts, info.port)
        if ours is not None and (other.contract, other.major) != (ours.contract, ours.major):
            here, there = (f"contract {each.contract[:8]}..., version {each.major}" for each in (ours, other))
            message = f"peer {other.id} at {', '.join(addresses)} is of another group: {here} here, {there} there"
            self._say(f"another {other.id}", logging.INFO, message)
            return
        for address in self._roster.announced(name, addresses):
            self._say(address, logging.INFO, f"discovered peer {other.id} at {place(address)[1]}")
            self._dial(address, other.id)

    def _say(self, subject: str, level: int, message: str) -> None:
        self._news.say(subject, level, message, time.monotonic())


@contextmanager
def found_peers(allow: Container[int] | None, *, by_id: bool) -> Iterator[Callable[[], tuple[str, ...]]]:
    """Look for peers of any group during the block; yields a function that returns the addresses found so far.

    Args:
        allow: the ids of the peers to look for; None: any.
        by_id: make the addresses "ID@HOST:PORT", as for `Discovery`.
    """
    found: list[str] = []

    def note(address: str, id: int) -> None:
        if allow is None or id in allow:
            found.append(address)

    def forget(address: str) -> None:
        with contextlib.suppress(ValueError):
            found.remove(address)

    discovery = Discovery(None, "", dial=note, forget=forget, by_id=by_id)
    discovery.start()
    try:
        yield lambda: tuple(found)
    finally:
        discovery.stop()


def check_discoverable(listen: str | None) -> None:
    """Check that a peer that listens on "HOST:PORT" (None: nowhere) can be announced.

    Raises:
        ConfigError: the host is no IPv4 address of this box.
    """
    host = parse_address(listen)[0] if listen else ""
    if not own_interfaces(host) and host not in ANYWHERE:
        raise ConfigError(f"--discover needs --listen on an IPv4 address of this box, or 0.0.0.0 for all; got {listen}")


def own_interfaces(host: str) -> list[IPv4Interface]:
    """The IPv4 addresses of this box with their networks; only those of `host`, unless it stands for all."""
    found = [(each.ip, each.network_prefix) for card in ifaddr.get_adapters() for each in card.ips if each.is_IPv4]
    own = sorted({IPv4Interface(f"{ip}/{prefix}") for ip, prefix in found})
    if host in ANYWHERE:
        return own
    try:
        meant = {str(where[0]) for *_, where in socket.getaddrinfo(host, None, socket.AF_INET)}
    except OSError:
        return []
    return [each for each in own if str(each.ip) in meant]


def _for_others(own: list[IPv4Interface]) -> list[str]:
    """The addresses to announce: all but loopback, or loopback if there are no others."""
    return [str(each.ip) for each in own if not each.ip.is_loopback] or [str(each.ip) for each in own]


def in_multicast(own: list[IPv4Interface]) -> list[str]:
    """Those of the box's own addresses on which multicast works.

    Raises:
        OSError: multicast works on none of them.
    """
    usable = [str(each.ip) for each in own if _takes_multicast(str(each.ip))]
    if not usable:
        raise OSError("no address of this box takes part in multicast")
    return usable


def _takes_multicast(ip: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(
                socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + socket.inet_aton(ip)
            )
        except OSError:
            return False
    return True
