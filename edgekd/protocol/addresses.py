"""Parsing and formatting of network addresses.

An address is the text "HOST:PORT", and an IPv6 host has brackets: "[::1]:7000". "ID@HOST:PORT" names the peer there.
"""

import re
from ipaddress import ip_address

from edgekd.errors import ConfigError

MAX_PORT = 65535
MAX_ID = 2**31 - 1  # the largest id of a peer

_ADDRESS = re.compile(r"(?P<host>[^\s\[\]:/@,]+|\[[0-9A-Fa-f:.]+(%[^\s\[\]]+)?\]):(?P<port>[0-9]{1,5})")


def parse_address(text: str) -> tuple[str, int]:
    """Split "HOST:PORT" into host and port.

    Returns:
        The host, a name or an IP address (IPv6 without brackets), and the port in [0, 65535].

    Raises:
        ConfigError: `text` does not have this form.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or not text.isprintable():
        raise ConfigError(f"an address is HOST:PORT, such as 192.168.1.5:7000 or [fe80::1]:7000, got {text!r}")
    host, port = match["host"].strip("[]"), int(match["port"])
    try:
        host.encode("idna")  # the socket module encodes a host name in this way
    except UnicodeError:
        raise ConfigError(f"between its dots a host name has parts of 1 to 63 characters, got {text!r}") from None
    if port > MAX_PORT:
        raise ConfigError(f"a port is at most {MAX_PORT}, got {text!r}")
    return host, port


def place(text: str) -> tuple[int | None, str]:
    """Split "ID@HOST:PORT" or "HOST:PORT" into the peer's id and "HOST:PORT".

    Returns:
        The id, in [0, 2^31), or None if `text` has no "ID@"; and the address as text.

    Raises:
        ConfigError: `text` has neither of these forms.
    """
    id, at, rest = text.rpartition("@")
    if at and not (id.isascii() and id.isdecimal() and int(id) <= MAX_ID):
        raise ConfigError(f"a peer is HOST:PORT or ID@HOST:PORT with an id from 0 to {MAX_ID}, got {text!r}")
    parse_address(rest)
    return (int(id) if at else None), rest


def ids(text: str) -> tuple[int, ...]:
    """Parse a list of ids such as "0,1,2"; repeated ids are returned once.

    Raises:
        ConfigError: `text` does not have this form, or an id is larger than `MAX_ID`.
    """
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not (part.isascii() and part.isdecimal() and int(part) <= MAX_ID):
            raise ConfigError(f"ids are whole numbers from 0 to {MAX_ID} with commas between, got {text!r}")
    return tuple(dict.fromkeys(int(part) for part in parts))


def is_loopback(host: str) -> bool:
    """Whether only processes of this box can reach `host`.

    The only name that counts is localhost. Any other name may belong to another box.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback  # Python before 3.13 misses ::ffff:127.0.0.1


def format_address(host: str, port: int) -> str:
    """Join host and port to "HOST:PORT"; the inverse of `parse_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def seen_from(announced: str, remote: str) -> str:
    """Choose the address at which another peer can be reached.

    A peer that listens on all its addresses (0.0.0.0 or ::) does not know which of them this box can reach. For such
    a peer the host of its connection is used, with the announced port.

    Args:
        announced: the address on which the peer says that it listens; "" if it does not listen.
        remote: the address from which its connection comes.

    Returns:
        "HOST:PORT", or `remote` unchanged if the peer does not listen.
    """
    if not announced:
        return remote
    host, port = parse_address(announced)
    if host not in ("0.0.0.0", "::"):
        return announced
    return format_address(remote.rpartition(":")[0].strip("[]"), port)
