"""
Bare loops over tun and tap devices, without a reactor: the peers and limits of several benchmarks.

    python -m benchmarks.children.bare deliver NAME FILE
    python -m benchmarks.children.bare deliverSuperpackets NAME FILE
    python -m benchmarks.children.bare pytun NAME FILE
    python -m benchmarks.children.bare answer NAME
    python -m benchmarks.children.bare join TAP TAP

C{deliver} does with each datagram from a tun what L{benchmarks.stacks.floorStack} does, and C{deliverSuperpackets} does
the same with each datagram of a superpacket. C{pytun} only reads, with python-pytun. These three count datagrams in
FILE. C{answer} answers echo requests. C{join} carries frames and superpackets between two taps.
"""

from __future__ import annotations

import mmap
import os
import select
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

from benchmarks.stacks import Stack, floorStack
from txtuntap.device import TAP, TUN
from txtuntap.device.linux import LinuxDevice
from txtuntap.wire import icmp, ipv4, udp
from txtuntap.wire.offload import HEADER_LENGTH

#: The most octets of one read.
ROOM = 65536 + HEADER_LENGTH

#: The number of reads after which the count in the file is renewed.
READS = 16


def opened(name: str, mode: int, offload: bool) -> int:
    """
    Open a device whose reads block.

    @param offload: whether superpackets are read, behind their headers.

    @return: the descriptor.
    """
    device = LinuxDevice(name, mode)
    device.open(offload)
    os.set_blocking(device.fileno(), True)
    return device.fileno()


def reads(descriptor: int) -> Iterator[bytes]:
    """
    Read packets from a device.
    """
    return iter(partial(os.read, descriptor, ROOM), b"")


def counting(stack: Stack, packets: Iterator[bytes], file: str) -> None:
    """
    Deliver packets to a stack, and count the datagrams in a file.
    """
    with open(file, "r+b") as writable:
        memory = mmap.mmap(writable.fileno(), 8)
    (application,) = stack.applications
    while True:
        stack.deliver(islice(packets, READS))
        struct.pack_into("=Q", memory, 0, application.received)


def deliver(name: str, file: str) -> None:
    """
    Deliver the datagram of each packet to an application.
    """
    counting(floorStack(0), reads(opened(name, TUN, False)), file)


def deliverSuperpackets(name: str, file: str) -> None:
    """
    Deliver each datagram of each superpacket to an application.
    """
    floor = floorStack(HEADER_LENGTH)
    (application,) = floor.applications
    unpack = struct.Struct(f"=4xH{HEADER_LENGTH - 6 + 12}x12s").unpack_from
    payload = HEADER_LENGTH + ipv4.HEADER_LENGTH + udp.HEADER_LENGTH
    flows: dict[bytes, tuple[Callable[..., None], tuple[str, int]]] = {}

    def split(packets: Iterable[bytes]) -> None:
        for data in packets:
            size, key = unpack(data)
            try:
                received, address = flows[key]
            except KeyError:
                received, address = flows[key] = application.datagramReceived, ("10.0.0.1", 40000)
            for start in range(payload, len(data), size or ROOM):
                received(data[start : start + size], address)

    counting(Stack(split, floor.applications), reads(opened(name, TUN, True)), file)


def pytun(name: str, file: str) -> None:
    """
    Read packets with python-pytun, and do nothing else.
    """
    import pytun as peer

    tun = peer.TunTapDevice(name=name, flags=peer.IFF_TUN | peer.IFF_NO_PI)
    floor = floorStack(0)
    (application,) = floor.applications

    def read(packets: Iterable[bytes]) -> None:
        for _ in packets:
            application.received += 1

    counting(Stack(read, floor.applications), iter(partial(tun.read, ROOM), b""), file)


def answer(name: str) -> None:
    """
    Answer the echo requests from a tun: swap the addresses, change the type, and adjust the checksum.
    """
    descriptor = opened(name, TUN, False)
    write, join = os.write, b"".join
    sums = struct.Struct("!22xH").unpack_from
    pack = struct.Struct("!BxH").pack
    for data in reads(descriptor):
        if data[0] == 0x45 and data[20] == icmp.ECHO_REQUEST:
            (checksum,) = sums(data)
            checksum += icmp.ECHO_REQUEST << 8
            # The carry of the ones' complement sum is added again.
            checksum = (checksum & 0xFFFF) + (checksum >> 16)
            write(descriptor, join((data[:12], data[16:20], data[12:16], pack(icmp.ECHO_REPLY, checksum), data[24:])))


def join(first: str, second: str) -> None:
    """
    Write each frame or superpacket that comes from one tap to the other.
    """
    descriptors = [opened(name, TAP, True) for name in (first, second)]
    others = dict(zip(descriptors, descriptors[::-1], strict=True))
    poll = select.epoll()
    for descriptor in descriptors:
        os.set_blocking(descriptor, False)
        poll.register(descriptor, select.EPOLLIN)
    read, write = os.read, os.write
    while True:
        for descriptor, _ in poll.poll():
            other = others[descriptor]
            try:
                while True:
                    write(other, read(descriptor, ROOM))
            except (BlockingIOError, OSError):
                # Nothing more waits, or the other side is not up yet.
                continue


LOOPS: dict[str, Callable[..., None]] = {
    loop.__name__: loop for loop in (deliver, deliverSuperpackets, pytun, answer, join)
}

if __name__ == "__main__":
    LOOPS[sys.argv[1]](*sys.argv[2:])
