"""What a peer announces on its local network, and which of what it hears there is to be dialled.

Pure: `now` is an argument, in seconds of a monotonic clock.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Interface

from edgekd.errors import RemoteProtocolError
from edgekd.protocol.members import MAX_NEIGHBOURS
from edgekd.protocol.messages import Hello

KEEP_FOR = 600.0  # seconds that a peer is dialled after its announcement has gone: a partition takes that away too
_DECIMAL = re.compile(r"[0-9]{1,19}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """Who listens: what its Hello will say, as far as one must know it to dial or to leave it."""

    id: int
    instance: int
    contract: str  # the contract's digest
    major: int

    @classmethod
    def of(cls, hello: Hello) -> "Announcement":
        """What the sender of `hello` announces."""
        return cls(id=hello.id, instance=hello.instance, contract=hello.contract.digest(), major=hello.major)

    @property
    def name(self) -> str:
        """Unique, as an instance is."""
        return f"edgekd-{self.id}-{self.instance:016x}"

    def texts(self) -> dict[str, str]:
        """As names and values."""
        return {name: str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_texts(cls, texts: Mapping[str, str | None]) -> "Announcement":
        """What a stranger has announced; names that are not known here are none of our business.

        Raises:
            RemoteProtocolError: it lacks something, or something is no number or no digest.
        """
        numbers = {name: texts.get(name) or "" for name in ("id", "instance", "major")}
        for name, text in numbers.items():
            if not _DECIMAL.fullmatch(text):
                raise RemoteProtocolError("announcement", f"{name} is no number")
        contract = texts.get("contract") or ""
        if not _DIGEST.fullmatch(contract):
            raise RemoteProtocolError("announcement", "contract is no SHA-256")
        return cls(contract=contract, **{name: int(text) for name, text in numbers.items()})


def nearest(announced: Sequence[str], own: Iterable[IPv4Interface]) -> list[str]:
    """Of a peer's IPv4 addresses those to dial: a box also announces bridges and networks that nobody else is in.

    Args:
        announced: all that the peer gives; some may be this box's own too, as each box has the same Docker bridge.
        own: this box's addresses, with their networks.
    """
    own = list(own)
    here = {str(each.ip) for each in own}
    if all(address in here for address in announced):  # a peer on this very box
        return list(announced[:1])
    elsewhere = [address for address in announced if address not in here]
    networks = [each.network for each in own]
    near = [address for address in elsewhere if any(IPv4Interface(address).ip in network for network in networks)]
    return near or elsewhere


class Roster:
    """Who is announced, and which addresses are dialled for that.

    Args:
        limit: announcements that are remembered.
    """

    def __init__(self, limit: int = MAX_NEIGHBOURS) -> None:
        self._limit = limit
        self._addresses: dict[str, tuple[str, ...]] = {}  # by the announcement's name
        self._gone: dict[str, float] = {}  # name -> since when it is announced no more
        self._dialled: set[str] = set()

    def announced(self, name: str, addresses: Sequence[str]) -> list[str]:
        """Take in an announcement, or what has changed in it; the addresses that are to be dialled from now on."""
        if name not in self._addresses and len(self._addresses) >= self._limit:
            return []
        self._gone.pop(name, None)
        self._addresses[name] = tuple(addresses)
        new = [address for address in addresses if address not in self._dialled]
        self._dialled.update(new)
        return new

    def gone(self, name: str, now: float) -> None:
        """An announcement has been taken back, or was not renewed in time."""
        if name in self._addresses:
            self._gone[name] = now

    def all_gone(self, now: float) -> None:
        """This peer hears nothing any more: who is still there will be heard of again."""
        for name in self._addresses:
            self._gone.setdefault(name, now)

    def stale(self, now: float) -> list[str]:
        """The addresses to dial no longer: of who has been gone for `KEEP_FOR` seconds, or is announced elsewhere."""
        for name in [name for name, since in self._gone.items() if now - since >= KEEP_FOR]:
            del self._gone[name], self._addresses[name]
        stale = self._dialled.difference(*self._addresses.values())
        self._dialled -= stale
        return sorted(stale)
