"""Checks of a peer's network: where it listens, whether its neighbours' names resolve, and what they answer."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from edgekd.config import ExchangeConfig
from edgekd.doctor.check import Check, examine
from edgekd.errors import ConfigError
from edgekd.files.writable import in_words
from edgekd.protocol.addresses import parse_address, place
from edgekd.protocol.admission import differences
from edgekd.protocol.frames import WITHOUT_PREDICTIONS
from edgekd.protocol.messages import Hello
from peer.network.asking import ask_who
from peer.node.access import check_addresses, check_allowed, check_exposure, key_folder
from peer.transports.binding import check_bindable, leads_to
from peer.transports.by_name import make_transport
from peer.transports.resolving import Address, LookUpError, resolve

PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")  # in the order in which gRPC would look for one


def listening(exchange: ExchangeConfig, listen: str | None) -> Check:
    """Check that the peer may and can listen on "HOST:PORT" (None: it does not listen)."""
    if listen is None:
        return Check("listen", None, "no --listen: this peer dials its neighbours, and nobody can dial it")

    def look() -> str:
        check_bindable(listen)
        if exchange.certs is None:
            check_exposure(exchange, listen)
        return f"{listen} is free"

    return examine("listen", look)


def neighbours(
    exchange: ExchangeConfig,
    id: int | None,
    listen: str | None,
    peers: Sequence[str],
    ours: Hello | None,
    timeout: float,
) -> Iterator[Check]:
    """Check the addresses of the neighbours, and ask each neighbour for its status.

    Args:
        exchange: the settings.
        id: of this peer; None: unknown, so ids are not compared.
        listen: "HOST:PORT" of this peer, as in --listen.
        peers: "HOST:PORT" or "ID@HOST:PORT", not checked yet.
        ours: this peer's Hello; None: its contract is unknown, so contracts are not compared.
        timeout: seconds for each name and for each neighbour; all are asked at the same time.
    """
    if not peers:
        yield Check("neighbours", None, "no --peers: nobody is asked")
        return
    wrong = [examine(f"neighbour {text}", partial(_address, exchange, id, text)) for text in peers]
    yield from (check for check in wrong if not check.ok)
    sound = [text for text, check in zip(peers, wrong, strict=True) if check.ok]
    own = [text for text in sound if id is not None and place(text)[0] == id]
    found = asyncio.run(_resolved([text for text in sound if text not in own], timeout))
    if found:
        yield _names(len(found), {text: each for text, each in found.items() if isinstance(each, str)})
    reached = {text: each for text, each in found.items() if not isinstance(each, str)}
    own += [text for text, each in reached.items() if _is_own(id, listen, text, each)]
    yield from (Check(f"neighbour {text}", None, "this peer's own address, which is not asked") for text in own)
    try:
        asked = [text for text in reached if text not in own]
        yield from asyncio.run(_ask_all(exchange, id, asked, ours, timeout))
    except (ConfigError, OSError) as error:  # an error of the keys
        why = in_words(error) if isinstance(error, OSError) else str(error)
        yield Check("neighbours", None, f"nobody was asked: {why}")


def proxies(environ: Mapping[str, str]) -> Check:
    """Check for proxies in the environment. Their values may hold passwords and are not shown."""
    found = [name for each in PROXIES for name in (each, each.upper()) if environ.get(name)]
    if not found:
        return Check("proxies", True, "none in the environment")
    why = (
        "edgekd dials its neighbours directly, unlike other gRPC programs; downloads of weights and data sets use them"
    )
    return Check("proxies", None, f"{', '.join(found)}: {why}")


def multicast(listen: str | None) -> str:
    """Say on which addresses ``--discover`` would work, for a peer that listens on "HOST:PORT"; needs zeroconf.

    Raises:
        OSError: it would work on none.
    """
    from peer.network.discovery import in_multicast, own_interfaces

    usable = in_multicast(own_interfaces(parse_address(listen)[0] if listen else ""))
    return f"on {', '.join(usable)}; whether the network passes it on shows only when peers run"


def _is_own(id: int | None, listen: str | None, text: str, addresses: Sequence[Address]) -> bool:
    """Whether this peer listens at one of the addresses, and `text` names no other peer."""
    if listen is None or (id is not None and place(text)[0] not in (None, id)):
        return False
    try:
        return any(leads_to(listen, where) for where in addresses)
    except (ConfigError, OSError):  # the check of --listen reports it
        return False


def _address(exchange: ExchangeConfig, id: int | None, text: str) -> str:
    check_addresses([text], exchange.certs)
    check_allowed(exchange, id, [text])
    return text


def _names(count: int, unresolved: Mapping[str, str]) -> Check:
    if not unresolved:
        return Check("names", True, f"all {count} neighbours' hosts are known")
    each = "; ".join(f"{text}: {why}" for text, why in unresolved.items())
    return Check("names", False, f"{each}; correct --peers, or add the name to DNS or /etc/hosts")


async def _resolved(peers: Sequence[str], timeout: float) -> dict[str, list[Address] | str]:
    """For each peer the addresses of its host, or the reason why there are none."""

    async def look(text: str) -> list[Address] | str:
        try:
            return await asyncio.wait_for(resolve(*parse_address(place(text)[1])), timeout)
        except asyncio.TimeoutError:
            return f"no name server answers within {timeout:g} s"
        except LookUpError as error:
            return str(error)

    return dict(zip(peers, await asyncio.gather(*map(look, peers)), strict=True))


async def _ask_all(
    exchange: ExchangeConfig, id: int | None, peers: Sequence[str], ours: Hello | None, timeout: float
) -> list[Check]:
    return list(await asyncio.gather(*(_ask(exchange, id, text, ours, timeout) for text in peers)))


async def _ask(exchange: ExchangeConfig, id: int | None, text: str, ours: Hello | None, timeout: float) -> Check:
    """Ask one neighbour and compare its id and its contract."""
    name, (wanted, _) = f"neighbour {text}", place(text)
    transport = make_transport(exchange.transport, WITHOUT_PREDICTIONS, key_folder(exchange.certs))
    try:
        hello, status = await ask_who(transport, text, timeout=timeout)
    except OSError as error:
        return Check(name, False, f"{error}: is it started, and does a firewall let this box through?")
    finally:
        await transport.close()
    if hello.id == id:
        return Check(name, False, f"it has this peer's own id, {id}: give one of the two another --id")
    if wanted not in (None, hello.id):
        return Check(name, False, f"it is peer {hello.id}, and --peers says {wanted}: correct --peers")
    said = f"peer {hello.id} answers, {status.state} at step {status.step}"
    if ours is None:
        return Check(name, True, f"{said}; its contract was not compared")
    if differing := differences(ours, hello):
        why = f"{said}, of another contract: {'; '.join(differing)}"
        return Check(name, False, f"{why}; give all boxes the same settings and the same public file")
    return Check(name, True, f"{said}, of the same contract")
