"""A slow, lossy wire in user space, for kernels without tc's netem.

    python slow_wire.py A B DELAY LOSS RATE SEED    forward frames between two interfaces
    python slow_wire.py A                           prepare interface A, so that its frames can be forwarded

Each frame is lost with probability LOSS. Otherwise it waits for its turn on a line of RATE bits/s (0: without limit)
whose queue holds `QUEUE` bytes, and arrives DELAY seconds later, in order. By default the kernel leaves checksums and
segmentation to the network card, but virtual interfaces have none. The second form makes the kernel do both itself.
"""

import array
import fcntl
import heapq
import random
import select
import socket
import struct
import sys
import time

SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC, PACKET_IGNORE_OUTGOING = 263, 1, 1, 23
SIOCETHTOOL = 0x8946
SHORTCUTS = (0x17, 0x1F, 0x24, 0x2C)  # ETHTOOL_STXCSUM, _STSO, _SGSO, _SGRO
QUEUE = 64 * 1024  # bytes


def without_shortcuts(name: str) -> None:
    """Make the kernel compute checksums and segment packets for this interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in SHORTCUTS:
            value = array.array("B", struct.pack("II", command, 0))
            request = struct.pack("16sP", name.encode(), value.buffer_info()[0])
            fcntl.ioctl(any_socket, SIOCETHTOOL, request)


def open_interface(name: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # every protocol
    opened.bind((name, 0))
    index = socket.if_nametoindex(name)
    opened.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, struct.pack("iHH8s", index, PACKET_MR_PROMISC, 0, b""))
    opened.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    opened.setblocking(False)
    return opened


def forward(names: tuple[str, str], delay: float, loss: float, rate: float, seed: int) -> None:
    """Forward frames both ways until an interface is gone.

    Args:
        names: of the two interfaces.
        delay: seconds.
        loss: probability in [0, 1] that a frame is lost.
        rate: bits/s; 0: without limit.
        seed: of the losses.
    """
    one, other = map(open_interface, names)
    far_end = {one: other, other: one}
    free_at = {one: 0.0, other: 0.0}  # when the line towards this interface is free again
    rng = random.Random(seed)
    under_way: list[tuple[float, int, socket.socket, bytes]] = []
    count = 0
    while True:
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, out, frame = heapq.heappop(under_way)
            try:
                out.send(frame)
            except OSError as error:
                print(f"slow_wire: {error}", file=sys.stderr)
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        for source in select.select([one, other], [], [], wait)[0]:
            try:
                while True:
                    frame = source.recv(70_000)
                    out, now = far_end[source], time.monotonic()
                    begins = max(now, free_at[out])
                    if rng.random() < loss or (rate and (begins - now) * rate / 8 > QUEUE):
                        continue
                    free_at[out] = begins + (len(frame) * 8 / rate if rate else 0.0)
                    count += 1
                    heapq.heappush(under_way, (free_at[out] + delay, count, out, frame))
            except BlockingIOError:
                pass
            except OSError:  # the interface is down, or gone
                return


if __name__ == "__main__":
    if len(sys.argv) == 2:
        without_shortcuts(sys.argv[1])
    else:
        a, b, *numbers, seed = sys.argv[1:]
        forward((a, b), *map(float, numbers), int(seed))
