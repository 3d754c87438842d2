"""CURVE keys: a folder of keys, and the decision which callers to admit.

The folder contains this peer's own pair, `curve.key_secret`, and the public key of each peer and observer of the group,
`curve/ID.key` and `curve/observer-NAME.key`, in the format of zmq.auth. The files are read again for each connection.
So a change of the files is enough to admit a peer, to expel one or to replace a key.
"""

import logging
import struct
import time
from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.auth import load_certificate
from zmq.utils import z85

from edgekd.errors import ConfigError
from edgekd.protocol.holders import Holder, holder
from peer.network.news import News

REQUESTS = "inproc://zeromq.zap.01"  # where libzmq asks whom to admit (ZeroMQ RFC 27)
VERSION = b"1.0"


@dataclass(frozen=True, slots=True)
class Pair:
    """A public and a secret key, each as 40 characters of Z85."""

    public: bytes
    secret: bytes


class CurveKeys:
    """The CURVE keys in a folder.

    Raises:
        ConfigError: this peer's pair is missing or invalid, or there is no folder of public keys.
    """

    def __init__(self, folder: Path) -> None:
        self._own, self._others = folder / "curve.key_secret", folder / "curve"
        self.own()
        if not self._others.is_dir():
            raise ConfigError(f"no folder {self._others} with the public keys of the group; `edgekd certs` makes them")

    def own(self) -> Pair:
        """This peer's pair.

        Raises:
            ConfigError: the file is missing or contains no pair.
        """
        public, secret = _read(self._own)
        if secret is None or zmq.curve_public(secret) != public:
            raise ConfigError(f"{self._own} holds no secret key to its public one; `edgekd certs` makes both")
        return Pair(public, secret)

    def of(self, id: int) -> bytes:
        """The public key of peer `id`.

        Raises:
            ConfigError: the file is missing or contains no key.
        """
        public, _ = _read(self._others / f"{id}.key")
        return public

    def holder(self, public: bytes) -> Holder | None:
        """The peer or observer with this public key; None: nobody has it. Other files in the folder are skipped."""
        for file in sorted(self._others.glob("*.key")):
            try:
                if str(whose := holder(file.stem)) == file.stem and _read(file)[0] == public:
                    return whose
            except ConfigError:
                continue
        return None


def _read(file: Path) -> tuple[bytes, bytes | None]:
    """The public key in a file, and the secret key if there is one."""
    try:
        public, secret = load_certificate(file)
        for key in (public, secret):
            if key is not None and len(z85.decode(key)) != 32:
                raise ValueError("a key is 40 characters long")
    except OSError as error:
        why = error.strerror or "no such file"
        raise ConfigError(f"cannot read {file}: {why}; `edgekd certs` makes the group's keys") from error
    except (ValueError, LookupError, ArithmeticError, struct.error) as error:
        raise ConfigError(f"{file} holds no CURVE key; `edgekd certs` makes the group's keys") from error
    return public, secret


def admission(request: list[bytes], keys: CurveKeys | None, news: News) -> list[bytes]:
    """The answer to libzmq's question whether to admit a caller.

    With keys, only a caller whose public key is in the folder is admitted, and the messages of its connection have the
    holder as "User-Id". Without keys, everybody is admitted.
    """
    version, number, _, host, _, mechanism, *credentials = request
    if keys is None:
        return [VERSION, number, b"200", b"OK", b"", b""]
    whose = keys.holder(z85.encode(credentials[0])) if mechanism == b"CURVE" and version == VERSION else None
    if whose is None:
        where = host.decode(errors="replace").removeprefix("::ffff:")
        message = f"refused somebody at {where}: its key is none of the group's; see `edgekd certs`"
        news.say(f"{where} key", logging.WARNING, message, time.monotonic())
        return [VERSION, number, b"400", b"not admitted", b"", b""]
    return [VERSION, number, b"200", b"OK", str(whose).encode(), b""]
