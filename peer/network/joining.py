"""How a newcomer fetches what a group has agreed on, from any of its peers: the public file and the contract."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from edgekd.errors import ConfigError
from edgekd.files.atomic import atomic_file
from edgekd.files.watching import Watch, unwatched
from edgekd.protocol.frames import WITHOUT_PREDICTIONS
from edgekd.protocol.messages import Contract
from peer.network.asking import fetch_public
from peer.network.news import News
from peer.transports.by_name import make_transport

log = logging.getLogger("edgekd")

TIMEOUT = 10.0  # seconds between two frames, at most
FIRST_TRY = 60.0  # seconds for a whole file at the first try; after each time-out the address gets twice as long
LONGEST_TRY = 3600.0  # seconds for a whole file, at most
PAUSE = 1.0  # seconds after all addresses have been tried

Read = TypeVar("Read")  # what `check` makes of a public file


class UnusableError(ConnectionError):
    """A peer has sent a public file or a contract that this peer cannot use."""


def join(
    addresses: Sequence[str],
    path: Path,
    check: Callable[[Path, Contract], Read],
    transport: str,
    keys: Path | None = None,
    found: Callable[[], Sequence[str]] | None = None,
    watch: Watch = unwatched,
) -> tuple[Contract, Read]:
    """Fetch the public file from the first peer that answers; try all addresses until one does.

    Each try has a deadline, so that one address that sends too slowly, or without end, does not delay the others. An
    address that has sent something unusable is not asked again, unless discovery loses its peer and finds it again.

    Args:
        addresses: "HOST:PORT" or "ID@HOST:PORT" of peers of the group; at least one, unless `found` is given.
        path: where to write the file, atomically.
        check: reads the file and compares it with the group's contract. It raises ConfigError if the file or the
            contract is unusable; the file is then not kept.
        transport: the group's, by name.
        keys: the newcomer's folder of keys; None: the group uses no keys.
        found: returns the addresses that discovery has found so far, which are asked too; None: no discovery.
        watch: shows the progress in bytes; their total is not known.

    Returns:
        The group's contract, and what `check` returned.

    Raises:
        ConfigError: the keys are invalid; or all addresses have sent something unusable, and there is no discovery.
        OSError: the file cannot be written.
    """
    news, within = News(), dict.fromkeys(addresses, FIRST_TRY)
    unusable: dict[str, str] = {}  # the reason, by address; these are not asked again, since they would send the same
    while True:
        asked = list(dict.fromkeys((*addresses, *(found() if found else ()))))
        unusable = {address: why for address, why in unusable.items() if address in asked}
        for address in asked:
            if address in unusable:
                continue
            began = time.monotonic()
            try:
                limit = within.setdefault(address, FIRST_TRY)
                fetched = fetch(address, path, check, transport, keys, within=limit, watch=watch)
                log.info("fetched the public file from %s", address)
                return fetched
            except (ConnectionError, TimeoutError) as error:
                then = "keep trying"
                if isinstance(error, UnusableError):
                    unusable[address], then = str(error), "it is not asked again, others are"
                if time.monotonic() - began >= within[address]:
                    within[address] = min(2 * within[address], LONGEST_TRY)
                news.say(address, logging.INFO, f"{error}; {then}", time.monotonic())
        if found is None and len(unusable) == len(asked):
            raise ConfigError(f"no address has a public file that this peer can use: {'; '.join(unusable.values())}")
        time.sleep(PAUSE)


def fetch(
    address: str,
    path: Path,
    check: Callable[[Path, Contract], Read],
    transport: str,
    keys: Path | None = None,
    *,
    within: float = LONGEST_TRY,
    watch: Watch = unwatched,
) -> tuple[Contract, Read]:
    """Fetch the public file from one peer and write it to `path`, atomically.

    A file that is there already is replaced only by a valid one.

    Args:
        address: "HOST:PORT" or "ID@HOST:PORT" of a peer of the group.
        path: where to write the file.
        check: as for `join`.
        transport: the group's, by name.
        keys: the caller's folder of keys; None: the group uses no keys.
        within: seconds for the whole file.
        watch: as for `join`.

    Returns:
        The contract of the peer's group, and what `check` returned.

    Raises:
        ConfigError: the keys are invalid.
        ConnectionError, TimeoutError: nobody answers, the peer stops midway or is too slow, or it has sent another
            file than the group's. `UnusableError` if `check` refused the file or the contract.
        OSError: the file cannot be written.
    """
    coroutine = _fetch(address, path, check, transport, keys, within, watch)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as beside:  # in a notebook, an event loop runs in this thread already
        return beside.submit(asyncio.run, coroutine).result()


async def _fetch(
    address: str,
    path: Path,
    check: Callable[[Path, Contract], Read],
    name: str,
    keys: Path | None,
    within: float,
    watch: Watch,
) -> tuple[Contract, Read]:
    transport, digest = make_transport(name, WITHOUT_PREDICTIONS, keys), hashlib.sha256()
    try:
        with atomic_file(path) as file, watch(0) as advance:

            def take(data: bytes) -> None:
                digest.update(data)
                file.write(data)
                advance(len(data))

            contract = (await fetch_public(transport, address, take, timeout=TIMEOUT, within=within)).contract
            if digest.hexdigest() != contract.public_sha256:
                found, due = digest.hexdigest()[:8], contract.public_sha256[:8]
                raise ConnectionError(f"{address} sent a public file with SHA-256 {found}..., its group's is {due}...")
            file.flush()
            try:
                read = check(Path(file.name), contract)
            except ConfigError as error:
                raise UnusableError(f"{address} sent no usable public file: {error}") from error
    finally:
        await transport.close()
    return contract, read
