"""``python -m peer.health HOST:PORT``: exits 0 if the peer that listens there is healthy (for containers)."""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT = 3.0  # seconds


def check(address: str, *, timeout: float = TIMEOUT) -> str | None:
    """Ask the standard gRPC health service at "HOST:PORT": None if it is SERVING, else one line that says why not."""
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError as error:
            cause = (error.details() or error.code().name).rpartition("last error: ")[2]
            return f"{address} is not healthy: {cause}"
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        return f"{address} is not healthy: {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}"
    return None


def main(arguments: list[str]) -> int:
    """The command."""
    if len(arguments) != 1:
        print("usage: python -m peer.health HOST:PORT", file=sys.stderr)
        return 2
    problem = check(arguments[0])
    if problem is not None:
        print(problem)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
