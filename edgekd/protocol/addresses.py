"""Network addresses as people write them: "HOST:PORT", and "[::1]:7000" for IPv6; "ID@HOST:PORT" names who is there."""

import re
from ipaddress import ip_address

from edgekd.errors import ConfigError

MAX_PORT = 65535
MAX_ID = 2**31 - 1  # of a peer

_ADDRESS = re.compile(r"(?P<host>[^\s\[\]:/@,]+|\[[0-9A-Fa-f:.]+(%[^\s\[\]]+)?\]):(?P<port>[0-9]{1,5})")


def parse_address(text: str) -> tuple[str, int]:
    """Split "HOST:PORT" into a host (a name or a number, IPv6 without its brackets) and a port in [0, 65535].

    Raises:
        ConfigError: it is not of that form.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or not text.isprintable():
        raise ConfigError(f"an address is HOST:PORT, such as 192.168.1.5:7000 or [fe80::1]:7000, got {text!r}")
    port = int(match["port"])
    if port > MAX_PORT:
        raise ConfigError(f"a port is at most {MAX_PORT}, got {text!r}")
    return match["host"].strip("[]"), port


def place(text: str) -> tuple[int | None, str]:
    """Split "ID@HOST:PORT" into the id of the peer that is to be there (None: not said) and "HOST:PORT".

    Raises:
        ConfigError: it is not of that form.
    """
    id, at, rest = text.rpartition("@")
    if at and not (id.isascii() and id.isdecimal() and int(id) <= MAX_ID):
        raise ConfigError(f"a peer is HOST:PORT or ID@HOST:PORT with an id from 0 to {MAX_ID}, got {text!r}")
    parse_address(rest)
    return (int(id) if at else None), rest


def ids(text: str) -> tuple[int, ...]:
    """The ids in a list such as "0,1,2", each once.

    Raises:
        ConfigError: it is not of that form.
    """
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not (part.isascii() and part.isdecimal() and int(part) <= MAX_ID):
            raise ConfigError(f"ids are whole numbers from 0 to {MAX_ID} with commas between, got {text!r}")
    return tuple(dict.fromkeys(int(part) for part in parts))


def is_loopback(host: str) -> bool:
    """Whether only processes of this box reach `host`; a name other than localhost may mean anything, so it is not."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def join(host: str, port: int) -> str:
    """The opposite of `parse_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def seen_from(announced: str, remote: str) -> str:
    """Where a peer can be reached that says that it listens on `announced` ("" for nowhere) and speaks from `remote`.

    One that listens on all its addresses does not know which of them others see.
    """
    if not announced:
        return remote
    host, port = parse_address(announced)
    if host not in ("0.0.0.0", "::"):
        return announced
    return join(remote.rpartition(":")[0].strip("[]"), port)
