"""How a newcomer gets what a group has agreed on: the public file and the settings, from any of its peers."""

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

TIMEOUT = 10.0  # seconds that may pass between two frames
FIRST_TRY = 60.0  # seconds for a whole file; too short for a slow link, so the next try there has twice as long
LONGEST_TRY = 3600.0  # seconds for a whole file
PAUSE = 1.0  # seconds between two rounds through the addresses

Read = TypeVar("Read")  # what was read of a public file


class UnusableError(ConnectionError):
    """A peer has sent a public file, or a contract, that is of no use."""


def join(
    addresses: Sequence[str],
    path: Path,
    check: Callable[[Path, Contract], Read],
    transport: str,
    keys: Path | None = None,
    found: Callable[[], Sequence[str]] | None = None,
    watch: Watch = unwatched,
) -> tuple[Contract, Read]:
    """Fetch the public file from whoever answers first, trying for as long as it takes.

    Each try has a deadline, so that an address that sends without end, or too slowly, does not hold up the others. An
    address that has sent what is of no use is not asked again, unless its peer is lost and found again.

    Args:
        addresses: "HOST:PORT" or "ID@HOST:PORT" of peers of the group; at least one, unless some are `found`.
        path: where to write the file, atomically.
        check: reads the file and compares it with the group's contract. It raises ConfigError for a file, or a
            contract, that is of no use; that file is not kept.
        transport: the group's, by name.
        keys: the newcomer's folder of keys, if the group has any.
        found: the addresses of peers that were found by now, which are asked, too; None: nobody looks for any.
        watch: of the bytes that arrive; their total is not known.

    Returns:
        The group's contract, and what `check` returned.

    Raises:
        ConfigError: the keys are none, or what the addresses send is of no use, all of them, and no more can be found.
        OSError: the file cannot be written.
    """
    news, within = News(), dict.fromkeys(addresses, FIRST_TRY)
    unusable: dict[str, str] = {}  # why, by address: asked again, it would send the same again
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
    """Fetch the public file from the peer at "HOST:PORT" or "ID@HOST:PORT" and write it to `path`, atomically.

    What is there already stays if no sound file comes.

    Args:
        address: of a peer of the group.
        path: where to write the file.
        check: as for `join`.
        transport: the group's, by name.
        keys: the caller's folder of keys, if the group has any.
        within: seconds for all of it.
        watch: as for `join`.

    Returns:
        The contract of the peer's group, and what `check` returned.

    Raises:
        ConfigError: the keys are none.
        ConnectionError, TimeoutError: nobody answers there, or stops midway, or is too slow, or what came is not the
            group's file.
        OSError: the file cannot be written.
    """
    coroutine = _fetch(address, path, check, transport, keys, within, watch)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as beside:  # in a notebook this thread has a loop that runs already
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
