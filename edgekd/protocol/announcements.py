"""Discovery: what a peer announces on its local network, and which announced addresses it dials.

Everything here is pure: `now` is an argument, in seconds of a monotonic clock.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Interface

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.addresses import MAX_ID
from edgekd.protocol.members import MAX_NEIGHBOURS
from edgekd.protocol.messages import Hello

MOST_ADDRESSES = 4  # of one announcement that are dialled: a box has one or two that others can reach
KEEP_FOR = 600.0  # seconds to go on dialling a peer after its announcement ended: a partition ends announcements too
_DECIMAL = re.compile(r"[0-9]{1,19}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """The announcement of a peer that listens: the fields of its Hello that decide whether to dial it."""

    id: int
    instance: int
    contract: str  # the digest of the contract
    major: int

    @classmethod
    def of(cls, hello: Hello) -> "Announcement":
        """The announcement of the sender of `hello`."""
        return cls(id=hello.id, instance=hello.instance, contract=hello.contract.digest(), major=hello.major)

    @property
    def name(self) -> str:
        """A unique name, since an instance is unique."""
        return f"edgekd-{self.id}-{self.instance:016x}"

    def texts(self) -> dict[str, str]:
        """The fields as names and texts."""
        return {name: str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_texts(cls, texts: Mapping[str, str | None]) -> "Announcement":
        """The announcement of a stranger. Unknown names are ignored.

        Raises:
            RemoteProtocolError: a field is missing, or is not a number, an id or a digest as it should be.
        """
        numbers = {name: texts.get(name) or "" for name in ("id", "instance", "major")}
        for name, text in numbers.items():
            if not _DECIMAL.fullmatch(text):
                raise RemoteProtocolError("announcement", f"{name} is no number")
        if int(numbers["id"]) > MAX_ID:
            raise RemoteProtocolError("announcement", f"id is at most {MAX_ID}")
        contract = texts.get("contract") or ""
        if not _DIGEST.fullmatch(contract):
            raise RemoteProtocolError("announcement", "contract is no SHA-256")
        return cls(contract=contract, **{name: int(text) for name, text in numbers.items()})


def nearest(announced: Sequence[str], own: Iterable[IPv4Interface]) -> list[str]:
    """Choose the IPv4 addresses of a peer to dial. A box also announces bridges and networks that others cannot reach.

    Args:
        announced: all addresses of the peer. Some may equal addresses of this box: Docker's bridge has the same address
            on every box.
        own: the addresses of this box, with their networks.
    """
    own = list(own)
    here = {str(each.ip) for each in own}
    if all(address in here for address in announced):  # the peer is on this box
        return list(announced[:1])
    elsewhere = [address for address in announced if address not in here]
    networks = [each.network for each in own]
    near = [address for address in elsewhere if any(IPv4Interface(address).ip in network for network in networks)]
    return near or elsewhere


class Roster:
    """The announced peers, and the addresses to dial for them.

    Args:
        limit: the largest number of announcements to remember, and of addresses to dial: each is dialled for as long
            as it is announced, and anybody can announce anything.
    """

    def __init__(self, limit: int = MAX_NEIGHBOURS) -> None:
        self._limit = limit
        self._addresses: dict[str, tuple[str, ...]] = {}  # by the announcement's name
        self._gone: dict[str, float] = {}  # name -> the time at which the announcement ended
        self._dialled: set[str] = set()

    def announced(self, name: str, addresses: Sequence[str]) -> list[str]:
        """Add or update an announcement; returns the addresses to dial from now on."""
        if name not in self._addresses and len(self._addresses) >= self._limit:
            return []
        self._gone.pop(name, None)
        wanted = list(dict.fromkeys(addresses))[:MOST_ADDRESSES]
        new = [address for address in wanted if address not in self._dialled][: self._limit - len(self._dialled)]
        self._dialled.update(new)
        self._addresses[name] = tuple(address for address in wanted if address in self._dialled)
        return new

    def gone(self, name: str, now: float) -> None:
        """An announcement was withdrawn, or was not renewed in time."""
        if name in self._addresses:
            self._gone[name] = now

    def all_gone(self, now: float) -> None:
        """This peer has lost the network. Peers that are still there will be announced again."""
        for name in self._addresses:
            self._gone.setdefault(name, now)

    def stale(self, now: float) -> list[str]:
        """The addresses to dial no longer: their peer has been gone for `KEEP_FOR` seconds, or has other addresses."""
        for name in [name for name, since in self._gone.items() if now - since >= KEEP_FOR]:
            del self._gone[name], self._addresses[name]
        stale = self._dialled.difference(*self._addresses.values())
        self._dialled -= stale
        return sorted(stale)
