"""Discovery: what a peer announces on its local network, and which announced addresses it dials.

Everything here is pure: the caller passes `now`, in seconds of a monotonic clock.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Interface

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.addresses import MAX_ID
from edgekd.protocol.members import MAX_NEIGHBOURS
from edgekd.protocol.messages import Hello

MOST_ADDRESSES = 4  # dialled for each announcement: a box has one or two addresses that others can reach
KEEP_FOR = 600.0  # seconds; a broken network ends announcements too, so the peer is dialled for some time after that
_DECIMAL = re.compile(r"[0-9]{1,19}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """What a peer that listens announces: the fields of its Hello that decide whether others dial it."""

    id: int
    instance: int
    contract: str  # the digest of the contract
    major: int

    @classmethod
    def of(cls, hello: Hello) -> "Announcement":
        """Make the announcement of the peer that sends `hello`."""
        return cls(id=hello.id, instance=hello.instance, contract=hello.contract.digest(), major=hello.major)

    @property
    def name(self) -> str:
        """The name of the announcement. It is unique, since each start of a peer has its own instance number."""
        return f"edgekd-{self.id}-{self.instance:016x}"

    def texts(self) -> dict[str, str]:
        """The fields as a mapping of names to texts, as they are put on the network."""
        return {name: str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_texts(cls, texts: Mapping[str, str | None]) -> "Announcement":
        """Parse the announcement of another peer; unknown names are ignored.

        Raises:
            RemoteProtocolError: a field is missing, is not a number or a SHA-256, or the id is above `MAX_ID`.
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
    """Choose which IPv4 addresses of a peer to dial.

    A box also announces the addresses of bridges and of networks that others cannot reach. So addresses in a network
    of this box are preferred.

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
        limit: the largest number of announcements to remember, and of addresses to dial. A limit is needed because
            anybody can announce anything, and each address is dialled for as long as it is announced.
    """

    def __init__(self, limit: int = MAX_NEIGHBOURS) -> None:
        self._limit = limit
        self._addresses: dict[str, tuple[str, ...]] = {}  # by the announcement's name
        self._gone: dict[str, float] = {}  # name -> the time at which the announcement ended
        self._dialled: set[str] = set()

    def announced(self, name: str, addresses: Sequence[str]) -> list[str]:
        """Add or update an announcement, and return the addresses that must be dialled in addition."""
        if name not in self._addresses and len(self._addresses) >= self._limit:
            return []
        self._gone.pop(name, None)
        wanted = list(dict.fromkeys(addresses))[:MOST_ADDRESSES]
        new = [address for address in wanted if address not in self._dialled][: self._limit - len(self._dialled)]
        self._dialled.update(new)
        self._addresses[name] = tuple(address for address in wanted if address in self._dialled)
        return new

    def gone(self, name: str, now: float) -> None:
        """Note that an announcement was withdrawn, or was not renewed in time."""
        if name in self._addresses:
            self._gone[name] = now

    def all_gone(self, now: float) -> None:
        """Note that this peer has lost its network. Peers that are still there will be announced again."""
        for name in self._addresses:
            self._gone.setdefault(name, now)

    def stale(self, now: float) -> list[str]:
        """Remove and return the addresses that must not be dialled any longer.

        Their peers have been gone for `KEEP_FOR` seconds, or now announce other addresses.
        """
        for name in [name for name, since in self._gone.items() if now - since >= KEEP_FOR]:
            del self._gone[name], self._addresses[name]
        stale = self._dialled.difference(*self._addresses.values())
        self._dialled -= stale
        return sorted(stale)
