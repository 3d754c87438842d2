"""Keys for ZeroMQ's CURVE encryption, in the file format of `zmq.auth`: bytes in and bytes out."""

import re

import zmq


def make_curve_pair() -> bytes:
    """Make a new pair of CURVE keys; returns the content of the secret file of `zmq.auth`."""
    public, secret = zmq.curve_keypair()
    return _curve_file("secret: for this peer alone", public, secret)


def curve_public(pair: bytes) -> bytes:
    """The content of the public file that belongs to a secret file.

    Raises:
        ValueError: `pair` is not the content of a secret file.
    """
    found = re.search(rb'public-key = "([^"\s]{40})"', pair)
    if found is None:
        raise ValueError("no public-key in it")
    return _curve_file("public: for every peer of the group", found[1], None)


def _curve_file(about: str, public: bytes, secret: bytes | None) -> bytes:
    lines = [
        f"# ZeroMQ CURVE key of an edgekd peer, {about}",
        "metadata",
        "curve",
        f'    public-key = "{public.decode()}"',
    ]
    if secret is not None:
        lines.append(f'    secret-key = "{secret.decode()}"')
    return ("\n".join(lines) + "\n").encode()
