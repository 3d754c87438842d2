"""``python -m peer.health HOST:PORT``: exits 0 if the peer that listens there is healthy (for containers)."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekd.errors import ConfigError
from edgekd.paths import expanded
from edgekd.printable import printable
from edgekd.protocol.addresses import parse_address, place
from edgekd.protocol.holders import spoken

TIMEOUT = 3.0  # seconds


def check(address: str, keys: Path | None = None, *, timeout: float = TIMEOUT) -> str | None:
    """Ask a peer's standard gRPC health service: None if it is SERVING, else one line that says why not.

    Args:
        address: "HOST:PORT" or "ID@HOST:PORT". With keys and without an id, it is the peer whose keys they are.
        keys: a peer's folder of keys; None: the peer uses no keys.
        timeout: seconds.

    Raises:
        ConfigError: the address or the keys are invalid.
    """
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    id, address = place(address)
    with _channel(address, id, keys) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError as error:
            unreachable = error.code() is grpc.StatusCode.UNAVAILABLE and _why_unreachable(address, timeout)
            cause = unreachable or (error.details() or error.code().name).rpartition("last error: ")[2]
            return f"{address} is not healthy: {cause}"
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        return f"{address} is not healthy: {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}"
    return None


def _why_unreachable(address: str, timeout: float) -> str | None:
    """Ask the operating system why "HOST:PORT" cannot be reached.

    Returns:
        Its reason, such as "Connection refused"; None: it has none, because the address can be reached or because the
        answer took more than `timeout` seconds.
    """
    from peer.transports.resolving import CLOSED_AT_ONCE, LookUpError, why_host_unreachable

    try:
        why = asyncio.run(asyncio.wait_for(why_host_unreachable(*parse_address(address)), timeout))
    except LookUpError as unknown:
        return str(unknown)
    except asyncio.TimeoutError:
        return None
    return None if why == CLOSED_AT_ONCE else why


def _channel(address: str, id: int | None, keys: Path | None) -> Any:
    import grpc

    options = [("grpc.enable_http_proxy", 0)]
    if keys is None:
        return grpc.insecure_channel(address, options=options)
    from peer.transports.grpc import tls as grpc_tls
    from peer.transports.grpc.keys import KeyFiles

    own = KeyFiles(keys).current()
    whose = own.holder if id is None else id
    if not isinstance(whose, int):
        raise ConfigError(f"the keys in {keys} are those of {spoken(whose)}: say which peer to ask, ID@{address}")
    named = grpc_tls.only(whose)
    return grpc.secure_channel(address, grpc_tls.dialling(own), options=[*options, named])


def main(arguments: Sequence[str]) -> int:
    """Run the command with these arguments; return its exit code."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # set before grpc is loaded; errors are printed below
    os.environ.setdefault("GRPC_DNS_RESOLVER", "native")  # gRPC's own resolver asks DNS for names in /etc/hosts, too
    parser = argparse.ArgumentParser(prog="python -m peer.health")
    parser.add_argument("address", metavar="[ID@]HOST:PORT")
    parser.add_argument(
        "--certs", type=expanded, metavar="DIR", help="a peer's keys; without ID@, of the one that is asked"
    )
    given = parser.parse_args(arguments)
    try:
        problem = check(given.address, given.certs)
    except ConfigError as error:
        problem = str(error)
    if problem is not None:
        print(printable(problem))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
